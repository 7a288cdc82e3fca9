"""Which frames were chosen for one question: what a selection file has a row of.

Frames carry position, time, score and *rank* (0 was chosen first), so that fewer frames can be taken from a selection
as the best of it; lists ordered by time alone lose the latest.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SelectionRow:
    """The frames chosen for one question, in order of time."""

    dataset: str
    split: str
    sample_id: str
    video: str
    sampler: str
    """Name of the system that chose them."""
    frame_ids: tuple[int, ...]
    """Positions in the file."""
    timestamps_s: tuple[float, ...] = ()
    """Empty where a published file does not tell."""
    scores: tuple[float, ...] = ()
    """The sampler's score of each frame; empty where it has none."""
    ranks: tuple[int, ...] = ()
    """Order in which they were chosen, 0 first; empty where a published file does not tell."""
    video_fps: float = 0.0
    num_video_frames: int = 0
    num_candidates: int = 0
    decoder: str = ""
    sampler_hash: str = ""
    """Of the sampler's class, settings and weights."""

    def __post_init__(self) -> None:
        for name in ("timestamps_s", "scores", "ranks"):
            values = getattr(self, name)
            if values and len(values) != len(self.frame_ids):
                raise ValueError(
                    f"selection of {self.sample_id}: {len(values)} {name} for {len(self.frame_ids)} frames"
                )

    def best(self, num_frames: int) -> tuple[int, ...]:
        """Frame ids of the best so many, in order of time: by rank, else by score, else evenly over the list."""
        if len(self.frame_ids) <= num_frames:
            return self.frame_ids
        if self.ranks or self.scores:
            goodness = [-r for r in self.ranks] if self.ranks else list(self.scores)
            order = sorted(range(len(goodness)), key=lambda i: -goodness[i])[:num_frames]
        else:
            last = len(self.frame_ids) - 1  # of a list that is a choice already: its ends stay, unlike `even_spacing`
            order = [round(n * last / (num_frames - 1)) if num_frames > 1 else last // 2 for n in range(num_frames)]
        return tuple(self.frame_ids[i] for i in sorted(order))
