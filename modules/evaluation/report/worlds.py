"""Runs by what they were asked: those that share questions are one world, unless they are given two names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modules.evaluation.report.contestants import Key, question_key
from modules.evaluation.report.run_folder import EvaluatedRun
from modules.evaluation.report.world_names import world_names


@dataclass(frozen=True)
class World:
    """Runs on the same questions."""

    name: str
    runs: list[EvaluatedRun]


def worlds_of(runs: Sequence[EvaluatedRun], names: Mapping[Path, str]) -> list[World]:
    """The worlds of some runs, in the order of their first runs.

    Two runs are of one world where they share a question, or each shares one with a third. Worlds that differ in what
    their videos look like may ask the same about the same seconds: runs that are given two names are of two worlds.

    Args:
        runs: any number.
        names: of worlds, by the folders of their runs; a world without one is named after what its recipes differ in.

    Raises:
        ValueError: a name is given to runs that share no question, or a run without a name shares some with two worlds
            that have one.
    """
    groups = _sharing_questions(runs, names)
    given = [group.name for group in groups]
    for name in given:
        if name is not None and given.count(name) > 1:
            alike = [runs[group.members[0]].name for group in groups if group.name == name]
            raise ValueError(
                f"{', '.join(alike)} have no question in common, and are all named {name!r}; a world is runs on the "
                "same questions, so give each of them a name of its own"
            )
    of_groups = [[runs[number] for number in group.members] for group in groups]
    found = world_names(of_groups, given)
    return [World(name, members) for name, members in zip(found, of_groups, strict=True)]


@dataclass
class _Group:
    """Runs that share questions."""

    keys: set[Key]
    members: list[int]
    name: str | None
    """That its runs were given."""


def _sharing_questions(runs: Sequence[EvaluatedRun], names: Mapping[Path, str]) -> list[_Group]:
    groups: list[_Group] = []
    for number in sorted(range(len(runs)), key=lambda n: runs[n].folder not in names):  # those with a name first
        run = runs[number]
        one = _Group({question_key(a.answer) for a in run.answered}, [number], names.get(run.folder))
        touched = [g for g in groups if g.keys & one.keys and (None in (one.name, g.name) or one.name == g.name)]
        told = list(dict.fromkeys(g.name for g in [*touched, one] if g.name is not None))
        if len(told) > 1:
            raise ValueError(
                f"{run.name} has questions in common with {' and with '.join(map(repr, told))}; say which world it "
                f"belongs to, as in {told[0]!r}={run.name}"
            )
        for group in touched:
            one.keys |= group.keys
            one.members += group.members
        one.members.sort()
        one.name = told[0] if told else None
        groups = [*(group for group in groups if group not in touched), one]
    return sorted(groups, key=lambda group: group.members)
