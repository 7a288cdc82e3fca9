"""DIG's rewards: a score of each scene of each question, from which its rule chooses any number of frames."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from jsonargparse.typing import PositiveInt
from pydantic import PlainValidator

from modules.files.paths import InputPath
from modules.files.row_files import rows_of
from modules.files.rows import Fields, RowError, Text, read
from modules.methods.training_free.dig import DIG
from modules.methods.training_free.released.base import (
    AskedQuestions,
    ReleasedChoice,
    ReleasedSelections,
    frame_list,
    number_list,
)


class _DIGRow(Fields):
    videoid: Text
    question: Text
    query_type: Literal["global", "local"]
    boundaries: Annotated[tuple[tuple[int, ...], int] | None, PlainValidator(frame_list)] = None
    reward: Annotated[tuple[float, ...] | None, PlainValidator(number_list)] = None


class DIGRewards(ReleasedSelections):
    """Questions are found by video and text. A question about the whole video gets evenly spaced frames, both ends
    included; any other, K frames spread over the scenes that its rewards single out.

    Args:
        path: the file, as published.
        num_frames: K.
        compat: as of `modules.methods.training_free.dig.DIG`; the official windows by default.
    """

    def __init__(
        self, *, path: InputPath, num_frames: PositiveInt = 32, compat: Literal["official"] | None = "official"
    ) -> None:
        super().__init__(path=path)
        self.num_frames, self.rule = int(num_frames), DIG(compat=compat)

    def choices(self, asked: AskedQuestions) -> Iterator[ReleasedChoice]:
        for row in rows_of(self.path, "selections"):
            told = read(_DIGRow, row)
            question = asked.by_text(row, told.videoid, told.question)
            if question is None:
                continue
            if told.query_type == "global":
                yield ReleasedChoice(question=question, row=row, evenly=True)
                continue
            if told.boundaries is None or told.reward is None:
                raise RowError(row, "", None, "a local question has boundaries and reward")
            edges = told.boundaries[0]
            if told.boundaries[1] or len(edges) != len(told.reward) + 1 or any(b <= a for a, b in pairwise(edges)):
                raise RowError(row, "boundaries", edges, f"numbers that increase, one more than rewards: {len(edges)}")
            if edges[-1] > 2**31:
                raise RowError(row, "boundaries", edges[-1], "numbers of frames of a video")
            shown = np.flatnonzero(self.rule.shown(np.array(told.reward), np.array(edges)))
            picks = shown[np.linspace(0, len(shown) - 1, self.num_frames, dtype=int)].tolist()
            frames = tuple(dict.fromkeys(picks))
            yield ReleasedChoice(
                question=question, row=row, frame_ids=frames, num_repeated=self.num_frames - len(frames)
            )
