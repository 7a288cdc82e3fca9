"""Multiple-choice questions about a plan: text, four options, the right one, and where it can be seen.

Wrong options are, wherever there is one, what the *other* moments of the same video would suggest (the colour of the
last shape to a question about the first, the letter on the other card), so that a look at the wrong moment misleads.
Answers are drawn evenly by construction, so that a blind answerer stays at chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from datamodules.haystack.wordings import SIGN_WORDS, Wordings, lettered, worded
from datamodules.haystack.world import COLOURS, DOTS, QUESTION_KINDS, Event, VideoPlan, vocabularies
from datamodules.haystack.world_difficulty import CARDS
from modules.records import VideoQuestion

NUM_OPTIONS = 4
_SECONDS = ("2", "4", "8", "16")
_EIGHTHS = DOTS[:NUM_OPTIONS]
Draft = tuple[str, dict[str, str], str, list[str], list[Event]]
"""Pattern of the question and what fills its blanks (`wordings`), answer, wrong options best first, evidence events."""


def _needle(plan: VideoPlan, rng: np.random.Generator) -> Iterator[Draft]:
    signs = plan.by_role("sign")
    shapes = [e for role in ("triple-before", "triple-middle", "triple-after") for e in plan.by_role(role)]
    for event in rng.permutation(np.array(signs, dtype=object)):
        others = [e.label for e in plan.events if e.kind == event.kind and e is not event]
        wrong = [*others, *(str(v) for v in rng.permutation(vocabularies()[event.kind]))]
        if event.kind == "boxes":  # the box that is named is no answer
            wrong = [w for w in wrong if w != event.colour]
        yield event.kind, {"colour": event.colour}, event.label, wrong, [event]
    for event in rng.permutation(np.array(shapes, dtype=object)):
        wrong = [e.colour for e in rng.permutation(np.array(shapes, dtype=object)) if e is not event]
        yield "colour", {"shape": event.label}, event.colour, wrong, [event]


def _edge(role: str, other: str, word: str) -> Callable[[VideoPlan, np.random.Generator], Iterator[Draft]]:
    def drafts(plan: VideoPlan, rng: np.random.Generator) -> Iterator[Draft]:
        event, far = plan.by_role(role)[0], plan.by_role(other)[0]
        yield word, {}, event.colour, [far.colour, *_colours(rng)], [event]

    return drafts


def _neighbour(role: str, other: str, word: str) -> Callable[[VideoPlan, np.random.Generator], Iterator[Draft]]:
    def drafts(plan: VideoPlan, rng: np.random.Generator) -> Iterator[Draft]:
        triples = list(zip(plan.by_role("triple-middle"), plan.by_role(role), plan.by_role(other), strict=True))
        for i in rng.permutation(len(triples)):
            middle, event, opposite = triples[i]
            wrong = [opposite.colour, middle.colour, *_colours(rng)]
            yield word, {"shape": middle.label}, event.colour, wrong, [middle, event]

    return drafts


def _order(plan: VideoPlan, rng: np.random.Generator) -> Iterator[Draft]:
    unique = [e for e in plan.events if e.role.startswith("triple")]
    while True:
        chosen = sorted(rng.permutation(len(unique))[:NUM_OPTIONS])
        events = [unique[i] for i in chosen]
        names = [str(n) for n in rng.permutation([e.label for e in events])]
        yield "order", lettered(names), events[0].label, [e.label for e in events[1:]], events


def _count(plan: VideoPlan, rng: np.random.Generator) -> Iterator[Draft]:
    repeated = plan.by_role("repeated")
    for name in rng.permutation(sorted({e.label for e in repeated})):
        events = [e for e in repeated if e.label == name]
        wrong = [d for d in DOTS[:NUM_OPTIONS] if d != str(len(events))]
        yield "count", {"shape": name}, str(len(events)), wrong, events


def _when(plan: VideoPlan, rng: np.random.Generator) -> Iterator[Draft]:
    """Nothing that is seen tells the quarter; the quarter is drawn first, so that all four are asked for alike."""
    unique, quarters = [e for e in plan.events if e.role.startswith("triple")], DOTS[:NUM_OPTIONS]
    for answer in rng.permutation(quarters):
        low, high = ((quarters.index(answer) + side) * plan.duration_s / len(quarters) for side in (0, 1))
        inside = [e for e in unique if low <= e.start_s and e.end_s <= high]
        if inside:
            event = inside[rng.integers(len(inside))]
            yield "when", {"shape": event.label}, str(answer), [q for q in quarters if q != answer], [event]


def _never(plan: VideoPlan, rng: np.random.Generator) -> Iterator[Draft]:
    """Three shapes that are shown are the evidence; where each shape happens, nobody can be asked."""
    unique = [e for e in plan.events if e.role.startswith("triple")]
    absent = sorted(set(plan.shapes) - {e.label for e in plan.events if e.kind == "shape"})
    while absent:
        events = sorted((unique[i] for i in rng.permutation(len(unique))[: NUM_OPTIONS - 1]), key=lambda e: e.start_s)
        answer = str(rng.choice(absent))
        names = [str(n) for n in rng.permutation([answer, *(e.label for e in events)])]
        yield "never", lettered(names), answer, [e.label for e in events], events


def _apart(plan: VideoPlan, rng: np.random.Generator) -> Iterator[Draft]:
    """Eighths of the video between two things that are named, one of them a shape; the answer is drawn first.

    What is not within a third of an eighth of an option is not asked about, which leaves room for times in percent.
    """
    unique = [e for e in plan.events if e.role.startswith("triple")]
    cards = [e for e in plan.events if e.kind in CARDS]
    pairs = [(a, b) for n, a in enumerate(unique) for b in (*unique[n + 1 :], *cards)]
    eighths = np.array([abs(b.start_s + b.end_s - a.start_s - a.end_s) * 4 / plan.duration_s for a, b in pairs])
    for answer in rng.permutation(_EIGHTHS):
        close = np.flatnonzero(np.abs(eighths - int(answer)) < 1 / 3)
        if len(close):
            pair = pairs[rng.choice(close)]
            blanks = lettered([named(pair[i]) for i in rng.permutation(2)])
            evidence = sorted(pair, key=lambda e: e.start_s)
            yield "apart", blanks, str(answer), [e for e in _EIGHTHS if e != answer], evidence


def named(event: Event) -> str:
    """What questions call a shape, a letter or a number of dots."""
    return event.label if event.kind == "shape" else f"{event.colour} {SIGN_WORDS[event.kind][0]}"


def _how_long(plan: VideoPlan, rng: np.random.Generator) -> Iterator[Draft]:
    """Seconds to the nearest of four powers of two; events between two of them are not asked about.

    All four are the answer alike where durations are uneven and reach from 1.6 to 20.2 s.
    """
    unique = [e for e in plan.events if e.role.startswith("triple")]
    for answer in rng.permutation(_SECONDS):
        close = [e for e in unique if abs(np.log2((e.end_s - e.start_s) / int(answer))) < 1 / 3]
        if close:
            event = close[rng.integers(len(close))]
            yield "how_long", {"shape": event.label}, str(answer), [s for s in _SECONDS if s != answer], [event]


def _colours(rng: np.random.Generator) -> list[str]:
    return [str(c) for c in rng.permutation(COLOURS)]


_DRAFTS: dict[str, Callable[[VideoPlan, np.random.Generator], Iterator[Draft]]] = {
    "needle": _needle,
    "begin": _edge("opening", "closing", "first"),
    "end": _edge("closing", "opening", "last"),
    "before": _neighbour("triple-before", "triple-after", "before"),
    "after": _neighbour("triple-after", "triple-before", "after"),
    "order": _order,
    "count": _count,
    "when": _when,
    "never": _never,
    "apart": _apart,
    "how_long": _how_long,
}


def ask(
    plan: VideoPlan,
    split: str,
    video: str,
    num_per_kind: dict[str, int],
    rng: np.random.Generator,
    wordings: Wordings = "plain",
) -> list[VideoQuestion]:
    """Writes the questions of one video.

    Args:
        plan: what happens in it.
        split: train, val or test.
        video: path of the file.
        num_per_kind: how many of each kind of `QUESTION_KINDS`; fewer where the video does not offer as many.
        rng: draws which events are asked about and the order of options.
        wordings: which ones the questions are worded in, drawn apart from the rest, so that nothing else differs.
    """
    unknown = set(num_per_kind) - set(QUESTION_KINDS)
    if unknown:
        raise ValueError(f"question kinds {sorted(unknown)} unknown; choose from {list(QUESTION_KINDS)}")
    questions: list[VideoQuestion] = []
    wording_rng = rng.spawn(1)[0]
    for kind, number in num_per_kind.items():
        for (pattern, blanks, answer, wrong, evidence), _ in zip(_DRAFTS[kind](plan, rng), range(number), strict=False):
            distractors = [w for w in dict.fromkeys(wrong) if w != answer][: NUM_OPTIONS - 1]
            options = [str(o) for o in rng.permutation([answer, *distractors])]
            questions.append(
                VideoQuestion(
                    dataset="haystack",
                    split=split,
                    sample_id=f"{plan.video_id}-q{len(questions):02d}",
                    video=video,
                    duration_s=plan.duration_s,
                    question=worded(pattern, blanks, wordings, wording_rng),
                    options=tuple(options),
                    answer_index=options.index(answer),
                    evidence_s=tuple(e.span_s for e in evidence),
                    groups={"kind": kind},
                )
            )
    return questions
