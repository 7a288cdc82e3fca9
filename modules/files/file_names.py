"""Names of files and folders that are made of strangers' ids."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

_MOST_BYTES = 200
"""Of a name; file systems take 255, and an ending comes on top."""
_PLAIN = re.compile(r"\w[\w.+=@ -]*")
_DEVICES = re.compile(r"(con|prn|aux|nul|(com|lpt)\d)(\..*)?", re.IGNORECASE)


def file_name(identity: str) -> str:
    """A name for one id, in whatever folder: the id itself where it can be one.

    Of any other (separators, ``..``, NUL, a name that is too long or a device's) what can stay stays, and a hash of the
    whole makes it the id's own.

    >>> file_name("Q12-a")
    'Q12-a'
    >>> file_name("../../etc/x")
    'etc_x-56da1a2ef2df'
    """
    short = len(identity.encode(errors="replace")) <= _MOST_BYTES
    if short and _PLAIN.fullmatch(identity) and not _DEVICES.fullmatch(identity) and identity[-1] not in ". ":
        return identity
    digest = hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest()[:12]
    kept = re.sub(r"[^\w+=@-]+", "_", identity).strip("_-+=@")[:40]
    return f"{kept}-{digest}" if kept else digest


def file_names(identities: Iterable[str]) -> dict[str, str]:
    """A name for each id, none of which is another's, on file systems that do not tell capitals either.

    Raises:
        ValueError: two ids would share a name, so that one's files would replace the other's.
    """
    owners: dict[str, str] = {}
    names = {identity: file_name(identity) for identity in identities}
    for identity, name in names.items():
        alike = unicodedata.normalize("NFKC", name).casefold()
        if owners.setdefault(alike, identity) != identity:
            raise ValueError(f"the ids {owners[alike]!r:.100} and {identity!r:.100} would share the name {name!r}")
    return names
