"""Short captioned clips of the Haystack world as a data module: writes them as MP4, asks for their description."""

from __future__ import annotations

from typing import Any

from jsonargparse.typing import NonNegativeInt, PositiveInt

from datamodules.annotations.caption_source import DESCRIBE
from datamodules.haystack.clip_captions import NUM_WORDINGS, captions_of
from datamodules.haystack.clip_world import ClipWorld
from datamodules.haystack.video_writing import video_path, write_videos
from datamodules.questions.video_questions import VideoQuestionData
from modules.records import VideoQuestion


class HaystackClips(VideoQuestionData):
    """Clips with several captions each; group ``kind``, and the evidence is where something happens.

    The splits share no clip, though what happens in one of a few hundred ways can happen in another as well.

    Args:
        world: what a clip is like.
        root: where the clips lie; each set of world parameters has its folder there.
        num_train_videos, num_val_videos, num_test_videos: sizes of the splits.
        num_captions: of the five wordings, how many a clip has for references; which ones differs from clip to clip.
        instruction: that every clip is captioned by.
        kwargs: see `VideoQuestionData`.
    """

    def __init__(
        self,
        *,
        world: ClipWorld,
        root: str = "data/haystack/clips",
        num_train_videos: NonNegativeInt = 2000,
        num_val_videos: NonNegativeInt = 100,
        num_test_videos: NonNegativeInt = 200,
        num_captions: PositiveInt = NUM_WORDINGS,
        instruction: str = DESCRIBE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_captions > NUM_WORDINGS:
            raise ValueError(f"num_captions={num_captions}: a clip has {NUM_WORDINGS} wordings")
        self.world, self.root, self.num_captions, self.instruction = world, root, num_captions, instruction
        self.num_videos = {"train": num_train_videos, "val": num_val_videos, "test": num_test_videos}

    def prepare_data(self) -> None:
        write_videos(self.root, self.world, self.num_videos, self.decoding.num_workers)

    def load_questions(self, split: str) -> list[VideoQuestion]:
        split = "test" if split == "predict" else split
        return [self._captioned(split, n) for n in range(self.num_videos[split])]

    def _captioned(self, split: str, number: int) -> VideoQuestion:
        plan = self.world.plan(split, number)
        texts = captions_of(plan)
        first = plan.seed % len(texts)
        return VideoQuestion(
            dataset="haystack_clips",
            split=split,
            sample_id=plan.video_id,
            video=str(video_path(self.root, self.world, split, number)),
            duration_s=plan.duration_s,
            question=self.instruction,
            evidence_s=tuple(event.span_s for event in plan.events),
            groups={"kind": plan.events[0].role},
            references=(texts[first:] + texts[:first])[: self.num_captions],
        )
