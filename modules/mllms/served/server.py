"""One server and one of its models: what is found out about them, each thing once and when it is first needed."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from PIL import Image

from modules.mllms.served.abilities import Abilities, Fetch, abilities_of, root_of
from modules.mllms.served.jpeg_frames import JpegFrame
from modules.mllms.served.media_parts import media_settings, video_part
from modules.parsing import LETTERS

_log = logging.getLogger(__name__)
Probe = Callable[[list[Any], dict[str, Any]], Awaitable[int | None]]
"""The content of a message and further fields of its request -> tokens of the prompt; None where it is refused."""
_SHORT_S, _LONG_S = (0.0, 1.0), (12345.0, 23456.0)


class Server:
    """What is known of a server. All of it runs on one event loop.

    Args:
        base_url: its address; None is OpenAI's own, of which nothing is asked.
        model: name of the model there.
        fetch: gets its pages.
        probe: asks the model.
    """

    def __init__(self, base_url: str | None, model: str, fetch: Fetch, probe: Probe) -> None:
        self.base_url, self.model, self._fetch, self._probe = base_url, model, fetch, probe
        self._lock = asyncio.Lock()
        self._abilities: Abilities | None = None if base_url else Abilities()
        self._letter_ids: dict[str, int | None] = {}
        self._timed_video: bool | None = None
        self._scores_tokens = True

    async def abilities(self) -> Abilities:
        """What it says of itself."""
        async with self._lock:
            if self._abilities is None:
                assert self.base_url is not None
                self._abilities = await abilities_of(self.base_url, self._fetch)
                version = self._abilities.version or "of unknown version"
                ways = "by name" if self._abilities.scores_tokens else "among the likeliest 20 tokens"
                _log.info("%s (%s): options are scored %s", self.base_url, version, ways)
            return self._abilities

    async def letter_ids(self, num_options: int) -> list[int] | None:
        """Token ids of the letters from A on; None where their scores cannot be asked for by name."""
        if not (await self.abilities()).scores_tokens or not self._scores_tokens:
            return None
        async with self._lock:
            letters = LETTERS[:num_options]
            for letter in letters:
                if letter not in self._letter_ids:
                    self._letter_ids[letter] = await self._token_of(letter)
            ids = [self._letter_ids[letter] for letter in letters]
        return None if None in ids else ids  # type: ignore[return-value]

    async def _token_of(self, letter: str) -> int | None:
        """The one token that a letter is; None where it is several, or the server does not tell."""
        assert self.base_url is not None
        question = {"model": self.model, "prompt": letter, "add_special_tokens": False}
        page = await self._fetch(f"{root_of(self.base_url)}/tokenize", question)
        tokens = page.get("tokens") if isinstance(page, dict) else None
        if isinstance(tokens, list) and len(tokens) == 1 and isinstance(tokens[0], int):
            return tokens[0]
        _log.warning("%s has no token for the letter %s: scores are read off the likeliest 20", self.base_url, letter)
        return None

    def scores_no_tokens(self) -> None:
        """It said that it scores tokens by name, and did not."""
        if self._scores_tokens:
            _log.warning("%s left out letters that it was asked for: from here on, the likeliest 20", self.base_url)
        self._scores_tokens = False

    async def takes_timed_video(self) -> bool:
        """Whether the model reads frames as one video, with the times that are sent."""
        if not (await self.abilities()).takes_media_settings:
            return False
        async with self._lock:
            if self._timed_video is None:
                lengths = [await self._probe(*_grey_video(times_s)) for times_s in (_SHORT_S, _LONG_S)]
                self._timed_video = None not in lengths and lengths[1] > lengths[0]  # type: ignore[operator]
                way = "as a video with their times" if self._timed_video else "as images after their times in text"
                _log.info("%s: %s is shown frames %s", self.base_url, self.model, way)
            return self._timed_video


def _grey_video(times_s: tuple[float, ...]) -> tuple[list[Any], dict[str, Any]]:
    """A message with grey frames of those times, and what its request says of them."""
    frames = []
    for shade in (96, 160):
        file = io.BytesIO()
        Image.new("RGB", (64, 64), (shade, shade, shade)).save(file, "JPEG")
        frames.append(JpegFrame(base64.b64encode(file.getvalue()).decode(), str(shade)))
    settings = media_settings(times_s, times_s[-1])
    return [video_part(frames, settings), {"type": "text", "text": "?"}], {"media_io_kwargs": settings}
