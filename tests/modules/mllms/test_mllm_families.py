"""One contract for every family, on small random models of the real classes; docs/models.md cites these by name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode

from modules.mllms.base import FrameTokens, Row
from modules.mllms.internvl import InternVL
from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.loading import Loading, Lora, merge_adapters
from modules.mllms.prompt import Prompt
from modules.mllms.qwen_vl import Qwen3VL, Qwen25VL
from modules.mllms.smolvlm import SmolVLM
from modules.mllms.transformers_mllm import TransformersMLLM
from modules.mllms.videollama3 import VideoLlama3
from modules.records import VideoQuestion
from modules.small_stack.blank_families import write_blank_family

QUESTION = VideoQuestion("d", "s", "q", "v", 125.0, "What colour is the star?", ("red", "green", "blue", "white"), 1)
LONG = VideoQuestion("d", "s", "l", "v", 80.0, "Which of these two is seen after the other one?", ("this", "that"), 0)
TIMES = torch.tensor([0.0, 3.2, 9.5, 10.0, 47.3, 62.0, 90.8, 121.0])

CASES = {
    "llava_onevision": ("llava_onevision", LlavaOnevision, {}),
    "llava_video": ("llava_onevision", LlavaOnevision, {"newline": "grid"}),
    "qwen2_5_vl": ("qwen2_5_vl", Qwen25VL, {}),
    "qwen2_5_vl_v4": ("qwen2_5_vl", Qwen25VL, {"positions": "v4"}),
    "qwen2_5_vl_injected": ("qwen2_5_vl", Qwen25VL, {"frames_per_grid": 1}),
    "qwen3_vl": ("qwen3_vl", Qwen3VL, {}),
    "qwen3_vl_injected": ("qwen3_vl", Qwen3VL, {"frames_per_grid": 1}),
    "internvl": ("internvl", InternVL, {}),
    "smolvlm": ("smolvlm", SmolVLM, {}),
    "videollama3": ("videollama3", VideoLlama3, {}),
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Callable[[str], Path]:
    root, written = tmp_path_factory.mktemp("families"), set()

    def get(family: str) -> Path:
        if family not in written:
            write_blank_family(family, root / family)
            written.add(family)
        return root / family

    return get


@pytest.fixture(params=CASES, scope="module")
def mllm(request, folder, device: torch.device) -> TransformersMLLM:
    family, cls, arguments = CASES[request.param]
    return cls(path=str(folder(family)), **arguments).to(device)


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.randint(0, 255, (8, 3, 56, 84), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def row(mllm: TransformersMLLM, frames: torch.Tensor, index: list[int], question: VideoQuestion = QUESTION) -> Row:
    return Row(question, FrameTokens(mllm.encode_frames(frames), TIMES), torch.tensor(index, dtype=torch.int64))


def placeholders(mllm: TransformersMLLM, r: Row) -> int:
    return int((mllm.inputs([r])["input_ids"] == mllm.video_token_id).sum())


def test_prompt_and_logits_equal_the_processors(mllm, frames) -> None:
    """What the family's own processor makes of the same frames, metadata and text is what the model gets from us."""
    if getattr(mllm, "newline", "") == "grid":
        pytest.skip("LLaVA-Video has no processor in transformers")
    r = row(mllm, frames, [0, 2, 5, 7])
    repeat = 2 if getattr(mllm, "frames_per_grid", 0) == 1 else 1
    shown = frames[[0, 2, 5, 7]].repeat_interleave(repeat, 0)
    more = {"cap_pixels_per_frame": False} if isinstance(mllm, Qwen25VL) else {}
    inputs = mllm.processor(
        text=[mllm.prompt_text(r)],
        videos=[shown],
        video_metadata=[mllm.metadata(r, repeat)],
        do_sample_frames=False,
        add_special_tokens=False,
        return_tensors="pt",
        **more,
    ).to(mllm.device)
    ours = mllm.inputs([r])
    assert torch.equal(inputs["input_ids"], ours["input_ids"])
    for name in ("video_grid_thw", "mm_token_type_ids"):
        if name in inputs and name in ours:
            assert torch.equal(inputs[name], ours[name].to(inputs[name])), name
    if "second_per_grid_ts" in ours:
        own = torch.as_tensor(inputs["second_per_grid_ts"]).flatten().to(mllm.device)
        torch.testing.assert_close(own, ours["second_per_grid_ts"], rtol=1e-3, atol=1e-3)
        inputs["second_per_grid_ts"] = ours["second_per_grid_ts"]
    allowed = {k: v for k, v in inputs.items() if k not in ("video_metadata", "rows", "cols")}
    if getattr(mllm, "positions", "v5") == "v4":  # which this transformers does not have
        allowed["position_ids"] = ours["position_ids"]
    torch.testing.assert_close(mllm.model(**ours).logits, mllm.model(**allowed).logits, atol=2e-4, rtol=2e-4)


