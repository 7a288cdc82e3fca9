"""What a client asks: one question about one video, read off a request of OpenAI's chat protocol.

Beside the protocol's own fields stands one of ours, ``kairos`` (the official client sends it as ``extra_body``)::

    {"options": ["red", "blue"], "num_frames": 8, "at_s": 60.0, "thumbnails": true, "all_scores": true}

Options may also stand in the question, a line each behind their letters, as benchmarks write them; the answer is a
letter with its option then. What is asked for and has no effect here is named in the reply.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from datamodules.annotations.choices import split_question
from modules.parsing import LETTERS
from recipes.serving.request_errors import RequestError, bad_request
from recipes.serving.serving_settings import ServingLimits

OWN_FIELD = "kairos"
_REFUSED = {
    "tools": "no tools are called here",
    "functions": "no functions are called here",
    "response_format": "answers have no format but their own",
    "audio": "there is no sound here",
    "chat_template": "a template is never taken from a client",
    "chat_template_kwargs": "a template is never taken from a client",
}
"""Fields that would change what an answer is; without effect they would deceive."""
_ALWAYS_REFUSED = ("chat_template", "chat_template_kwargs")
_HEEDED = ("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", OWN_FIELD)
_DEFAULTS = {"temperature": (0, None), "n": (1, None), "logprobs": (False, None), "top_p": (1, None)}
"""Values that ask for nothing."""
_BLANKS = ("user", "store", "metadata", "service_tier", "media_io_kwargs", "safety_identifier", "prompt_cache_key")
"""Fields of which nobody expects that they change an answer."""


class OwnFields(BaseModel):
    """The ``kairos`` field of a request."""

    model_config = ConfigDict(extra="forbid")
    options: list[StrictStr] | None = None
    num_frames: StrictInt | None = Field(default=None, ge=1)
    at_s: StrictFloat | StrictInt | None = Field(default=None, ge=0)
    thumbnails: StrictBool = False
    all_scores: StrictBool = False


class _Request(BaseModel):
    """The fields of a request that are heeded; others stay as they are."""

    model_config = ConfigDict(extra="allow")
    model: StrictStr = "kairos"
    messages: list[dict[str, Any]] = Field(min_length=1, max_length=256)
    stream: StrictBool | None = None
    stream_options: dict[str, Any] | None = None
    max_tokens: StrictInt | None = Field(default=None, ge=1)
    max_completion_tokens: StrictInt | None = Field(default=None, ge=1)
    n: StrictInt | None = Field(default=None, ge=1)
    media_io_kwargs: dict[str, Any] | None = None
    kairos: OwnFields = OwnFields()


@dataclass(frozen=True, kw_only=True)
class VideoReference:
    """A video as a client names it."""

    url: str
    """A path below the root, an address, or the content itself."""
    clock: dict[str, Any] = field(default_factory=dict)
    """``media_io_kwargs.video``: when the pictures of a list were taken."""
    place: tuple[int, int] = (0, 0)
    """Of its part: which message, which part of it."""

    @property
    def name(self) -> str:
        """For messages: never the content, and at most so long."""
        if self.url.startswith("data:"):
            return f"that was sent ({self.url[5:60].partition(',')[0].partition(';')[0] or 'no type'})"
        return repr(self.url[:200])


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """One question about one video."""

    model: str
    """Name of the system that is asked."""
    question: str
    video: VideoReference
    options: tuple[str, ...] = ()
    lettered: bool = False
    """The options stood in the question behind letters, so one is answered with its letter."""
    num_frames: int | None = None
    at_s: float | None = None
    max_new_tokens: int | None = None
    thumbnails: bool = False
    all_scores: bool = False
    stream: bool = False
    usage_in_stream: bool = False
    without_effect: tuple[str, ...] = ()
    """Fields of the request that change nothing here."""
    content: dict[str, Any] = field(default_factory=dict, repr=False)
    """As it came, for a server behind this one."""


def read_request(content: dict[str, Any], limits: ServingLimits, *, forwarded: bool = False) -> ChatRequest:
    """Reads a request.

    Args:
        content: its JSON.
        limits: of numbers and lengths.
        forwarded: another server answers, which heeds what this one would not.

    Raises:
        RequestError: it asks nothing, or what cannot be answered.
    """
    content = {key: value for key, value in content.items() if value is not None or key == "messages"}
    try:
        found = _Request.model_validate(content)
    except ValidationError as error:
        raise _invalid(error) from None
    _refuse(content, found, forwarded)
    video = _the_video(found)
    text, left_out = _last_text(found.messages)
    own = found.kairos
    lettered = own.options is None
    question, listed = split_question(text) if lettered and not forwarded else (text, own.options or [])
    options = _checked_options(listed, limits, given=own.options is not None)
    lettered = lettered and bool(options)
    _check_lengths(question, own, limits)
    tokens = found.max_completion_tokens or found.max_tokens
    return ChatRequest(
        model=found.model,
        question=question.strip(),
        video=video,
        options=options,
        lettered=lettered,
        num_frames=own.num_frames,
        at_s=None if own.at_s is None else float(own.at_s),
        max_new_tokens=None if tokens is None else min(tokens, limits.answer_tokens),
        thumbnails=own.thumbnails,
        all_scores=own.all_scores,
        stream=bool(found.stream),
        usage_in_stream=bool((found.stream_options or {}).get("include_usage")),
        without_effect=() if forwarded else (*_without_effect(content), *left_out),
        content=content,
    )


def _invalid(error: ValidationError) -> RequestError:
    """The first thing that is wrong, in its own words."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return bad_request(f"{place}: {first['msg']}", place, "invalid_value")


