"""Any server that speaks OpenAI's chat protocol: vLLM, SGLang, or a closed model. For rewards, in ``evolve: sampler``.

Frames go as JPEG images, each after its time in text. Option log-probabilities come from ``top_logprobs`` of the first
token where the server gives them; else the answer is read and its option gets probability 1. The official client
retries what fails on the way (connections, 408, 409, 429, 5xx) with backoff; an answer that is no answer (no choices,
broken JSON) is asked for again here. What still fails stops the run with the question's name: a reward that is missing
for some rollouts would bend the advantages of the others.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import openai
import torch
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt
from PIL import Image
from torch import Tensor

from modules.mllms.base import MLLM, Generation, Row
from modules.mllms.prompt import Prompt
from modules.parsing import LETTERS, parse_option

_log = logging.getLogger(__name__)
_MALFORMED = (openai.APIResponseValidationError, json.JSONDecodeError, AttributeError, IndexError, KeyError, TypeError)


class OpenAIChat(MLLM):
    """A served model.

    Args:
        model: its name on the server.
        base_url: e.g. ``http://127.0.0.1:8000/v1``; None is OpenAI's own.
        api_key_variable: environment variable that holds the key; the key itself belongs in no recipe.
        prompt: how a question is put; letters only.
        log_probs_from: ``server`` asks for ``top_logprobs``, ``answer`` reads the text.
        concurrency: requests at a time.
        timeout_s: of one request.
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
        api_key_variable: str = "OPENAI_API_KEY",
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
        self.client = openai.OpenAI(
            base_url=base_url, api_key=os.environ.get(api_key_variable, "none"), timeout=timeout_s,
            max_retries=max_retries,
        )  # fmt: skip
        self.num_unread = 0

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
            **super().describe(), "model": self.name, "base_url": self.base_url, "prompt": self.prompt.digest(),
            "image_side_px": self.image_side_px, "openai": openai.__version__,
        }  # fmt: skip

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

    def _choice(self, row: Row, **arguments: Any) -> Any:
        """The first choice of the server's answer.

        Raises:
            RuntimeError: it could not be had; names server and question.
        """
        problem: Exception | None = None
        for _ in range(self.max_retries + 1):
            try:
                reply = self.client.chat.completions.create(
                    model=self.name, messages=self.messages(row), **{"temperature": 0, **arguments}
                )
                choice = reply.choices[0]
                if choice.message is None:
                    raise KeyError("the choice has no message")
                return choice
            except openai.APIStatusError as error:
                raise RuntimeError(self._failed(row, error)) from error
            except openai.APIConnectionError as error:
                raise RuntimeError(self._failed(row, error)) from error
            except _MALFORMED as error:
                problem = error
        raise RuntimeError(self._failed(row, problem)) from problem

    def _failed(self, row: Row, error: Exception | None) -> str:
        return (
            f"{self.base_url or 'the OpenAI server'} gave no usable answer to question {row.question.sample_id} after "
            f"{self.max_retries + 1} attempts: {type(error).__name__}: {str(error)[:300]}"
        )

    def _ask_all(self, rows: list[Row], **arguments: Any) -> list[Any]:
        with ThreadPoolExecutor(self.concurrency) as pool:
            return list(pool.map(lambda row: self._choice(row, **arguments), rows))

    def score_rows(self, rows: list[Row]) -> Tensor:
        if self.log_probs_from == "server":
            choices = self._ask_all(rows, max_tokens=1, logprobs=True, top_logprobs=20)
            scores = [self._from_log_probs(c, r) for c, r in zip(choices, rows, strict=True)]
        else:
            choices = self._ask_all(rows, max_tokens=16)
            scores = [self._from_text(c.message.content or "", r) for c, r in zip(choices, rows, strict=True)]
        padded = torch.nn.utils.rnn.pad_sequence(scores, batch_first=True, padding_value=-torch.inf)
        normalised = padded.log_softmax(-1)
        return normalised.masked_fill(padded.isinf().all(-1, keepdim=True), -torch.inf)

    def _from_log_probs(self, choice: Any, row: Row) -> Tensor:
        """log p of each letter, its spellings (``A``, `` A``) summed; -inf for letters not among the top tokens."""
        if choice.logprobs is None or not choice.logprobs.content:
            raise RuntimeError(
                f"{self.base_url} gives no log-probabilities for {self.name}; log_probs_from: answer reads the text"
            )
        found: dict[str, list[float]] = {}
        for entry in choice.logprobs.content[0].top_logprobs:
            found.setdefault(entry.token.strip(), []).append(entry.logprob)
        letters = LETTERS[: len(row.question.options)]
        sums = [math.log(sum(map(math.exp, found[c]))) if c in found else -math.inf for c in letters]
        if all(math.isinf(s) for s in sums):
            return self._from_text(choice.message.content or "", row)
        return torch.tensor(sums)

    def _from_text(self, text: str, row: Row) -> Tensor:
        """0 at the option that the text names; -inf throughout where it names none, which is counted."""
        scores = torch.full((len(row.question.options),), -torch.inf)
        option = parse_option(text, row.question.options)
        if option is not None:
            scores[option] = 0.0
        else:
            self.num_unread += 1
            _log.warning(
                "question %s: the answer %r names no option (%d so far)",
                row.question.sample_id,
                text[:80],
                self.num_unread,
            )
        return scores

    def generate(
        self, rows: list[Row], max_new_tokens: int = 16, temperature: float = 0.0, seeds: list[int] | None = None
    ) -> Generation:
        # a server draws as it likes, so the rows' seeds are not sent
        choices = self._ask_all(rows, max_tokens=max_new_tokens, temperature=temperature)
        texts = [c.message.content or "" for c in choices]
        nothing = [torch.empty(0) for _ in rows]
        return Generation([t.strip() for t in texts], [n.long() for n in nothing], nothing)

    def log_probs(self, rows: list[Row], token_ids: list[Tensor], temperature: float = 1.0) -> Tensor:
        raise ValueError("a served model cannot be trained: evolve has to be 'sampler'")
