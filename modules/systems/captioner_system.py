"""Any captioner in a table of an evaluation: it is shown evenly spaced frames of the whole clip."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from modules.records import Cost, QuestionBatch
from modules.roles.captioner import Captioner, CaptionRequest
from modules.selection.even_spacing import evenly_spaced
from modules.systems.base import Reply, VideoSystem, answer_to, selection_of
from modules.systems.frame_source import FrameSource


class CaptionerSystem(VideoSystem):
    """Says of each video what its captioner writes; of one that cannot be decoded nothing is said.

    Args:
        captioner: that writes.
        num_frames: K, that it is shown; all of a clip of fewer.
        prompt: that it reads, if it reads any; None asks the question, which captions' data sets have in common.
    """

    def __init__(self, *, captioner: Captioner, num_frames: int, prompt: str | None = None) -> None:
        super().__init__()
        self.captioner, self.num_frames, self.prompt = captioner.requires_grad_(False), num_frames, prompt

    @property
    def frames_per_question(self) -> int:
        return self.num_frames

    def describe(self) -> str:
        return f"{type(self.captioner).__name__} {self.captioner.key}, {self.num_frames} frames"

    def shortfalls(self) -> dict[str, int]:
        return self.captioner.shortfalls()

    @torch.no_grad()
    def answer(self, batch: QuestionBatch, source: FrameSource) -> list[Reply]:
        started = time.perf_counter()
        indices = [evenly_spaced(len(c), min(self.num_frames, len(c))) for c in batch.candidates]
        decoded = list(source.decode_many(list(zip(batch.candidates, indices, strict=True))))
        requests = {
            b: self._request(batch, b, indices[b], frames) for b, frames in enumerate(decoded) if frames is not None
        }
        written = dict(zip(requests, self.captioner.caption(list(requests.values())), strict=True))
        seconds = {"answer": (time.perf_counter() - started) / len(batch)}
        replies = []
        for b, question in enumerate(batch.questions):
            caption, request = written.get(b), requests.get(b)
            times_s = () if request is None else tuple(request.timestamps_s.tolist())
            text = None if caption is None else caption.text
            cost = Cost() if caption is None else replace(caption.cost, frames_decoded=len(indices[b]))
            row = None if request is None else selection_of(batch, b, self.name, indices[b], None, "")
            answer = answer_to(question, self.name, text=text, option_log_probs=None, timestamps_s=times_s)
            replies.append(Reply(answer, row, replace(cost, seconds=seconds)))
        return replies

    def _request(self, batch: QuestionBatch, b: int, index: Tensor, frames: Tensor) -> CaptionRequest:
        question, candidates = batch.questions[b], batch.candidates[b]
        prompt = question.question if self.prompt is None else self.prompt
        return CaptionRequest(question.sample_id, frames, candidates.timestamps_s[index], prompt, question.video)
