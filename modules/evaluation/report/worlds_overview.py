"""What stands at the head of a page of several worlds: one sentence, the table, its picture, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence

from modules.evaluation.gaps import CEILING, FLOOR
from modules.evaluation.report.contest_part import ContestPart
from modules.evaluation.report.numbers import Standing
from modules.evaluation.report.wording import percent
from modules.evaluation.report.world_rows import WorldRow
from modules.evaluation.report.worlds_chart import panels
from modules.evaluation.report.worlds_table import WorldStandings, worlds_table


class WorldsOverview:
    """All that the templates are given of the worlds together.

    Args:
        rows: of the table.
        parts: one of each world.
    """

    def __init__(self, rows: Sequence[WorldRow], parts: Sequence[ContestPart]) -> None:
        self.table = worlds_table(rows, parts)
        self.headline = _headline(self.table, len(parts))
        self.panels = panels(self.table, [part.world for part in parts])
        self.num_frames = [_num_frames(part) for part in parts]
        self.remarks = [*_missing(self.table, parts), *_without_interval(parts), *_described_otherwise(self.table)]

    @property
    def has_gap(self) -> bool:
        """Whether some world has both a floor and a ceiling, with a gap between them."""
        return any(cell is not None and cell.gap_closed is not None for one in self.table for cell in one.cells)


def _headline(table: Sequence[WorldStandings], num_worlds: int) -> str:
    """What was found, in one sentence."""
    known = [(one, one.mean) for one in table if one.mean is not None]
    if not known:
        return f"{num_worlds} worlds, and no system that is in all of them"
    best, mean = next((pair for pair in known if not pair[0].is_yardstick), known[0])
    start = f"On average over {num_worlds} worlds, {best.row.label}"
    said = [f"{start} is right on {percent(mean.value)} of the questions"]
    for name, words in ((FLOOR, "uniform frames"), (CEILING, "the oracle")):
        own = [pair for pair in known if pair[0].row.system == name]
        if len(own) == 1 and own[0][0] is not best:
            said.append(f"{words} on {percent(own[0][1].value)}")
    return ", ".join(said)


def _num_frames(part: ContestPart) -> str:
    """K of a world's systems, as far as their runs say it."""
    told = sorted({one.num_frames for one in part.ordered if one.num_frames is not None})
    return " and ".join(map(str, told))


def _missing(table: Sequence[WorldStandings], parts: Sequence[ContestPart]) -> list[str]:
    """Who is missing in which world; systems that miss the same in one sentence."""
    found: dict[str, list[str]] = {}
    for one in table:
        worlds = [part for part, cell in zip(parts, one.cells, strict=True) if cell is None]
        if worlds:
            found.setdefault(_names(worlds), []).append(one.row.label)
    return [
        f"Missing in {worlds}, and therefore without a mean over worlds: {', '.join(labels)}."
        for worlds, labels in found.items()
    ]


def _without_interval(parts: Sequence[ContestPart]) -> list[str]:
    """Which worlds have no video to draw in another one's place."""
    single = [part for part in parts if len(set(part.contest.videos)) == 1]
    return [f"No mean has an interval, as there is a single video in {_names(single)}."] if single else []


def _names(parts: Sequence[ContestPart]) -> str:
    return " and ".join(f"\u201c{part.world}\u201d" for part in parts)


def _described_otherwise(table: Sequence[WorldStandings]) -> list[str]:
    """Rows whose runs' cards describe the system in one world otherwise than in another."""
    labels = []
    for one in table:
        told = [own for cell in one.cells if cell is not None and (own := _descriptions(cell))]
        if any(own != told[0] for own in told):
            labels.append(one.row.label)
    return [f"Of other weights or settings in one world than in another: {', '.join(labels)}."] if labels else []


def _descriptions(cell: Standing) -> set[str]:
    """Of each seed, where there is a card."""
    one = cell.contestant
    cards = [replicate.run.card.get("systems") for replicate in one.replicates]
    return {str(card[one.system]) for card in cards if isinstance(card, dict) and one.system in card}
