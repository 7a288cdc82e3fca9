"""The questions of a report one by one: what each system chose, what it answered, and what it did on its way."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modules.evaluation.report.contestants import Contest, Contestant, Replicate
from modules.evaluation.report.marks import Mark
from modules.evaluation.report.picture_source import FramesOfVideo
from modules.parsing import LETTERS
from modules.records import Answer, TraceStep
from modules.selection.even_spacing import evenly_spaced
from modules.selection.selection_row import SelectionRow
from modules.systems.grading import most_probable_option, named_option

UNITS, TALL = 1000, 20
"""Width and height of a timeline, in units of its picture."""
_NARROWEST = 8.0
_OF_EVIDENCE, _OF_ONE, _OF_ALL = 4, 8, 16
"""Thumbnails that are wanted of one system in the evidence, of one system, and of a question."""


@dataclass(frozen=True)
class Row:
    """What one system did with one question; of its first seed where it has several."""

    contestant: Contestant
    mark: Mark
    misses: str
    """Path of the chosen frames outside of the evidence: a stroke a frame, the taller the higher its score."""
    hits: str
    """The same of those inside."""
    said: str
    """What it answered, as short as a table wants it."""
    grade: float
    """Mean over seeds."""
    trace: tuple[TraceStep, ...]
    exit: str | None

    @property
    def verdict(self) -> str:
        """``right``, ``wrong`` or, where seeds or grades lie between, ``partly``."""
        return "right" if self.grade >= 1 else "wrong" if self.grade <= 0 else "partly"


@dataclass
class Thumbnail:
    """A frame that somebody chose."""

    frame_id: int
    time_s: float
    in_evidence: bool
    chosen_by: list[Row]
    url: str = ""


@dataclass
class Card:
    """One question."""

    answer: Answer
    duration_s: float
    evidence: list[tuple[float, float]]
    """Left end and width in units of the timeline, wide enough to be seen."""
    rows: list[Row]
    labels: list[str]
    """``GROUP=LABEL``."""
    world: str
    """Its name, on a page of several."""
    frames: FramesOfVideo | None
    """What thumbnails are wanted of; the most important first is `wanted`."""
    wanted: list[int] = field(default_factory=list)
    thumbnails: list[Thumbnail] = field(default_factory=list)

    @property
    def times(self) -> list[float]:
        """Where the timeline has its labels."""
        return [self.duration_s * n / 4 for n in range(5)]

    @property
    def by_system(self) -> dict[str, Row]:
        """Its rows by the systems' labels."""
        return {row.contestant.label: row for row in self.rows}


