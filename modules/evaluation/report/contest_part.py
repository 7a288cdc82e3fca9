"""The part of a page that one contest fills: its systems in order, their marks and charts, and its questions."""

from __future__ import annotations

from collections.abc import Mapping

from modules.evaluation.gaps import CEILING, FLOOR
from modules.evaluation.report.contestants import Contest, Contestant, is_yardstick
from modules.evaluation.report.cost_charts import cost_charts
from modules.evaluation.report.gallery import Card, cards
from modules.evaluation.report.marks import Mark
from modules.evaluation.report.numbers import pairs, standings
from modules.evaluation.report.wording import facts, headline


class ContestPart:
    """All that the templates are given of one contest.

    Args:
        contest: who answered what.
        marks: of each method.
        world: the contest's name, on a page of several.
        place: the world's position on that page.
    """

    def __init__(self, contest: Contest, marks: Mapping[str, Mark], world: str = "", place: int = 0) -> None:
        self.contest, self.world, self.place = contest, world, place
        self.standings = standings(contest)
        self.ordered = [standing.contestant for standing in self.standings]
        self.marks = [marks[one.method] for one in self.ordered]
        self.pairs = pairs(contest, self.ordered)
        self.charts, self.chart_remarks = cost_charts(contest, self.standings, self.marks)
        self.headline, self.facts = headline(contest, self.standings), facts(contest)

    @property
    def labels(self) -> dict[str, list[str]]:
        """Labels of each group, as they stand in tables and filters."""
        found: dict[str, list[str]] = {}
        for name in self.standings[0].by_group:
            group, _, label = name.partition("=")
            found.setdefault(group, []).append(label)
        return found

    @property
    def rows(self) -> list[Contestant]:
        """Systems in the order of a question's rows: the best one first, then floor and ceiling, then the rest."""
        return [self.ordered[n] for n in self._row_order()]

    def cards(self, num_questions: int) -> list[Card]:
        """So many questions one by one, evenly spread over those that there are."""
        return cards(self.contest, self.rows, [self.marks[n] for n in self._row_order()], num_questions, self.world)

    def _row_order(self) -> list[int]:
        systems = [one.system for one in self.ordered]
        first = [n for n, one in enumerate(self.ordered) if not is_yardstick(one)][:1]
        first += [systems.index(name) for name in (CEILING, FLOOR) if name in systems]
        return list(dict.fromkeys([*first, *range(len(systems))]))
