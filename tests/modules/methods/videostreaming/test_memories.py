"""Memories as candidates: made once a video as its frames come, kept, chosen by any sampler, read by the model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from memory_parts import CLIP, WIDTH, Stack, batch_of, candidates, condenser, memories
from quiet_trainer import quiet_trainer
from safetensors.torch import save_file
from torch import Tensor

from callbacks.answer_sheet import AnswerSheet
from modules.methods.videostreaming.condenser import Memory, Stream
from modules.methods.videostreaming.memories import ClipMemories, condenser_state, load_condenser
from modules.methods.videostreaming.memory_reader import MemoryReader
from modules.methods.videostreaming.memory_selection import MemorySelection
from modules.mllms.base import FrameTokens, Row
from modules.mllms.prompt import Prompt
from modules.records import Candidates, VideoQuestion
from modules.selection.evidence import coverage
from modules.systems.reply_text import moments_text


def read(encoder: ClipMemories, frames: Tensor, piece: int) -> tuple[Candidates, Tensor]:
    reading, times = encoder.reading(), torch.arange(len(frames)).double()
    for start in range(0, len(frames), piece):
        reading.add(frames[start : start + piece], times[start : start + piece])
    return reading.end(candidates(len(frames)))


def test_pieces_of_any_size_give_the_same_memories(blank_vlm: Path) -> None:
    encoder = memories(blank_vlm)
    frames = torch.randint(0, 255, (21, 3, 64, 64), dtype=torch.uint8)
    (clips, whole), (_, pieces) = read(encoder, frames, 21), read(encoder, frames, 5)
    assert whole.shape == (3, 1 + CLIP, WIDTH)
    torch.testing.assert_close(whole, pieces, rtol=2e-2, atol=2e-3)  # halves
    assert clips.frame_ids.tolist() == [9, 33, 54]
    assert clips.num_frames == 21
    tokens = encoder.patches.encode_frames(frames)[None]
    stream, kept = Stream(), []
    with torch.no_grad():
        for k, end in ((0, 8), (1, 16), (2, 21)):
            memory, stream = encoder.condenser.step(tokens[:, 8 * k : end], [8.0 * k], [float(end)], stream)
            kept.append(torch.cat([memory.indicator[:, None], memory.tokens], 1)[0])
    torch.testing.assert_close(whole.float(), torch.stack(kept), rtol=2e-2, atol=2e-3)


def test_a_clip_stands_for_its_frames() -> None:
    clips = candidates(10).in_clips(4)
    assert clips.timestamps_s.tolist() == [1, 5, 8]
    assert clips.frame_ids.tolist() == [3, 15, 24]
    ids, times, places = clips.frames_of(torch.tensor([0, 2]))
    assert ids.tolist() == [0, 3, 6, 9, 24, 27]
    assert times.tolist() == [0, 1, 2, 3, 8, 9]
    assert places.tolist() == [0, 0, 0, 0, 1, 1]
    assert clips.holding(ids).tolist() == [0, 2]
    assert candidates(10).holding(torch.tensor([27, 3, 3])).tolist() == [1, 9]
    assert clips.within(3.0, 4.5).tolist() == [True, True, False]
    assert clips.within(9.5, 20).tolist() == [False, False, False]  # the held frame of the last clip is no frame
    assert coverage([(8.0, 9.5)], times.tolist()) == (1.0, 0.5)


def test_weights_of_another_condenser_are_refused(blank_vlm: Path, tmp_path: Path) -> None:
    trained = condenser(blank_vlm)
    save_file(condenser_state(trained), tmp_path / "condenser.safetensors")
    other = condenser(blank_vlm)
    load_condenser(other, str(tmp_path / "condenser.safetensors"))
    for name, tensor in condenser_state(other).items():
        assert torch.equal(tensor, condenser_state(trained)[name]), name
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "condenser.safetensors").read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"cut.safetensors is refused: .* cut off"):
        load_condenser(other, str(tmp_path / "cut.safetensors"))
    state = {n: t[:3].contiguous() if n == "input.0.weight" else t for n, t in condenser_state(trained).items()}
    save_file(state, tmp_path / "narrow.safetensors")
    with pytest.raises(
        ValueError, match=r"another condenser: 1 of .* input.0.weight .* \(3, 128\) there and \(32, 128\)"
    ):
        load_condenser(other, str(tmp_path / "narrow.safetensors"))


def test_another_condenser_has_another_key(blank_vlm: Path) -> None:
    keys = {memories(blank_vlm).key, memories(blank_vlm, propagate=False).key}
    assert len(keys) == 2
    first, second = memories(blank_vlm), memories(blank_vlm)
    assert first.key == second.key
    assert memories(blank_vlm, time_prompt="{start}").key != first.key
    with torch.no_grad():
        second.condenser.input[0].weight += 1
    assert first.key != second.key


def test_the_shared_step_trains_the_choice_and_nothing_else(stack: Stack) -> None:
    module, trainer = stack.module(), quiet_trainer(2)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    trainer.fit(module, datamodule=stack.data())
    moved = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert moved
    assert all(name.startswith("sampler.") for name in moved)
    assert not any("condenser.input" in name for name in moved)
    assert any("condenser.layers" in name for name in moved)
    assert any("clip_head" in name for name in moved)


def test_systems_over_memories_say_which_frames_they_saw(stack: Stack) -> None:
    module, data = stack.module(), stack.data()
    trainer = quiet_trainer(-1)
    trainer.test(module, datamodule=data, verbose=False)
    batch = next(iter(data.test_dataloader()))
    first = batch.questions[0].sample_id
    replies = {r.answer.system: r for r in module.test_step(batch, 0) if r.answer.sample_id == first}
    num_clips = len(batch.candidates[0])
    assert replies["recent"].selection.frame_ids[-1] == int(batch.candidates[0].clip_frame_ids.max())
    assert len(replies["uniform"].selection.frame_ids) <= 2 * CLIP
    assert replies["uniform"].selection.num_candidates == num_clips
    found = {name: coverage(r.answer.evidence_s, r.answer.timestamps_s)[0] for name, r in replies.items()}
    assert found["oracle"] >= max(value for name, value in found.items() if name != "oracle")
    assert replies["uniform"].cost.visual_tokens == 2 * CLIP + 1
    # memories are made of all frames, whichever are read
    assert replies["uniform"].cost.frames_decoded == replies["oracle"].cost.frames_decoded == 100
    looked = moments_text(replies["recent"].selection)
    assert looked == "88.0-95.0 s, 96.0-99.0 s"
    sheet = AnswerSheet(run_dir=str(stack.root / "sheet"))
    sheet._draw(stack.root / "sheet.png", replies["recent"], batch.candidates[0], None, data)
    assert (stack.root / "sheet.png").is_file()


def test_memories_of_another_condenser_are_not_read(blank_vlm: Path) -> None:
    reader = MemoryReader(path=str(blank_vlm), memory_dim=WIDTH, memory_tokens=CLIP, prompt=Prompt(answer_with="words"))
    question = VideoQuestion("d", "s", "q", "v", 8.0, "What is shown?", ("red", "star"))
    for num_tokens, fits in ((CLIP, True), (CLIP + 1, False)):
        row = Row(question, FrameTokens(torch.zeros(2, 1 + num_tokens, WIDTH), torch.arange(2.0)), torch.arange(2))
        if fits:
            assert reader.score_rows([row]).shape == (1, 2)
        else:
            with pytest.raises(ValueError, match=r"memories of \(9, 32\) .* cannot be read by a model of \(8, 32\)"):
                reader.score_rows([row])


def test_the_score_is_the_cosine_of_both_indicators(blank_vlm: Path) -> None:
    sampler = MemorySelection(condenser=condenser(blank_vlm), temperature=0.2)
    features = torch.randn(2, 5, 1 + CLIP, WIDTH, generator=torch.Generator().manual_seed(4))
    policy = sampler.policies(batch_of([5, 3], features))
    alone = sampler.policies(batch_of([3], features[1:, :3]))
    torch.testing.assert_close(policy.logits[1, :3], alone.logits[0], rtol=1e-4, atol=1e-4)  # padding changes nothing
    assert (policy.mode(5).candidate_index[1, 0] >= 0).sum() == 3  # and is never chosen
    newest = Memory(features[:1, 4, 1:], features[:1, 4, 0])  # the question is put on the last memory
    asked = sampler.question_head(sampler.condenser.question_indicator(["What is shown?"], Stream(newest, 5)))[0]
    for n in range(5):
        clip = sampler.clip_head(features[0, n, 0])
        cosine = float(asked @ clip / (asked.norm() * clip.norm()))
        assert float(policy.logits[0, n]) == pytest.approx(cosine / 0.2, abs=1e-4)
    likeliest = max(range(5), key=lambda n: float(policy.logits[0, n]))
    assert int(policy.mode(1).candidate_index[0, 0, 0]) == likeliest
