"""ReFoCUS: the autoregressive policy is a distribution, and its two passes agree, over every backbone."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

import modules.selection.policies
from modules.evaluation.evaluation_module import EvaluationModule
from modules.methods.refocus.backbones.base import SequenceBackbone
from modules.methods.refocus.backbones.gru import GRUBackbone
from modules.methods.refocus.backbones.mamba2 import Mamba2Backbone
from modules.methods.refocus.backbones.transformer import TransformerBackbone
from modules.methods.refocus.pointer_decoder import ReFoCUSSampler
from modules.methods.refocus.question_prompt import QuestionPrompt
from modules.mllms.openai import OpenAIChat
from modules.records import Candidates, QuestionBatch, VideoQuestion
from modules.selection.policies import Autoregressive
from modules.systems.sampler_system import SamplerSystem

DIM = 8
BACKBONES = {
    "gru": lambda width=DIM: GRUBackbone(width=width, num_layers=2),
    "transformer": lambda width=DIM: TransformerBackbone(width=width, num_heads=2),
    "mamba2": lambda width=DIM: Mamba2Backbone(width=width, state_size=4, head_dim=4, chunk_size=4),
}


@pytest.fixture(params=BACKBONES)
def backbone(request: pytest.FixtureRequest) -> SequenceBackbone:
    return BACKBONES[request.param]()


def sharp(backbone: SequenceBackbone, **settings: object) -> ReFoCUSSampler:
    """A sampler whose draws depend strongly on the question and on each other."""
    sampler = ReFoCUSSampler(dim=DIM, backbone=backbone, **settings)
    for head in (sampler.key, sampler.query, sampler.value):
        nn.init.orthogonal_(head.weight, 1.2)
    return sampler


def inputs(lengths: list[int], width: int = DIM) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    features = torch.randn(len(lengths), max(lengths), width) * mask[..., None]
    return features, mask, torch.zeros(mask.shape), torch.randn(len(lengths), 1, width)


def batch_of(lengths: list[int], videos: list[str], width: int = DIM) -> QuestionBatch:
    features, mask, times, queries = inputs(lengths, width)
    questions, candidates = [], []
    for n, (video, length) in enumerate(zip(videos, lengths, strict=True)):
        questions.append(VideoQuestion("d", "train", f"q{n}", video, 9.0, f"what is number {n}", ("x", "y"), 0))
        candidates.append(Candidates(video, torch.arange(length), torch.arange(length).float(), 9.0, length))
        features[n] = features[videos.index(video)]
    return QuestionBatch(questions, candidates, features, mask, times, queries)


@pytest.mark.parametrize("kind", [*BACKBONES, "mamba2 with a vocabulary"])
def test_a_checkpoint_of_what_is_trained_can_be_evaluated(kind: str) -> None:
    """Checkpoints hold trained parameters alone, so nothing else may make a sampler what it is."""

    def built() -> ReFoCUSSampler:
        torch.manual_seed(next(seeds))
        if kind in BACKBONES:
            return sharp(BACKBONES[kind]())
        return sharp(Mamba2Backbone(width=DIM, state_size=4, head_dim=4, chunk_size=4, vocab_size=50))

    seeds = itertools.count()
    sampler = built()
    saved = {f"sampler.{name}": p.detach() for name, p in sampler.named_parameters() if p.requires_grad}
    module = EvaluationModule(
        mllm=OpenAIChat(model="m", base_url="http://127.0.0.1:1/v1"),
        systems={"sampler": SamplerSystem(sampler=built())},
    )
    checkpoint = {"state_dict": saved}
    module.on_load_checkpoint(checkpoint)
    module.load_state_dict(checkpoint["state_dict"], strict=False)
    batch = batch_of([5, 7], ["v0", "v1"])
    theirs, ours = sampler.policies(batch).mode(3), module.systems["sampler"].sampler.policies(batch).mode(3)
    assert torch.equal(theirs.candidate_index, ours.candidate_index)
    torch.testing.assert_close(theirs.log_probs, ours.log_probs)
    described = module.describe()["systems"]
    other = built()
    other.load_state_dict({name.removeprefix("sampler."): p for name, p in saved.items()})
    again = EvaluationModule(mllm=module.mllm, systems={"sampler": SamplerSystem(sampler=other)})
    assert described == again.describe()["systems"]


def naive(sampler: ReFoCUSSampler, arguments: tuple[Tensor, ...], index: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy of each draw, one question, one rollout and one draw at a time, each from scratch."""
    features, mask, _, queries = arguments
    log_probs, entropies = torch.zeros(index.shape), torch.zeros(index.shape)
    for b, g in itertools.product(range(index.shape[0]), range(index.shape[1])):
        length = int(mask[b].sum())
        frames = sampler.frame_in(nn.functional.rms_norm(features[b, :length], (sampler.dim,)))
        question = sampler.question_in(nn.functional.rms_norm(queries[b], (sampler.dim,)))
        for k in range(index.shape[2]):
            picks = index[b, g, :k]
            watched, _ = sampler.backbone.prefill(frames[None], torch.tensor([length]))
            fed_back = sampler.value(watched[0, picks]) + question
            sequence = torch.cat([frames, question, sampler.sof + question, fed_back])
            hidden, _ = sampler.backbone.prefill(sequence[None], torch.tensor([len(sequence)]))
            scale = nn.functional.softplus(sampler.raw_scale) / sampler.temperature
            logits = scale * sampler.key(hidden[0, :length]) @ sampler.query(hidden[0, -1])
            logits = logits.index_fill(0, picks, -torch.inf)
            distribution = torch.distributions.Categorical(logits=logits)
            log_probs[b, g, k] = distribution.log_prob(index[b, g, k])
            p = distribution.probs[distribution.probs > 0]
            entropies[b, g, k] = -(p * p.log()).sum()
    return log_probs, entropies


