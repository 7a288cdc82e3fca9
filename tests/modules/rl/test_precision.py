"""The sampler is float32 whatever is asked for; what is trained of a bfloat16 MLLM is float32 and moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from evolution_settings import evolution, terms
from quiet_trainer import quiet_trainer
from torch import Tensor, nn

from datamodules.haystack.datamodule import HaystackData
from datamodules.video.decoding_settings import DecodingSettings
from modules.encoders.open_clip import OpenCLIPEncoder
from modules.methods.msjoe.unet import UNetSampler
from modules.methods.refocus.backbones.gru import GRUBackbone
from modules.methods.refocus.pointer_decoder import ReFoCUSSampler
from modules.methods.training_free.top_k import TopK
from modules.methods.tspo.agent import TSPOSampler
from modules.mllms.base import FrameTokens, Row
from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.loading import Loading, Lora
from modules.mllms.prompt import Prompt
from modules.records import Rollouts, VideoQuestion
from modules.rewards.base import Reward
from modules.rewards.probability import Probability
from modules.rl.evolution import EvolutionModule
from modules.rl.grpo import GRPO
from modules.rl.token_training import JointTraining
from modules.selection.base import FrameSampler

pytestmark = pytest.mark.usefixtures("one_thread")
DIM = 32
SAMPLERS: dict[str, Callable[[], FrameSampler]] = {
    "unet": lambda: UNetSampler(channels=(8, 16), similarity_init=1.0),
    "tspo": lambda: TSPOSampler(dim=DIM, num_heads=4),
    "refocus": lambda: ReFoCUSSampler(dim=DIM, backbone=GRUBackbone(width=16)),
    "topk": TopK,
}


class EvenLength(Reward):
    """Something to learn whatever the model says."""

    needs_text, needs_options = True, False

    def __call__(self, rollouts: Rollouts) -> Tensor:
        assert rollouts.texts is not None
        return torch.tensor([[float(len(t) % 2 == 0) for t in texts] for texts in rollouts.texts])


class Stack:
    """Fresh, equal objects on shared files."""

    def __init__(self, root: Path, world: Any, clip: Path, vlm: Path) -> None:
        self.root, self.world, self.clip, self.vlm = root, world, clip, vlm

    def module(self, sampler: str = "tspo", loading: Loading | None = None, **settings: Any) -> EvolutionModule:
        torch.manual_seed(3)
        mllm = LlavaOnevision(path=str(self.vlm), prompt=Prompt(answer_with="words"), loading=loading)
        return evolution(
            sampler=SAMPLERS[sampler](),
            mllm=mllm,
            grpo=GRPO(num_generations=4, loss_type="grpo"),
            num_frames=4,
            learning_rate=1e-2,
            lr_scheduler_type="constant",
            max_new_tokens=3,
            store_frame_tokens=True,
            **{"rewards": terms(Probability()), **settings},
        )

    def joint(self, loading: Loading, **settings: Any) -> EvolutionModule:
        training = JointTraining(learning_rate=1e-5, **settings)
        return self.module("tspo", loading, rewards=terms(EvenLength()), evolve="joint", joint=training)

    def fit(self, module: EvolutionModule, max_steps: int = 1, precision: Any = "32-true") -> EvolutionModule:
        data = HaystackData(
            world=self.world,
            root=str(self.root / "videos"),
            feature_dir=str(self.root / "features"),
            decoding=DecodingSettings(num_workers=1),
            num_train_videos=2,
            num_val_videos=1,
            num_test_videos=1,
            batch_size=4,
            encoder=OpenCLIPEncoder(model=f"local-dir:{self.clip}"),
        )
        trainer = quiet_trainer(max_steps, precision=precision)
        trainer.fit(module, datamodule=data)
        return module


@pytest.fixture(scope="module")
def stack(tmp_path_factory, short_world, blank_clip, blank_vlm) -> Stack:
    return Stack(tmp_path_factory.mktemp("precision"), short_world, blank_clip, blank_vlm)


def dtypes(module: nn.Module, trained: bool) -> set[torch.dtype]:
    return {p.dtype for p in module.parameters() if p.requires_grad is trained}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("cast", ["bfloat16", "half"])
def test_a_sampler_scores_as_before_when_what_is_around_it_is_cast(name: str, cast: str) -> None:
    sampler = SAMPLERS[name]()
    with torch.no_grad():  # as a trained one, not as one that says nothing yet
        for parameter in sampler.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    features, queries = torch.randn(2, 9, DIM), torch.randn(2, 1, DIM)
    arguments = features, torch.ones(2, 9, dtype=torch.bool), torch.arange(9.0).expand(2, 9), queries
    before = sampler.scores(*arguments)
    getattr(nn.ModuleDict({"sampler": sampler}), cast)()
    assert {p.dtype for p in sampler.parameters()} <= {torch.float32}
    with torch.autocast("cpu", torch.bfloat16):
        selection = sampler(*arguments).mode(4)
    assert torch.equal(sampler.scores(*arguments), before)
    assert selection.log_probs.dtype == torch.float32
    assert sampler.to(torch.float64) is sampler
    assert {p.dtype for p in sampler.parameters()} <= {torch.float64}  # a larger precision is taken


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed"])
@pytest.mark.parametrize("name", ["unet", "tspo", "refocus"])
def test_every_sampler_trains_in_float32_under_the_trainers_precision(stack: Stack, name: str, precision: str) -> None:
    module = stack.fit(stack.module(name), precision=precision)
    assert dtypes(module.sampler, True) == {torch.float32}
    expected = torch.bfloat16 if precision == "bf16-true" else torch.float32
    assert dtypes(module.mllm, False) == {expected}
    weights = [torch.cat([p.flatten() for p in m.sampler.parameters()]) for m in (stack.module(name), module)]
    assert not torch.equal(*weights)


def test_float16_is_refused(stack: Stack) -> None:
    with pytest.raises(ValueError, match=r"trainer.precision: 16-true; 32-true .*bf16-mixed"):
        stack.fit(stack.module(), precision="16-true")


def test_adapters_of_a_bfloat16_model_are_float32_and_move_at_a_small_rate(stack: Stack) -> None:
    loading = Loading(dtype="bfloat16", lora=Lora(r=4))
    module = stack.joint(loading)
    first = {n: p.detach().float().clone() for n, p in module.named_parameters() if "lora_A" in n}
    stack.fit(module, max_steps=4)
    moved = torch.cat([(p.float() != first[n]).flatten() for n, p in module.named_parameters() if n in first])
    assert moved.float().mean() > 0.95  # as bfloat16 one in a hundred does
    assert dtypes(module.mllm, True) == {torch.float32}
    assert dtypes(module.mllm, False) == {torch.bfloat16}


def test_a_bfloat16_language_model_trains_in_float32_and_computes_in_bfloat16(stack: Stack) -> None:
    module = stack.joint(Loading(dtype="bfloat16"), beta=0.1)
    linear = next(m for n, m in module.mllm.named_modules() if n.endswith("q_proj") and "language_model" in n)
    computed: set[torch.dtype] = set()
    linear.register_forward_hook(lambda layer, inputs, output: computed.add(output.dtype))
    stack.fit(module, max_steps=1)
    assert dtypes(module.mllm, True) == {torch.float32}
    assert dtypes(module.mllm, False) == {torch.bfloat16}  # the vision tower
    assert computed == {torch.bfloat16}
    # the frozen copy computes as the model does
    assert float(module.trainer.callback_metrics["tokens/kl_nats"]) == 0.0
    computed.clear()
    frames = torch.randint(0, 255, (4, 3, 64, 64), dtype=torch.uint8)
    question = VideoQuestion("d", "s", "q", "v", 4.0, "What?", ("red", "green"), 0)
    row = Row(question, FrameTokens(module.mllm.encode_frames(frames), torch.arange(4.0)), torch.arange(4))
    drawn = module.mllm.generate([row] * 3, 4, 1.0, [1, 2, 3])
    credited = module.mllm.log_probs([row] * 3, drawn.token_ids)
    for answer, log_probs in zip(drawn.log_probs, credited, strict=True):
        torch.testing.assert_close(log_probs[: len(answer)], answer, atol=0.03, rtol=0.02)
    module.mllm.score_rows([row])
    assert computed == {torch.bfloat16}
