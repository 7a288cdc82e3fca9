"""Order of batches: a pure function of seed and number, shared out to ranks; questions asked from the command line."""

from __future__ import annotations

import dataclasses
import time
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest
import torch

from datamodules.haystack.datamodule import HaystackData
from datamodules.haystack.video_writing import write_video
from datamodules.questions.ask import AskData
from datamodules.questions.batch_order import BatchOrder
from datamodules.questions.lookahead import LookaheadLoader
from datamodules.questions.question_filter import QuestionFilter
from datamodules.questions.video_questions import VideoQuestionData
from datamodules.video.decoding_settings import DecodingSettings
from datamodules.video.pixel_cache import PixelCache
from datamodules.video.video_info import BadVideoError
from modules.encoders.frame_demand import FrameDemand
from modules.encoders.open_clip import OpenCLIPEncoder
from modules.records import Candidates, VideoQuestion


def batches(count: int, **kwargs: int) -> list[list[int]]:
    settings = {"num_items": 10, "batch_size": 3, "seed": 1, **kwargs}
    return [[i for i, _ in b] for b in islice(BatchOrder(**settings), count)]


def test_resumed_order_is_the_rest_of_the_whole() -> None:
    whole = batches(9)
    for used in range(9):
        assert batches(9 - used, first_batch=used) == whole[used:]
    assert (
        sorted(i for b in whole[:3] for i in b) != sorted(i for b in whole[3:6] for i in b)
        or len(set(map(tuple, whole))) > 1
    )
    assert len({i for b in whole[:3] for i in b}) == 9


def test_two_ranks_share_the_batches_of_one() -> None:
    one = batches(4, batch_size=4)
    two = [batches(4, batch_size=2, num_ranks=2, rank=r) for r in range(2)]
    assert [a + b for a, b in zip(*two, strict=True)] == one


def test_too_few_questions() -> None:
    with pytest.raises(ValueError, match="10 questions do not fill"):
        BatchOrder(10, 6, 0, num_ranks=2)


class Numbers(VideoQuestionData):
    """Twenty questions on nothing."""

    def load_questions(self, split: str) -> list[VideoQuestion]:
        return [VideoQuestion("d", split, f"q{n}", "v", 1.0, "?", ("a", "b"), 0) for n in range(20)]

    def setup(self, stage: str) -> None:
        self._items["train"] = self.questions("train")


def order(data: Numbers, count: int) -> list[int]:
    data.setup("fit")
    return [i for batch in islice(data.train_dataloader().batch_sampler, count) for i, _ in batch]


def test_a_run_goes_on_behind_what_it_used_with_batches_of_another_size(caplog: pytest.LogCaptureFixture) -> None:
    whole = order(Numbers(batch_size=4), 5)
    stopped = Numbers(batch_size=4)
    for _ in range(2):
        stopped.count_batch()
    for batch_size, batches_left in ((4, 3), (2, 6)):
        resumed = Numbers(batch_size=batch_size)
        resumed.load_state_dict(stopped.state_dict())
        assert order(resumed, batches_left) == whole[8:]
        assert ("begins after 8 questions" in caplog.text) == (batch_size != 4)


