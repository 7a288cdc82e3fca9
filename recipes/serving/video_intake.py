"""From a video as a client names it to a file on this machine, for as long as it is used."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio.to_thread

from recipes.serving.chat_request import VideoReference
from recipes.serving.listed_pictures import decoded, pictures_of, times_of, write_pictures
from recipes.serving.remote_videos import RemoteVideos
from recipes.serving.request_body import too_large
from recipes.serving.request_errors import bad_request
from recipes.serving.serving_settings import ServingLimits
from recipes.serving.upload_shelf import UploadShelf
from recipes.serving.video_root import VideoRoot

_PICTURES = "video/jpeg"
_MIB = 2**20


class VideoIntake:
    """Takes videos in.

    Args:
        root: folder for those that are named.
        shelf: for those that are sent.
        remote: for those that are fetched.
        limits: of all.
    """

    def __init__(self, root: VideoRoot, shelf: UploadShelf, remote: RemoteVideos, limits: ServingLimits) -> None:
        self.root, self.shelf, self.remote, self.limits = root, shelf, remote, limits

    @asynccontextmanager
    async def file_of(self, video: VideoReference) -> AsyncIterator[Path]:
        """The file of a video; inside, it stays.

        Raises:
            RequestError: there is none, or it may not be read.
        """
        scheme = video.url.partition(":")[0].lower()
        if ":" not in video.url or scheme not in ("data", "http", "https", "file"):
            yield await anyio.to_thread.run_sync(self.root.find, video.url)
            return
        if scheme == "file":
            yield await anyio.to_thread.run_sync(self.root.find, video.url[len("file:") :])
            return
        if scheme == "data":
            held = await anyio.to_thread.run_sync(self._sent, video)
        else:
            content = await self.remote.fetch(video.url)
            held = self._kept(content)
        path = await anyio.to_thread.run_sync(held.__enter__)
        try:
            yield path
        finally:
            held.__exit__(None, None, None)

    def _kept(self, content: bytes) -> AbstractContextManager[Path]:
        if not content:
            raise bad_request("the video that was sent is empty", "messages", "invalid_data_url")
        return self.shelf.holding([content], partial(_write, content), len(content))

    def _sent(self, video: VideoReference) -> AbstractContextManager[Path]:
        """A ``data:`` URL."""
        head, comma, text = video.url[len("data:") :].partition(",")
        kind, *marks = [part.strip().lower() for part in head.split(";")]
        if not comma or "base64" not in marks or not (kind.startswith("video/") or kind == "application/octet-stream"):
            raise bad_request(
                f"the video's data: URL begins with {head!r:.60}; send data:video/mp4;base64,... or {_PICTURES}",
                "messages",
                "invalid_data_url",
            )
        if len(text) * 3 // 4 > self.limits.body_mib * _MIB:
            raise too_large(f"the video has more than {self.limits.body_mib} MiB")
        if kind != _PICTURES:
            return self._kept(decoded(text))
        files = pictures_of(text.split(","), self.limits)
        times_s = times_of(len(files), video.clock)
        parts = [*files, repr(times_s).encode()]
        size = sum(map(len, files))
        return self.shelf.holding(parts, lambda path: write_pictures(path, files, times_s), size)


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)