def test_two_passes_agree_and_equal_a_naive_loop_with_its_gradient(backbone: SequenceBackbone) -> None:
    sampler, arguments = sharp(backbone, temperature=0.7), inputs([9, 6])
    policy = sampler(*arguments)
    drawn = policy.sample(4, 3, torch.Generator().manual_seed(0))
    log_probs, entropies = policy.log_prob_and_entropy(drawn.candidate_index)
    torch.testing.assert_close(log_probs, drawn.log_probs, atol=1e-4, rtol=0)
    expected, expected_entropies = naive(sampler, arguments, drawn.candidate_index)
    torch.testing.assert_close(log_probs, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(entropies, expected_entropies, atol=1e-4, rtol=1e-4)
    weights = torch.randn_like(log_probs)
    parameters = [p for p in sampler.parameters() if p.requires_grad]
    ours = torch.autograd.grad((log_probs * weights + entropies).sum(), parameters, allow_unused=True)
    theirs = torch.autograd.grad((expected * weights + expected_entropies).sum(), parameters, allow_unused=True)
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, atol=2e-4, rtol=2e-3)


@pytest.mark.parametrize("num_candidates", [1, 2, 4, 6])
def test_all_ordered_subsets_sum_to_one(backbone: SequenceBackbone, num_candidates: int) -> None:
    policy = sharp(backbone)(*inputs([num_candidates, 6]))
    for num_frames in range(1, min(num_candidates, 3) + 1):
        subsets = torch.tensor(list(itertools.permutations(range(num_candidates), num_frames)))
        p = policy.log_prob(subsets[None].expand(2, -1, -1)).sum(-1).exp().sum(-1)
        assert p[0].item() == pytest.approx(1.0, abs=1e-5)


def test_draws_follow_the_distribution() -> None:
    policy = sharp(GRUBackbone(width=DIM))(*inputs([4]))
    subsets = torch.tensor(list(itertools.permutations(range(4), 2)))
    expected = policy.log_prob(subsets[None]).sum(-1).exp()[0]
    drawn = policy.sample(2, 20_000, torch.Generator().manual_seed(0)).candidate_index[0]
    measured = torch.stack([(drawn == subset).all(-1).float().mean() for subset in subsets])
    torch.testing.assert_close(measured, expected, atol=0.015, rtol=0)


def test_finite_differences(backbone: SequenceBackbone) -> None:
    sampler, arguments = sharp(backbone), inputs([6])
    index = torch.tensor([[[3, 0, 4], [1, 2, 5]]])
    for parameter in (sampler.value.weight, sampler.key.weight, sampler.frame_in.weight):
        (gradient,) = torch.autograd.grad(sampler(*arguments).log_prob(index).sum(), parameter)
        for at in ((0, 0), (3, 5), (7, 2)):
            values = []
            for step in (5e-3, -5e-3):
                with torch.no_grad():
                    parameter[at] += step
                    values.append(sampler(*arguments).log_prob(index).sum().item())
                    parameter[at] -= step
            assert gradient[at].item() == pytest.approx((values[0] - values[1]) / 1e-2, abs=5e-3, rel=5e-3)


def test_no_duplicates_no_padding_and_few_candidates_shrink_the_selection(backbone: SequenceBackbone) -> None:
    policy = sharp(backbone)(*inputs([7, 2]))
    policy.keys[:, -1] = 100.0  # tempting padding of the second question, a real frame of the first
    for selection in (policy.sample(4, 40, torch.Generator().manual_seed(0)), policy.mode(4)):
        first, second = selection.candidate_index
        assert all(len(set(row)) == 4 and min(row) >= 0 for row in first.tolist())
        assert all(sorted(row[:2]) == [0, 1] and row[2:] == [-1, -1] for row in second.tolist())
        assert (selection.log_probs[1, :, 2:] == 0).all()
        log_probs, entropies = policy.log_prob_and_entropy(selection.candidate_index)
        torch.testing.assert_close(log_probs, selection.log_probs, atol=1e-4, rtol=1e-4)
        assert (entropies[1, :, 1:].abs() < 1e-5).all()
    log_probs.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in backbone.parameters() if p.grad is not None)