def _refuse(content: dict[str, Any], found: _Request, forwarded: bool) -> None:
    for name, reason in _REFUSED.items():
        if content.get(name) and not (forwarded and name not in _ALWAYS_REFUSED):
            raise bad_request(f"{name}: {reason}", name, "unsupported_parameter")
    if (found.n or 1) > 1:
        raise bad_request(f"n={found.n}: a question has one answer here", "n", "unsupported_parameter")


def _without_effect(content: dict[str, Any]) -> list[str]:
    return [
        name
        for name, value in content.items()
        if name not in (*_HEEDED, *_BLANKS) and not any(value == same for same in _DEFAULTS.get(name, (None,)))
    ]


def _parts(message: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """The parts of a message; a bare text is one.

    Raises:
        RequestError: it has none.
    """
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if content is None and message.get("role") == "assistant":
        return []
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise bad_request(
            f"messages.{number}.content: a text, or a list of parts with a type each", f"messages.{number}.content"
        )
    return content


def _the_video(found: _Request) -> VideoReference:
    """The one video of a conversation.

    Raises:
        RequestError: there is none, or more than one.
    """
    videos = []
    for n, message in enumerate(found.messages):
        for m, part in enumerate(_parts(message, n)):
            kind = part.get("type")
            if kind == "video_url":
                videos.append((_url_of(part, n, m), n, m))
            elif kind != "text":
                raise bad_request(
                    f"messages.{n}.content.{m}.type is {kind!r:.100}; text and video_url are read here",
                    f"messages.{n}.content.{m}.type",
                    "unsupported_content",
                )
    if len(videos) != 1:
        raise bad_request(
            f"a question is about one video, and here are {len(videos) or 'none'}; send one part "
            '{"type": "video_url", "video_url": {"url": ...}}',
            "messages",
            "one_video",
        )
    url, n, m = videos[0]
    clock = (found.media_io_kwargs or {}).get("video") or {}
    if not isinstance(clock, dict):
        raise bad_request("media_io_kwargs.video: a mapping", "media_io_kwargs.video")
    return VideoReference(url=url, clock=clock, place=(n, m))


def _url_of(part: dict[str, Any], n: int, m: int) -> str:
    inner = part.get("video_url")
    url = inner.get("url") if isinstance(inner, dict) else inner
    if not isinstance(url, str) or not url.strip():
        where = f"messages.{n}.content.{m}.video_url.url"
        raise bad_request(f"{where}: a text", where)
    return url.strip()


def _last_text(messages: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """The text of the last turn, and what of the conversation is not read.

    Raises:
        RequestError: there is none.
    """
    texts = []
    for n, message in enumerate(messages):
        parts = [part.get("text") for part in _parts(message, n) if part.get("type") == "text"]
        if not all(isinstance(text, str) for text in parts):
            raise bad_request(f"messages.{n}.content: a part of type text has a text", f"messages.{n}.content")
        texts.append("\n".join(map(str, parts)).strip())
    last = messages[-1].get("role")
    if last != "user":
        raise bad_request(f"the last message is of {last!r:.50}, and a user asks", f"messages.{len(messages) - 1}.role")
    if not texts[-1]:
        raise bad_request("there is no question: the last message has no text", "messages", "no_question")
    return texts[-1], [f"messages.{n}" for n, text in enumerate(texts[:-1]) if text]


def _checked_options(options: list[str], limits: ServingLimits, *, given: bool) -> tuple[str, ...]:
    texts = tuple(option.strip() for option in options)
    where = "kairos.options" if given else "messages"
    if given and len(texts) == 0:
        return ()
    if len(texts) == 1:
        raise bad_request(f"{where}: one option ({texts[0]!r:.60}) is no choice; give two or more, or none", where)
    if len(texts) > len(LETTERS):
        raise bad_request(f"{where}: {len(texts)} options; at most {len(LETTERS)} have a letter", where)
    if not all(texts) or len(set(texts)) < len(texts):
        raise bad_request(f"{where}: options are texts that differ; got {list(texts)!r:.200}", where)
    if any(len(text) > limits.question_chars for text in texts):
        raise bad_request(f"{where}: an option has more than {limits.question_chars} characters", where)
    return texts


def _check_lengths(question: str, own: OwnFields, limits: ServingLimits) -> None:
    try:
        " ".join([question, *(own.options or [])]).encode()
    except UnicodeEncodeError:
        raise bad_request("half of a surrogate pair is no character", "messages", "invalid_json") from None
    if not question.strip():
        raise bad_request("there is no question before the options", "messages", "no_question")
    if len(question) > limits.question_chars:
        raise bad_request(
            f"the question has {len(question)} characters; at most {limits.question_chars} are read", "messages"
        )
    if (own.num_frames or 0) > limits.chosen_frames:
        raise bad_request(
            f"kairos.num_frames={own.num_frames}: at most {limits.chosen_frames} here", "kairos.num_frames"
        )
