"""Which systems of several worlds are one row: those of one name, told apart only where some world has several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modules.evaluation.report.contestants import Contest, Contestant
from modules.evaluation.report.same_thing import family
from modules.evaluation.score_table import in_order


@dataclass(frozen=True)
class WorldRow:
    """One system."""

    system: str
    label: str
    method: str
    """Its label but for the number of frames."""
    contestants: list[Contestant | None]
    """Of each world; None where it is missing."""


def world_rows(contests: Sequence[Contest]) -> list[WorldRow]:
    """The rows, from the floor to the ceiling; every contestant is then labelled as its row.

    Where a world has several systems of one name, they are called by their recipes, or by their run folders, or as on
    a page of that world alone: the first of these that tells all of them apart in all worlds. The number of frames is
    part of it only where a world has several.
    """
    titles = in_order({one.system for contest in contests for one in contest.contestants})
    rows = [row for system, title in titles.items() for row in _rows_of(system, title, contests)]
    for row in rows:
        for one in row.contestants:
            if one is not None:
                one.label, one.method = row.label, row.method
    return rows


def _rows_of(system: str, title: str, contests: Sequence[Contest]) -> list[WorldRow]:
    worlds = [[one for one in contest.contestants if one.system == system] for contest in contests]
    several_frames = any(len({one.num_frames for one in own}) > 1 for own in worlds)

    def keyed(own: Sequence[Contestant], naming: Callable[[Contestant], str]) -> dict[tuple[int, str], Contestant]:
        return {((one.num_frames or 0) if several_frames else 0, naming(one)): one for one in own}

    naming = next(n for n in _NAMINGS if all(len(keyed(own, n)) == len(own) for own in worlds))
    found = [keyed(own, naming) for own in worlds]
    rows = []
    for num_frames, name in sorted({key for own in found for key in own}):
        method = f"{title} ({name})" if name else title
        label = f"{method}, {num_frames} frames" if num_frames else method
        rows.append(WorldRow(system, label, method, [own.get((num_frames, name)) for own in found]))
    return rows


def _recipe(one: Contestant) -> str:
    return str(one.replicates[0].run.recipe.get("name") or "")


def _folder(one: Contestant) -> str:
    return family([replicate.run.folder for replicate in one.replicates], with_time=False)


def _own_label(one: Contestant) -> str:
    return one.label


_NAMINGS: tuple[Callable[[Contestant], str], ...] = (lambda one: "", _recipe, _folder, _own_label)