def test_a_dropped_mask_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, arguments = sharp(GRUBackbone(width=DIM)), inputs([6])
    subsets = torch.tensor(list(itertools.permutations(range(6), 2)))[None]

    def unmasked(self: Autoregressive, queries: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        log_p = self._logits(queries).log_softmax(-1)
        return log_p.gather(-1, index[..., None])[..., 0], log_p.sum(-1)

    monkeypatch.setattr(Autoregressive, "_score", unmasked)
    assert sampler(*arguments).log_prob(subsets).sum(-1).exp().sum().item() < 0.999


def test_what_is_drawn_changes_what_is_looked_for_and_the_question_too() -> None:
    sampler, arguments = sharp(GRUBackbone(width=DIM)), inputs([8])
    policy = sampler(*arguments)
    index = torch.tensor([[[0, 7], [5, 7]]])
    # Plackett-Luce's ratio of two frames' probabilities would not depend on a third that was drawn before
    ratio = policy.log_prob(index)[0, :, 1] - policy.log_prob(index - torch.tensor([0, 1]))[0, :, 1]
    assert (ratio[0] - ratio[1]).abs() > 1e-3
    other = sampler(arguments[0], arguments[1], arguments[2], torch.randn(1, 1, DIM))
    assert torch.equal(other.keys, policy.keys)
    assert (other.entropy() - policy.entropy()).abs() > 1e-4


def test_the_start_is_near_uniform(backbone: SequenceBackbone) -> None:
    wide = BACKBONES[next(n for n, make in BACKBONES.items() if type(make()) is type(backbone))](64)
    policy = ReFoCUSSampler(dim=64, backbone=wide)(*inputs([600, 512], 64))
    drawn = policy.sample(8, 2, torch.Generator().manual_seed(0))
    entropies = policy.log_prob_and_entropy(drawn.candidate_index)[1]
    for b, length in enumerate((600, 512)):
        assert policy.entropy()[b].item() == pytest.approx(math.log(length), rel=0.02)
        assert entropies[b].mean().item() == pytest.approx(math.log(length - 3.5), rel=0.02)


def test_a_question_does_not_depend_on_its_batch(backbone: SequenceBackbone) -> None:
    sampler, batch = sharp(backbone), batch_of([9, 6, 9], ["a", "b", "a"])
    together = sampler.policies(batch)
    alone = sampler(batch.features[1:2, :6], batch.mask[1:2, :6], batch.timestamps_s[1:2, :6], batch.queries[1:2])
    generators = [torch.Generator().manual_seed(n) for n in range(3)]
    index = together.sample(3, 5, generators).candidate_index
    own = alone.sample(3, 5, [torch.Generator().manual_seed(1)]).candidate_index
    assert torch.equal(index[1:2], own)
    torch.testing.assert_close(together.log_prob(index)[1:2], alone.log_prob(own), atol=1e-5, rtol=1e-5)


def test_each_video_is_watched_once_and_anew_after_training(backbone: SequenceBackbone) -> None:
    sampler, batch = sharp(backbone), batch_of([9, 6, 9], ["a", "b", "a"])
    watched: list[int] = []
    watch = sampler._watch

    def counting(features: Tensor, mask: Tensor) -> object:
        watched.append(len(features))
        return watch(features, mask)

    sampler._watch = counting  # type: ignore[method-assign]
    sampler.policies(batch)
    assert watched == [2]
    with torch.no_grad():
        first = sampler.policies(batch).mode(4)
        again = sampler.policies(batch).mode(4)
        assert watched == [2, 2]
        assert torch.equal(first.candidate_index, again.candidate_index)
        sampler.key.weight.add_(1.0)
        sampler.policies(batch)
        assert watched == [2, 2, 2]
        different = batch_of([5], ["a"])
        sampler.policies(different)
        assert watched[-1] == 1  # other frames of the same file


def test_a_large_pass_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, arguments = sharp(GRUBackbone(width=DIM)), inputs([9, 6])
    policy = sampler(*arguments)
    index = policy.sample(3, 5, torch.Generator().manual_seed(0)).candidate_index
    whole = policy.log_prob_and_entropy(index)
    gradient = torch.autograd.grad(whole[0].sum() + whole[1].sum(), sampler.query.weight, retain_graph=True)
    monkeypatch.setattr(modules.selection.policies, "_LOGITS_AT_ONCE", 2 * 3 * 9 * 2)
    parts = sampler(*arguments).log_prob_and_entropy(index)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts[0].sum() + parts[1].sum(), sampler.query.weight), gradient)


