"""Seeds from words, the same on every machine."""

from __future__ import annotations

import hashlib


def seed_of(text: str) -> int:
    """A 56-bit seed; e.g. of ``"seed/step/sample_id"``."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "little")
