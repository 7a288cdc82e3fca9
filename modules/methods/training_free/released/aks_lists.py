"""AKS's ``selected_frames.json`` (and FOCUS's): a list of lists of frame numbers, in the benchmark's order."""

from __future__ import annotations

from collections.abc import Iterator

from modules.files.row_files import read_json
from modules.files.rows import FileError, Row
from modules.methods.training_free.released.base import AskedQuestions, ReleasedChoice, ReleasedSelections, frame_list


class AKSLists(ReleasedSelections):
    """No keys: list n belongs to question n, so the whole benchmark has to be read. Often fewer frames than K, at times
    none, and such questions get no row."""

    def choices(self, asked: AskedQuestions) -> Iterator[ReleasedChoice]:
        lists = read_json(self.path, "selections")
        if not isinstance(lists, list) or not lists:
            raise FileError(f"selections {self.path}: a list of lists of frame numbers was expected")
        self.refuse_unless_all(asked, len(lists))
        for number, own in enumerate(lists):
            row = Row(self.path, f"row {number + 1}", number, own)
            if own == []:
                continue
            with row.reading("list", own):
                frames, repeated = frame_list(own)
            yield ReleasedChoice(question=asked.questions[number], row=row, frame_ids=frames, num_repeated=repeated)