def test_as_many_frames_arrive_as_were_chosen(mllm, frames) -> None:
    one = placeholders(mllm, row(mllm, frames, [3]))
    counts = [placeholders(mllm, row(mllm, frames, list(range(k)))) for k in (2, 4, 8)]
    if isinstance(mllm, VideoLlama3):  # drops what repeats the frame before; random frames repeat nothing
        assert counts == [2 * one, 4 * one, 8 * one]
    elif isinstance(mllm, Qwen25VL):
        grids = [int(mllm.inputs([row(mllm, frames, list(range(k)))])["video_grid_thw"][0, 0]) for k in (2, 4, 5, 8)]
        assert grids == ([2, 4, 5, 8] if mllm.injects else [1, 2, 3, 4])
        assert counts == [g * one for g in (grids[0], grids[1], grids[3])]
    else:
        closing = 1 if isinstance(mllm, LlavaOnevision) and mllm.newline == "one" else 0
        assert [c - closing for c in counts] == [k * (one - closing) for k in (2, 4, 8)]


def test_times_can_be_read_back_from_the_prompt(mllm, frames) -> None:
    r = row(mllm, frames, [1, 2, 4, 6])
    text = mllm.tokenizer.decode(mllm.inputs([r])["input_ids"][0])
    if isinstance(mllm, SmolVLM):
        found = [60 * int(m) + int(s) for m, s in re.findall(r"Frame from (\d+):(\d+)", text)]
        assert found == [3, 9, 47, 90]
        assert "four frames" in text
    elif isinstance(mllm, VideoLlama3):
        assert [float(t) for t in re.findall(r"Time ([\d.]+)s:", text)] == pytest.approx([3.2, 9.5, 47.3, 90.8])
    elif isinstance(mllm, Qwen3VL):
        found = [float(t) for t in re.findall(r"<([\d.]+) seconds>", text)]
        expected = [3.2, 9.5, 47.3, 90.8] if mllm.injects else [(3.2 + 9.5) / 2, (47.3 + 90.8) / 2]
        assert found == pytest.approx(expected, abs=0.06)
    else:
        assert not mllm.writes_times
        assert "47.3" not in text
        told = Prompt(timestamps=True).text(QUESTION, r.timestamps_s)
        assert "3.2s, 9.5s, 47.3s, 90.8s" in told
        assert "125.0 seconds" in told


def test_ragged_batch_equals_single_rows_whatever_the_padding(mllm, frames) -> None:
    rows = [
        row(mllm, frames, index, question)
        for index, question in (([0, 1, 2], QUESTION), ([3], LONG), ([], QUESTION), ([1, 4, 6, 7], LONG))
    ]
    together = mllm.score_rows(rows)
    for n, r in enumerate(rows):
        size = len(r.question.options)
        torch.testing.assert_close(together[n, :size], mllm.score_rows([r])[0], atol=1e-4, rtol=1e-4)
        assert torch.isinf(together[n, size:]).all()


def test_options_are_scored_in_float32_and_without_the_rest_of_the_vocabulary(mllm, frames, folder, request) -> None:
    """A bfloat16 model's own logits are rounded to 8 bits and tie; ours are of its hidden state in full."""
    family, cls, arguments = CASES[request.node.callspec.params["mllm"]]
    half = cls(path=str(folder(family)), loading=Loading(dtype="bfloat16"), **arguments)
    question = VideoQuestion("d", "s", "q", "v", 125.0, "Which?", tuple(f"thing {n}" for n in range(10)), 1)
    rows = [row(half, frames, [k, k + 1], question) for k in range(7)]
    letters = [ids[0] for ids in half.option_ids(rows[0])]
    head, hidden = half.model.get_output_embeddings(), []
    handle = head.register_forward_pre_hook(lambda _, args: hidden.append(args[0][:, -1].double()))
    with torch.no_grad():
        rounded = half.model(**half.inputs(rows), logits_to_keep=1).logits[:, -1, letters].float().log_softmax(-1)
        handle.remove()
        head.forward = None  # is not called
        scores = half.score_rows(rows)
    exact = (hidden[0] @ head.weight[letters].double().T).log_softmax(-1).float()
    assert (rounded - exact).abs().max() > 1e-3
    torch.testing.assert_close(scores, exact, atol=1e-5, rtol=1e-5)
    assert all(len(of_row.unique()) == 10 for of_row in scores)