def shared_out(num_questions: int, sizes: Sequence[int]) -> list[int]:
    """Questions that each of some contests shows: as many each, one at least; what a small one leaves, others take."""
    shares, left = [0] * len(sizes), num_questions
    for done, place in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        shares[place] = max(1, min(sizes[place], left // (len(sizes) - done)))
        left -= shares[place]
    return shares


def cards(
    contest: Contest, ordered: Sequence[Contestant], marks: Sequence[Mark], num_questions: int, world: str = ""
) -> list[Card]:
    """So many questions, evenly spread over those that there are.

    Args:
        contest: who answered what.
        ordered: the systems in the order of their rows, whose thumbnails matter in this order too.
        marks: of each.
        num_questions: at most.
        world: the contest's name, on a page of several.
    """
    every = len(contest.questions)
    shown = range(every) if every <= num_questions else evenly_spaced(every, num_questions).tolist()
    return [_card(q, contest.questions[q], ordered, marks, world) for q in shown]


def _card(q: int, answer: Answer, ordered: Sequence[Contestant], marks: Sequence[Mark], world: str) -> Card:
    replicates = [one.replicates[0] for one in ordered]
    selections = [replicate.selection(q) for replicate in replicates]
    duration_s = _duration(answer, replicates, selections, q)
    drawn = zip(ordered, marks, selections, strict=True)
    rows = [_row(q, one, mark, selection, duration_s) for one, mark, selection in drawn]
    card = Card(
        answer=answer,
        duration_s=duration_s,
        evidence=[_band(start, end, duration_s) for start, end in answer.evidence_s],
        rows=rows,
        labels=[
            f"{group}={label}"
            for group, labels in sorted(answer.groups.items())
            for label in ((labels,) if isinstance(labels, str) else labels)
        ],
        world=world,
        frames=None,
    )
    _want_thumbnails(card, replicates, selections)
    return card


def _duration(answer: Answer, replicates: Sequence[Replicate], rows: Sequence[SelectionRow | None], q: int) -> float:
    """Of the video as the selections tell, and at least as long as anything that is shown."""
    told = [row.num_video_frames / row.video_fps for row in rows if row is not None and row.video_fps > 0]
    times = [t for replicate in replicates for t in replicate.answered[q].answer.timestamps_s]
    ends = [end for _, end in answer.evidence_s]
    steps = [end for r in replicates for step in r.answered[q].trace for _, end in step.spans_s]
    return max([1e-3, *(t for t in (*told, *times, *ends, *steps) if math.isfinite(t))])


def _band(start: float, end: float, duration_s: float) -> tuple[float, float]:
    left, width = UNITS * start / duration_s, UNITS * (end - start) / duration_s
    if width < _NARROWEST:
        left, width = left - (_NARROWEST - width) / 2, _NARROWEST
    return round(max(0.0, min(left, UNITS - width)), 1), round(width, 1)


def _row(q: int, one: Contestant, mark: Mark, selection: SelectionRow | None, duration_s: float) -> Row:
    answered = one.replicates[0].answered[q]
    answer = answered.answer
    strokes = _strokes(answer, selection, duration_s)
    return Row(
        contestant=one,
        mark=mark,
        misses=_path(strokes, hits=False),
        hits=_path(strokes, hits=True),
        said=_said(answer),
        grade=float(one.mean_grades[q]),
        trace=answered.trace,
        exit=answer.exit,
    )


def _strokes(answer: Answer, selection: SelectionRow | None, duration_s: float) -> dict[tuple[int, bool], int]:
    """Height of each stroke by its place and whether it lies in the evidence; all alike where there are no scores."""
    times, scores = answer.timestamps_s, tuple[float, ...]()
    if selection is not None and len(selection.scores) == len(selection.timestamps_s):
        times, scores = selection.timestamps_s, selection.scores
    real = [s for s in scores if math.isfinite(s)]
    low, high = (min(real), max(real)) if real else (0.0, 0.0)
    strokes: dict[tuple[int, bool], int] = {}
    for n, t in enumerate(times):
        if not math.isfinite(t):
            continue
        share = (scores[n] - low) / (high - low) if high > low and math.isfinite(scores[n]) else 1.0
        place = round(UNITS * t / duration_s), _inside(t, answer)
        strokes[place] = max(strokes.get(place, 0), round(TALL * (0.4 + 0.6 * share)))
    return strokes


def _path(strokes: Mapping[tuple[int, bool], int], hits: bool) -> str:
    return "".join(f"M{x} {TALL}v-{height}" for (x, hit), height in sorted(strokes.items()) if hit == hits)


def _said(answer: Answer) -> str:
    if not answer.options:
        return (answer.text or "").strip() or "nothing"
    chosen = named_option(answer) if answer.option_log_probs is None else most_probable_option(answer)
    if chosen is None:
        return "nothing"
    letter = LETTERS[chosen] if chosen < len(LETTERS) else str(chosen + 1)
    if answer.option_log_probs is None:
        return letter
    return f"{letter} {100 * math.exp(answer.option_log_probs[chosen]):.0f} %"


def _want_thumbnails(card: Card, replicates: Sequence[Replicate], selections: Sequence[SelectionRow | None]) -> None:
    """Frames to show: of each system those in the evidence first, then its best; systems in the order of the rows."""
    times: dict[int, float] = {}
    chosen_by: dict[int, list[Row]] = {}
    video = None
    for row, replicate, selection in zip(card.rows, replicates, selections, strict=True):
        if selection is None or not selection.timestamps_s or (video is not None and selection.video != video[0]):
            continue
        video = video or (selection.video, replicate.run.places, selection.num_video_frames)
        own = dict(zip(selection.frame_ids, selection.timestamps_s, strict=True))
        times |= own
        for frame in own:
            chosen_by.setdefault(frame, []).append(row)
        inside = [frame for frame, t in own.items() if _inside(t, card.answer)]
        best = [*inside[:_OF_EVIDENCE], *(frame for frame in _best_first(selection) if frame not in inside)][:_OF_ONE]
        card.wanted += [frame for frame in best if frame not in card.wanted]
    card.wanted = card.wanted[:_OF_ALL]
    if video is None or not card.wanted:
        return
    name, places, size = video
    card.frames = FramesOfVideo(name, tuple(places), tuple(sorted(card.wanted)), size)
    card.thumbnails = [
        Thumbnail(frame, times[frame], _inside(times[frame], card.answer), chosen_by[frame])
        for frame in sorted(card.wanted, key=times.__getitem__)
    ]


def _best_first(selection: SelectionRow) -> list[int]:
    """Frame ids by rank; of clips, whose frames share a rank, one each first; without ranks some, evenly spread."""
    if not selection.ranks:
        return list(selection.best(_OF_ONE))
    times_seen: Counter[int] = Counter()
    keyed = []
    for frame, rank in zip(selection.frame_ids, selection.ranks, strict=True):
        keyed.append((times_seen[rank], rank, frame))
        times_seen[rank] += 1
    return [frame for _, _, frame in sorted(keyed)]


def _inside(time_s: float, answer: Answer) -> bool:
    return any(start <= time_s < end for start, end in answer.evidence_s)
