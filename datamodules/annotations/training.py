"""Training annotations: TSPO-10K's JSON lines and LLaVA-Video-178K's conversations.

TSPO-10K's ``problem`` and ``complete_answer`` belong to other questions in some rows, so only ``original_question`` and
``original_answer`` are read, with ``solution``'s letter as a second witness.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from datamodules.annotations.base import Manifest, TrainingSource
from datamodules.annotations.choices import find_answer, split_question
from datamodules.annotations.tables import read_rows
from modules.records import VideoQuestion

_MARKERS = re.compile(r"<(?:image|video)>")
_INSTRUCTIONS = (
    "Please provide your answer by stating the letter followed by the full option.",
    "Please respond with only the letter of the correct answer.",
)
_SOLUTION = re.compile(r"<answer>\s*(.*?)\s*</answer>", re.DOTALL)


def _clean(text: str) -> str:
    text = _MARKERS.sub("", text)
    for sentence in _INSTRUCTIONS:
        text = text.replace(sentence, "")
    return text.strip()


class TSPO10K(TrainingSource):
    """TSPO-10K. Its questions about a whole video are ``general``, its needles ``specific`` (group ``type``).

    Args: see `AnnotationSource`; ``videos`` is LLaVA-Video-178K's folder.
    """

    dataset = "tspo_10k"

    def read(self, manifest: Manifest) -> Iterator[VideoQuestion]:
        rows = read_rows(self.annotations)
        self.note_file(manifest, self.annotations, len(rows))
        for n, row in enumerate(rows):
            row_id = str(row.get("id", n))
            text, options = split_question(_clean(str(row["original_question"])))
            if not options:
                manifest.drop("no options found in original_question", row_id)
                continue
            answer = find_answer(row.get("original_answer"), options, manifest.repairs)
            solution = _SOLUTION.search(str(row.get("solution", "")))
            letter = find_answer(solution[1], options, manifest.repairs) if solution else None
            if answer is not None and letter is not None and answer != letter:
                manifest.drop("solution and original_answer name different options", row_id)
                continue
            answer = letter if answer is None else answer
            if answer is None:
                manifest.drop("no answer", row_id)
                continue
            question = self.question(
                row_id, manifest, options, video=self.locate(str(row["video"])), question=text, answer_index=answer,
                groups={"type": str(row.get("type", "general"))},
            )  # fmt: skip
            if question is not None:
                yield question


class LLaVAVideo(TrainingSource):
    """LLaVA-Video-178K and whatever has its form: ``{id, video, conversations: [{from, value}, ...]}``.

    A row may hold several turns; those that are not multiple choice (captions, open questions) are left out, counted.

    Args: see `AnnotationSource`.
    """

    dataset = "llava_video_178k"

    def read(self, manifest: Manifest) -> Iterator[VideoQuestion]:
        rows = read_rows(self.annotations)
        turns = [(row, n, pair) for row in rows for n, pair in enumerate(self._turns(row))]
        self.note_file(manifest, self.annotations, len(turns))
        ids: dict[str, int] = {}
        for row, n, (asked, said) in turns:
            row_id = f"{row['id']}-{n}"
            ids[row_id] = ids.get(row_id, 0) + 1
            if ids[row_id] > 1:  # the published parts repeat ids
                row_id = f"{row_id}-{ids[row_id]}"
                manifest.repairs["an id occurs again; a number is added"] += 1
            text, options = split_question(_clean(asked))
            if not options:
                manifest.drop("not multiple choice", row_id)
                continue
            answer = find_answer(said, options, manifest.repairs)
            if answer is None:
                manifest.drop("no answer", row_id)
                continue
            source = row.get("data_source")
            question = self.question(
                row_id, manifest, options, video=self.locate(str(row["video"])), question=text, answer_index=answer,
                groups={"source": str(source)} if source else {},
            )  # fmt: skip
            if question is not None:
                yield question

    def _turns(self, row: dict[str, Any]) -> list[tuple[str, str]]:
        turns = row["conversations"]
        asked = [str(t["value"]) for t in turns if t["from"] == "human"]
        said = [str(t["value"]) for t in turns if t["from"] == "gpt"]
        return list(zip(asked, said, strict=False))
