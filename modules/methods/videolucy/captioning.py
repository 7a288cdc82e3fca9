"""Has a captioner describe spans of a video, unless somebody has had them described before."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from modules.encoders.resize import resize
from modules.giving_up import look
from modules.methods.videolucy.frame_clock import FrameClock, Span
from modules.methods.videolucy.memory_store import CaptionKey, MemoryStore
from modules.methods.videolucy.memory_tree import Entry
from modules.methods.videolucy.scopes import Level
from modules.records import Candidates, Cost
from modules.roles.captioner import Captioner, CaptionRequest
from modules.systems.frame_source import FrameSource


class UndecodableVideoError(Exception):
    """Frames of a video cannot be decoded, though they could be when it was opened; the data module has named it."""


@dataclass(frozen=True)
class Wanted:
    """A span to describe."""

    span: Span
    level: int
    prompt: str


class Captioning:
    """A captioner with its store.

    Args:
        captioner: describes.
        store: of what it wrote before.
        clips_together: spans whose frames are in memory at a time, and that the captioner is given together.
    """

    def __init__(self, captioner: Captioner, store: MemoryStore, clips_together: int) -> None:
        self.captioner, self.store, self.clips_together = captioner, store, clips_together
        self.num_empty = 0
        """Spans so far about which nothing was written."""

    def entries(
        self, source: FrameSource, candidates: Candidates, levels: Sequence[Level], wanted: Sequence[Wanted]
    ) -> Iterator[Entry]:
        """A text for each span, those that are in the store first; each is in the store when it comes.

        Args:
            source: of frames.
            candidates: of the video.
            levels: of the video.
            wanted: spans with their prompts.

        Raises:
            UndecodableVideoError: their frames cannot be decoded.
            ConnectionError: a served captioner gives no usable answer.
            GivenUpError: nobody waits for them any more; what was described is in the store.
        """
        clock, missing = FrameClock(candidates), []
        for one in wanted:
            shown = levels[one.level].shown(one.span, clock)
            key = self._key(source, candidates, levels[one.level], one, clock.seconds(one.span), shown)
            found = self.store.get(key)
            if found is None:
                missing.append((one, shown, key))
            else:
                yield self._entry(one, shown, found[0], replace(found[1], seconds={}), reused=True)
        for start in range(0, len(missing), self.clips_together):
            look()
            yield from self._written(source, candidates, levels, missing[start : start + self.clips_together])

    def _written(
        self,
        source: FrameSource,
        candidates: Candidates,
        levels: Sequence[Level],
        missing: Sequence[tuple[Wanted, list[int], CaptionKey]],
    ) -> Iterator[Entry]:
        started = time.perf_counter()
        frames = source.decode_many([(candidates, torch.tensor(shown)) for _, shown, _ in missing])
        requests = []
        for (one, shown, key), pixels in zip(missing, frames, strict=True):
            if pixels is None:
                raise UndecodableVideoError(candidates.video)
            requests.append(
                CaptionRequest(
                    name=f"{candidates.video} {key.start_s:.1f}-{key.end_s:.1f} s ({one.level})",
                    frames=resize(pixels, levels[one.level].size(*pixels.shape[-2:])),
                    timestamps_s=candidates.timestamps_s[torch.tensor(shown)].float(),
                    prompt=one.prompt,
                    video=candidates.video,
                )
            )
        captions = self.captioner.caption(requests)
        share_s = (time.perf_counter() - started) / len(missing)
        for (one, shown, key), caption in zip(missing, captions, strict=True):
            cost = replace(caption.cost, seconds={"caption": share_s})
            if caption.text.strip():
                self.store.put(key, caption.text, cost)
            else:  # thoughts that were cut off, say: another run may have more luck
                self.num_empty += 1
            yield self._entry(one, shown, caption.text, cost)

    def _key(
        self,
        source: FrameSource,
        candidates: Candidates,
        level: Level,
        wanted: Wanted,
        seconds: tuple[float, float],
        shown: list[int],
    ) -> CaptionKey:
        index = torch.tensor(shown)
        origin = candidates.source_index
        return CaptionKey(
            frames_key=source.frames_key(candidates),
            start_s=seconds[0],
            end_s=seconds[1],
            frame_ids=tuple(candidates.frame_ids[index].tolist()),
            source_index=() if origin is None else tuple(origin[index].tolist()),
            fps=level.fps,
            max_pixels=level.max_pixels,
            prompt=wanted.prompt,
            model=self.captioner.key,
        )

    def _entry(self, wanted: Wanted, shown: list[int], text: str, cost: Cost, reused: bool = False) -> Entry:
        return Entry(
            span=wanted.span,
            level=wanted.level,
            text=text,
            prompt=wanted.prompt,
            model=self.captioner.key,
            shown=tuple(shown),
            cost=cost,
            reused=reused,
        )
