"""What a report compares: systems with all their seeds, on the questions that all of them have answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from modules.evaluation.aggregate import Graded, grade
from modules.evaluation.answer_files import Answered
from modules.evaluation.gaps import CEILING
from modules.evaluation.report.run_folder import EvaluatedRun
from modules.evaluation.report.same_thing import description_key, family, num_frames_of, recipe_key
from modules.evaluation.score_table import in_order, lacks_evidence
from modules.evaluation.scorer_base import Scorer
from modules.records import Answer
from modules.selection.selection_row import SelectionRow

Key = tuple[str, ...]
"""Of a question: worlds of other seeds use the same ids, so that the id alone is not enough."""


def question_key(answer: Answer) -> Key:
    """What makes a question another one."""
    return (answer.dataset, answer.split, answer.sample_id, answer.question, *answer.options, str(answer.evidence_s))


@dataclass(frozen=True)
class Replicate:
    """One system of one run: every question once, in the order of the report."""

    run: EvaluatedRun
    system: str
    answered: list[Answered]

    def selection(self, question: int) -> SelectionRow | None:
        """Where it looked."""
        return self.run.selections.get((self.system, self.answered[question].answer.sample_id))


@dataclass
class Contestant:
    """One thing that is compared, with its seeds."""

    system: str
    """Its name in its runs."""
    label: str
    num_frames: int | None
    """K of its runs; None where nobody says."""
    replicates: list[Replicate]
    graded: Graded
    """The answers of all replicates, one replicate behind the other."""
    alike: list[Replicate]
    """Those that were left out because they answered exactly as another one did."""
    method: str = ""
    """Its label but for the number of frames: one method at several numbers of frames has one mark."""
    grades: np.ndarray = field(init=False)
    """float (R, N), of each replicate."""

    def __post_init__(self) -> None:
        self.grades = self.graded.correct.reshape(len(self.replicates), -1)

    @property
    def mean_grades(self) -> np.ndarray:
        """float (N,), over replicates."""
        return self.grades.mean(0)

    def value(self, questions: np.ndarray) -> float:
        """The number of some questions, by position, with repeats, over all replicates."""
        size = self.grades.shape[1]
        return self.graded.value(np.concatenate([questions + r * size for r in range(len(self.replicates))]))


@dataclass
class Contest:
    """All that are compared, and what they were asked."""

    scorer: Scorer
    questions: list[Answer]
    """Of any system, for question, options, evidence, groups and video."""
    contestants: list[Contestant]
    """From the floor to the ceiling, as the tables of a run order them."""
    runs: list[EvaluatedRun]
    remarks: list[str]
    """What was pooled, and what was left out."""

    @property
    def videos(self) -> np.ndarray:
        return np.array([answer.video for answer in self.questions])

    def named(self, system: str) -> Contestant | None:
        """The one of that name, where there is only one."""
        found = [one for one in self.contestants if one.system == system]
        return found[0] if len(found) == 1 else None


def contest_of(runs: Sequence[EvaluatedRun], scorer: Scorer) -> Contest:
    """Pools and pairs the systems of some runs.

    Raises:
        ValueError: the runs have no question in common, or the scorer can say nothing of any.
    """
    tables = [_by_question(run, scorer) for run in runs]
    keys = _shared(runs, tables, scorer)
    remarks = [f"{run.name}: {remark}" for run in runs for remark in run.remarks]
    every = {key for table in tables for system in table.values() for key in system}
    if len(keys) < len(every):
        remarks.append(
            f"{len(every) - len(keys)} of {len(every)} questions were left out, because not every system answered them."
        )
    replicates = [
        Replicate(run, system, [own[key] for key in keys])
        for run, table in zip(runs, tables, strict=True)
        for system, own in table.items()
    ]
    blind_oracles = [one for one in replicates if lacks_evidence([a.answer for a in one.answered])]
    if blind_oracles:
        remarks.append("The oracle is left out: no question says where its evidence is.")
        replicates = [one for one in replicates if one not in blind_oracles]
    contestants = [_contestant(own, scorer) for own in _same_things(replicates)]
    remarks += _of_pooling(contestants)
    _label(contestants)
    order = list(in_order({one.system for one in contestants}))
    contestants.sort(key=lambda one: (order.index(one.system), one.num_frames or 0, one.label))
    questions = [one.answer for one in replicates[0].answered]
    return Contest(scorer, questions, contestants, list(runs), remarks)


def _by_question(run: EvaluatedRun, scorer: Scorer) -> dict[str, dict[Key, Answered]]:
    found: dict[str, dict[Key, Answered]] = {}
    for one in run.answered:
        if scorer.judges(one.answer):
            found.setdefault(one.answer.system, {})[question_key(one.answer)] = one
    return found


def _shared(
    runs: Sequence[EvaluatedRun], tables: Sequence[dict[str, dict[Key, Answered]]], scorer: Scorer
) -> list[Key]:
    for run, table in zip(runs, tables, strict=True):
        if not table:
            raise ValueError(f"{scorer.name} can say nothing of any answer in {run.folder}; another --scorer might")
    of_runs = [set.intersection(*(set(own) for own in table.values())) for table in tables]
    shared = set.intersection(*of_runs)
    if not shared:
        names = ", ".join(run.name for run in runs)
        raise ValueError(
            f"no question was answered by every system of {names}; a report compares systems on the same questions, so "
            "make one of each data set"
        )
    return sorted(shared)


def _same_things(replicates: list[Replicate]) -> list[list[Replicate]]:
    """Replicates by what they are of; joined where either key says so."""
    groups: list[tuple[set[tuple[str, str]], list[Replicate]]] = []
    recipes = {id(one.run): recipe_key(one.run) for one in replicates}
    for one in replicates:
        description = description_key(one.run, one.system)
        keys = {(one.system, recipes[id(one.run)])} | ({(one.system, description)} if description else set())
        members = [one]
        for group in [group for group in groups if group[0] & keys]:
            keys |= group[0]
            members = group[1] + members
            groups.remove(group)
        groups.append((keys, members))
    return [members for _, members in groups]


def _contestant(replicates: list[Replicate], scorer: Scorer) -> Contestant:
    distinct: dict[tuple, Replicate] = {}
    alike = []
    for one in replicates:
        said = tuple((a.answer.option_log_probs, a.answer.text, a.answer.timestamps_s) for a in one.answered)
        if distinct.setdefault(said, one) is not one:
            alike.append(one)
    kept, system = list(distinct.values()), replicates[0].system
    graded = grade([a.answer for one in kept for a in one.answered], scorer)
    return Contestant(system, system, num_frames_of(kept[0].run), kept, graded, alike)


def _of_pooling(contestants: list[Contestant]) -> list[str]:
    """Which runs were taken for seeds of one thing, and which answers counted once; systems alike in one sentence."""
    pooled: dict[str, list[str]] = {}
    once: dict[str, list[str]] = {}
    for one in contestants:
        if len(one.replicates) > 1:
            pooled.setdefault(_names(one.replicates), []).append(one.system)
        if one.alike:
            once.setdefault(_names([*one.replicates, *one.alike]), []).append(one.system)
    return [
        *(f"Pooled as seeds of one thing, in {names}: {', '.join(systems)}." for names, systems in pooled.items()),
        *(
            f"Answers that are word for word the same in {names} count once: {', '.join(systems)}."
            for names, systems in once.items()
        ),
    ]


def _names(replicates: list[Replicate]) -> str:
    return ", ".join(dict.fromkeys(one.run.name for one in replicates))


def _label(contestants: list[Contestant]) -> None:
    """Names that tell all apart: the system's, with K where it varies, and with its runs where that is not enough."""
    titles = in_order({one.system for one in contestants})
    frames = {one.num_frames for one in contestants if one.system != "blind"}
    for one in contestants:
        own = [other for other in contestants if other.system == one.system]
        runs = family([replicate.run.folder for replicate in one.replicates])
        one.label = titles[one.system]
        if len({family([r.run.folder for r in other.replicates]) for other in own}) > 1 and (
            len({other.num_frames for other in own}) < len(own)
        ):
            one.label += f" ({runs})"
        one.method = one.label
        if len(frames) > 1 and len({other.num_frames for other in own}) > 1:
            one.label += f", {one.num_frames} frames"
    for label in {one.label for one in contestants}:
        alike = [one for one in contestants if one.label == label]
        for number, one in enumerate(alike, 1):
            one.label += f" ({number})" if len(alike) > 1 else ""


YARDSTICKS = ("blind", "uniform", "random", CEILING)
"""Systems that show where floor and ceiling are, rather than take part."""


def is_yardstick(contestant: Contestant) -> bool:
    """Whether it is one of `YARDSTICKS`."""
    return contestant.system in YARDSTICKS
