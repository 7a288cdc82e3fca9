"""A stream that plays into memories: what it prints, what it answers from, what it says when there is too little."""

from __future__ import annotations

import re
import time
from pathlib import Path

import av
import pytest
import torch

from datamodules.video.decode_pool import Finished, Piece, ReadRequest, stream_many
from datamodules.video.extraction import candidates_of
from modules.evaluation.evaluation_module import EvaluationModule
from modules.methods.training_free.recent import Recent
from modules.methods.videostreaming.condenser import ClipCondenser
from modules.methods.videostreaming.frame_tokens import MergedPatches
from modules.methods.videostreaming.language_layers import LanguageLayers
from modules.methods.videostreaming.memories import ClipMemories
from modules.methods.videostreaming.memory_reader import MemoryReader
from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.prompt import Prompt
from modules.systems.sampler_system import SamplerSystem
from recipes.jobs.stream import PlayVideo, Stream, seconds_of

WIDTH, CLIP = 32, 16


@pytest.fixture(scope="module")
def encoder(blank_vlm: Path) -> ClipMemories:
    torch.manual_seed(2)
    layers = LanguageLayers(path=str(blank_vlm), num_layers=2)
    condenser = ClipCondenser(layers=layers, token_dim=4 * WIDTH, clip_frames=CLIP, summaries_per_frame=1)
    return ClipMemories(patches=MergedPatches(path=str(blank_vlm)), condenser=condenser)


@pytest.fixture(scope="module")
def model(blank_vlm: Path) -> EvaluationModule:
    reader = MemoryReader(path=str(blank_vlm), memory_dim=WIDTH, memory_tokens=CLIP, prompt=Prompt(answer_with="words"))
    return EvaluationModule(mllm=reader, systems={"recent": SamplerSystem(sampler=Recent())}, num_frames=2)


def played(video: Path, encoder: ClipMemories, model: EvaluationModule, capsys, **settings: object) -> list[str]:
    """What a job prints."""
    settings = {"at_s": "60", "options": "red, green", **settings}
    job = PlayVideo(video=str(video), question="What colour is the star?", encoder=encoder, model=model, **settings)
    job.run(video.parent)
    return capsys.readouterr().out.splitlines()


