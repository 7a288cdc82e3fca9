"""What makes things hard to find in a Haystack video, each an option of its own.

None of it makes a frame hard to read once it is found, so the oracle stays high while samplers fall; only `event_size`
and `event_opacity` do both, and the shipped models, which saw nothing small or faint, read less of it. Evidence in far
places needs no option: the world's ``gap_s`` says it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CARDS = ("glyph", "dots")
"""Signs of one colour that nobody takes for a shape, so that they may stand between two of them."""


@dataclass(frozen=True)
class Cast:
    """An event before it has its time and place."""

    kind: str
    colour: str
    label: str
    role: str
    near: bool = False
    """Whether it follows the one before it in its group within seconds, whatever the group's usual pause is."""


@dataclass(frozen=True, kw_only=True)
class Difficulty:
    """Options of a world that is hard to search.

    Args:
        edges_frac: the first event lies anywhere in so much of the beginning, before all others, and the last one in as
            much of the end; without a difficulty they have a place of their own in the first and last 6 %.
        look_alikes: beside each sign stands one of its kind in another colour, and cards stand between the shapes of a
            triple: who looks some seconds beside the evidence sees a wrong answer.
        near_s: shortest and longest pause between such neighbours.
        uneven_durations: the logarithm of an event's duration is drawn evenly, so that most are short.
        absent_shape: one of the nine shapes does not happen, so that it can be asked which.
        scene_s: seconds from one cut of the background to the next.
        num_scenes: how many backgrounds a video has, shown again and again; None: each is new.
        event_size: smallest and largest width of an event, as a fraction of the frame.
        event_opacity: faintest and strongest event; at 1 nothing of the background shines through.
    """

    edges_frac: float = 0.06
    look_alikes: bool = False
    near_s: tuple[float, float] = (0.5, 1.5)
    uneven_durations: bool = False
    absent_shape: bool = False
    scene_s: float = 40.0
    num_scenes: int | None = None
    event_size: tuple[float, float] = (0.5, 0.62)
    event_opacity: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        if not 0.02 <= self.edges_frac <= 0.4:
            raise ValueError(f"edges_frac={self.edges_frac}: between 0.02 and 0.4, so that there is room between them")
        limits = {"near_s": (0.0, 60.0), "event_size": (0.1, 0.7), "event_opacity": (0.1, 1.0)}
        for name, (least, most) in limits.items():
            low, high = getattr(self, name)
            if not least < low + 1e-9 <= high + 1e-9 <= most + 2e-9:
                raise ValueError(f"{name}={[low, high]}: needs {least} <= smallest <= largest <= {most}")
        if self.scene_s < 1:
            raise ValueError(f"scene_s={self.scene_s}: at least a second between cuts")
        if self.num_scenes is not None and self.num_scenes < 2:
            raise ValueError(
                f"num_scenes={self.num_scenes}: a cut leads to another background, so there are two at least"
            )

    @property
    def max_look_alikes(self) -> int:
        """Most events that `look_alikes` adds to a video."""
        return 8 if self.look_alikes else 0


def add_look_alikes(
    rng: np.random.Generator,
    triples: list[list[Cast]],
    signs: list[list[Cast]],
    vocabularies: dict[str, tuple[str, ...]],
) -> tuple[list[list[Cast]], list[list[Cast]]]:
    """Groups with look-alikes among them; no two signs of a kind share a colour, so that questions name one of them.

    Args:
        rng: draws which, and on which side.
        triples: groups of three shapes.
        signs: groups of one sign.
        vocabularies: labels of each kind of sign; those of boxes are colours.
    """
    spare = {kind: _look_alikes(rng, kind, signs, vocabularies) for kind in sorted({group[0].kind for group in signs})}
    beside = []
    for (sign,) in signs:
        if not spare[sign.kind]:
            beside.append([sign])
            continue
        other = spare[sign.kind].pop()
        before = rng.random() < 0.5
        beside.append([other, _near(sign)] if before else [sign, _near(other)])
    cards = [card for kind in CARDS for card in spare.get(kind, [])]
    pauses = [(n, second) for n in range(len(triples)) for second in (1, 2)]
    in_pause = dict(zip([pauses[i] for i in rng.permutation(len(pauses))], cards, strict=False))
    between = []
    for n, triple in enumerate(triples):
        group = triple[:1]
        for second in (1, 2):
            card, shape = in_pause.get((n, second)), triple[second]
            if card is None:
                group = [*group, shape]
            else:  # a card is near one of the two shapes, which may be far from each other
                group = [*group, card, _near(shape)] if rng.random() < 0.5 else [*group, _near(card), shape]
        between.append(group)
    return between, beside


def _look_alikes(
    rng: np.random.Generator, kind: str, signs: list[list[Cast]], vocabularies: dict[str, tuple[str, ...]]
) -> list[Cast]:
    own = [sign for (sign,) in signs if sign.kind == kind]
    seen = {sign.colour for sign in own} | ({sign.label for sign in own} if kind == "boxes" else set())
    colours = [str(c) for c in rng.permutation(vocabularies["boxes"]) if str(c) not in seen]
    if kind == "boxes":  # a pair of boxes takes two colours
        return [Cast(kind, a, b, "look-alike") for a, b in zip(colours[::2], colours[1::2], strict=False)]
    labels = rng.choice(vocabularies[kind], len(colours))
    return [Cast(kind, colour, str(label), "look-alike") for colour, label in zip(colours, labels, strict=True)]


def _near(cast: Cast) -> Cast:
    return Cast(cast.kind, cast.colour, cast.label, cast.role, near=True)
