"""Names and values that fit into a tracking server, and still differ where what they stand for differs."""

from __future__ import annotations

import hashlib
import re

LONGEST_NAME, LONGEST_VALUE = 250, 500
"""What MLflow has taken in every version that has runs to compare; 3.17 takes values of 6000 characters."""


def shortened(text: str, longest: int = LONGEST_VALUE) -> str:
    """A text, or its beginning and a digest of all of it, so that two long ones are equal only if they are.

    Args:
        text: of any length.
        longest: number of characters, at least 30.
    """
    if len(text) <= longest:
        return text
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]
    return f"{text[: longest - 15]}...{digest}"


def plain_name(name: str, extra: str = "") -> str:
    """A name in the characters that every tracker takes: letters, digits, ``_``, ``.``, ``-``, spaces, and some more.

    Args:
        name: of a metric or a setting.
        extra: characters that may stay beside those.
    """
    return shortened(re.sub(rf"[^\w. {re.escape(extra)}-]", "", name, flags=re.ASCII), LONGEST_NAME)
