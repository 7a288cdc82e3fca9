"""A question of a test to ask again: one whose answer is known, answered rightly, with the options that it had."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable, Sequence

from modules.records import Answer
from modules.systems.grading import most_probable_option
from modules.systems.option_shares import option_shares

_YARDSTICKS = ("blind", "uniform", "oracle")
_TRAINED = ("after", "sampler")


def worked_example(answers: Sequence[Answer]) -> Answer | None:
    """An answer of the system that was trained: best one that is right where evenly spaced frames were not enough.

    Args:
        answers: of all systems, in the order of their questions.

    Returns:
        One with the right answer among its options, if there is one; else any, and None where there are none.
    """
    systems = list(dict.fromkeys(answer.system for answer in answers))
    preferred = [*_TRAINED, *(name for name in systems if name not in _YARDSTICKS), *systems]
    system = next((name for name in preferred if name in systems), None)
    uniform = {answer.sample_id: is_right(answer) for answer in answers if answer.system == "uniform"}
    own = [answer for answer in answers if answer.system == system]
    return max(own, key=lambda answer: (is_right(answer), not uniform.get(answer.sample_id, True)), default=None)


def is_right(answer: Answer) -> bool:
    """Whether the most probable option is known to be the right one."""
    return answer.answer_index is not None and most_probable_option(answer) == answer.answer_index


def described(answer: Answer) -> list[str]:
    """Lines of question, options with their probabilities, and where the system looked."""
    lines = [f"example     {answer.question}"]
    if answer.option_log_probs is not None:
        shares = [math.exp(value) for value in answer.option_log_probs]
        bars = option_shares(answer.options, shares, most_probable_option(answer), answer.answer_index)
        lines.append(f"options     {', '.join(map(str, bars))}")
    looked = f"looked at   {', '.join(f'{t:.1f}' for t in answer.timestamps_s)} s"
    shown = " and ".join(f"{start:.1f}-{end:.1f} s" for start, end in answer.evidence_s)
    return [*lines, f"{looked}; the answer is to be seen at {shown}" if shown else looked]


def fields_of(answer: Answer) -> dict[str, str]:
    """What a command that asks it again is made of, each as one word of a shell: video, question, options, answer."""
    options, right = answer.options, answer.answer_index
    return {
        "video": shlex.quote(answer.video),
        "question": shlex.quote(answer.question),
        "options": shlex.quote(_listed(options)),
        "answer": shlex.quote(options[right] if right is not None else next(iter(answer.references), "")),
    }


def _listed(options: Iterable[str]) -> str:
    """Options as the command line reads them: separated by commas, or a list where one has a comma itself."""
    options = list(options)
    plain = all("," not in option and option == option.strip() for option in options)
    return ", ".join(options) if plain else json.dumps(options, ensure_ascii=False)
