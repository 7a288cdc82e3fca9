"""Models that lie on the Hugging Face hub, where there is no network: said at once, and with what to do.

Left to themselves the libraries ask the hub again and again for minutes, for every file anew, even where all files are
in the cache. Here the hub is asked once in a process, for at most four seconds; where it does not answer, the libraries
are told so, and take what is in the cache.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import get_session
from safetensors import SafetensorError, safe_open

from modules.files.packed_weights import loadable
from modules.files.paths import LOCAL_SCHEMA

_PATIENCE_S = 4.0
_log = logging.getLogger(__name__)


@contextmanager
def fetching(source: str, repository: str = "") -> Iterator[str]:
    """Inside, a model is loaded from a folder or from the hub.

    Args:
        source: the folder or hub id that was asked for.
        repository: of the hub, where its files lie; that of ``source`` by default.

    Yields:
        What the library is to read weights from: ``source``, or a folder in which those that it has packed are whole.

    Raises:
        ValueError: its files are neither here nor to be had, and how to get them; or a file of weights is damaged, and
            which.
    """
    folder = Path(source.removeprefix(LOCAL_SCHEMA)).expanduser()
    reason = "" if folder.is_dir() else _hindrance()
    try:
        with loadable(source) as place:
            yield place
    except SafetensorError as error:
        damaged = next((str(path) for path in sorted(folder.glob("*.safetensors")) if not _is_whole(path)), source)
        raise ValueError(f"{damaged}: no .safetensors file, or cut off ({error}); copy or fetch it again") from error
    except (OSError, RuntimeError) as error:
        if not reason or not _is_missing(error):
            raise
        repository = repository or source.removeprefix("hf-hub:")
        raise ValueError(
            f"{source!r} is no folder here, the files of {repository!r} are not (or not all) in "
            f"{constants.HF_HUB_CACHE}, and {reason}: run `hf download {repository}` where there is a network and copy "
            "its cache here (HF_HOME names the place), or give the path of a local folder"
        ) from error


def _is_whole(weights: Path) -> bool:
    try:
        with safe_open(weights, "pt"):
            return True
    except (SafetensorError, OSError):
        return False


@functools.cache
def _hindrance() -> str:
    """Why nothing can be fetched from the hub in this process; empty where it can."""
    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE forbids to fetch it"
    if _answers():
        return ""
    _log.info("%s does not answer; models are taken from %s alone", constants.ENDPOINT, constants.HF_HUB_CACHE)
    constants.HF_HUB_OFFLINE = True
    return f"{constants.ENDPOINT} cannot be reached"


def _answers() -> bool:
    """Whether the hub answers in time, with whatever; a name server that is away holds up only the thread that asks."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=_PATIENCE_S)
        except Exception as error:  # of whichever library carries the request
            _log.debug("%s: %s", constants.ENDPOINT, error)
        else:
            answers.append(True)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)
    return bool(answers)


def _is_missing(error: BaseException | None) -> bool:
    """Whether an error comes from a file that is not in the cache; transformers says so of some in words alone.

    Its ``OSError`` is told from the system's by having no number.
    """
    while error is not None:
        in_words = type(error) is OSError and error.errno is None
        if in_words or isinstance(error, (LocalEntryNotFoundError, OfflineModeIsEnabled)):
            return True
        error = error.__cause__ or error.__context__
    return False
