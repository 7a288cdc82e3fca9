"""Where a server listens, what it may read, and how much it takes: the ``serve`` section of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt

from modules.mllms.key_variable import KeyVariable

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_OWN_KEY = KeyVariable("KAIROS_API_KEY")
_UPSTREAM_KEY = KeyVariable("OPENAI_API_KEY")


@dataclass(frozen=True, kw_only=True)
class ServingLimits:
    """How much one server takes; what is more is refused with a sentence.

    Args:
        body_mib: of one request.
        bodies_mib: of all requests that are being read at a time.
        uploads_mib: of videos that were sent, on disk; those that nobody has used for longest go first.
        duration_s: of a video.
        video_frames: that a file may hold.
        listed_frames: of a video that is sent as a list of pictures.
        picture_px: the longer side of such a picture.
        chosen_frames: K that may be asked for.
        question_chars: of a question, and of each option.
        answer_tokens: of an answer in text.
        queue: questions that wait or are being answered; the next is told to come again.
        together: questions on one video that are answered in one batch.
        preparing: videos that are decoded and encoded at a time.
        timeout_s: of a question, from its arrival to its answer.
        reading_s: without a byte of a request.
        stopping_s: for what was begun when the server is told to stop.
    """

    body_mib: PositiveInt = 64
    bodies_mib: PositiveInt = 256
    uploads_mib: PositiveInt = 1024
    duration_s: PositiveFloat = 36000.0
    video_frames: PositiveInt = 4_000_000
    listed_frames: PositiveInt = 1024
    picture_px: PositiveInt = 4096
    chosen_frames: PositiveInt = 64
    question_chars: PositiveInt = 4000
    answer_tokens: PositiveInt = 256
    queue: PositiveInt = 64
    together: PositiveInt = 16
    preparing: PositiveInt = 2
    timeout_s: PositiveFloat = 300.0
    reading_s: PositiveFloat = 20.0
    stopping_s: PositiveFloat = 60.0

    def __post_init__(self) -> None:
        if self.bodies_mib < self.body_mib:
            raise ValueError(f"bodies_mib={self.bodies_mib}: one request alone may have body_mib={self.body_mib}")


@dataclass(frozen=True, kw_only=True)
class UpstreamSettings:
    """A server that answers on the frames that are chosen here.

    Args:
        url: of a server that speaks OpenAI's chat protocol, e.g. ``http://127.0.0.1:8000/v1``; None answers here.
        model: its name there; the first that the server lists by default.
        key_variable: environment variable that holds its key, ``..._API_KEY``.
        send: chosen frames as ``video`` with their true times beside them (vLLM from 2026-04 on), as ``images`` with
            the times in the text, or ``auto``, which asks the server once whether it reads the times.
        image_side_px: longer sides are shrunk to this; None sends frames as they are decoded.
        jpeg_quality: 1..95.
    """

    url: str | None = None
    model: str | None = None
    key_variable: KeyVariable = _UPSTREAM_KEY
    send: Literal["auto", "video", "images"] = "auto"
    image_side_px: PositiveInt | None = 768
    jpeg_quality: PositiveInt = 90

    def __post_init__(self) -> None:
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"upstream url {self.url!r:.100}: begins with http:// or https://")
        if self.jpeg_quality > 95:
            raise ValueError(f"jpeg_quality={self.jpeg_quality}: 1 to 95")


@dataclass(frozen=True, kw_only=True)
class ServingSettings:
    """One server.

    Args:
        host: that it listens on; any other than this machine's own needs a key.
        port: 0 takes a free one.
        key_variable: environment variable that holds the key that clients have to send, ``..._API_KEY``; where it is
            not set, none is asked for.
        video_root: folder below which clients may name videos; None: they have to send them.
        remote_hosts: from which videos are fetched, ``name`` or ``name:port``; none by default.
        device: of torch; ``auto`` takes the accelerator that is there, or else the CPU.
        dtype: of the MLLM; as its recipe loads it by default.
        upstream: who answers in the MLLM's place.
        limits: how much it takes.
    """

    host: str = "127.0.0.1"
    port: NonNegativeInt = 8080
    key_variable: KeyVariable = _OWN_KEY
    video_root: str | None = None
    remote_hosts: list[str] | str | None = None
    device: str = "auto"
    dtype: Literal["float32", "bfloat16"] | None = None
    upstream: UpstreamSettings = UpstreamSettings()
    limits: ServingLimits = ServingLimits()

    def __post_init__(self) -> None:
        if self.port > 65535:
            raise ValueError(f"port={self.port}: ports go up to 65535")
        if not self.host.strip():
            raise ValueError("host is empty; 127.0.0.1 is this machine alone")

    @property
    def hosts(self) -> tuple[str, ...]:
        """From which videos are fetched, in small letters."""
        named = self.remote_hosts or ()
        listed = named.split(",") if isinstance(named, str) else named
        return tuple(host.strip().lower() for host in listed if host.strip())

    @property
    def on_loopback(self) -> bool:
        """Whether nobody but this machine can reach it."""
        return self.host in LOOPBACK
