"""The MLLM's half of joint training: the tokens of its sampled answers, under the advantages its sampler gets.

``evolve: joint`` draws one answer a selection at a temperature; the reward of the pair (selection, answer) is shared.
The sampler's loss is on the log-probabilities of the picks, the MLLM's on those of the answer's tokens, both GRPO
(`modules.grpo`), both in one backward pass and one optimizer with a group each. (MSJoE, arXiv 2602.22932: GRPO for the
MLLM, REINFORCE for the sampler, one trajectory reward. Its written form has one ratio an output; here, as in TRL, one a
token.)

The vision tower stays frozen, so frame tokens are the same throughout and can be stored.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from modules.grpo import GRPO, GRPOLoss, LossType, grpo_loss
from modules.mllms.base import MLLM, Generation, Row


@dataclasses.dataclass(frozen=True, kw_only=True)
class JointTraining:
    """How the MLLM is trained beside its sampler.

    Args:
        learning_rate: of the MLLM (our choice for what MSJoE leaves open: 1e-6 for all weights, 1e-5 for LoRA).
        weight_decay, warmup_steps: of its parameter group; the sampler's group has its own.
        freeze_steps: updates at the start that leave the MLLM as it is.
        temperature: answers are drawn at.
        loss_weight: of the token loss beside the sampler's.
        loss_type, epsilon, epsilon_high, beta: of the token loss, as in TRL; ``beta`` above 0 keeps a frozen copy.
        gradient_checkpointing: compute activations again in the backward pass.
        keep_initial: keep a frozen copy of the MLLM as it was, and test its answers to the same frames too.
    """

    learning_rate: float = 1e-6
    weight_decay: float = 0.0
    warmup_steps: int = 0
    freeze_steps: int = 0
    temperature: float = 1.0
    loss_weight: float = 1.0
    loss_type: LossType = "dapo"
    epsilon: float = 0.2
    epsilon_high: float | None = None
    beta: float = 0.0
    gradient_checkpointing: bool = False
    keep_initial: bool = False

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.temperature <= 0:
            raise ValueError(f"learning_rate={self.learning_rate}, temperature={self.temperature}: above 0")
        if min(self.warmup_steps, self.freeze_steps, self.loss_weight, self.beta, self.weight_decay) < 0:
            raise ValueError("warmup_steps, freeze_steps, loss_weight, beta and weight_decay are 0 or more")


@dataclasses.dataclass(frozen=True)
class Spoken:
    """One turn's texts as the MLLM drew them."""

    rows: list[Row]
    generation: Generation


class TokenTraining:
    """The MLLM as a policy over answers.

    Args:
        mllm: whose language model (or LoRA layers) will be trained.
        settings: how.
        grpo: of the sampler; what the settings do not say is taken from it.
    """

    def __init__(self, mllm: MLLM, settings: JointTraining, grpo: GRPO) -> None:
        self.mllm, self.settings = mllm, settings
        initial = copy.deepcopy(mllm).requires_grad_(False) if settings.beta > 0 or settings.keep_initial else None
        self._initial = [initial]  # in a list: it is no part of what is trained, saved or synchronised
        for parameter in mllm.language_parameters():
            parameter.requires_grad_(True)
        if settings.gradient_checkpointing:
            mllm.checkpoint_gradients()
        self.grpo = dataclasses.replace(
            grpo, loss_type=settings.loss_type, epsilon=settings.epsilon, epsilon_high=settings.epsilon_high,
            beta=settings.beta, entropy_coef=0.0,
        )  # fmt: skip

    @property
    def initial(self) -> MLLM | None:
        """The MLLM as it was, where it is kept."""
        return self._initial[0]

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """What is trained."""
        return (p for p in self.mllm.parameters() if p.requires_grad)

    def loss(self, spoken: list[Spoken], advantages: Tensor, rows_per_forward: int) -> GRPOLoss:
        """GRPO loss of what was said.

        Args:
            spoken: R texts a turn; the turns of a trajectory are one sequence.
            advantages: (R,).
            rows_per_forward: rows of a forward; all share one backward pass.
        """
        turns = [self._turn(turn, rows_per_forward) for turn in spoken]
        log_probs, old, mask = (torch.cat([turn[n] for turn in turns], 1) for n in range(3))
        reference = None
        if self.grpo.beta > 0:
            assert self.initial is not None
            with torch.no_grad():
                reference = torch.cat([self._said(self.initial, turn, rows_per_forward) for turn in spoken], 1)
        return grpo_loss(
            self.grpo, log_probs, old, advantages.to(log_probs), mask, ref_log_probs=reference, num_items=mask.sum()
        )

    def _turn(self, spoken: Spoken, rows_per_forward: int) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities now and when drawn, and mask, each (R, L)."""
        self.mllm.train(self.settings.gradient_checkpointing)  # transformers checkpoints in training mode alone
        log_probs = self._said(self.mllm, spoken, rows_per_forward)
        self.mllm.eval()
        lengths = torch.tensor([len(i) for i in spoken.generation.token_ids], device=log_probs.device)
        mask = (torch.arange(log_probs.shape[1], device=log_probs.device)[None] < lengths[:, None]).to(log_probs)
        old = torch.nn.utils.rnn.pad_sequence(spoken.generation.log_probs, batch_first=True).to(log_probs)
        return log_probs, old, mask

    def _said(self, mllm: MLLM, spoken: Spoken, rows_per_forward: int) -> Tensor:
        """Log-probabilities (R, L) of a turn."""
        ids = spoken.generation.token_ids
        parts = [slice(n, n + rows_per_forward) for n in range(0, len(ids), rows_per_forward)]
        return _stack([mllm.log_probs(spoken.rows[p], ids[p], self.settings.temperature) for p in parts])


def _stack(parts: list[Tensor]) -> Tensor:
    """Rows of several forwards, padded to the longest with zeros."""
    longest = max(p.shape[1] for p in parts)
    return torch.cat([torch.nn.functional.pad(p, (0, longest - p.shape[1])) for p in parts])