@pytest.mark.parametrize(("num_candidates", "num_frames"), [(4096, 4), (300, 64)])
def test_large_videos_and_many_frames(backbone: SequenceBackbone, num_candidates: int, num_frames: int) -> None:
    sampler = ReFoCUSSampler(dim=DIM, backbone=backbone)
    policy = sampler(*inputs([num_candidates]))
    drawn = policy.sample(num_frames, 2, torch.Generator().manual_seed(0))
    log_probs = policy.log_prob(drawn.candidate_index)
    torch.testing.assert_close(log_probs, drawn.log_probs, atol=1e-4, rtol=0)
    log_probs.mean().backward()


def test_absent_queries_do_not_count(backbone: SequenceBackbone) -> None:
    sampler, (features, mask, times, _) = sharp(backbone), inputs([7])
    queries = torch.randn(1, 2, DIM)
    padded = torch.stack([torch.zeros(DIM), queries[0, 0], torch.zeros(DIM), queries[0, 1]])[None]
    index = torch.tensor([[[3, 0, 4]]])
    expected = sampler(features, mask, times, queries).log_prob(index)
    torch.testing.assert_close(sampler(features, mask, times, padded).log_prob(index), expected)


def test_patch_tokens_and_a_tokenised_question(tmp_path: Path) -> None:
    words = {w: n for n, w in enumerate(["<unk>", "what", "is", "number", "0", "1", "A", "B", "x", "y", ".", "you"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(tmp_path)
    prompt = QuestionPrompt(tokenizer=str(tmp_path), head="you", tail="")
    backbone = Mamba2Backbone(width=DIM, state_size=4, head_dim=4, chunk_size=4, vocab_size=len(words))
    sampler = sharp(backbone, prompt=prompt)
    batch = batch_of([5, 4], ["a", "b"])
    batch.features = torch.randn(2, 5, 3, DIM)  # three tokens a frame
    policy = sampler.policies(batch)
    drawn = policy.sample(3, 4, torch.Generator().manual_seed(0))
    log_probs = policy.log_prob(drawn.candidate_index)
    torch.testing.assert_close(log_probs, drawn.log_probs, atol=1e-4, rtol=0)
    assert drawn.candidate_index[1].max() <= 3
    log_probs.sum().backward()
    assert backbone.model.embeddings.weight.grad.abs().sum() > 0
    # causal: what comes later in the video cannot change an earlier frame's key
    batch.features = batch.features.clone()
    batch.features[0, 3:] = 0.0
    torch.testing.assert_close(sampler.policies(batch).keys[0, :3], policy.keys[0, :3], atol=1e-5, rtol=1e-5)
    with pytest.raises(TypeError, match="call `policies`"):
        sampler(batch.features, batch.mask, batch.timestamps_s, batch.queries)
    with pytest.raises(TypeError, match="no vocabulary"):
        ReFoCUSSampler(dim=DIM, backbone=GRUBackbone(width=DIM), prompt=prompt).policies(batch)


def test_a_single_draw_leaves_no_parameter_without_gradient(backbone: SequenceBackbone) -> None:
    sampler = sharp(backbone)
    sampler(*inputs([5, 4])).log_prob(torch.tensor([[[2]], [[1]]])).sum().backward()
    assert all(p.grad is not None for p in sampler.parameters() if p.requires_grad)
    assert sampler.value.weight.grad.abs().sum() == 0


def test_learning_rates_of_parts() -> None:
    sampler = ReFoCUSSampler(dim=DIM, backbone=GRUBackbone(width=DIM), backbone_lr_share=0.1, scale_lr_share=50.0)
    groups = sampler.parameter_groups()
    assert {name: group.lr_share for name, group in groups.items()} == {"": 1.0, "backbone": 0.1, "scale": 50.0}
    together = [id(p) for group in groups.values() for p in group.parameters]
    assert sorted(together) == sorted(id(p) for p in sampler.parameters())
    assert list(ReFoCUSSampler(dim=DIM, backbone=GRUBackbone(width=DIM)).parameter_groups()) == [""]


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="width 5"):
        ReFoCUSSampler(dim=DIM, backbone=GRUBackbone(width=DIM))(*inputs([4], 5))
    with pytest.raises(ValueError, match="no policy"):
        Autoregressive(torch.zeros(1, 3, 2), torch.zeros(1, 3, dtype=torch.bool), None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be"):
        Autoregressive(torch.zeros(1, 3, 2), torch.ones(1, 4, dtype=torch.bool), None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="multiple"):
        TransformerBackbone(width=6, num_heads=2)
    with pytest.raises(ValueError, match="divide"):
        Mamba2Backbone(width=6, head_dim=5)
