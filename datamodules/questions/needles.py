"""TSPO's needle data, built in feature space: a clip hidden among clips of other videos.

The official code decodes 13 videos and joins their pixels at every step. Features of every clip are stored already, so
here a haystack is an arrangement of rows, and only frames that some rollout chooses are ever decoded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch

from datamodules.video.feature_store import Entry
from modules.records import Candidates, VideoQuestion
from modules.seeds import seed_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeedleBuilder:
    """How haystacks are built; the defaults are the official code's.

    Args:
        num_distractors: clips of other videos.
        frames_per_clip: frames of each clip.
        max_copies: the target appears 1 to this many times, each time as another random subset of its frames.
        group, value: only questions whose ``groups[group]`` is ``value`` become needles; all with ``group`` None.
        seed: with the question's id and the number of the batch it seeds a haystack.
    """

    num_distractors: int = 12
    frames_per_clip: int = 50
    max_copies: int = 4
    group: str | None = None
    value: str = "specific"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_distractors", "frames_per_clip", "max_copies"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: at least 1")

    def applies(self, question: VideoQuestion) -> bool:
        """Whether this question becomes a needle."""
        return self.group is None or question.groups.get(self.group) == self.value

    def build(
        self,
        question: VideoQuestion,
        target: Entry,
        questions: Sequence[VideoQuestion],
        entry: Callable[[int], Entry],
        number: int,
    ) -> tuple[VideoQuestion, Entry]:
        """A haystack around the target.

        # official code: distractors may be the target's own video; here: its own excluded

        Args:
            question: about the target.
            target: its features.
            questions: to draw distractor videos from.
            entry: features of the video of question i.
            number: of the batch, so that each visit gets another haystack.

        Returns:
            The question with the target clips as evidence, and the features of the haystack; times run on at the
            target's candidate spacing.
        """
        if target.candidates.clip_frame_ids is not None:
            raise ValueError("needles are made of frames, and this encoder makes memories of clips: leave needles out")
        rng = np.random.default_rng(seed_of(f"{self.seed}/{number}/{question.sample_id}"))
        others = [i for i, q in enumerate(questions) if q.video != question.video]
        if not others:
            raise ValueError(f"needle for {question.sample_id}: there is no other video to hide {question.video} among")
        num_copies = int(rng.integers(1, self.max_copies + 1))
        copies = [(target, self._random_subset(target, rng)) for _ in range(num_copies)]
        clutter = [(e, self._evenly(e)) for e in (entry(int(i)) for i in rng.choice(others, self.num_distractors))]
        is_target = rng.permutation(np.arange(num_copies + self.num_distractors) < num_copies)
        clips = [copies.pop(0) if own else clutter.pop(0) for own in is_target]
        return self._join(question, clips, is_target, _spacing_s(target.candidates))

    def _random_subset(self, entry: Entry, rng: np.random.Generator) -> np.ndarray:
        length = len(entry.candidates)
        return np.sort(rng.choice(length, min(self.frames_per_clip, length), replace=False))

    def _evenly(self, entry: Entry) -> np.ndarray:
        length = len(entry.candidates)
        # official code: both ends included; not `modules.selection.even_spacing`
        return np.unique(np.linspace(0, length - 1, min(self.frames_per_clip, length)).astype(int))

    def _join(
        self, question: VideoQuestion, clips: list[tuple[Entry, np.ndarray]], is_target: np.ndarray, spacing_s: float
    ) -> tuple[VideoQuestion, Entry]:
        sources = tuple(dict.fromkeys(e.candidates.video for e, _ in clips))
        lengths = [len(rows) for _, rows in clips]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        candidates = Candidates(
            video=question.video,
            frame_ids=torch.cat([e.candidates.frame_ids[rows] for e, rows in clips]),
            timestamps_s=torch.arange(int(starts[-1]), dtype=torch.float64) * spacing_s,
            duration_s=float(starts[-1]) * spacing_s,
            sources=sources,
            source_index=torch.cat([torch.full((len(r),), sources.index(e.candidates.video)) for e, r in clips]),
        )
        spans = tuple(
            (float(starts[c]) * spacing_s, float(starts[c + 1]) * spacing_s) for c in np.flatnonzero(is_target)
        )
        hidden = dataclasses.replace(question, evidence_s=spans, duration_s=candidates.duration_s)
        return hidden, Entry(candidates, torch.cat([e.features[rows] for e, rows in clips]))


def _spacing_s(candidates: Candidates) -> float:
    return float(candidates.timestamps_s.diff().median()) if len(candidates) > 1 else 1.0
