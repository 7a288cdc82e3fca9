"""One decode a video, however many questions, encoders and runs; every failure named; nothing lost when cut off."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from datamodules.haystack.video_writing import write_video
from datamodules.video import extraction
from datamodules.video.decode_pool import ReadRequest
from datamodules.video.decoding_settings import DecodingSettings
from datamodules.video.extraction import Shard, extract
from datamodules.video.feature_store import FeatureStore
from datamodules.video.video_info import BadVideoError
from datamodules.video.views import View, views_of
from modules.encoders.base import FrameEncoder


class Brightness(FrameEncoder):
    """Mean of each channel; counts what it was given."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.num_frames, self.largest = name, 0, 0

    @property
    def key(self) -> str:
        return self.name

    def encode_frames(self, frames: Tensor) -> Tensor:
        self.num_frames += len(frames)
        self.largest = max(self.largest, len(frames))
        return frames.float().mean((2, 3))


@pytest.fixture(scope="module")
def videos(short_world, tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("extraction")
    paths = [folder / f"{n}.mp4" for n in range(3)]
    for n, path in enumerate(paths):
        write_video(path, short_world, "val", n)
    return [str(p) for p in paths]


def run(videos: list[str], encoders: list[Brightness], store: FeatureStore, **more):
    decoding = DecodingSettings(**{"timeout_s": 30.0, **more})
    return extract(videos, views(encoders), store, ReadRequest("", None, 1.0), decoding)


def views(encoders: list[Brightness]) -> list[View]:
    return views_of([(encoder, None) for encoder in encoders])


def key(name: str) -> str:
    return f"{name}-file"


def test_each_video_is_decoded_once_for_all_encoders(videos, tmp_path: Path, monkeypatch) -> None:
    store, encoders, asked = FeatureStore(tmp_path, "g"), [Brightness("a"), Brightness("b")], []
    real = extraction.stream_many
    monkeypatch.setattr(
        extraction,
        "stream_many",
        lambda requests, *a, **k: real((asked.append(r.path) or r for r in requests), *a, **k),
    )
    summary = run(videos, encoders, store)
    assert sorted(asked) == sorted(videos)
    assert summary.num_frames == encoders[0].num_frames == encoders[1].num_frames == 300
    assert encoders[0].largest <= 64  # pieces, not whole videos
    entry = store.load(videos[1], key("b"))
    assert len(entry.candidates) == 100
    assert entry.candidates.num_video_frames == 200
    assert entry.candidates.decoder in ("decord", "pyav")
    assert torch.equal(entry.features, store.load(videos[1], key("a")).features)
    again = run(videos, encoders, store)
    assert (again.num_frames, again.num_stored_before) == (0, 3)
    assert sorted(asked) == sorted(videos)


def test_a_second_encoder_later_decodes_again_and_keeps_the_first(videos, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, "g")
    run(videos[:1], [Brightness("a")], store)
    summary = run(videos[:1], [Brightness("a"), Brightness("c")], store)
    assert summary.num_frames == 100
    assert store.has(videos[0], key("c"))


def test_failures_are_named_and_the_rest_is_done(videos, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(Path(videos[0]).read_bytes()[:3000])
    store = FeatureStore(tmp_path / "s", "g")
    listed = [str(tmp_path / "gone.mp4"), str(broken), *videos]
    summary = run(listed, [Brightness("a")], store)
    assert set(summary.bad) == {str(tmp_path / "gone.mp4"), str(broken)}
    assert summary.bad[str(tmp_path / "gone.mp4")] == "no such file"
    assert all(store.has(v, key("a")) for v in videos)
    with pytest.raises(BadVideoError, match="gone"):
        run(listed, [Brightness("a")], FeatureStore(tmp_path / "t", "g"), on_bad_video="raise")


def test_cut_off_half_way_what_was_done_stays(videos, tmp_path: Path) -> None:
    class Failing(Brightness):
        def encode_frames(self, frames: Tensor) -> Tensor:
            if self.num_frames >= 150:
                raise KeyboardInterrupt
            return super().encode_frames(frames)

    store = FeatureStore(tmp_path, "g")
    with pytest.raises(KeyboardInterrupt):
        run(videos, [Failing("a")], store, num_workers=1)
    stored = [v for v in videos if store.has(v, key("a"))]
    assert len(stored) == 1
    summary = run(videos, [Brightness("a")], store)
    assert (summary.num_stored_before, summary.num_frames) == (1, 200)


def test_shards_are_a_partition(monkeypatch) -> None:
    videos = [str(n) for n in range(11)]
    parts = [Shard(index=i, count=4).of(videos) for i in range(4)]
    assert sorted(v for part in parts for v in part) == sorted(videos)
    assert Shard().of(videos) == videos
    for task in range(5, 8):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(task))
        monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "5")
        monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "3")
        assert Shard().of(videos) == videos[task - 5 :: 3]
    with pytest.raises(ValueError, match="goes from 0 to 3"):
        Shard(index=4, count=4)
    with pytest.raises(ValueError, match="or neither"):
        Shard(index=1)