def test_frames_matter_and_so_does_their_order(mllm, frames) -> None:
    base = mllm.score_rows([row(mllm, frames, [0, 1, 2])])
    changed = frames.clone()
    changed[1] = 255 - changed[1]
    assert (base - mllm.score_rows([row(mllm, changed, [0, 1, 2])])).abs().max() > 1e-5
    assert (base - mllm.score_rows([row(mllm, frames, [2, 1, 0])])).abs().max() > 1e-5


def test_reversed_times_give_another_prompt(mllm, frames) -> None:
    if not mllm.writes_times:
        pytest.skip("the family writes no times")
    forward = mllm.inputs([row(mllm, frames, [1, 4])])["input_ids"]
    backward = mllm.inputs([row(mllm, frames, [4, 1])])["input_ids"]
    if isinstance(mllm, Qwen3VL) and not mllm.injects:
        pytest.skip("the mean of a pair's times does not tell its order")
    assert not torch.equal(forward, backward)


def test_previews_take_few_tokens_and_can_be_asked_on(mllm, frames) -> None:
    if not mllm.injects:
        with pytest.raises(ValueError, match="previews"):
            mllm.encode_previews(frames, 4)
        return
    whole = placeholders(mllm, row(mllm, frames, [3]))
    for most in (1, 4):
        tokens = mllm.encode_previews(frames, most)
        shown = Row(QUESTION, FrameTokens(tokens, TIMES), torch.tensor([3]), Prompt(before="Look: "))
        closing = 1 if isinstance(mllm, LlavaOnevision) and mllm.newline == "one" else 0
        sides = math.isqrt(tokens[0].numel() // tokens.shape[-1]) if closing == 0 else 0
        newlines = sides if isinstance(mllm, LlavaOnevision) and mllm.newline == "grid" else 0
        assert 1 <= placeholders(mllm, shown) - closing - newlines <= most
        assert placeholders(mllm, shown) <= whole
        assert "Look: " in mllm.prompt_text(shown)
        assert mllm.score_rows([shown]).isfinite().all()
        assert mllm.generate([shown], 3).texts


def test_generated_answers_carry_their_log_probs(mllm, frames) -> None:
    rows = [row(mllm, frames, [0, 1, 2]), row(mllm, frames, [3, 4], LONG), row(mllm, frames, [])]
    answer = mllm.generate(rows, 4)
    log_probs = mllm.log_probs(rows, answer.token_ids)
    for n, ids in enumerate(answer.token_ids):
        torch.testing.assert_close(log_probs[n, : len(ids)], answer.log_probs[n], atol=1e-3, rtol=1e-3)


def test_log_probs_carry_gradients_to_the_language_model(mllm, frames) -> None:
    r = row(mllm, frames, [0, 1])
    mllm.log_probs([r], [torch.tensor(mllm.option_ids(r)[0])]).sum().backward()
    touched = {n for n, p in mllm.model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    mllm.model.zero_grad()
    assert any("self_attn" in n and ("language_model" in n or "text_model" in n) for n in touched)


def answered(mllm: TransformersMLLM, frames: torch.Tensor) -> tuple[list[Row], list[torch.Tensor]]:
    """Three prompts of unlike lengths and answers to them of 5, 1 and 3 tokens."""
    rows = [row(mllm, frames, [0, 1, 2]), row(mllm, frames, [3, 4], LONG), row(mllm, frames, [])]
    return rows, [torch.tensor([65, 69, 90, 91, 67]), torch.tensor([72]), torch.tensor([100, 65, 66])]


def gradients(mllm: TransformersMLLM, log_probs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of the sum of log-probabilities, each with a weight of its own."""
    mllm.model.zero_grad()
    weights = torch.linspace(0.5, 2.0, log_probs.numel(), device=log_probs.device)
    (log_probs * weights.view_as(log_probs)).sum().backward()
    found = {n: p.grad.clone() for n, p in mllm.model.named_parameters() if p.grad is not None}
    mllm.model.zero_grad()
    return found


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probs_in_pieces_equal_those_of_every_logit(mllm, frames, temperature, monkeypatch) -> None:
    """Values and gradients, of one sequence at a time with the logits of all of its tokens."""
    rows, answers = answered(mllm, frames)
    expected = torch.zeros(3, 5, device=mllm.device)
    for n, (r, ids) in enumerate(zip(rows, answers, strict=True)):
        logits = mllm.model(**mllm.inputs([r], [ids.tolist()])).logits[0, -len(ids) - 1 : -1] / temperature
        drawn = logits.index_fill(-1, torch.tensor(mllm.unsaid_ids, device=mllm.device), -torch.inf)
        expected[n, : len(ids)] = drawn.log_softmax(-1)[torch.arange(len(ids)), ids]
    monkeypatch.setattr("modules.mllms.token_log_probs.LOGITS_PER_PIECE", 2 * logits.shape[-1])
    log_probs = mllm.log_probs(rows, answers, temperature)
    torch.testing.assert_close(log_probs, expected, atol=1e-4, rtol=1e-4)
    theirs = gradients(mllm, expected)
    ours = gradients(mllm, log_probs)
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-4, rtol=1e-3, msg=lambda text, name=name: name + text)


class LargestLogits(TorchDispatchMode):
    """The most tokens that any tensor held the vocabulary's logits of; the head's own weight is none."""

    def __init__(self, head: torch.nn.Linear) -> None:
        super().__init__()
        self.vocab_size, self.weight = head.weight.shape[0], head.weight.T.shape
        self.num_tokens = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor) and self._of_logits(tensor.shape):
                self.num_tokens = max(self.num_tokens, tensor.numel() // self.vocab_size)
        return out

    def _of_logits(self, shape: torch.Size) -> bool:
        return shape[-1:] == (self.vocab_size,) and shape != self.weight


def test_logits_are_those_of_a_few_tokens_at_a_time_and_none_are_kept(mllm, frames, monkeypatch) -> None:
    rows, answers = answered(mllm, frames)
    kept, largest = [], LargestLogits(mllm.model.get_output_embeddings())
    monkeypatch.setattr("modules.mllms.token_log_probs.LOGITS_PER_PIECE", 2 * largest.vocab_size)
    with largest:
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
            log_probs = mllm.log_probs(rows, answers)
        log_probs.sum().backward()
    mllm.model.zero_grad()
    assert largest.num_tokens == 2  # of 9, and of 15 with the padding
    assert not [shape for shape in kept if shape[-1:] == (largest.vocab_size,) and shape != largest.weight]


def test_the_last_layer_is_computed_where_it_is_read(mllm, frames) -> None:
    """Answers' positions and one before, when log-probabilities are asked for; one a row, when an answer is begun."""
    rows, answers = answered(mllm, frames)
    lengths: list[int] = []
    mlp = mllm.model.get_decoder().layers[-1].mlp
    watch = mlp.register_forward_hook(lambda module, inputs, output: lengths.append(output.shape[1]))
    with torch.no_grad():
        mllm.log_probs(rows, answers)
        mllm.generate(rows, 1)
        mllm.model(**mllm.inputs(rows), use_cache=False)
    watch.remove()
    assert lengths[:2] == [5 + 1, 1]
    assert lengths[2] > 20  # all of them, once no more than the end is asked for


def test_saved_and_reloaded_through_the_auto_classes(mllm, frames, tmp_path: Path) -> None:
    transformers.AutoProcessor.from_pretrained(_save(mllm, tmp_path))
    auto = transformers.AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert type(auto) is mllm.model_class
    arguments = {k: getattr(mllm, k) for k in ("frames_per_grid", "newline") if hasattr(mllm, k)}
    if getattr(mllm, "positions", "v5") == "v4":
        arguments["positions"] = "v4"
    again = type(mllm)(path=str(tmp_path), **arguments).to(mllm.device)
    assert again.key == mllm.key
    same = again.score_rows([row(again, frames, [0, 1])])
    torch.testing.assert_close(same, mllm.score_rows([row(mllm, frames, [0, 1])]))


def _save(mllm: TransformersMLLM, folder: Path) -> Path:
    mllm.model.save_pretrained(folder)
    mllm.processor.save_pretrained(folder)
    return folder


def test_encoded_frames_do_not_depend_on_their_neighbours(mllm, frames) -> None:
    if not mllm.injects:
        assert mllm.encode_frames(frames) is frames
        return
    some = torch.tensor([6, 1, 4])
    torch.testing.assert_close(mllm.encode_frames(frames)[some], mllm.encode_frames(frames[some]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava_onevision", "smolvlm"])
def test_lora_trains_the_language_model_alone(family, folder, frames) -> None:
    cls = CASES[family][1]
    adapted = cls(path=str(folder(family)), loading=Loading(lora=Lora(r=2)))
    trainable = [n for n, p in adapted.named_parameters() if p.requires_grad]
    assert trainable
    assert all("lora_" in n and "vision" not in n and "visual" not in n for n in trainable)
    plain = cls(path=str(folder(family)))
    torch.testing.assert_close(  # B starts at zero
        adapted.score_rows([row(adapted, frames, [0, 1])]), plain.score_rows([row(plain, frames, [0, 1])])
    )
    adapted.log_probs([row(adapted, frames, [0, 1])], [torch.tensor([5])]).sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in adapted.parameters())


def test_merged_adapters_answer_as_they_did_and_are_gone(folder, frames) -> None:
    mllm = LlavaOnevision(path=str(folder("llava_onevision")), loading=Loading(lora=Lora(r=2)))
    plain = LlavaOnevision(path=str(folder("llava_onevision")))
    with torch.no_grad():
        for parameter in mllm.language_parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    rows = [row(mllm, frames, [1, 4])]
    before = mllm.score_rows(rows)
    assert not torch.allclose(before, plain.score_rows(rows), atol=1e-3)
    merge_adapters(mllm.model)
    torch.testing.assert_close(mllm.score_rows(rows), before, atol=1e-4, rtol=1e-4)
    assert mllm.model.state_dict().keys() == plain.model.state_dict().keys()


def test_loading_keys_reach_the_model(folder, frames) -> None:
    loading = Loading(dtype="bfloat16", attn_implementation="eager", device_map="cpu")
    mllm = Qwen25VL(path=str(folder("qwen2_5_vl")), loading=loading, frames_per_grid=1)
    assert mllm.model.dtype == torch.bfloat16
    assert mllm.model.config._attn_implementation == "eager"
    assert mllm.to(torch.float64).model.dtype == torch.bfloat16  # placed by transformers, so it stays
    assert mllm.score_rows([row(mllm, frames, [0, 1])]).dtype == torch.float32
    with pytest.raises(ValueError, match="no such linear layers"):
        Qwen25VL(path=str(folder("qwen2_5_vl")), loading=Loading(lora=Lora(target_modules=["nothing"])))


def test_frame_pixels_bound_the_size_of_a_frame(folder, frames) -> None:
    large = torch.nn.functional.interpolate(frames[:2].float(), (280, 420)).byte()
    for cls, family in ((Qwen25VL, "qwen2_5_vl"), (Qwen3VL, "qwen3_vl")):
        for frames_per_grid in (1, 2):
            mllm = cls(path=str(folder(family)), frames_per_grid=frames_per_grid, frame_pixels=(64 * 64, 128 * 128))
            grid = mllm.inputs([row(mllm, large, [0, 1])])["video_grid_thw"][0]
            patch = mllm.model.config.vision_config.patch_size
            assert 64 * 64 <= int(grid[1] * grid[2]) * patch**2 <= 128 * 128
    with pytest.raises(ValueError, match="frame_pixels"):
        Qwen25VL(path=str(folder("qwen2_5_vl")), frame_pixels=(9, 3))


def test_grid_newlines_make_15_columns_of_14() -> None:
    """The layout of LLaVA-Video: a newline after each row of a frame's tokens."""
    frame = torch.arange(4.0)[None, :, None].expand(2, 4, 3)  # 2 frames of 2 x 2 tokens
    mllm = object.__new__(LlavaOnevision)
    torch.nn.Module.__init__(mllm)
    mllm.newline = "grid"
    mllm.model = torch.nn.Module()
    mllm.model.device, mllm.model.dtype = torch.device("cpu"), torch.float32
    mllm.model.model = torch.nn.Module()
    mllm.model.model.image_newline = torch.full((3,), -1.0)
    mllm.loading = Loading()
    r = Row(QUESTION, FrameTokens(frame, torch.arange(2.0)), torch.arange(2))
    assert mllm.clip(r).features[:, 0].tolist() == [0, 1, -1, 2, 3, -1] * 2
