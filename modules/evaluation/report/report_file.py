"""One HTML file of some runs that can be read without a network, on a phone and without a mouse, and stays small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from modules.evaluation.report.contest_part import ContestPart
from modules.evaluation.report.contestants import Contest, contest_of
from modules.evaluation.report.marks import marks
from modules.evaluation.report.page import Page
from modules.evaluation.report.picture_source import PictureSource
from modules.evaluation.report.run_folder import EvaluatedRun
from modules.evaluation.report.world_rows import world_rows
from modules.evaluation.report.worlds import World, worlds_of
from modules.evaluation.report.worlds_overview import WorldsOverview
from modules.evaluation.score_table import default_scorer
from modules.evaluation.scorer_base import Scorer
from modules.files.whole_files import appearing

FILE_NAME = "report.html"
MOST_BYTES, MOST_QUESTIONS = 5_000_000, 200
_GENERATOR = '<meta name="generator" content="Kairos">'


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
    world_names: Mapping[Path, str] = MappingProxyType({}),
) -> Written:
    """Writes the report of some runs: one contest where all share questions, else one of each world.

    Args:
        runs: any that have the systems in common or the questions.
        out: the file; one that is there is replaced if it is a report.
        scorer: says what is right; the one that fits the answers by default.
        pictures: of the chosen frames; without it there are none.
        num_questions: how many questions are shown one by one, at most.
        most_bytes: the file's size; thumbnails and, if need be, questions are left out to keep it.
        world_names: by run folder, where there are several worlds; the others are named after their recipes.

    Raises:
        ValueError: the runs of a world have no question that all answered, names of worlds contradict the questions, or
            ``out`` is another file.
    """
    if out.is_dir():
        raise ValueError(f"{out} is a folder; --out names a file")
    if out.is_file() and _GENERATOR.encode() not in out.read_bytes()[:2000]:
        raise ValueError(f"{out} is there already and is no report; name another file with --out")
    judge = scorer or default_scorer([one.answer for run in runs for one in run.answered])
    worlds = worlds_of(runs, world_names)
    page = _page([contest_of(world.runs, judge) for world in worlds], worlds)
    content = page.content(num_questions, pictures, most_bytes)
    with appearing(out, "report") as place:
        place.write_bytes(content)
    return Written(out, len(content), page.remarks)


def _page(contests: Sequence[Contest], worlds: Sequence[World]) -> Page:
    if len(contests) == 1:
        return Page([ContestPart(contests[0], marks([one.method for one in contests[0].contestants]))])
    rows = world_rows(contests)
    of_methods = marks([row.method for row in rows])
    parts = [
        ContestPart(contest, of_methods, world.name, place)
        for place, (contest, world) in enumerate(zip(contests, worlds, strict=True))
    ]
    return Page(parts, WorldsOverview(rows, parts))