def stopped(source: Path, target: Path, share: float) -> Path:
    """A file whose index stands in front, and whose end never came."""
    options = {"movflags": "faststart"}
    with av.open(str(source)) as whole, av.open(str(target), "w", format="mp4", options=options) as copy:
        stream = copy.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(whole.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    target.write_bytes(target.read_bytes()[: int(share * target.stat().st_size)])
    return target


def test_a_line_a_clip_and_answers_at_their_times(short_video: Path, encoder, model, capsys) -> None:
    lines = played(short_video, encoder, model, capsys, at_s=[31.0, 20.0, 500.0])
    clips = [line for line in lines if line.startswith("clip")]
    assert len(clips) == 7  # 100 frames
    each_kib = 17 * WIDTH * 2 / 1024
    for n, line in enumerate(clips, 1):
        assert re.match(rf"clip {n} +{16 * (n - 1)}.0-{min(16 * n - 1, 99)}.0 s", line), line
        memories = "1 memory" if n == 1 else f"{n} memories"
        assert f"s: {memories} held, {n * each_kib:,.1f} KiB; it took 0." in line or n == 7, line
    asked = [n for n, line in enumerate(lines) if line.startswith("asked")]
    assert [lines[n].split(": ")[0].split("at ")[1] for n in asked] == ["20.0 s", "31.0 s", "500.0 s"]
    assert all(lines[n + 1] in ("answer      red", "answer      green") for n in asked)
    # two newest clips that are over by then
    assert [lines[n + 2] for n in asked] == [
        "read        0.0-15.0 s",
        "read        0.0-15.0 s, 16.0-31.0 s",
        "read        80.0-95.0 s, 96.0-99.0 s",
    ]
    assert lines.index(clips[0]) < asked[0] < lines.index(clips[1]) < asked[1] < lines.index(clips[2])


def test_memories_are_those_that_extraction_makes(short_video: Path, encoder) -> None:
    """Whatever the pieces and whenever it is asked."""
    stream, whole, ends = Stream(encoder), encoder.reading(), set()
    for message in stream_many([ReadRequest(str(short_video))], 1):
        if isinstance(message, Piece):
            parts = stream.parts(message, [40.0, 70.5])
            assert sum(map(len, parts)) == len(message.frames)
            for frames in parts:
                assert len(frames) <= CLIP + 1
                stream.add(frames)
                ends.add(stream.num_frames)
            candidates, first = candidates_of(message), stream.num_frames - len(message.frames)
            times_s = candidates.timestamps_s[first : stream.num_frames]
            whole.add(torch.from_numpy(message.frames).permute(0, 3, 1, 2), times_s)
        else:
            assert isinstance(message, Finished)
    assert {17, 33, 49, 42, 72} <= ends  # behind each clip, and at the first frame after each question
    early = stream.until(40.0)
    stream.end()
    clips, features = whole.end(candidates)
    torch.testing.assert_close(early.features, features[:2], rtol=2e-3, atol=2e-3)  # halves
    late = stream.until(1e9)
    torch.testing.assert_close(late.features, features, rtol=2e-3, atol=2e-3)
    assert torch.equal(late.candidates.clip_frame_ids, clips.clip_frame_ids)
    assert torch.equal(early.candidates.clip_frame_ids, clips.clip_frame_ids[:2])


def test_a_question_before_the_first_clip_has_ended_gets_a_sentence(short_video: Path, encoder, model, capsys) -> None:
    lines = played(short_video, encoder, model, capsys, at_s="5,99")
    assert f"no answer   asked at 5 s, when no clip of {short_video} is over; the first ends at 15 s" in lines
    assert sum(line.startswith("answer") for line in lines) == 1


def test_a_stream_that_breaks_off_says_so_and_answers_from_what_it_holds(
    short_video: Path, tmp_path: Path, encoder, model, capsys
) -> None:
    lines = played(stopped(short_video, tmp_path / "cut.mp4", 0.5), encoder, model, capsys, at_s="20,90")
    (said,) = [line for line in lines if line.startswith("broken off")]
    seen_s, held = map(float, re.search(r"after ([\d.]+) of .* from the (\d+) memories that are held", said).groups())
    assert 20 < seen_s < 90
    assert held == -(-(seen_s + 1) // CLIP)
    assert sum(line.startswith("answer") for line in lines) == 2
    assert f"{seen_s:.1f} s" in lines[-2]  # the last two clips, up to the last frame that came
    with pytest.raises(ValueError, match=r"--video: cannot read video .*none.mp4: "):
        played(stopped(short_video, tmp_path / "none.mp4", 0.01), encoder, model, capsys)


def test_a_clip_of_fewer_frames_is_told(short_video: Path, encoder, model, capsys) -> None:
    lines = played(short_video, encoder, model, capsys, candidate_fps=0.1, at_s="99")
    assert lines[0].startswith("clip 1      0.0-90.0 s, of 10 frames, the last of which is held: 1 memory held, ")
    assert "read        0.0-90.0 s" in lines


def test_pace(short_video: Path, encoder, model, capsys) -> None:
    started = time.monotonic()
    played(short_video, encoder, model, capsys, pace=50.0)
    assert time.monotonic() - started > 99 / 50


def test_a_model_that_reads_frames_is_refused(short_video: Path, encoder, blank_vlm: Path, capsys) -> None:
    sees = EvaluationModule(
        mllm=LlavaOnevision(path=str(blank_vlm)), systems={"recent": SamplerSystem(sampler=Recent())}
    )
    with pytest.raises(ValueError, match="LlavaOnevision reads frames, and those of a stream are forgotten"):
        played(short_video, encoder, sees, capsys)


def test_times_are_put_in_order_or_refused() -> None:
    assert seconds_of("60, 5,600") == [5.0, 60.0, 600.0]
    assert seconds_of(7) == [7.0]
    for wrong in ("", "soon", "-1", "nan", "1,inf"):
        with pytest.raises(ValueError, match="separated by commas, as in 60,120,600"):
            seconds_of(wrong)
