"""What questions give away that anybody could guess without a model: letters and lengths of options.

Of EgoMem as it was published, "always A" answers 41 % rightly, more than most systems that its paper compares; so
these stand on every evaluation card.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from modules.parsing import LETTERS
from modules.records import Answer


def guesses(answers: Iterable[Answer]) -> dict[str, float]:
    """Share of questions that each guess answers rightly; empty where no question has options and a right one.

    - *always A*: the first option;
    - *always X*: the letter that is right most often, known afterwards; left out where that is A;
    - *longest option*: the option of most characters, the first of several.

    Args:
        answers: of any systems; a question counts once.
    """
    known = {(a.dataset, a.split, a.sample_id): a for a in answers if a.answer_index is not None and a.options}
    if not known:
        return {}
    right = Counter(a.answer_index for a in known.values())
    most, count = max(right.items(), key=lambda item: (item[1], -(item[0] or 0)))
    longest = sum(a.answer_index == max(range(len(a.options)), key=lambda o: len(a.options[o])) for a in known.values())
    found = {"always A": right[0], f"always {LETTERS[most or 0]}": count, "longest option": longest}
    return {name: round(number / len(known), 4) for name, number in found.items()}
