"""The words of a caption as the metrics of captions count them: the Penn Treebank's, lower case, without punctuation.

Published numbers are of Stanford's tokenizer, a Java program, less a list of punctuation (coco-caption). This is the
same for what captions are made of, without Java; `tests/modules/rewards/test_caption_metrics.py` holds the two against
each other where Java is installed. Brackets stay, under the names that the Treebank has for them: coco-caption means to
leave them out, but looks for the names in capitals, which are small by then.
"""

from __future__ import annotations

import re

_PLAIN = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u00a0": " "})
_WORD = re.compile(
    r"(?:[a-z]\.){2,}"  # u.s.
    r"|\b(?:mrs?|ms|dr|st|jr|sr|vs|etc)\."
    r"|\d+(?:[.,:]\d+)+"  # 1,000 3.5 10:30
    r"|[^\W_]+(?:[-_'/&][^\W_]+)*"  # words; t-shirt, o'clock, 1/2
    r"|'n'"
    r"|[^\w\s]|_+"
)
_CLITIC = re.compile(r"(?<=[a-z])n't$|(?<=[^\W_])'(?:s|re|ve|ll|d|m)$")
_JOINED = {"cannot": "can not", "gonna": "gon na", "gotta": "got ta", "wanna": "wan na", "gimme": "gim me"}
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_LEFT_OUT = frozenset("'\"`.?!,:;-\u2013\u2014\u2026")


def caption_words(text: str) -> str:
    """The words of a caption with one space between them.

    >>> caption_words("A man's dog can't swim, it is well-known.")
    "a man 's dog ca n't swim it is well-known"
    """
    found: list[str] = []
    for word in _WORD.findall(text.translate(_PLAIN).lower()):
        if split := _CLITIC.search(word):
            found += [word[: split.start()], split[0]]
        elif word not in _LEFT_OUT:
            found.append(_JOINED.get(word) or _BRACKETS.get(word) or word)
    return " ".join(found)