def test_training_on_named_questions_only(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    kept.write_text('{"id": "q7", "margin_variance": 0.3}\n{"id": "q2"}\n{"id": "of another set"}\n')
    data = Numbers(filter=QuestionFilter(train_ids=str(kept)))
    assert [q.sample_id for q in data.questions("train")] == ["q2", "q7"]
    assert len(data.questions("val")) == 20
    with pytest.raises(ValueError, match=r"recipes/data/margin_variance\.yaml"):
        Numbers(filter=QuestionFilter(train_ids=str(tmp_path / "no.jsonl"))).questions("train")
    kept.write_text('{"name": "q7"}\n')
    with pytest.raises(ValueError, match=r"kept\.jsonl, row 1: there is no field 'id'"):
        Numbers(filter=QuestionFilter(train_ids=str(kept))).questions("train")
    kept.write_text('{"id": "elsewhere"}\n')
    with pytest.raises(ValueError, match="none of the 1 ids"):
        Numbers(filter=QuestionFilter(train_ids=str(kept))).questions("train")


def test_pass_rates_label_questions_and_choose_those_to_train_on(tmp_path: Path) -> None:
    rates = tmp_path / "rates.jsonl"
    rates.write_text("".join(f'{{"id": "q{n}", "pass_rate": {n / 20}}}\n' for n in range(19)))
    data = Numbers(filter=QuestionFilter(pass_rates=str(rates), pass_rate_range=(0.2, 0.5)))
    assert [q.pass_rate for q in data.questions("train")] == pytest.approx([n / 20 for n in range(4, 11)])
    assert [q.pass_rate for q in data.questions("val")][-2:] == [0.9, None]
    with pytest.raises(ValueError, match=r"recipes/data/pass_rates\.yaml"):
        Numbers(filter=QuestionFilter(pass_rates=str(tmp_path / "no.jsonl"))).questions("train")
    rates.write_text('{"id": "q0"}\n')
    with pytest.raises(ValueError, match=r"rates\.jsonl, row 1: there is no field 'pass_rate'"):
        Numbers(filter=QuestionFilter(pass_rates=str(rates))).questions("train")
    with pytest.raises(ValueError, match="pass_rate_range"):
        QuestionFilter(pass_rate_range=(0.5, 0.2))


@pytest.mark.parametrize("first", ["clutter", "target"])
def test_frames_of_a_needle_have_the_size_of_the_targets_video(tmp_path: Path, short_world, first: str) -> None:
    videos = {}
    for name, size in (("clutter", 64), ("target", 32)):
        videos[name] = tmp_path / f"{name}.mp4"
        write_video(videos[name], dataclasses.replace(short_world, size_px=size), "val", 0)
    sources = (str(videos[first]), *(str(v) for name, v in videos.items() if name != first))
    index = torch.tensor([0, 0, 1, 1])
    hay = Candidates(
        str(videos["target"]), torch.tensor([4, 8, 4, 8]), torch.arange(4.0), 4.0, sources=sources, source_index=index
    )
    data = Numbers(decoding=DecodingSettings(num_workers=1), feature_dir=str(tmp_path / "features"))
    assert data.decode(hay, torch.arange(4)).shape == (4, 3, 32, 32)
    assert data.decode(hay, torch.nonzero(index == sources.index(str(videos["clutter"]))).flatten()).shape[-1] == 32
    data.teardown("fit")


def test_what_cannot_be_decoded_after_all_is_named_once_and_not_tried_again(
    short_video: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = Candidates(str(tmp_path / "gone.mp4"), torch.arange(4), torch.arange(4.0), 4.0)
    there = dataclasses.replace(gone, video=str(short_video))
    asked = [(gone, torch.tensor([0, 2])), (there, torch.tensor([1])), (gone, torch.tensor([1]))]
    data = Numbers(decoding=DecodingSettings(num_workers=2), feature_dir=str(tmp_path / "features"))
    for _ in range(2):
        first, second, third = data.decode_many(asked)
        assert first is None
        assert third is None
        assert second.shape == (1, 3, 64, 64)
    assert data.bad_videos == {gone.video: "no such file"}
    assert caplog.text.count("gone.mp4") == 1
    data.teardown("fit")
    strict = Numbers(decoding=DecodingSettings(on_bad_video="raise"), feature_dir=str(tmp_path / "features"))
    with pytest.raises(BadVideoError, match="no such file"):
        strict.decode(gone, torch.tensor([0]))
    strict.teardown("fit")


def test_what_comes_next_is_prefetched_where_most_of_it_will_be_asked_for(short_world, blank_clip, tmp_path) -> None:
    class Wanting(L.LightningModule, FrameDemand):
        frames_per_question = 13  # an eighth of 100 candidates

        def stored_encoders(self):
            return nullcontext([])

    data = HaystackData(
        world=short_world,
        root=str(tmp_path / "videos"),
        feature_dir=str(tmp_path / "features"),
        decoding=DecodingSettings(num_workers=1),
        encoder=OpenCLIPEncoder(model=f"local-dir:{blank_clip}"),
        num_train_videos=0,
        num_val_videos=0,
        num_test_videos=2,
        eval_batch_size=1,
        questions_per_video={"needle": 1},
    )
    data.prepare_data()
    data.setup("test")
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(strategy=strategy, lightning_module=Wanting(), global_rank=0, world_size=1)
    batches = list(data.test_dataloader())
    cache, deadline = data.reader.cache, time.monotonic() + 60
    while cache.num_bytes < 2 * 100 * 64 * 64 * 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    for batch in batches:
        assert data.decode(batch.candidates[0], torch.arange(0, 100, 7)).shape == (15, 3, 64, 64)
    assert (cache.num_hits, cache.num_misses) == (30, 0)
    Wanting.frames_per_question = 12
    data.reader.cache = PixelCache(64)
    assert len(list(data.test_dataloader())) == 2
    data.teardown("test")
    assert data.reader.cache.num_bytes == 0


def test_a_loader_is_one_batch_ahead() -> None:
    made: list[int] = []

    def collate_fn(items: list[int]) -> list[int]:
        made.extend(items)
        return items

    ahead = [(batch, list(made)) for batch in LookaheadLoader(list(range(5)), batch_size=2, collate_fn=collate_fn)]
    assert ahead == [([0, 1], [0, 1, 2, 3]), ([2, 3], [0, 1, 2, 3, 4]), ([4], [0, 1, 2, 3, 4])]
    assert list(LookaheadLoader([], batch_size=2)) == []


def test_ask(short_video: Path, blank_clip: Path, tmp_path: Path) -> None:
    encoder = OpenCLIPEncoder(model=f"local-dir:{blank_clip}")

    def data(**kwargs: str) -> AskData:
        settings = {"video": str(short_video), "question": "What?", **kwargs}
        return AskData(encoder=encoder, feature_dir=str(tmp_path), **settings)

    (question,) = data(options="red, green").questions("predict")
    assert question.options == ("red", "green")
    assert question.duration_s == pytest.approx(100.0)
    assert question.answer is None
    (question,) = data(options="red, green", answer="green").questions("predict")
    assert (question.answer_index, question.answer) == (1, "green")
    assert data(answer="green").questions("predict")[0].references == ("green",)
    with pytest.raises(ValueError, match=r"--answer 'blue' is none of the options \['red', 'green'\]"):
        data(options="red, green", answer="blue")
    with pytest.raises(ValueError, match=r"--video: .*no such file"):
        data(video="none.mp4").questions("predict")
    with pytest.raises(ValueError, match="empty"):
        data(question=" ").questions("predict")
