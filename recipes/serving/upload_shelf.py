"""Videos that were sent, as files named by their content, in so many bytes of a folder of the server's own.

Equal content is one file, so a video that is sent with every question is decoded and encoded once. A file stays while
somebody uses it; of the others, the one that was not used for longest goes first.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from recipes.serving.request_errors import RequestError


class UploadShelf:
    """Files that were sent.

    Args:
        limit_bytes: of all of them.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes, self.num_bytes = limit_bytes, 0
        self.folder = Path(tempfile.mkdtemp(prefix="kairos-uploads-"))
        self._sizes: OrderedDict[Path, int] = OrderedDict()
        self._users: dict[Path, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sizes)

    @contextmanager
    def holding(self, parts: Sequence[bytes], write: Callable[[Path], None], num_bytes: int) -> Iterator[Path]:
        """A file for some content, written if it is not there; inside, it stays.

        Args:
            parts: that say which content it is.
            write: writes it.
            num_bytes: that it will have, at least.

        Raises:
            RequestError: there is no room while others are in use.
        """
        digest = hashlib.sha256()
        for part in parts:
            digest.update(len(part).to_bytes(8, "little") + part)
        path = self.folder / digest.hexdigest()
        with self._lock:
            if path not in self._sizes:
                self._make_room(num_bytes)
                write(path)
                self._sizes[path] = path.stat().st_size
                self.num_bytes += self._sizes[path]
            self._sizes.move_to_end(path)
            self._users[path] = self._users.get(path, 0) + 1
        try:
            yield path
        finally:
            with self._lock:
                self._users[path] -= 1
                if not self._users[path]:
                    del self._users[path]

    def _make_room(self, num_bytes: int) -> None:
        """Removes what nobody uses, the oldest first, until so many bytes fit."""
        for path in [path for path in self._sizes if path not in self._users]:
            if self.num_bytes + num_bytes <= self.limit_bytes:
                break
            path.unlink(missing_ok=True)
            self.num_bytes -= self._sizes.pop(path)
        if self.num_bytes + num_bytes > self.limit_bytes:
            raise RequestError(
                429, "there is no room for one more video that is sent; come again", code="no_room", retry_after_s=10.0
            )

    def close(self) -> None:
        """Removes all of them."""
        with suppress(OSError):
            shutil.rmtree(self.folder)
