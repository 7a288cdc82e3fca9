"""A served model that is given the whole video and looks where it likes: vLLM's and others' ``video_url``."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse.typing import PositiveFloat, PositiveInt

from modules.mllms.base import FrameTokens, Row
from modules.mllms.key_variable import KeyVariable
from modules.mllms.openai import OpenAIChat
from modules.mllms.prompt import Prompt
from modules.mllms.usage import Usage
from modules.records import QuestionBatch, Rollouts, Selection
from modules.systems.base import Reply, VideoSystem, answer_of
from modules.systems.costs import BatchCost
from modules.systems.frame_source import FrameSource

_MOST_BYTES = 512 << 20
_OPENAIS = KeyVariable("OPENAI_API_KEY")


class _WholeVideo(OpenAIChat):
    """Sends the file where others send frames."""

    send: str = "content"

    def messages(self, row: Row, as_video: bool = False, named: bool = False) -> list[Any]:
        path = Path(row.question.video)
        if self.send == "path":
            url = path.absolute().as_uri()
        else:
            size = path.stat().st_size
            if size > _MOST_BYTES:
                raise ValueError(f"{path} has {size >> 20} MiB; above {_MOST_BYTES >> 20} MiB use send: path")
            url = f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}"
        first, *rest = super().messages(row)[::-1]
        content = [{"type": "video_url", "video_url": {"url": url}}, *first["content"]]
        return [*rest[::-1], {**first, "content": content}]


class Served(VideoSystem):
    """Asks a server about the file itself. Where it looked is not known, and frames count as none.

    Args:
        model: its name at the server.
        base_url: of a server that speaks OpenAI's chat protocol and takes ``video_url``.
        send: the file's ``content``, or its ``path``, for a server on the same machine that may read it.
        api_key_variable: of the environment.
        prompt: how a question is put.
        log_probs_from: ``server``, or ``answer`` where it tells none.
        concurrency, timeout_s: see `modules.mllms.openai.OpenAIChat`.
        max_new_tokens: of an answer in text.
    """

    def __init__(
        self,
        *,
        model: str,
        base_url: str | None = None,
        send: Literal["content", "path"] = "content",
        api_key_variable: KeyVariable = _OPENAIS,
        prompt: Prompt | None = None,
        log_probs_from: Literal["server", "answer"] = "server",
        concurrency: PositiveInt = 4,
        timeout_s: PositiveFloat = 300.0,
        max_new_tokens: PositiveInt = 64,
    ) -> None:
        super().__init__()
        self.mllm = _WholeVideo(
            model=model,
            base_url=base_url,
            api_key_variable=api_key_variable,
            prompt=prompt,
            log_probs_from=log_probs_from,
            frames="images",
            concurrency=concurrency,
            timeout_s=timeout_s,
        )
        self.mllm.send, self.max_new_tokens = send, max_new_tokens

    @property
    def frames_per_question(self) -> int:
        return 0

    def describe(self) -> str:
        return f"{self.mllm.name} at {self.mllm.base_url or 'OpenAI'}, whole video"

    @torch.no_grad()
    def answer(self, batch: QuestionBatch, source: FrameSource) -> list[Reply]:
        nothing = FrameTokens(torch.empty(0), torch.empty(0))
        rows = [Row(question, nothing, torch.empty(0, dtype=torch.int64)) for question in batch.questions]
        index = torch.full((len(batch), 1, 1), -1)
        said = Rollouts(batch, Selection(index, torch.zeros(index.shape)))
        costs = BatchCost([question.sample_id for question in batch.questions])
        with self.mllm.counted() as usage:
            costs.usages = [usage]
            if self.setting.score_options and all(question.options for question in batch.questions):
                said.option_log_probs = self.mllm.score_rows(rows)[:, None]
                self._count(usage, rows)
            if self.setting.write_text or said.option_log_probs is None:
                said.texts = [[text] for text in self.mllm.generate(rows, self.max_new_tokens).texts]
                self._count(usage, rows)
        return [Reply(answer_of(said, b, self.name, ()), None, cost) for b, cost in enumerate(costs.each())]

    @staticmethod
    def _count(usage: Usage, rows: list[Row]) -> None:
        for row in rows:
            usage.call(row.question.sample_id, 0)
