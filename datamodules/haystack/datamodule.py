"""The Haystack world as a data module: writes its videos, asks its questions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jsonargparse.typing import NonNegativeInt

from datamodules.haystack.questions import ask
from datamodules.haystack.video_writing import video_path, write_videos
from datamodules.haystack.wordings import Wordings
from datamodules.haystack.world import QUESTION_KINDS, World
from datamodules.questions.video_questions import VideoQuestionData
from modules.records import VideoQuestion

_MAIN = "main"
_DEFAULT_KINDS = {"needle": 2, "begin": 1, "end": 1, "before": 1, "after": 1, "order": 2, "count": 2}


class HaystackData(VideoQuestionData):
    """Procedural long videos with questions whose evidence is known.

    Args:
        world: what a video is like.
        other_worlds: by name, so that what is learnt is not the ways of one world: videos are of ``world`` and of these
            in turn, and a question's group ``world`` says of which (``main``, or the name). null leaves one out.
        root: where the videos lie; each set of world parameters has its folder there.
        num_train_videos, num_val_videos, num_test_videos: sizes of the splits, which share no video.
        questions_per_video: how many of each kind a video is asked.
        wordings: which ones questions are worded in; answers and evidence are the same in each.
        test_wordings: the same of the test split; null: as ``wordings``.
        kwargs: see `VideoQuestionData`.
    """

    def __init__(
        self,
        *,
        world: World,
        other_worlds: dict[str, World | None] | None = None,
        root: str = "data/haystack/videos",
        num_train_videos: NonNegativeInt = 120,
        num_val_videos: NonNegativeInt = 12,
        num_test_videos: NonNegativeInt = 48,
        questions_per_video: dict[str, NonNegativeInt] | None = None,
        wordings: Wordings = "plain",
        test_wordings: Wordings | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.world, self.root = world, root
        if _MAIN in (other_worlds or {}):
            raise ValueError(f"other_worlds: {_MAIN!r} is the name of `world` itself; take another")
        self.worlds = {_MAIN: world, **{name: w for name, w in (other_worlds or {}).items() if w is not None}}
        self.num_videos = {"train": num_train_videos, "val": num_val_videos, "test": num_test_videos}
        self.questions_per_video = dict(_DEFAULT_KINDS if questions_per_video is None else questions_per_video)
        unknown = set(self.questions_per_video) - set(QUESTION_KINDS)
        if unknown:
            raise ValueError(f"questions_per_video: {sorted(unknown)} unknown; choose from {list(QUESTION_KINDS)}")

        self.wordings: dict[str, Wordings] = {
            "train": wordings,
            "val": wordings,
            "test": wordings if test_wordings is None else test_wordings,
        }

    def prepare_data(self) -> None:
        for place, world in enumerate(self.worlds.values()):
            mine = {split: range(place, number, len(self.worlds)) for split, number in self.num_videos.items()}
            write_videos(self.root, world, mine, self.decoding.num_workers)

    def load_questions(self, split: str) -> list[VideoQuestion]:
        names, questions = list(self.worlds), []
        for n in range(self.num_videos[split]):
            name = names[n % len(names)]
            world = self.worlds[name]
            rng = np.random.default_rng([world.seed, 3, list(self.num_videos).index(split), n])
            path = str(video_path(self.root, world, split, n))
            asked = ask(world.plan(split, n), split, path, self.questions_per_video, rng, self.wordings[split])
            if len(names) > 1:
                asked = [replace(question, groups={**question.groups, "world": name}) for question in asked]
            questions += asked
        return questions
