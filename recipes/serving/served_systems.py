"""The systems that are served, as the lanes use them: prepare a video, and answer questions on it together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from modules.giving_up import look
from modules.records import QuestionBatch, VideoQuestion
from modules.selection.selection_row import SelectionRow
from modules.systems.base import Reply
from recipes.launcher.loaded_systems import LoadedSystems
from recipes.serving.jpeg_pictures import PictureForm
from recipes.serving.question_work import Outcome, QuestionWork
from recipes.serving.request_errors import RequestError, bad_request
from recipes.serving.serving_settings import ServingLimits

ALIAS = "kairos"
"""Names whichever system stands first."""


class ServedSystems:
    """Systems under the names that clients give.

    Args:
        parts: the systems, their encoder and their MLLM.
    """

    def __init__(self, parts: LoadedSystems) -> None:
        self.parts = parts

    @property
    def names(self) -> list[str]:
        """Of the systems, the trained one first."""
        return list(self.parts.systems)

    @property
    def num_frames(self) -> int:
        """K, as the recipe says."""
        return self.parts.num_frames

    def named(self, name: str) -> str:
        """A system by its name, or the first by ours.

        Raises:
            RequestError: there is none.
        """
        if name in self.parts.systems:
            return name
        if name == ALIAS:
            return self.names[0]
        raise RequestError(
            404,
            f"there is no model {name!r:.100}; there are {', '.join(self.names)}, and {ALIAS} for the first",
            code="model_not_found",
            param="model",
        )

    def most_together(self, name: str, limits: ServingLimits) -> int:
        """Questions that a system is asked at a time; of one that goes through them one by one each has to itself what
        it takes, and who leaves sets it free."""
        return limits.together if self.parts.systems[name].answers_together else 1

    def load(self) -> None:
        """Loads the MLLM before the first question."""
        _ = self.parts.module

    def prepare(self, video: str, limits: ServingLimits) -> None:
        """Decodes and encodes a video, unless that was done before.

        Raises:
            RequestError: it is longer than is taken.
            BadVideoError: it cannot be read.
        """
        info = self.parts.data.reader.info(video)
        if info.duration_s > limits.duration_s:
            raise bad_request(
                f"the video lasts {info.duration_s:.0f} s, and at most {limits.duration_s:g} s are taken",
                "messages",
                "video_too_long",
            )
        if info.num_frames > limits.video_frames:
            raise bad_request(
                f"the video has {info.num_frames} frames, and at most {limits.video_frames} are taken",
                "messages",
                "video_too_long",
            )
        self.parts.data.features.prepare([video], [], self.parts.device)

    def outcomes(self, works: Sequence[QuestionWork]) -> list[Outcome]:
        """What comes of questions of one kind, on one video, for one system."""
        first = works[0]
        questions = [replace(work.question, sample_id=_name_of(work.question, n)) for n, work in enumerate(works)]
        batch = self.parts.batch_of(questions)
        look()
        found: list[tuple[SelectionRow | None, Reply | None, Tensor | None]]
        if first.kind == "select":
            chosen = self.parts.selections(first.system, batch, first.num_frames)
            found = [(row, None, scores) for row, scores in chosen]
        else:
            replies = self.parts.replies(first.system, batch, first.num_frames, first.max_new_tokens)
            found = [(reply.selection, reply, scores) for reply, scores in replies]
        outcomes = []
        for b, (work, (row, reply, scores)) in enumerate(zip(works, found, strict=True)):
            pictures = None if work.pictures is None else self._pictures(batch, b, row, work.pictures)
            work.lap("answering")
            outcomes.append(
                Outcome(
                    question=work.question,
                    candidates=batch.candidates[b],
                    selection=row,
                    candidate_scores=scores,
                    reply=reply,
                    pictures=pictures,
                    num_wanted=work.num_frames,
                    num_together=len(works),
                    seconds=dict(work.seconds),
                )
            )
        return outcomes

    def _pictures(
        self, batch: QuestionBatch, b: int, row: SelectionRow | None, form: PictureForm
    ) -> list[bytes] | None:
        """JPEG files; of each question by itself, so that no more than its frames are held as they are."""
        if row is None or not row.frame_ids:
            return None
        candidates = batch.candidates[b]
        index = candidates.holding(torch.tensor(row.frame_ids, dtype=torch.int64))
        pixels = self.parts.data.decode(candidates, index)
        return None if pixels is None else [form.encoded(one) for one in pixels.permute(0, 2, 3, 1).cpu().numpy()]

    def close(self) -> None:
        """Ends the processes that decode."""
        self.parts.close()


def _name_of(question: VideoQuestion, number: int) -> str:
    """The same for equal questions and another for others: what is drawn, and what was spent, goes by names."""
    asked = "\n".join([question.video, question.question, *question.options])
    return f"serve-{number}-{hashlib.sha256(asked.encode(errors='replace')).hexdigest()[:12]}"
