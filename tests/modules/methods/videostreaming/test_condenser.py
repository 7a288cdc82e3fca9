"""The clip condenser: what sees what, constant memory, and what each input changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from modules.methods.videostreaming.condenser import ClipCondenser, Stream
from modules.methods.videostreaming.frame_tokens import MergedPatches, merged
from modules.methods.videostreaming.language_layers import LanguageLayers
from modules.methods.videostreaming.prefix_mask import prefix_mask

TOKEN_DIM, CLIP = 12, 4


def condenser(path: Path, **settings: object) -> ClipCondenser:
    torch.manual_seed(1)
    layers = LanguageLayers(path=str(path), num_layers=2)
    made = ClipCondenser(layers=layers, token_dim=TOKEN_DIM, clip_frames=CLIP, summaries_per_frame=1, **settings)
    return made.eval()


def frames(num_frames: int = CLIP, videos: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(videos, num_frames, 4, TOKEN_DIM, generator=torch.Generator().manual_seed(seed))


def step(model: ClipCondenser, clip: Tensor, stream: Stream, number: int = 0):
    starts = [16.0 * number] * len(clip)
    return model.step(clip, starts, [s + 16 for s in starts], stream)


def test_the_text_sees_nothing_but_summaries(blank_vlm: Path) -> None:
    model = condenser(blank_vlm)
    sequence = model.sequence(frames(), [0.0] * 2, [16.0] * 2, Stream())
    text, real = model.layers.embed(["What is shown?", "A red star"])
    sees = prefix_mask(sequence.num_before, model.num_summaries, text.shape[1])

    def said(mask: Tensor, changed: slice) -> Tensor:
        embeddings = torch.cat([sequence.embeddings, text], 1).clone()
        before = model.layers(embeddings, torch.cat([sequence.real, real], 1), mask)[:, -text.shape[1] :]
        embeddings[:, changed] += 1.0
        after = model.layers(embeddings, torch.cat([sequence.real, real], 1), mask)[:, -text.shape[1] :]
        return (after - before)[real].abs().max()

    # summaries are fixed by cutting their own view of the frames; then nothing of the frames is left for the text
    fixed = sees.clone()
    summaries = slice(sequence.num_before, sequence.num_before + model.num_summaries)
    fixed[summaries, : sequence.num_before] = False
    assert said(fixed, slice(0, sequence.num_before)) == 0
    assert said(sees, slice(0, sequence.num_before)) > 1e-4  # through the summaries
    assert said(fixed, summaries) > 1e-4
    leaking = fixed.clone()
    leaking[-text.shape[1] :, : sequence.num_before] = True
    assert said(leaking, slice(0, sequence.num_before)) > 1e-4  # the mutation that the first line has to catch


def test_padding_changes_nothing(blank_vlm: Path) -> None:
    layers = LanguageLayers(path=str(blank_vlm), num_layers=2)
    short, real = layers.embed(["red star"])
    padded = torch.cat([torch.randn(1, 3, layers.width), short], 1)
    mask = torch.cat([torch.zeros(1, 3, dtype=torch.bool), real], 1)
    torch.testing.assert_close(layers(padded, mask)[:, 3:], layers(short, real), rtol=1e-4, atol=1e-5)


def test_history_reaches_the_next_memory_and_its_gradient_too(blank_vlm: Path) -> None:
    model = condenser(blank_vlm)
    memories = []
    for seed in (1, 2):
        _, stream = step(model, frames(seed=seed), Stream())
        memories.append(step(model, frames(seed=3), stream, 1)[0])
    assert (memories[0].tokens - memories[1].tokens).abs().max() > 1e-4
    for settings, reaches in (({}, True), ({"detach_history": True}, False), ({"propagate": False}, False)):
        model = condenser(blank_vlm, **settings)
        first = frames(seed=1).requires_grad_()
        _, stream = step(model, first, Stream())
        memory, _ = step(model, frames(seed=3), stream, 1)
        memory.tokens.square().sum().backward()
        assert (first.grad is not None and bool(first.grad.abs().max() > 0)) is reaches, settings


@pytest.mark.parametrize(
    ("detach", "reached"), [(False, [0, 1, 2, 3, 4]), (True, [4]), (1, [4]), (2, [4]), (3, [3, 4])]
)
def test_a_gradient_runs_through_so_many_clips(blank_vlm: Path, detach: bool | int, reached: list[int]) -> None:
    """Of five clips, what the last memory's gradient reaches: windows begin at every N-th clip."""
    model, stream = condenser(blank_vlm, detach_history=detach), Stream()
    clips = [frames(seed=number).requires_grad_() for number in range(5)]
    for number, clip in enumerate(clips):
        memory, stream = step(model, clip, stream, number)
    memory.tokens.square().sum().backward()
    assert [n for n, clip in enumerate(clips) if clip.grad is not None and clip.grad.abs().max() > 0] == reached


