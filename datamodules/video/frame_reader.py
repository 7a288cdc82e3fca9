"""Frames of chosen candidates, decoded when they are asked for, or ahead of that.

The files of a question, and of the next questions, are decoded side by side. What was decoded stays in a cache of
limited size. `FrameReader.prefetch` decodes *all* candidates of questions that come next, while somebody else computes;
which of them will be chosen is not known yet, so it is worth its time where most of them will be, or where most of the
file has to be decoded anyway. What is asked for goes first: a prefetch that has not begun by then is dropped, and
exactly the frames that are wanted are decoded.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from datamodules.video.decode_pool import DecodePool, Frames, ReadRequest
from datamodules.video.decoding_settings import DecodingSettings
from datamodules.video.pixel_cache import PixelCache
from datamodules.video.probe_store import ProbeStore
from datamodules.video.video_info import BadVideoError, VideoInfo
from datamodules.video.views import shrunk
from modules.encoders.resize import resize
from modules.giving_up import GivenUpError, result_of
from modules.records import Candidates

_COLOURS = 3


@dataclass(frozen=True)
class _Reading:
    """Frames of one file, here or on their way."""

    video: str
    where: Tensor
    """int64 (n,), whose places among those of the question."""
    frame_ids: list[int]
    """Distinct, increasing."""
    inverse: Tensor
    """int64 (n,), which of them each place shows."""
    here: dict[int, Tensor]
    coming: list[Future[Frames]]

    def frames(self) -> Tensor:
        """uint8 (n, 3, H, W)."""
        here = dict(self.here)
        for future in self.coming:
            _, frame_ids, frames = result_of(future)
            here |= dict(zip(frame_ids.tolist(), torch.from_numpy(frames), strict=True))
        return torch.stack([here[i] for i in self.frame_ids]).permute(0, 3, 1, 2)[self.inverse]


class FrameReader:
    """Decodes frames in worker processes, and keeps those that are asked for again.

    Args:
        probes: what files hold.
        short_side_px: frames are shrunk to this while they are decoded; None keeps the size of the file.
        decoding: how many processes decode, and how much memory keeps what they decoded.
    """

    def __init__(self, probes: ProbeStore, short_side_px: int | None, decoding: DecodingSettings) -> None:
        self.probes, self.short_side_px, self.num_workers = probes, short_side_px, decoding.num_workers
        self.cache = PixelCache(decoding.pixel_cache_mib)
        self._pool = DecodePool(decoding.num_workers, decoding.timeout_s)
        self._lock = threading.RLock()
        self._backlog: deque[ReadRequest] = deque()
        """What to prefetch as soon as a worker is free."""
        self._prefetching: dict[str, tuple[ReadRequest, Future[Frames]]] = {}
        self._num_running = self._prefetch_bytes = 0

    def key(self, candidates: Candidates) -> str:
        """A file name for what their frames are, by the content of the files and the size they are decoded at.

        Raises:
            BadVideoError: a file cannot be read, and this process has not seen it before.
        """
        contents = [self.probes.content(video) for video in (candidates.sources or (candidates.video,))]
        content = contents[0] if len(contents) == 1 else hashlib.sha256("".join(contents).encode()).hexdigest()[:32]
        return f"{content}-{self.short_side_px or 'full'}px"

    # ---- now ----

    def read(self, candidates: Candidates, candidate_index: Tensor) -> Tensor:
        """Frames of increasing candidate indices (N,) as uint8 (N, 3, H, W); each file is opened once.

        Frames of other files than the candidates' own are resized to the size of its frames (a needle among clips).

        Raises:
            BadVideoError: a file cannot be decoded.
        """
        return self._collect(candidates, len(candidate_index), self._start(candidates, candidate_index))

    def read_many(self, asked: Iterable[tuple[Candidates, Tensor]]) -> Iterator[Tensor | BadVideoError]:
        """As `read`, of several questions, each begun while those before it are still on their way."""
        started: deque[tuple[Candidates, int, list[_Reading]]] = deque()
        for candidates, index in asked:
            started.append((candidates, len(index), self._start(candidates, index)))
            if len(started) > self.num_workers:
                yield self._outcome(*started.popleft())
        while started:
            yield self._outcome(*started.popleft())

    def _outcome(self, candidates: Candidates, size: int, readings: list[_Reading]) -> Tensor | BadVideoError:
        try:
            return self._collect(candidates, size, readings)
        except BadVideoError as error:
            return error

    def _start(self, candidates: Candidates, candidate_index: Tensor) -> list[_Reading]:
        readings = []
        for video, where in candidates.by_source(candidate_index):
            wanted, inverse = candidates.frame_ids[candidate_index[where]].unique(return_inverse=True)
            frame_ids = wanted.tolist()
            readings.append(_Reading(video, where, frame_ids, inverse, *self._begin(video, frame_ids)))
        return readings

    def _begin(self, video: str, frame_ids: list[int]) -> tuple[dict[int, Tensor], list[Future[Frames]]]:
        """Those frames of a file that are here, and what brings the others."""
        coming: list[Future[Frames]] = []
        with self._lock:
            prefetching = self._prefetching.get(video)
            self._drop_from_backlog(video)
        here = self.cache.get(video, frame_ids)
        missing = [i for i in frame_ids if i not in here]
        if missing and prefetching is not None:
            request, future = prefetching
            brought = set(request.frame_ids or ())
            if brought.intersection(missing):
                coming.append(future)
                missing = [i for i in missing if i not in brought]
        if missing:
            coming.append(self._submit(self._request(video, missing)))
        return here, coming

    def _collect(self, candidates: Candidates, size: int, readings: list[_Reading]) -> Tensor:
        pixels = [self._frames_of(reading) for reading in readings]
        shape = (pixels[0].shape[-2], pixels[0].shape[-1])
        if len(candidates.sources) > 1:
            shape = self._size_of(candidates, {r.video: p for r, p in zip(readings, pixels, strict=True)})
        out = pixels[0].new_empty(size, _COLOURS, *shape)
        for reading, frames in zip(readings, pixels, strict=True):
            out[reading.where] = resize(frames, shape)
        return out

    def _frames_of(self, reading: _Reading) -> Tensor:
        try:
            return reading.frames()
        except GivenUpError:
            self._pool.give_up(reading.video)
            raise

    def _size_of(self, candidates: Candidates, pixels: dict[str, Tensor]) -> tuple[int, int]:
        """Height and width of the frames of the candidates' own video, whether or not one is among those chosen."""
        own = pixels.get(candidates.video)
        if own is None:
            info = self.info(candidates.video)
            return shrunk(info.height, info.width, self.short_side_px)
        return own.shape[-2], own.shape[-1]

    def info(self, video: str) -> VideoInfo:
        """What a file holds: stored, or else probed now.

        Raises:
            BadVideoError: the file cannot be read.
        """
        found = self.probes.load(video)
        if found is not None:
            return found
        try:
            return result_of(self._submit(self._request(video, [])))[0]
        except GivenUpError:
            self._pool.give_up(video)
            raise

    def info_many(self, videos: Iterable[str]) -> Iterator[tuple[str, VideoInfo | BadVideoError]]:
        """What files hold, several at a time, each taken when a worker is free."""
        started: deque[tuple[str, Future[Frames]]] = deque()
        for video in videos:
            started.append((video, self._submit(self._request(video, []))))
            if len(started) >= self.num_workers:
                yield self._named(*started.popleft())
        while started:
            yield self._named(*started.popleft())

    @staticmethod
    def _named(video: str, future: Future[Frames]) -> tuple[str, VideoInfo | BadVideoError]:
        try:
            return video, future.result()[0]
        except BadVideoError as error:
            return video, error

    # ---- ahead ----

    def prefetch(self, questions: Sequence[Candidates]) -> None:
        """Begins to decode all candidates of questions that come next, as far as they find room."""
        for candidates in questions:
            every = torch.arange(len(candidates))
            for video, where in candidates.by_source(every):
                self._plan(video, candidates.frame_ids[where].unique().tolist())
        self._go_on()

    def _plan(self, video: str, frame_ids: list[int]) -> None:
        """Puts a file's frames on the list, if there is room and they are not on their way."""
        info, missing = self.probes.load(video), self.cache.missing(video, frame_ids)
        if info is None or not missing:
            return
        size = len(missing) * _bytes_of_frame(info, self.short_side_px)
        with self._lock:
            known = video in self._prefetching or any(r.path == video for r in self._backlog)
            if known or self._prefetch_bytes + size > self.cache.limit_bytes // 2:
                return
            self._prefetch_bytes += size
            self._backlog.append(self._request(video, missing))

    def _go_on(self) -> None:
        """Hands over as much of the backlog as there are idle workers."""
        with self._lock:
            while self._backlog and self._num_running < self.num_workers:
                self._submit(self._backlog.popleft(), ahead=True)

    def _drop_from_backlog(self, video: str) -> None:
        for request in [r for r in self._backlog if r.path == video]:
            self._backlog.remove(request)
            self._release(request)

    def _release(self, request: ReadRequest) -> None:
        assert request.info is not None
        assert request.frame_ids is not None
        self._prefetch_bytes -= len(request.frame_ids) * _bytes_of_frame(request.info, self.short_side_px)

    # ---- both ----

    def _request(self, video: str, frame_ids: list[int]) -> ReadRequest:
        info = self.probes.load(video)
        return ReadRequest(video, tuple(frame_ids), short_side_px=self.short_side_px, info=info)

    def _submit(self, request: ReadRequest, ahead: bool = False) -> Future[Frames]:
        """Hands over a request; what it brings is in the cache before whoever waits for it hears of it."""
        answered: Future[Frames] = Future()
        with self._lock:
            self._num_running += 1
            if ahead:
                self._prefetching[request.path] = (request, answered)
        self._pool.submit(request).add_done_callback(partial(self._keep, request, answered))
        return answered

    def _keep(self, request: ReadRequest, answered: Future[Frames], brought: Future[Frames]) -> None:
        """Puts what came into the cache, says so, and goes on with the backlog."""
        try:
            info, frame_ids, frames = brought.result()
            if request.info is None:
                self.probes.save(info)
            self.cache.put(request.path, frame_ids.tolist(), torch.from_numpy(frames))
        except Exception as error:  # whoever waits has to hear
            self._count_out(request)
            answered.set_exception(error)
        else:
            self._count_out(request)
            answered.set_result((info, frame_ids, frames))
        self._go_on()

    def _count_out(self, request: ReadRequest) -> None:
        with self._lock:
            self._num_running -= 1
            if self._prefetching.get(request.path, (None, None))[0] is request:
                del self._prefetching[request.path]
                self._release(request)

    def stop(self) -> None:
        """Ends the workers; whoever reads later starts new ones."""
        with self._lock:
            while self._backlog:
                self._release(self._backlog.popleft())
        self._pool.stop()


def _bytes_of_frame(info: VideoInfo, short_side_px: int | None) -> int:
    height, width = shrunk(info.height, info.width, short_side_px)
    return height * width * _COLOURS
