"""Runs by what they were asked: those that share questions are one world, those of another world share none."""

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

    Two runs are of one world where they share a question, or each shares one with a third.

    Args:
        runs: any number.
        names: of worlds, by the folders of their runs; a world without one is named after what its recipes differ in.

    Raises:
        ValueError: one world is given two names, or two worlds are given one.
    """
    of_groups = _sharing_questions(runs)
    given = [_given_name(members, names) for members in of_groups]
    for name in given:
        if name is not None and given.count(name) > 1:
            alike = [members[0].name for members, other in zip(of_groups, given, strict=True) if other == name]
            raise ValueError(
                f"{', '.join(alike)} have no question in common, and are all named {name!r}; a world is runs on the "
                "same questions, so give each of them a name of its own"
            )
    found = world_names(of_groups, given)
    return [World(name, members) for name, members in zip(found, of_groups, strict=True)]


def _sharing_questions(runs: Sequence[EvaluatedRun]) -> list[list[EvaluatedRun]]:
    groups: list[tuple[set[Key], list[int]]] = []
    for number, run in enumerate(runs):
        keys, members = {question_key(one.answer) for one in run.answered}, [number]
        touched = [group for group in groups if group[0] & keys]
        for own_keys, own_members in touched:
            keys |= own_keys
            members += own_members
        groups = [*(group for group in groups if group not in touched), (keys, sorted(members))]
    return [[runs[number] for number in members] for members in sorted(members for _, members in groups)]


def _given_name(members: Sequence[EvaluatedRun], names: Mapping[Path, str]) -> str | None:
    own = list(dict.fromkeys(names[run.folder] for run in members if run.folder in names))
    if len(own) > 1:
        raise ValueError(
            f"{', '.join(run.name for run in members)} have questions in common and are one world; it is named "
            f"{' and '.join(map(repr, own))}, and a world has one name"
        )
    return own[0] if own else None
