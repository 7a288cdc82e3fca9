"""Every encoder, sampler, policy and reward gives on another device what it gives on the CPU, gradients included."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from callbacks.rollout_table import rollout_rows
from modules.encoders.base import FrameEncoder, ImageTextEncoder
from modules.encoders.open_clip import OpenCLIPEncoder
from modules.encoders.resize import resize
from modules.encoders.siglip_patches import SiglipPatches
from modules.encoders.transformers_clip import TransformersCLIP
from modules.methods.msjoe.difficulty import DifficultyAware
from modules.methods.msjoe.query_information import QueryInformation
from modules.methods.msjoe.unet import UNetSampler
from modules.methods.refocus.backbones.gru import GRUBackbone
from modules.methods.refocus.backbones.mamba2 import Mamba2Backbone
from modules.methods.refocus.backbones.transformer import TransformerBackbone
from modules.methods.refocus.pointer_decoder import ReFoCUSSampler
from modules.methods.training_free.aks import AKS
from modules.methods.training_free.bin_max import BinMax
from modules.methods.training_free.precomputed import Precomputed
from modules.methods.training_free.top_k import TopK
from modules.methods.training_free.uniform import Uniform
from modules.methods.tspo.agent import TSPOSampler
from modules.records import Candidates, QuestionBatch, Rollouts, Selection, VideoQuestion
from modules.rewards.accuracy import Accuracy
from modules.rewards.base import Reward
from modules.rewards.format import Format
from modules.rewards.margin import Margin
from modules.rewards.probability import Probability
from modules.rewards.temporal import TemporalLocating
from modules.rl.advantages import GroupNorm, group_advantages
from modules.rl.grpo import GRPO, grpo_loss
from modules.selection.base import FrameSampler
from modules.selection.evidence import oracle_selection
from modules.selection.policies import FramePolicy, IndependentDraws, PlackettLuce
from modules.selection.selection_files import write_selections
from modules.selection.selection_row import SelectionRow
from modules.small_stack.blank_families import write_blank_hf_clip
from modules.systems.readouts import EvenlyWhereFew, MostProbable, Sampled

DIM, LENGTHS = 16, (40, 33)


def batch() -> QuestionBatch:
    """Two questions about videos of unlike lengths, with evidence and pass rates; on the CPU."""
    longest = max(LENGTHS)
    draw = torch.Generator().manual_seed(1)
    mask = torch.arange(longest)[None] < torch.tensor(LENGTHS)[:, None]
    questions, candidates = [], []
    for n, length in enumerate(LENGTHS):
        times = torch.arange(length, dtype=torch.float64)
        candidates.append(Candidates(f"v{n}", torch.arange(length), times, float(length), length))
        questions.append(
            VideoQuestion(
                "d",
                "s",
                f"q{n}",
                f"v{n}",
                float(length),
                f"number {n}?",
                ("red", "green", "blue"),
                n,
                ((3.0, 9.0), (20.0, 22.0)),
                pass_rate=0.3,
            )
        )
    features = torch.randn(2, longest, DIM, generator=draw) * mask[..., None]
    times = torch.arange(float(longest)).expand(2, -1).clone()
    return QuestionBatch(questions, candidates, features, mask, times, torch.randn(2, 1, DIM, generator=draw))


def rollouts(here: QuestionBatch) -> Rollouts:
    """Three answered rollouts of each question, on the batch's device."""
    index = torch.tensor([[[3, 21, 30], [5, 0, 1], [9, 8, 7]], [[32, 4, 20], [21, 2, -1], [0, 1, 2]]])
    scores = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(2)).log_softmax(-1)
    place = here.features.device
    queries = [[["a star"], ["a star", "the moon"], []] for _ in range(2)]
    vectors = torch.randn(2, 3, 2, DIM, generator=torch.Generator().manual_seed(3))
    return Rollouts(
        here,
        Selection(index.to(place), torch.zeros(2, 3, 3, device=place)),
        scores.to(place),
        [["red", "it is green", "blue"]] * 2,
        queries,
        vectors.to(place),
    )


