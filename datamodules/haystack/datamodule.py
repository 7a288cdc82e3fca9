"""The Haystack world as a data module: writes its videos, asks its questions."""

from __future__ import annotations

from typing import Any

import numpy as np
from jsonargparse.typing import NonNegativeInt

from datamodules.haystack.questions import ask
from datamodules.haystack.video_writing import video_path, write_videos
from datamodules.haystack.world import QUESTION_KINDS, World
from datamodules.questions.video_questions import VideoQuestionData
from modules.records import VideoQuestion

_DEFAULT_KINDS = {"needle": 2, "begin": 1, "end": 1, "before": 1, "after": 1, "order": 2, "count": 2}


class HaystackData(VideoQuestionData):
    """Procedural long videos with questions whose evidence is known.

    Args:
        world: what a video is like.
        root: where the videos lie; each set of world parameters has its folder there.
        num_train_videos, num_val_videos, num_test_videos: sizes of the splits, which share no video.
        questions_per_video: how many of each kind a video is asked.
        kwargs: see `VideoQuestionData`.
    """

    def __init__(
        self,
        *,
        world: World,
        root: str = "data/haystack/videos",
        num_train_videos: NonNegativeInt = 120,
        num_val_videos: NonNegativeInt = 12,
        num_test_videos: NonNegativeInt = 48,
        questions_per_video: dict[str, NonNegativeInt] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.world, self.root = world, root
        self.num_videos = {"train": num_train_videos, "val": num_val_videos, "test": num_test_videos}
        self.questions_per_video = dict(_DEFAULT_KINDS if questions_per_video is None else questions_per_video)
        unknown = set(self.questions_per_video) - set(QUESTION_KINDS)
        if unknown:
            raise ValueError(f"questions_per_video: {sorted(unknown)} unknown; choose from {list(QUESTION_KINDS)}")

    def prepare_data(self) -> None:
        write_videos(self.root, self.world, self.num_videos, self.decoding.num_workers)

    def load_questions(self, split: str) -> list[VideoQuestion]:
        questions = []
        for n in range(self.num_videos[split]):
            rng = np.random.default_rng([self.world.seed, 3, list(self.num_videos).index(split), n])
            path = str(video_path(self.root, self.world, split, n))
            questions += ask(self.world.plan(split, n), split, path, self.questions_per_video, rng)
        return questions
