"""Any server that speaks OpenAI's chat protocol: vLLM, SGLang, or a closed model. For rewards, in ``evolve: sampler``.

What a server can do beyond the protocol is found out once (`modules.mllms.served.server`) and used: log-probabilities
of the options' letters by name, frames as one video with their true times, names for frames. Where it cannot, letters
are looked for among the likeliest 20 tokens, and frames go as JPEG images, each after its time in text; where it gives
no probabilities at all, the answer is read and its option gets probability 1. Calls keep to a pace that the server
sets, and are made again where that may help (`modules.mllms.served.calls`). What still fails is an error with the
question's name: a reward that is missing for some rollouts would bend the advantages of the others.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, Literal, TypeVar

import anyio
import httpx2
import openai
import torch
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from modules.mllms.base import MLLM, Generation, Row
from modules.mllms.bounded_client import BoundedClient
from modules.mllms.chat_answers import (
    ChatChoice,
    MalformedAnswerError,
    Reply,
    TopLogProbs,
    choice_of,
    letter_log_probs,
    text_of,
    token_log_probs_of,
    tokens_of,
    top_log_probs,
)
from modules.mllms.key_variable import KeyVariable
from modules.mllms.prompt import Prompt
from modules.mllms.served.abilities import root_of
from modules.mllms.served.calls import Calls
from modules.mllms.served.jpeg_frames import JpegFramesOf
from modules.mllms.served.media_parts import image_parts, media_settings, video_part
from modules.mllms.served.retries import is_overload
from modules.mllms.served.server import Server
from modules.mllms.served.unanswered import UnansweredError
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
        log_probs_from: ``server`` asks for log-probabilities, ``answer`` reads the text.
        frames: ``images`` with their times in text, one ``video`` that says its times, or ``auto``: a video where the
            server's model is seen to read its times.
        concurrency: calls at a time, at most; fewer while the server says that it is overloaded.
        timeout_s: of one request, from its first byte to the last of its answer.
        max_retries: of a call; and how many rounds without any connection are waited for.
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
        frames: Literal["auto", "video", "images"] = "auto",
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
        self.name, self.base_url, self.log_probs_from, self.frames = model, base_url, log_probs_from, frames
        self.image_side_px, self.image_detail = image_side_px, image_detail
        self.jpegs = JpegFramesOf(image_side_px, jpeg_quality)
        self.client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key=os.environ.get(KeyVariable(api_key_variable), "none"),
            timeout=timeout_s,
            max_retries=0,
            http_client=BoundedClient(timeout_s, _MAX_BYTES, concurrency),
        )
        named = base_url or "the OpenAI server"
        self.calls = Calls(named, self.client.api_key, concurrency, max_retries)
        self.server = Server(base_url, model, self._page, self._probe)
        self.num_unread = self.num_unanswered = 0

    @property
    def injects(self) -> bool:
        return False

    @property
    def answers_elsewhere(self) -> bool:
        return True

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
            "frames": self.frames,
            "image_side_px": self.image_side_px,
            "openai": openai.__version__,
        }

    def decoding(self, temperature: float) -> str:
        return f"temperature {temperature:g}; penalties and cut-offs as the server sets them"

    def encode_frames(self, frames: Tensor) -> Tensor:
        """uint8 (N, 3, H, W), as they are: the server encodes them."""
        return frames

    # ---- what is sent ----

    def messages(self, row: Row, as_video: bool = False, named: bool = False) -> list[Any]:
        """The conversation of a row: its frames, as one video or as images after their times, then the question."""
        content: list[Any] = []
        if len(row.index):
            frames, times_s = [self.jpegs(row.frames)[n] for n in row.index.tolist()], row.timestamps_s.tolist()
            if as_video:
                content = [video_part(frames, media_settings(times_s, row.question.duration_s))]
            else:
                content = image_parts(frames, times_s, self.image_detail, named)
        prompt = self.prompt_of(row)
        text = {"type": "text", "text": prompt.text(row.question, row.timestamps_s)}
        content.insert(0 if prompt.question_first else len(content), text)
        system = [{"role": "system", "content": prompt.system}] if prompt.system else []
        return [*system, {"role": "user", "content": content}]

    def _request(self, row: Row, as_video: bool, named: bool) -> dict[str, Any]:
        """What a row adds to a call."""
        request: dict[str, Any] = {"messages": self.messages(row, as_video, named)}
        if as_video and len(row.index):
            settings = media_settings(row.timestamps_s.tolist(), row.question.duration_s)
            request["extra_body"] = {"media_io_kwargs": settings}
        return request

    async def _ask(self, row: Row, read: Callable[[ChatChoice, Row], T], **arguments: Any) -> T:
        """What is read off the server's answer to a row.

        Raises:
            ConnectionError: no usable answer could be had; names server and question.
        """
        as_video = self.frames == "video" or (self.frames == "auto" and await self.server.takes_timed_video())
        named = (await self.server.abilities()).names_media
        request = await anyio.to_thread.run_sync(self._request, row, as_video, named)
        request["extra_body"] = {**request.get("extra_body", {}), **arguments.pop("extra_body", {})}

        async def call() -> T:
            reply = await self.client.chat.completions.with_raw_response.create(
                model=self.name, **{"temperature": 0, **arguments, **request}
            )
            found = read(choice_of(reply), row)
            self._count_tokens(row, reply)
            return found

        try:
            return await self.calls.made(call, f"question {row.question.sample_id}")
        except UnansweredError:
            self.num_unanswered += 1
            raise

    async def _asked(self, address: str, question: Mapping[str, Any] | None) -> httpx2.Response:
        """What comes from an address, to which something is posted, or nothing."""
        if question is None:
            return await self.client.get(address, cast_to=httpx2.Response)
        return await self.client.post(address, cast_to=httpx2.Response, body=dict(question))

    async def _page(self, address: str, question: Mapping[str, Any] | None) -> Any:
        """The JSON of one of the server's own pages; None where it has no such page."""

        async def call() -> Any:
            try:
                return (await self._asked(address, question)).json()
            except (ValueError, RecursionError):
                return None
            except openai.APIStatusError as error:
                _raise_if_overloaded(error)
                return None

        return await self.calls.made(call, address)

    async def _probe(self, content: list[Any], fields: dict[str, Any]) -> int | None:
        """Tokens of a prompt; None where the server refuses it or does not count."""

        async def call() -> int | None:
            try:
                reply = await self.client.chat.completions.with_raw_response.create(
                    model=self.name, messages=[{"role": "user", "content": content}], max_tokens=1, extra_body=fields
                )
            except openai.APIStatusError as error:
                _log.info("%s takes no frames as a video: %s", self.base_url, str(error)[:300])
                _raise_if_overloaded(error)
                return None
            choice_of(reply)
            return tokens_of(reply)[0]

        try:
            return await self.calls.made(call, "a video of two grey frames")
        except UnansweredError:
            return None

    def _count_tokens(self, row: Row, reply: Reply) -> None:
        if self.usage is not None:
            read, written = tokens_of(reply)
            visual = None if len(row.index) else 0  # a server does not tell frames from text
            self.usage.add(row.question.sample_id, visual_tokens=visual, text_tokens_in=read, text_tokens_out=written)

    def _ask_all(self, rows: list[Row], read: Callable[[ChatChoice, Row], T], **arguments: Any) -> list[T]:
        """`_ask` of every row, each in its turn; the first that fails ends all."""
        return self._run(partial(self._gather, [partial(self._ask, row, read, **arguments) for row in rows]))

    @staticmethod
    async def _gather(asked: list[Callable[[], Any]]) -> list[Any]:
        tasks = [asyncio.ensure_future(ask()) for ask in asked]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    def _run(self, work: Callable[[], Any]) -> Any:
        """Runs a coroutine on the loop of this model's requests, from any thread."""
        running = asyncio.run_coroutine_threadsafe(work(), self._loop)
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

    # ---- what engines ask ----

    def drawn(
        self, rows: list[Row], read: Callable[[ChatChoice, Row], T], seeds: list[int], **arguments: Any
    ) -> list[T]:
        """What is read off answers that are drawn, each with a seed of its own."""
        pairs = zip(rows, seeds, strict=True)
        return self._run(
            partial(self._gather, [partial(self._ask, row, read, seed=seed, **arguments) for row, seed in pairs])
        )

    def own_route(self, route: str, body: Mapping[str, Any] | None) -> Any:
        """Posts to one of the server's own routes, beside ``/v1``.

        Raises:
            ConnectionError: it did not do what was asked; names the route.
        """
        if self.base_url is None:
            raise ValueError("OpenAI's own server has no routes of its own: name the engine's base_url")
        address = f"{root_of(self.base_url)}{route}"

        async def call() -> Any:
            answer = await self._asked(address, body)
            try:
                return answer.json() if answer.content else None
            except (ValueError, RecursionError):
                return None

        return self._run(partial(self.calls.made, call, f"POST {route}"))

    # ---- what is read ----

    def score_rows(self, rows: list[Row]) -> Tensor:
        if self.log_probs_from == "server":
            scores = self._run(partial(self._gather, [partial(self._score, row) for row in rows]))
        else:
            scores = self._ask_all(rows, self._from_text, max_tokens=16)
        padded = torch.nn.utils.rnn.pad_sequence(scores, batch_first=True, padding_value=-torch.inf)
        normalised = padded.log_softmax(-1)
        return normalised.masked_fill(padded.isinf().all(-1, keepdim=True), -torch.inf)

    async def _score(self, row: Row) -> Tensor:
        """log p of each option's letter: asked for by name where the server takes names, else looked for."""
        ids = await self.server.letter_ids(len(row.question.options))
        if ids:
            wanted = {"logprob_token_ids": ids, "return_tokens_as_token_ids": True}
            read = partial(self._from_token_ids, ids)
            scores = await self._ask(row, read, max_tokens=1, logprobs=True, extra_body=wanted)
            if scores is not None:
                return scores
            self.server.scores_no_tokens()
        return await self._ask(row, self._from_log_probs, max_tokens=1, logprobs=True, top_logprobs=20)

    def _from_token_ids(self, ids: list[int], choice: ChatChoice, row: Row) -> Tensor | None:
        """log p of the tokens that were asked for; None where one is missing."""
        return token_log_probs_of(self._top(choice), ids)

    @staticmethod
    def _top(choice: ChatChoice) -> TopLogProbs:
        if not (top := top_log_probs(choice)):
            raise MalformedAnswerError("there are no log-probabilities; log_probs_from: answer reads the text")
        return top

    def _from_log_probs(self, choice: ChatChoice, row: Row) -> Tensor:
        """log p of each option's letter; -inf for letters not among the top tokens, and throughout where none is."""
        top = self._top(choice)
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
            f"calls to {self.name} were made again": self.calls.num_retries,
            f"questions got no answer of {self.name} and were left out": self.num_unanswered,
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


def _raise_if_overloaded(error: openai.APIStatusError) -> None:
    """What is refused is not there, unless it is only not there now."""
    if is_overload(error.status_code):
        raise error