def to_cpu(value: Any) -> Any:
    """The same with its tensors on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Selection):
        return to_cpu([value.candidate_index, value.log_probs])
    return type(value)(to_cpu(v) for v in value) if isinstance(value, (list, tuple)) else value


def assert_equal(there: Any, here: Any) -> None:
    torch.testing.assert_close(to_cpu(there), to_cpu(here), atol=1e-5, rtol=1e-4, equal_nan=True)


# ---- samplers and policies ----

SAMPLERS: dict[str, Callable[[], FrameSampler]] = {
    "tspo": lambda: TSPOSampler(dim=DIM, num_heads=4),
    "unet": lambda: UNetSampler(max_queries=2, channels=(8, 16), similarity_init=1.0),
    "refocus, gru": lambda: ReFoCUSSampler(dim=DIM, backbone=GRUBackbone(width=8, num_layers=2)),
    "refocus, transformer": lambda: ReFoCUSSampler(dim=DIM, backbone=TransformerBackbone(width=8, num_heads=2)),
    "refocus, mamba2": lambda: ReFoCUSSampler(
        dim=DIM, backbone=Mamba2Backbone(width=8, state_size=4, head_dim=4, chunk_size=16)
    ),
    "uniform": Uniform,
    "top-k": TopK,
    "bin-max": BinMax,
    "aks": AKS,
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers(name: str, device: torch.device) -> None:
    sampler, inputs = SAMPLERS[name](), batch()
    for parameter in sampler.parameters():  # so that even heads that start at zero say something
        parameter.data.add_(0.1 * torch.randn(parameter.shape))
    index = torch.tensor([[[3, 1, 0], [9, 30, 2]], [[5, 32, -1], [0, 7, 6]]])

    def results(sampler: FrameSampler, inputs: QuestionBatch) -> list[Any]:
        arguments = (inputs.features, inputs.mask, inputs.timestamps_s, inputs.queries)
        policy = sampler.policies(inputs)
        log_probs, entropies = policy.log_prob_and_entropy(index.to(inputs.features.device))
        assert log_probs.device == inputs.features.device
        gradients = []
        if log_probs.requires_grad:
            (log_probs.sum() + entropies.sum()).backward()
            gradients = [p.grad for p in sampler.parameters() if p.grad is not None]
            assert gradients
        with torch.no_grad():
            whole = sampler.policies(inputs)
            best = [whole.mode(5), whole.mode(50)]
        return [log_probs, entropies, policy.entropy(), best, sampler.scores(*arguments), gradients]

    there = copy.deepcopy(sampler).to(device)
    assert_equal(results(there, batch().to(device)), results(sampler, inputs))


@pytest.mark.parametrize("name", ["tspo", "unet", "refocus, gru"])
def test_samplers_score_in_float32_under_autocast(name: str, device: torch.device) -> None:
    sampler, inputs = SAMPLERS[name]().to(device), batch().to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        policy = sampler.policies(inputs)
        drawn = policy.sample(3, 2, torch.Generator(device).manual_seed(0))
        log_probs = policy.log_prob(drawn.candidate_index)
        log_probs.sum().backward()
    assert drawn.log_probs.dtype == log_probs.dtype == torch.float32
    assert log_probs.isfinite().all()


@pytest.mark.parametrize("name", ["tspo", "refocus, gru"])
def test_draws_are_reproducible_and_each_question_has_its_own(name: str, device: torch.device) -> None:
    inputs = batch().to(device)
    policy = SAMPLERS[name]().to(device).policies(inputs)

    def draw(*seeds: int) -> Selection:
        return policy.sample(5, 4, [torch.Generator(device).manual_seed(seed) for seed in seeds])

    first, again, other = draw(1, 2), draw(1, 2), draw(1, 3)
    assert torch.equal(first.candidate_index, again.candidate_index)
    assert torch.equal(first.candidate_index[0], other.candidate_index[0])
    assert not torch.equal(first.candidate_index[1], other.candidate_index[1])
    for b, length in enumerate(LENGTHS):
        for picks in first.candidate_index[b].tolist():
            assert len(set(picks)) == len(picks)
            assert max(picks) < length
    torch.testing.assert_close(policy.log_prob(first.candidate_index).detach(), first.log_probs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [PlackettLuce, IndependentDraws])
def test_policies_of_scores(kind: type[PlackettLuce], device: torch.device) -> None:
    logits, mask = torch.randn(2, max(LENGTHS)), batch().mask
    index = torch.tensor([[[3, 1], [9, 30]], [[5, -1], [0, 7]]])

    def results(policy: FramePolicy, index: Tensor) -> list[Any]:
        return [policy.log_prob(index), policy.log_prob_and_entropy(index), policy.entropy(), policy.mode(60)]

    assert_equal(
        results(kind(logits.to(device), mask.to(device)), index.to(device)), results(kind(logits, mask), index)
    )


def test_precomputed_selections(tmp_path: Path, device: torch.device) -> None:
    path = tmp_path / "chosen.jsonl"
    write_selections(
        path, [SelectionRow("d", "s", f"q{n}", f"v{n}", "x", (1, 5, 20 + n), ranks=(2, 0, 1)) for n in (0, 1)]
    )
    sampler = Precomputed(path=str(path))
    assert_equal(sampler.policies(batch().to(device)).mode(3), sampler.policies(batch()).mode(3))


def test_decodings(device: torch.device) -> None:
    here, there = batch(), batch().to(device)
    policies = [TopK(temperature=1.0).policies(inputs) for inputs in (here, there)]
    for decoding in (MostProbable(), EvenlyWhereFew(of=MostProbable(), max_candidates=35)):
        chosen = [decoding.choose(p, None, b, None, 6) for p, b in zip(policies, (here, there), strict=True)]
        assert_equal(chosen[1], chosen[0])
    drawn = [Sampled(seed=1).choose(policies[1], None, there, None, 6).candidate_index for _ in range(2)]
    assert torch.equal(*drawn)
    assert drawn[0].device.type == device.type


# ---- rewards and the loss ----

REWARDS: list[Reward] = [
    Accuracy(),
    Accuracy(by="text"),
    Format(pattern="red|blue"),
    Margin(),
    Margin(of="probabilities"),
    Probability(),
    QueryInformation(measure="ratio", threshold=2.0),
    QueryInformation(measure="contrast", threshold=1.5),
    TemporalLocating(),
]


@pytest.mark.parametrize("reward", REWARDS, ids=lambda r: f"{type(r).__name__}, {' '.join(map(str, vars(r).values()))}")
def test_rewards(reward: Reward, device: torch.device) -> None:
    assert_equal(reward(rollouts(batch().to(device))), reward(rollouts(batch())))


def test_the_table_of_rollouts(device: torch.device) -> None:
    here, there = rollouts(batch()), rollouts(batch().to(device))
    tables = [rollout_rows(r, {"probability": Probability()(r), "margin": Margin()(r)}, 1, 2) for r in (here, there)]
    assert tables[1] == tables[0]


def test_evidence(device: torch.device) -> None:
    here, there = rollouts(batch()), rollouts(batch().to(device))
    assert_equal(oracle_selection(there.batch, 8), oracle_selection(here.batch, 8))


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo"])
def test_advantages_and_losses(loss_type: str, device: torch.device) -> None:
    def results(place: torch.device) -> list[Any]:
        draw = torch.Generator().manual_seed(4)
        log_probs, old, reference = (torch.randn(6, 5, generator=draw).to(place) for _ in range(3))
        mask = (torch.rand(6, 5, generator=draw) > 0.2).float().to(place)
        rewards = torch.rand(2, 3, generator=draw).to(place)
        credit = [
            group_advantages(rewards),
            *(a(rollouts(batch().to(place)), rewards) for a in (GroupNorm(), DifficultyAware())),
        ]
        log_probs.requires_grad_()
        out = grpo_loss(
            GRPO(loss_type=loss_type, beta=0.1), log_probs, old, credit[0].flatten(), mask, ref_log_probs=reference
        )
        out.loss.backward()
        return [*credit, out.loss, out.clipped_frac, out.kl_nats, log_probs.grad]

    assert_equal(results(device), results(torch.device("cpu")))


# ---- encoders ----


@pytest.fixture(scope="module")
def encoders(blank_clip: Path, tmp_path_factory) -> dict[str, Callable[[], FrameEncoder]]:
    import transformers

    folder = tmp_path_factory.mktemp("encoders")
    write_blank_hf_clip(folder / "clip")
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    tower = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(image_size=28, patch_size=7, **shape))
    tower.save_pretrained(folder / "siglip")
    return {
        "open_clip": lambda: OpenCLIPEncoder(model=f"local-dir:{blank_clip}"),
        "transformers": lambda: TransformersCLIP(path=str(folder / "clip")),
        "siglip patches": lambda: SiglipPatches(path=str(folder / "siglip"), pool=2),
    }


@pytest.mark.parametrize("name", ["open_clip", "transformers", "siglip patches"])
def test_encoders(name: str, encoders, device: torch.device) -> None:
    here, there = encoders[name](), encoders[name]().to(device)
    side = here.size if isinstance(here.size, int) else here.size[0]
    frames = torch.randint(0, 255, (5, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def results(encoder: FrameEncoder) -> list[Tensor]:
        texts = [encoder.encode_texts(["a star", "the moon is blue"])] if isinstance(encoder, ImageTextEncoder) else []
        return [encoder.encode_frames(frames), *texts]

    outputs = results(there)
    assert all(o.device.type == device.type for o in outputs)
    assert_equal(outputs, results(here))
    assert there.key == here.key


def test_frames_are_resized_alike_to_one_grey_value(device: torch.device) -> None:
    frames = torch.randint(0, 255, (2, 3, 48, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sizes = [resize(f, (28, 28)) for f in (frames, frames.to(device))]
    assert (sizes[0].int() - sizes[1].cpu().int()).abs().max() <= 1
