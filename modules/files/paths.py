"""Names of files that a recipe gives: what a run reads, and where a model comes from (a local folder or a hub id)."""

from __future__ import annotations

from pathlib import Path

from jsonargparse.typing import register_type

LOCAL_SCHEMA = "local-dir:"
InputPath = str
"""The name of a file or folder that a run reads; ``lightning check`` looks whether it is there."""


class ModelPath(str):
    """A folder, ``local-dir:FOLDER``, or a hub id such as ``org/name``; also a bare model name.

    Raises:
        ValueError: it can only be a folder (by a leading ``./``, ``/``, ``~`` or ``local-dir:``, or by several slashes)
            and is not there.
    """

    def __new__(cls, value: str) -> ModelPath:
        path = value.removeprefix(LOCAL_SCHEMA)
        looks_local = path != value or path.startswith((".", "/", "~")) or path.count("/") > 1
        if looks_local and not value.startswith("hf-hub:") and not Path(path).expanduser().is_dir():
            raise ValueError(f"{path!r} is not a folder")
        return super().__new__(cls, value)


register_type(ModelPath, serializer=str, deserializer=ModelPath)
