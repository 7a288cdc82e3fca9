"""What captioners wrote about videos, on disk: shared by questions, systems, runs and processes.

A text is found again under everything that it depends on: the content of the video and the size of its frames
(`modules.systems.frame_source.FrameSource.frames_key`), the span, the frames that were shown, the rate and the pixels,
the prompt, and the captioner. So a coarse text, whose prompt knows no question, is written once a video; and one that
was written for a question is found again when the same is asked of the same span. Each text is a small JSON file that
appears whole or not at all; two processes that write the same one do no harm. Nothing is ever unpickled, and a file
that is damaged or does not say what its name promises is written anew.

# official code: keyed by the video's path alone, coarse texts only.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modules.files.strict_json import strict_json
from modules.files.whole_files import StorageError, write_whole
from modules.records import Cost

_FORMAT = 1
_MOST_BYTES = 2**20
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CaptionKey:
    """Everything that a caption depends on."""

    frames_key: str
    """Of the video's frames; a file name."""
    start_s: float
    end_s: float
    frame_ids: tuple[int, ...]
    """Frames that the captioner is shown, by their place in the file."""
    source_index: tuple[int, ...] = ()
    """Which file each is from, where a video is made of several."""
    fps: float
    max_pixels: int | None
    prompt: str
    model: str
    """The captioner's key."""

    @property
    def written(self) -> dict[str, Any]:
        """As it is written into the file, times to the millisecond."""
        told = asdict(self) | {"start_s": round(self.start_s, 3), "end_s": round(self.end_s, 3)}
        return json.loads(strict_json(told))


class MemoryStore:
    """Captions below a folder.

    Args:
        folder: that is made when something is written into it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._writable = True

    def path(self, key: CaptionKey) -> Path:
        """Where a caption lies."""
        digest = hashlib.sha256(strict_json(key.written, sort_keys=True).encode()).hexdigest()[:32]
        return self.folder / key.frames_key / f"{digest}.json"

    def get(self, key: CaptionKey) -> tuple[str, Cost] | None:
        """A text and what it cost to write; None where it is not there, or not whole."""
        path = self.path(key)
        try:
            with path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except OSError:
            return None
        try:
            return _caption(json.loads(content) if len(content) <= _MOST_BYTES else None, key)
        except (ValueError, RecursionError) as error:
            _log.warning("%s is refused and will be written again: %s", path, error)
            return None

    def put(self, key: CaptionKey, text: str, cost: Cost) -> None:
        """Keeps a text. Where it cannot be written that is said once, and the run goes on."""
        content = {"format": _FORMAT, "key": key.written, "text": text, "cost": asdict(cost)}
        try:
            if self._writable:
                write_whole(self.path(key), "memory of a video", strict_json(content, indent=1, ensure_ascii=True))
        except StorageError as error:
            self._writable = False
            _log.warning("captions will not be found again by other questions and runs: %s", error)


def _caption(content: Any, key: CaptionKey) -> tuple[str, Cost]:
    if not isinstance(content, Mapping) or content.get("format") != _FORMAT or content.get("key") != key.written:
        raise ValueError("it does not hold what its name says")
    text, told = content.get("text"), content.get("cost")
    if not isinstance(text, str) or not text.strip() or not isinstance(told, Mapping):
        raise ValueError("it holds no text with its cost")
    counts = {
        name: told.get(name)
        for name in ("frames_decoded", "frames_shown", "visual_tokens", "text_tokens_in", "text_tokens_out", "calls")
    }
    known_none = ("visual_tokens", "text_tokens_in", "text_tokens_out")
    for name, count in counts.items():
        if not (count is None and name in known_none) and (type(count) is not int or count < 0):
            raise ValueError(f"{name} of its cost is {count!r:.40}")
    seconds = told.get("seconds")
    if not isinstance(seconds, Mapping) or not all(_is_seconds(value) for value in seconds.values()):
        raise ValueError("the seconds of its cost are none")
    return text, Cost(**counts, seconds=dict(seconds))  # type: ignore[arg-type]


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0
