"""Any server that speaks OpenAI's chat protocol: vLLM, SGLang, or a closed model. For rewards, in ``evolve: sampler``.

Frames go as JPEG images, each after its time in text. Option log-probabilities come from ``top_logprobs`` of the first
token where the server gives them; else the answer is read and its option gets probability 1. The official client
retries what fails on the way (connections, 408, 409, 429, 5xx) with backoff; an answer that is no answer (no choices,
broken JSON) is asked for again here. What still fails stops the run with the question's name: a reward that is missing
for some rollouts would bend the advantages of the others.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import logging
import os
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal, TypeVar

import anyio
import openai
import torch
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt
from PIL import Image
from torch import Tensor

from modules.mllms.base import MLLM, Generation, Row
from modules.mllms.bounded_client import BoundedClient
from modules.mllms.chat_answers import (
    ChatChoice,
    MalformedAnswerError,
    Reply,
    choice_of,
    letter_log_probs,
    text_of,
    tokens_of,
    top_log_probs,
)
from modules.mllms.key_variable import KeyVariable
from modules.mllms.prompt import Prompt
from modules.parsing import parse_option

_log = logging.getLogger(__name__)
_OPENAIS = KeyVariable("OPENAI_API_KEY")
_MAX_BYTES = 16 * 2**20
"""Of an answer: twenty log-probabilities a token and thousands of tokens are a few."""
T = TypeVar("T")


class OpenAIChat(MLLM):
    """A served model.

    Args:
        model: its name on the server.
        base_url: e.g. ``http://127.0.0.1:8000/v1``; None is OpenAI's own.
        api_key_variable: environment variable that holds the key, ``..._API_KEY``; the key itself belongs in no recipe.
        prompt: how a question is put; letters only.
        log_probs_from: ``server`` asks for ``top_logprobs``, ``answer`` reads the text.
        concurrency: requests at a time.
        timeout_s: of one request, from its first byte to the last of its answer.
        max_retries: of a request.
        image_side_px: longer sides are shrunk to this; None sends frames as they are.
        jpeg_quality: 1..95.
        image_detail: what the protocol calls ``detail``.
    """

    def __init__(
        self,
        *,
        model: str,
        base_url: str | None = None,
        api_key_variable: KeyVariable = _OPENAIS,
        prompt: Prompt | None = None,
        log_probs_from: Literal["server", "answer"] = "server",
        concurrency: PositiveInt = 8,
        timeout_s: PositiveFloat = 60.0,
        max_retries: NonNegativeInt = 4,
        image_side_px: PositiveInt | None = 768,
        jpeg_quality: PositiveInt = 90,
        image_detail: Literal["auto", "low", "high"] = "auto",
    ) -> None:
        super().__init__()
        self.prompt = prompt or Prompt(timestamps=False)
        if self.prompt.answer_with != "letter":
            raise ValueError("a served model is asked for a letter: prompt.answer_with has to be 'letter'")
        self.name, self.base_url = model, base_url
        self.log_probs_from, self.concurrency, self.max_retries = log_probs_from, concurrency, max_retries
        self.image_side_px, self.jpeg_quality, self.image_detail = image_side_px, jpeg_quality, image_detail
        self.client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key=os.environ.get(KeyVariable(api_key_variable), "none"),
            timeout=timeout_s,
            http_client=BoundedClient(timeout_s, _MAX_BYTES),
        )
        self.num_unread = self._num_retries = 0

    @property
    def injects(self) -> bool:
        return False

    @property
    def has_log_probs(self) -> bool:
        return self.log_probs_from == "server"

    @property
    def key(self) -> str:
        where = hashlib.sha256(f"{self.base_url}|{self.name}".encode()).hexdigest()[:8]
        return f"openai-{where}"

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
            "model": self.name,
            "base_url": self.base_url,
            "prompt": self.prompt.digest(),
            "image_side_px": self.image_side_px,
            "openai": openai.__version__,
        }

    def decoding(self, temperature: float) -> str:
        return f"temperature {temperature:g}; penalties and cut-offs as the server sets them"

    def encode_frames(self, frames: Tensor) -> Tensor:
        """uint8 (N, 3, H, W), as they are: the server encodes them."""
        return frames

    def messages(self, row: Row) -> list[Any]:
        """The conversation of a row: times and frames in turn, then the question."""
        content: list[dict[str, Any]] = []
        for frame, time_s in zip(row.tokens, row.timestamps_s.tolist(), strict=True):
            url = f"data:image/jpeg;base64,{self._jpeg(frame)}"
            content.append({"type": "text", "text": f"[{time_s:.1f} s]"})
            content.append({"type": "image_url", "image_url": {"url": url, "detail": self.image_detail}})
        prompt = self.prompt_of(row)
        text = {"type": "text", "text": prompt.text(row.question, row.timestamps_s)}
        content.insert(0 if prompt.question_first else len(content), text)
        system = [{"role": "system", "content": prompt.system}] if prompt.system else []
        return [*system, {"role": "user", "content": content}]

    def _jpeg(self, frame: Tensor) -> str:
        image = Image.fromarray(frame.permute(1, 2, 0).cpu().numpy())
        if self.image_side_px is not None:
            image.thumbnail((self.image_side_px, self.image_side_px))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=self.jpeg_quality)
        return base64.b64encode(file.getvalue()).decode()

    async def _ask(self, row: Row, read: Callable[[ChatChoice, Row], T], **arguments: Any) -> T:
        """What is read off the server's answer to a row.

        Raises:
            ConnectionError: no usable answer could be had; names server and question.
        """
        left, messages = self.max_retries, await anyio.to_thread.run_sync(self.messages, row)
        while True:
            try:
                reply = await self.client.with_options(max_retries=left).chat.completions.with_raw_response.create(
                    model=self.name, messages=messages, **{"temperature": 0, **arguments}
                )
                self._num_retries += reply.retries_taken
                left -= reply.retries_taken
                found = read(choice_of(reply), row)
                self._count_tokens(row, reply)
                return found
            except (MalformedAnswerError, openai.OpenAIError) as error:
                if left <= 0 or not isinstance(error, MalformedAnswerError):
                    raise ConnectionError(self._failed(row, error)) from None
            left -= 1
            self._num_retries += 1

    def _count_tokens(self, row: Row, reply: Reply) -> None:
        if self.usage is not None:
            read, written = tokens_of(reply)
            visual = None if len(row.index) else 0  # a server does not tell frames from text
            self.usage.add(row.question.sample_id, visual_tokens=visual, text_tokens_in=read, text_tokens_out=written)

    def _failed(self, row: Row, error: Exception) -> str:
        """The error of a call, without the key, which a server may have sent back."""
        cause = f" ({error.__cause__})" if isinstance(error, openai.APIConnectionError) and error.__cause__ else ""
        said = f"{str(error)[:300]}{cause}".replace(self.client.api_key, "***")
        return (
            f"{self.base_url or 'the OpenAI server'} gave no usable answer to question {row.question.sample_id}, asked "
            f"up to {self.max_retries + 1} times: {type(error).__name__}: {said}"
        )

    def _ask_all(self, rows: list[Row], read: Callable[[ChatChoice, Row], T], **arguments: Any) -> list[T]:
        """`_ask` of every row, ``concurrency`` at a time; the first that fails ends all."""

        async def ask_all() -> list[T]:
            free = asyncio.Semaphore(self.concurrency)

            async def ask(row: Row) -> T:
                async with free:
                    return await self._ask(row, read, **arguments)

            tasks = [asyncio.ensure_future(ask(row)) for row in rows]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()

        running = asyncio.run_coroutine_threadsafe(ask_all(), self._loop)
        try:
            return running.result()
        finally:
            running.cancel()

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """Where requests run: a thread of its own, since the caller's may have a loop already (a notebook's has)."""
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True, name="served model").start()
        return loop

    def score_rows(self, rows: list[Row]) -> Tensor:
        if self.log_probs_from == "server":
            scores = self._ask_all(rows, self._from_log_probs, max_tokens=1, logprobs=True, top_logprobs=20)
        else:
            scores = self._ask_all(rows, self._from_text, max_tokens=16)
        padded = torch.nn.utils.rnn.pad_sequence(scores, batch_first=True, padding_value=-torch.inf)
        normalised = padded.log_softmax(-1)
        return normalised.masked_fill(padded.isinf().all(-1, keepdim=True), -torch.inf)

    def _from_log_probs(self, choice: ChatChoice, row: Row) -> Tensor:
        """log p of each option's letter; -inf for letters not among the top tokens, and throughout where none is."""
        top = top_log_probs(choice)
        if not top:
            raise MalformedAnswerError("there are no log-probabilities; log_probs_from: answer reads the text")
        scores = letter_log_probs(top, len(row.question.options))
        if scores.isinf().all():
            self._count_unread(choice, row)
        return scores

    def _from_text(self, choice: ChatChoice, row: Row) -> Tensor:
        """0 at the option that the text names; -inf throughout where it names none."""
        scores = torch.full((len(row.question.options),), -torch.inf)
        option = parse_option(text_of(choice), row.question.options)
        if option is None:
            self._count_unread(choice, row)
        else:
            scores[option] = 0.0
        return scores

    def _count_unread(self, choice: ChatChoice, row: Row) -> None:
        self.num_unread += 1
        if self.num_unread == 1:
            _log.warning(
                "question %s: the answer %r (finish_reason %r) names no option, which counts as a wrong answer; the "
                "run's end says how many there were",
                row.question.sample_id,
                text_of(choice)[:80],
                choice.finish_reason,
            )

    def shortfalls(self) -> dict[str, int]:
        return {
            f"calls to {self.name} were made again": self._num_retries,
            f"answers of {self.name} named no option and count as wrong": self.num_unread,
        }

    def generate(
        self, rows: list[Row], max_new_tokens: int = 16, temperature: float = 0.0, seeds: list[int] | None = None
    ) -> Generation:
        # a server draws as it likes, so the rows' seeds are not sent
        texts = self._ask_all(
            rows, lambda choice, _: text_of(choice), max_tokens=max_new_tokens, temperature=temperature
        )
        nothing = [torch.empty(0) for _ in rows]
        return Generation([t.strip() for t in texts], [n.long() for n in nothing], nothing)

    def log_probs(self, rows: list[Row], token_ids: list[Tensor], temperature: float = 1.0) -> Tensor:
        raise ValueError("a served model cannot be trained: evolve has to be 'sampler'")
