"""The MLLM's half of joint training: the tokens of its sampled answers, under the advantages its sampler gets.

``evolve: joint`` draws one answer a selection at a temperature; the reward of the pair (selection, answer) is shared.
The sampler's loss is on the log-probabilities of the picks, the MLLM's on those of the answer's tokens, both GRPO
(`modules.rl.grpo`), both in the same step of one optimizer with a group each. (MSJoE, arXiv 2602.22932: GRPO for the
MLLM, REINFORCE for the sampler, one trajectory reward. Its written form has one ratio an output; here, as in TRL, one a
token.)

The vision tower stays frozen, so frame tokens are the same throughout and can be stored.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from modules.mllms.base import MLLM
from modules.mllms.completions import Completions
from modules.rl.grpo import GRPO, GRPOLoss, LossType, grpo_loss
from modules.rl.importance import EngineRollouts, importance_weights


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
        rollouts: an engine that draws the answers; left out, the MLLM does itself.
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
    rollouts: EngineRollouts | None = None

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.temperature <= 0:
            raise ValueError(f"learning_rate={self.learning_rate}, temperature={self.temperature}: above 0")
        if min(self.warmup_steps, self.freeze_steps, self.loss_weight, self.beta, self.weight_decay) < 0:
            raise ValueError("warmup_steps, freeze_steps, loss_weight, beta and weight_decay are 0 or more")


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
            grpo,
            loss_type=settings.loss_type,
            epsilon=settings.epsilon,
            epsilon_high=settings.epsilon_high,
            beta=settings.beta,
            entropy_coef=0.0,
        )

    @property
    def initial(self) -> MLLM | None:
        """The MLLM as it was, where it is kept."""
        return self._initial[0]

    def parameter_group(self) -> dict[str, Any]:
        """What is trained, as a group of an optimizer."""
        return {
            "name": "mllm",
            "params": list(self.parameters()),
            "lr": float(self.settings.learning_rate),
            "weight_decay": float(self.settings.weight_decay),
        }

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """What is trained."""
        return (p for p in self.mllm.parameters() if p.requires_grad)

    def loss_parts(
        self,
        completions: list[Completions],
        advantages: Tensor,
        rows_per_forward: int,
        num_tokens: Tensor | None = None,
    ) -> Iterator[GRPOLoss]:
        """GRPO loss of the completions, in parts that add up to it.

        Each part is a forward of its own, to be followed by its backward before the next is asked for, so that the
        activations of ``rows_per_forward`` trajectories are alive at a time. The number of parts is the same on ranks
        with the same number of trajectories. Without KL, trajectories whose advantage is 0 have no gradient (all of a
        group whose rewards are alike), and no forward either; the loss is that of all.

        Args:
            completions: R texts a turn; the turns of a trajectory are one sequence.
            advantages: (R,).
            rows_per_forward: trajectories of a part.
            num_tokens: for dapo and cispo, of the whole update (see
                `modules.rl.reductions.mean_of_window`); those of the completions by default.
        """
        lengths = torch.tensor([[len(ids) for ids in turn.generation.token_ids] for turn in completions])  # (turns, R)
        longest, total = lengths.amax(1), int(lengths.sum())
        for rows in self._rows_of_parts(advantages, lengths.sum(0).tolist(), rows_per_forward):
            texts = [turn.of(rows) for turn in completions]
            turns = [self._turn(turn, int(width)) for turn, width in zip(texts, longest, strict=True)]
            log_probs, old, mask, importance = (torch.cat([turn[n] for turn in turns], 1) for n in range(4))
            reference = None
            if self.grpo.beta > 0:
                assert self.initial is not None
                with torch.no_grad():
                    frozen = partial(self._log_probs_of, self.initial)
                    reference_turns = [frozen(turn, int(w)) for turn, w in zip(texts, longest, strict=True)]
                reference = torch.cat(reference_turns, 1)
            part = grpo_loss(
                self.grpo,
                log_probs,
                old,
                advantages[rows].to(log_probs),
                mask,
                ref_log_probs=reference,
                importance=None if self.settings.rollouts is None else importance,
                num_items=mask.new_tensor(total) if num_tokens is None else num_tokens.to(mask),
            )
            of_rows, of_tokens = len(mask) / lengths.shape[1], int(lengths[:, rows].sum()) / total
            share = self.grpo.share_of_update(of_rows, of_tokens)
            yield dataclasses.replace(part, loss=share * part.loss)

    def _rows_of_parts(self, advantages: Tensor, lengths: list[int], rows_per_forward: int) -> list[list[int]]:
        """Which trajectories each part takes forward; of a part without any to learn from its shortest, so that ranks
        have equally many forwards and backwards whatever their rewards are."""
        teaches = [self.grpo.beta > 0 or advantage != 0 for advantage in advantages.tolist()]
        parts = [range(n, min(n + rows_per_forward, len(lengths))) for n in range(0, len(lengths), rows_per_forward)]
        return [[r for r in part if teaches[r]] or [min(part, key=lengths.__getitem__)] for part in parts]

    def _turn(self, completions: Completions, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log-probabilities now and before the update, mask, and what each token counts by, each (R, width)."""
        self.mllm.train(self.settings.gradient_checkpointing)  # transformers checkpoints in training mode alone
        log_probs = self._log_probs_of(self.mllm, completions, width)
        self.mllm.eval()
        lengths = torch.tensor([len(i) for i in completions.generation.token_ids], device=log_probs.device)
        mask = (torch.arange(width, device=log_probs.device)[None] < lengths[:, None]).to(log_probs)
        old = _padded(completions.generation.log_probs, width).to(log_probs)
        if completions.drawn_log_probs is None or self.settings.rollouts is None:  # drawn by the model itself
            return log_probs, old, mask, torch.ones_like(mask)
        drawn = _padded(completions.drawn_log_probs, width).to(log_probs)
        return log_probs, old, mask, importance_weights(old, drawn, mask, self.settings.rollouts.importance_cap)

    def _log_probs_of(self, mllm: MLLM, completions: Completions, width: int) -> Tensor:
        """Log-probabilities (R, width) of a turn."""
        return _widen(
            mllm.log_probs(completions.rows, completions.generation.token_ids, self.settings.temperature), width
        )


def _padded(values: list[Tensor], width: int) -> Tensor:
    """R tensors (L_r,) as (R, width)."""
    return _widen(torch.nn.utils.rnn.pad_sequence(values, batch_first=True), width)


def _widen(values: Tensor, width: int) -> Tensor:
    """Zeros to the right."""
    return torch.nn.functional.pad(values, (0, width - values.shape[1]))
