"""One HTML file of some runs that can be read without a network, on a phone and without a mouse, and stays small."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from modules.evaluation.gaps import CEILING, FLOOR
from modules.evaluation.report.contestants import Contest, Contestant, contest_of, is_yardstick
from modules.evaluation.report.cost_charts import cost_charts
from modules.evaluation.report.frame_pictures import Frame, fitted, grouped
from modules.evaluation.report.gallery import Card, cards
from modules.evaluation.report.marks import Mark, marks
from modules.evaluation.report.numbers import pairs, standings
from modules.evaluation.report.picture_source import FramesOfVideo, PictureSource
from modules.evaluation.report.run_folder import EvaluatedRun
from modules.evaluation.report.wording import FILTERS, facts, headline, plain
from modules.evaluation.score_table import default_scorer
from modules.evaluation.scorer_base import Scorer
from modules.files.whole_files import appearing

FILE_NAME = "report.html"
MOST_BYTES, MOST_QUESTIONS = 5_000_000, 200
_GENERATOR = '<meta name="generator" content="Kairos">'
_TEMPLATES = Path(__file__).parent / "templates"
_LONGEST_TEXT = 1500
_MARGIN = 2000  # bytes
"""Characters of a step of a trace."""


@dataclass(frozen=True)
class Written:
    """A report that was written."""

    path: Path
    num_bytes: int
    remarks: list[str]
    """What was pooled, left out or made smaller, in sentences; they stand in the file too."""


def write_report(
    runs: Sequence[EvaluatedRun],
    out: Path,
    *,
    scorer: Scorer | None = None,
    pictures: PictureSource | None = None,
    num_questions: int = MOST_QUESTIONS,
    most_bytes: int = MOST_BYTES,
) -> Written:
    """Writes the report of some runs.

    Args:
        runs: on the same questions.
        out: the file; one that is there is replaced if it is a report.
        scorer: says what is right; the one that fits the answers by default.
        pictures: of the chosen frames; without it there are none.
        num_questions: how many questions are shown one by one, at most.
        most_bytes: the file's size; thumbnails and, if need be, questions are left out to keep it.

    Raises:
        ValueError: the runs have no question in common, or ``out`` is another file.
    """
    if out.is_dir():
        raise ValueError(f"{out} is a folder; --out names a file")
    if out.is_file() and _GENERATOR.encode() not in out.read_bytes()[:2000]:
        raise ValueError(f"{out} is there already and is no report; name another file with --out")
    contest = contest_of(runs, scorer or default_scorer([one.answer for run in runs for one in run.answered]))
    page = _Page(contest)
    content = page.content(num_questions, pictures, most_bytes)
    with appearing(out, "report") as place:
        place.write_bytes(content)
    return Written(out, len(content), [*contest.remarks, *page.remarks])


class _Page:
    """All that the templates are given.

    Args:
        contest: who answered what.
    """

    def __init__(self, contest: Contest) -> None:
        self.contest = contest
        self.standings = standings(contest)
        self.ordered = [standing.contestant for standing in self.standings]
        by_table = {
            id(one): mark
            for one, mark in zip(contest.contestants, marks([one.method for one in contest.contestants]), strict=True)
        }
        self.marks: list[Mark] = [by_table[id(one)] for one in self.ordered]
        self.pairs = pairs(contest, self.ordered)
        self.charts, self.chart_remarks = cost_charts(contest, self.standings, self.marks)
        self.remarks: list[str] = []
        loader = jinja2.FileSystemLoader(_TEMPLATES)
        self.templates = jinja2.Environment(
            loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self.templates.filters |= FILTERS

    def content(self, num_questions: int, source: PictureSource | None, most_bytes: int) -> bytes:
        """The file: as many questions as there is room for, then thumbnails into what is left."""
        while True:
            shown = cards(self.contest, self._rows(), self._row_marks(), num_questions)
            bare = self._render(shown, [])
            if len(bare) <= 0.8 * most_bytes or num_questions <= 1:
                break
            num_questions = min(num_questions, len(shown)) * 3 // 4
        every = len(self.contest.questions)
        if len(shown) < every:
            self.remarks.append(f"{len(shown)} of {every} questions are shown one by one, evenly spread over all.")
        files, problems = self._files(shown, source)
        budget = most_bytes - len(bare) - _MARGIN
        while True:
            pictured = fitted(files, [card.wanted for card in shown], budget)
            for q, card in enumerate(shown):
                for thumbnail in card.thumbnails:
                    thumbnail.url = pictured.urls.get((q, thumbnail.frame_id), "")
            said = [*self.remarks, *pictured.remarks, *problems]
            page = self._render(shown, said)
            if len(page) <= most_bytes or not pictured.urls:
                self.remarks = said
                return page
            budget -= len(page) - most_bytes + _MARGIN  # many rows of a question take more around their pictures

    def _rows(self) -> list[Contestant]:
        """Systems in the order of a question's rows: the best one first, then floor and ceiling, then the rest."""
        return [self.ordered[n] for n in self._row_order()]

    def _row_marks(self) -> list[Mark]:
        return [self.marks[n] for n in self._row_order()]

    def _row_order(self) -> list[int]:
        systems = [one.system for one in self.ordered]
        first = [n for n, one in enumerate(self.ordered) if not is_yardstick(one)][:1]
        first += [systems.index(name) for name in (CEILING, FLOOR) if name in systems]
        return list(dict.fromkeys([*first, *range(len(systems))]))

    def _files(self, shown: Sequence[Card], source: PictureSource | None) -> tuple[dict[Frame, bytes], list[str]]:
        """Thumbnails that were found, and what is said of those that were not."""
        if source is None:
            return {}, ["The report was made without thumbnails."]
        by_video: dict[str, list[int]] = {}
        for q, card in enumerate(shown):
            if card.frames is not None:
                by_video.setdefault(card.frames.video, []).append(q)
        wanted = [_together([shown[q] for q in questions]) for questions in by_video.values()]
        files: dict[Frame, bytes] = {}
        problems = []
        for questions, of_video in zip(by_video.values(), source.pictures(wanted), strict=True):
            if isinstance(of_video, ValueError):
                problems.append(str(of_video))
                continue
            files |= {(q, frame): of_video[frame] for q in questions for frame in shown[q].wanted}
        if not problems:
            return files, []
        what = "There are no thumbnails" if not files else f"{len(problems)} videos have no thumbnails"
        return files, [f"{what}: {'; '.join(grouped(problems))}."]

    def _render(self, shown: Sequence[Card], remarks: Sequence[str]) -> bytes:
        script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        text = self.templates.get_template("report.html.j2").render(
            contest=self.contest,
            standings=self.standings,
            marks=self.marks,
            pairs=self.pairs,
            headline=headline(self.contest, self.standings),
            charts=self.charts,
            chart_remarks=self.chart_remarks,
            labels=self._labels(),
            cards=shown,
            remarks=[*self.contest.remarks, *remarks],
            facts=facts(self.contest),
            script=script,
            script_digest=digest,
            style=(_TEMPLATES / "report.css").read_text(encoding="utf-8"),
            is_yardstick=is_yardstick,
            longest_text=_LONGEST_TEXT,
        )
        return plain(text).encode("utf-8", errors="replace")

    def _labels(self) -> dict[str, list[str]]:
        """Labels of each group, as they stand in tables and filters."""
        found: dict[str, list[str]] = {}
        for name in self.standings[0].by_group:
            group, _, label = name.partition("=")
            found.setdefault(group, []).append(label)
        return found


def _together(of_video: Sequence[Card]) -> FramesOfVideo:
    frames = [card.frames for card in of_video if card.frames is not None]
    ids = sorted({frame for one in frames for frame in one.frame_ids})
    return FramesOfVideo(frames[0].video, frames[0].places, tuple(ids), frames[0].num_video_frames)
