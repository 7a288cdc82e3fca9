"""An MLflow database on sqlite that is whole whenever it can be seen.

MLflow makes its tables one after another in the file itself: a process that is killed there leaves a half-made database
that no later one can open, and processes that start together disturb one another. Here one process at a time, under a
lock beside the database, makes it in a file of its own and renames it when it is whole.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from filelock import FileLock

_log = logging.getLogger(__name__)
_SIDE_FILES = ("-journal", "-wal", "-shm")
LOCK_TIMEOUT_S = 120.0
"""The longest that another process may take to make it."""
STILL_S = 5.0
"""A half-made database that nobody has written to for so long belongs to nobody who is still making it."""


def sqlite_path(tracking_uri: str) -> Path | None:
    """The file of a ``sqlite:///`` address; None for servers, other databases, and one in memory."""
    scheme, _, rest = tracking_uri.partition(":///")
    path = rest.partition("?")[0]
    return Path(path) if scheme == "sqlite" and path not in ("", ":memory:") else None


def make_whole(path: Path) -> None:
    """Makes the database where there is none; one that is half-made is put aside and made again.

    A database with runs in it is never touched.

    Raises:
        ValueError: the file is no sqlite database.
        BlockingIOError: another program seems to be making it at this moment.
        filelock.Timeout: another process has held the lock for too long.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock", timeout=LOCK_TIMEOUT_S):
        if _is_whole(path):
            return
        if path.exists():
            _put_aside(path)
        _make(path)


def _is_whole(path: Path) -> bool:
    """Whether MLflow can use it: it has runs, or its schema is this MLflow's."""
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(path, timeout=20)) as database:
            tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
            if "runs" in tables and database.execute("select 1 from runs limit 1").fetchone():
                return True
            versions = (
                database.execute("select version_num from alembic_version") if "alembic_version" in tables else ()
            )
            return [version for (version,) in versions] == [_newest_schema()]
    except sqlite3.OperationalError:  # locked, or the disk
        raise
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{path} is no sqlite database ({error}); move it away, or name another file") from error


def _newest_schema() -> str | None:
    """The last step of the schema's history that comes with this MLflow."""
    import mlflow.store
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(mlflow.store.__path__[0]) / "db_migrations"))
    return ScriptDirectory.from_config(config).get_current_head()


def _put_aside(path: Path) -> None:
    """Renames a half-made database, and first its journals: sqlite would apply them to the new one."""
    still_s = time.time() - path.stat().st_mtime
    if still_s < STILL_S:
        raise BlockingIOError(f"{path} has no runs and no complete schema yet, and was written to {still_s:.0f} s ago")
    aside = path.with_name(f"{path.name}.half-made-{time.strftime('%Y%m%d-%H%M%S')}")
    for suffix in (*_SIDE_FILES, ""):
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.replace(f"{aside}{suffix}")
    _log.warning(
        "%s was half-made, by a process that was killed there, and held no run: it is now %s, and a new one is made",
        path,
        aside.name,
    )


def _make(path: Path) -> None:
    """Makes it in a file of this process and renames that; what a killed process has left of its own is removed."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for left in path.parent.glob(f"{path.name}.part-*"):
        left.unlink()
    # MLflow keeps what it knows of an address, so each try has one of its own
    part = path.with_name(f"{path.name}.part-{os.getpid()}-{time.monotonic_ns()}")
    store = SqlAlchemyStore(f"sqlite:///{part}", "mlruns")
    store.engine.dispose()
    for suffix in _SIDE_FILES:
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    part.replace(path)