def test_detaching_alters_no_memory(blank_vlm: Path) -> None:
    outputs = []
    for detach in (False, True, 2):
        model, stream = condenser(blank_vlm, detach_history=detach), Stream()
        for number in range(3):
            memory, stream = step(model, frames(seed=number), stream, number)
        outputs.append(memory.tokens)
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


def test_time_prompts_say_when(blank_vlm: Path) -> None:
    def memory(number: int, **settings: object) -> Tensor:
        return step(condenser(blank_vlm, **settings), frames(), Stream(), number)[0].tokens

    assert not torch.equal(memory(0), memory(1))
    assert torch.equal(memory(0, time_prompt=None), memory(1, time_prompt=None))


def test_a_memory_has_one_size_and_videos_do_not_touch(blank_vlm: Path) -> None:
    model, stream = condenser(blank_vlm), Stream()
    for number in range(4):
        memory, stream = step(model, frames(seed=number), stream, number)
        assert memory.tokens.shape == (2, model.num_summaries, model.layers.width)
        assert memory.indicator.shape == (2, model.layers.width)
    alone = Stream()
    for number in range(4):
        single, alone = step(model, frames(seed=number)[1:], alone, number)
    torch.testing.assert_close(single.tokens, memory.tokens[1:], rtol=1e-4, atol=1e-5)


def test_a_short_clip_holds_its_last_frame(blank_vlm: Path) -> None:
    model, short = condenser(blank_vlm), frames(2)
    whole = torch.cat([short, short[:, -1:], short[:, -1:]], 1)
    assert torch.equal(step(model, short, Stream())[0].tokens, step(model, whole, Stream())[0].tokens)
    with pytest.raises(ValueError, match="a clip of 5 frames, where 1 to 4"):
        step(model, frames(5), Stream())
    with pytest.raises(ValueError, match="a clip of 0 frames"):
        step(model, frames(0), Stream())


def test_nothing_can_be_asked_before_the_first_clip_ends(blank_vlm: Path) -> None:
    model = condenser(blank_vlm)
    with pytest.raises(ValueError, match="once the first clip is condensed"):
        model.question_indicator(["What is shown?"], Stream())


def test_questions_of_unlike_lengths_share_a_batch(blank_vlm: Path) -> None:
    model = condenser(blank_vlm)
    _, stream = step(model, frames(), Stream())
    questions = ["What is shown?", "What colour is the shape right before the star?"]
    together = model.question_indicator(questions, stream)
    _, first = step(model, frames()[:1], Stream())
    torch.testing.assert_close(model.question_indicator(questions[:1], first), together[:1], rtol=1e-4, atol=1e-5)


def test_neighbouring_patches_are_joined() -> None:
    patches = torch.arange(16.0).view(1, 16, 1)
    assert merged(patches)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    with pytest.raises(ValueError, match="9 patches"):
        merged(torch.zeros(1, 9, 1))


def test_frame_tokens_of_a_tower(blank_vlm: Path) -> None:
    patches = MergedPatches(path=str(blank_vlm))
    pictures = torch.randint(0, 255, (3, 3, 48, 80), dtype=torch.uint8)
    tokens = patches.encode_frames(pictures)
    assert tokens.shape == (3, 4, patches.token_dim)
    torch.testing.assert_close(patches.encode_frames(pictures[1:2]), tokens[1:2], rtol=1e-4, atol=1e-5)
