"""Short names for worlds: how long their videos are and how hard, as far as their recipes differ in that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from modules.evaluation.report.run_folder import EvaluatedRun
from modules.evaluation.report.same_thing import family, in_recipe

Group = Sequence[EvaluatedRun]


def world_names(groups: Sequence[Group], given: Sequence[str | None]) -> list[str]:
    """A name for each group of runs, no two alike.

    It is the one that was given, or the data set, the duration and the difficulty, as far as the groups differ in them;
    and the names of the run folders where that does not tell it from another.

    Args:
        groups: runs on the same questions.
        given: a name for each, where somebody gave one.
    """
    told = [[part(group) for group in groups] for part in _PARTS]
    differing = [values for values in told if len(set(values)) > 1]
    described = [", ".join(filter(None, values)) for values in zip(*differing, strict=True)] or [""] * len(groups)
    if "hard" in described:
        described = [name or "plain" for name in described]
    names = [one or own for one, own in zip(given, described, strict=True)]
    counts = Counter(names)
    names = [
        name if one or (name and counts[name] == 1) else _with_folder(name, group)
        for one, name, group in zip(given, names, groups, strict=True)
    ]
    found: list[str] = []
    for one, name in zip(given, names, strict=True):
        taken = {*found, *(other for other in given if other)}
        numbered = (f"{name} ({number})" for number in range(2, len(names) + 2))
        found.append(name if one or name not in taken else next(n for n in numbered if n not in taken))
    return found


def _with_folder(name: str, group: Group) -> str:
    folder = family([run.folder for run in group])
    return f"{name} ({folder})" if name else folder


def _data_set(group: Group) -> str:
    return ", ".join(sorted({f"{one.answer.dataset}/{one.answer.split}" for run in group for one in run.answered}))


def _duration(group: Group) -> str:
    seconds = in_recipe(group[0], "data", "init_args", "world", "duration_s")
    if not isinstance(seconds, int | float):
        return ""
    for unit, size in (("hour", 3600), ("minute", 60)):
        if seconds >= size:
            return f"{seconds / size:g} {unit}{'' if seconds == size else 's'}"
    return f"{seconds:g} seconds"


def _difficulty(group: Group) -> str:
    return "hard" if in_recipe(group[0], "data", "init_args", "world", "difficulty") else ""


_PARTS: tuple[Callable[[Group], str], ...] = (_data_set, _duration, _difficulty)
