"""Any MLLM adapter as a captioner: the frames of a stretch, a prompt, and what it writes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from jsonargparse.typing import PositiveInt

from modules.encoders.base import weights_digest
from modules.files.strict_json import strict_json
from modules.giving_up import look
from modules.mllms.base import MLLM, FrameTokens, Row
from modules.records import VideoQuestion
from modules.roles.captioner import Caption, Captioner, CaptionRequest


class MLLMCaptioner(Captioner):
    """Writes the most probable text. A served model (`modules.mllms.openai.OpenAIChat`) is asked about several
    stretches at a time, a local one writes about several in one batch.

    Args:
        mllm: what looks and writes; of a prompt of its own, only the system message and the times are used.
        max_new_tokens: of a text.
        rows_per_forward: stretches in one batch of a local model, or that are handed to a server's client together,
            which has ``concurrency`` of them under way.
    """

    def __init__(self, *, mllm: MLLM, max_new_tokens: PositiveInt = 2048, rows_per_forward: PositiveInt = 8) -> None:
        super().__init__()
        if mllm.reads_features:
            raise ValueError(f"{type(mllm).__name__} reads features and no frames, so it cannot describe a stretch")
        self.mllm, self.max_new_tokens, self.rows_per_forward = (
            mllm.requires_grad_(False),
            max_new_tokens,
            rows_per_forward,
        )
        self._key: str | None = None

    @property
    def key(self) -> str:
        if self._key is None:  # its weights are read once: a captioner is not trained while it works
            told = self.mllm.describe() | {"weights": weights_digest(self.mllm), "max_new_tokens": self.max_new_tokens}
            digest = hashlib.sha256(strict_json(told, sort_keys=True, default=str).encode()).hexdigest()[:12]
            self._key = f"{type(self.mllm).__name__.lower()}-{digest}"
        return self._key

    def shortfalls(self) -> dict[str, int]:
        return self.mllm.shortfalls()

    @torch.no_grad()
    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption]:
        captions: list[Caption] = []
        for start in range(0, len(requests), self.rows_per_forward):
            look()
            captions += self._together(requests[start : start + self.rows_per_forward])
        return captions

    def _together(self, requests: Sequence[CaptionRequest]) -> list[Caption]:
        rows = [self._row(request) for request in requests]
        with self.mllm.counted() as usage:
            texts = self.mllm.generate(rows, self.max_new_tokens).texts
        for row in rows:
            usage.call(row.question.sample_id, len(row.index))
        return [Caption(text, usage.costs[row.question.sample_id]) for row, text in zip(rows, texts, strict=True)]

    def _row(self, request: CaptionRequest) -> Row:
        tokens = FrameTokens(self.mllm.encode_frames(request.frames), request.timestamps_s)
        question = VideoQuestion(
            dataset="",
            split="",
            sample_id=request.name,
            video=request.video,
            duration_s=float(request.timestamps_s[-1]),
            question=request.prompt,
            wording=request.prompt,
        )
        return Row(question, tokens, torch.arange(len(request.frames)))
