"""Captioning a folder: what is written is read back, a run goes on, and what cannot be read is named and left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from datamodules.annotations.own_captions import OwnCaptions
from datamodules.haystack.clip_world import ClipWorld
from datamodules.haystack.video_writing import write_video
from modules.records import Cost
from modules.roles.captioner import Caption, Captioner, CaptionRequest
from recipes.jobs.caption_videos import CaptionVideos


class Counting(Captioner):
    """Tells how many frames it sees and how bright they are; writes nothing of some, and stops after some."""

    def __init__(self, *, name: str = "counting", mute: str = "", stops_after: int = 10**6) -> None:
        super().__init__()
        self.name, self.mute, self.stops_after = name, mute, stops_after
        self.requests: list[CaptionRequest] = []

    @property
    def key(self) -> str:
        return self.name

    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption]:
        if len(self.requests) >= self.stops_after:
            raise ConnectionError("the server is gone")
        self.requests += requests
        return [Caption(self._text(r), Cost(calls=1)) for r in requests]

    def _text(self, request: CaptionRequest) -> str:
        if self.mute and self.mute in request.name:
            return " \n"
        return f"{len(request.frames)} frames,\nmean {request.frames.float().mean():.1f}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    world = ClipWorld(size_px=32, duration_s=4.0, fps=2.0, max_count=3)
    for n, name in enumerate(("a.mp4", "b.mp4", "below/c.mp4", "below/ü, |d.mp4")):
        write_video(folder / name, world, "train", n)
    (folder / "broken.mp4").write_bytes(b"\0" * 64)
    (folder / "notes.txt").write_text("no video")
    return folder


def job(folder: Path, out: Path, captioner: Captioner, **more: object) -> CaptionVideos:
    return CaptionVideos(videos=str(folder), captioner=captioner, out=str(out), num_frames=4, videos_together=2, **more)  # type: ignore[arg-type]


def test_every_readable_video_has_a_caption_that_is_read_back(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captioner, out = Counting(mute="b.mp4"), tmp_path / "new" / "captions.jsonl"
    job(folder, out, captioner).run(tmp_path / "run")
    found = OwnCaptions(annotations=str(out), videos=str(folder)).load().questions
    assert {Path(q.video).relative_to(folder).as_posix() for q in found} == {"a.mp4", "below/c.mp4", "below/ü, |d.mp4"}
    assert all(Path(q.video).is_file() and q.references[0].startswith("4 frames, mean") for q in found)
    failures = json.loads((tmp_path / "run" / "failures.json").read_text())
    assert {Path(name).name for name in failures} == {"broken.mp4", "b.mp4"}
    said = capsys.readouterr().out
    for words in (
        "videos      5 below",
        "captioned   3",
        "left out    broken.mp4:",
        "b.mp4: the captioner wrote nothing",
    ):
        assert words in said
    assert "next        lightning run recipes/data/inspect.yaml --source" in said
    seen = {request.name: request for request in captioner.requests}
    assert seen[str(folder / "a.mp4")].frames.shape == (4, 3, 32, 32)
    times_s = seen[str(folder / "a.mp4")].timestamps_s
    assert (times_s.diff() > 0.5).all()
    assert times_s.dtype == torch.float32


def test_a_run_that_was_cut_off_goes_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "captions.jsonl"
    with pytest.raises(ConnectionError):
        job(folder, out, Counting(stops_after=2)).run(tmp_path / "run")
    first = out.read_text()
    assert len(first.splitlines()) == 2
    out.write_text(first + '{"video": "below/c.m')  # killed in mid-line
    again = Counting()
    job(folder, out, again).run(tmp_path / "run")
    assert len(again.requests) == 2
    assert out.read_text().startswith(first)
    whole = tmp_path / "whole.jsonl"
    job(folder, whole, Counting()).run(tmp_path / "run")
    assert sorted(out.read_text().splitlines()) == sorted(whole.read_text().splitlines())
    more = Counting()
    job(folder, out, more).run(tmp_path / "run")
    assert not more.requests  # what cannot be read is looked at again, what has a caption is not


def test_captions_of_two_captioners_do_not_mix(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "captions.jsonl"
    job(folder, out, Counting()).run(tmp_path / "run")
    for other in (job(folder, out, Counting(name="another")), job(folder, out, Counting(), prompt="What?")):
        with pytest.raises(ValueError, match=r"captions\.jsonl has 4 captions by counting/.* Name another file"):
            other.run(tmp_path / "run")


def test_another_file_is_not_written_over(folder: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.jsonl"
    notes.write_text('{"a": 1}\nno line of JSON\n')
    with pytest.raises(ValueError, match="holds something else than captions"):
        job(folder, notes, Counting()).run(tmp_path / "run")
    assert notes.read_text() == '{"a": 1}\nno line of JSON\n'


def test_a_folder_without_a_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no video"):
        job(tmp_path, tmp_path / "c.jsonl", Counting()).run(tmp_path / "run")
