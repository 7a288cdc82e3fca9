"""Which option an answer in text names: one set of rules for rewards, scorers, pass rates and served models.

In order: the inside of ``<answer>`` tags, or what follows the thinking; exactly one option's own text; a letter that
stands first; a letter that is called the answer, the last one; the only letter that is mentioned as an option. A letter
that is denied ("option A is wrong"), listed with others ("A or B") or the article of the next word ("a red ball") names
nothing, and neither does one beyond the options. (TSPO's official code: the first lone a to e anywhere.)

Every expression here is linear in the text: runs of blanks are one blank before any is tried.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LETTERS = "ABCDEFGHIJ"
"""Of a prompt's options, in order."""
_TAG = re.compile(r"</?answer>", re.IGNORECASE)
_MARKUP = re.compile(r"[*_`#$]|\\(?:boxed|text|mathrm)\b")

_CALLED = r"(?:the\s+)?(?:(?:correct|best|right|final|my)\s+)*(?:answer|option|choice)"
_PHRASE = re.compile(rf"^{_CALLED}(?:\s+(?:is|would\s+be)\b\s*:?|\s*:)\s*", re.IGNORECASE)
_ALONE = r"((?-i:[A-Ja-j]))(?![\w'\u2019]|-\w)"
_ONE = rf"[\s\"'({{\[]*{_ALONE}"
_FIRST = re.compile(rf"[\W_]*{_ALONE}")
_ANSWER = re.compile(
    r"\b(?:(?:answer|option|choice)\s*(?:(?:is|was|would\s+be|should\s+be|must\s+be)\b\s*:?|[:=])|answer|choose|pick|select"
    rf"|go\s+with)\s*(?:(?:option|choice|letter)\b)?{_ONE}",
    re.IGNORECASE,
)
_MENTIONED = re.compile(rf"(?:\b(?:option|choice|letter)\b|(?=[({{\[][A-J][)}}\]])){_ONE}", re.IGNORECASE)

_CLOSED = re.compile(r"$|\s*[\"')}\].,:;!?]+(?:\s|$)|\s+[^\s\w]")
_VERB = re.compile(r"\s+(?:is|was|because|since|as|seems|matches)\b")
_DENIED = re.compile(r"[\s\"')}\]]*(?:is|was|are|seems|would\s+be)?\s*(?:not\b|wrong|incorrect|false|n't)")
_LISTED = re.compile(r"[\s\"')}\]]*(?:,|/|&|\band\b|\bor\b)\s*(?:or\s+|and\s+)?[\"'({\[]?[A-J](?![\w'\u2019])")


def parse_option(text: str, options: Sequence[str]) -> int | None:
    """Index of the option that an answer names, or None.

    >>> parse_option("B. The reason: option A is wrong", ["red", "green"])
    1
    >>> parse_option("The answer is a red ball.", ["red", "green"]) is None
    True
    """
    tagged = tagged_answer(text)
    said = " ".join(_MARKUP.sub("", text.rpartition("</think>")[2] if tagged is None else tagged).split())
    for words in (said, _PHRASE.sub("", said)):
        same = [o for o, option in enumerate(options) if _bare(option) == _bare(words)]
        if len(same) == 1:
            return same[0]
    letter = _first(said) or _called_the_answer(said) or _only_one_mentioned(said)
    index = LETTERS.index(letter) if letter else len(options)
    return index if index < len(options) else None


def tagged_answer(text: str) -> str | None:
    """The inside of the last pair of ``<answer>`` tags; None where there is no pair."""
    start, inside = None, None
    for tag in _TAG.finditer(text):
        if not tag[0].startswith("</"):
            start = tag.end() if start is None else start
        elif start is not None:
            start, inside = None, text[start : tag.start()]
    return inside


def _bare(text: str) -> str:
    return " ".join(text.lower().split()).strip(" .")


def _first(said: str) -> str | None:
    """The letter that a text begins with."""
    match = _FIRST.match(said)
    return _letter(match, starts=True) if match else None


def _called_the_answer(said: str) -> str | None:
    """The last letter that is called the answer, or chosen."""
    found = [_letter(m, starts=m[0].rstrip(" ({[\"'" + m[1]).endswith(":")) for m in _ANSWER.finditer(said)]
    return next((letter for letter in reversed(found) if letter), None)


def _only_one_mentioned(said: str) -> str | None:
    """The letter of "option B" or "(B)", where there is no other."""
    found = [m for m in _MENTIONED.finditer(said) if not _DENIED.match(said, m.end(1))]
    return _letter(found[0], starts=False) if len({m[1].upper() for m in found}) == 1 else None


def _letter(match: re.Match[str], starts: bool) -> str | None:
    """The letter that was found, unless it is denied, one of a list, or a word of the sentence.

    Args:
        match: whose first group is the letter.
        starts: whether a sentence may start with it, so that a capital does not tell it from an article.
    """
    letter, said, end = match[1], match.string, match.end(1)
    if _DENIED.match(said, end) or _LISTED.match(said, end):
        return None
    alone = _CLOSED.match(said, end) or _VERB.match(said, end)
    is_word = not alone and (letter.islower() or letter == "I" or (letter == "A" and starts))
    return None if is_word else letter.upper()
