"""Answers that were drawn by other weights or kernels than those that are trained count by the importance ratio.

TRL 1.16's ``token_truncate``: each token's loss is multiplied by ``min(pi_old / pi_drawn, cap)``, where ``pi_old`` is
the trained model before the update and ``pi_drawn`` what the engine reports. (Its default is another one,
``sequence_mask``, which leaves whole answers out; the cap of 3 is TRL's.) Without the cap the estimate is unbiased, and
a token that the engine thought rare may outweigh a whole batch. The KL term is not multiplied, in TRL neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from modules.mllms.base import MLLM, Generation
from modules.mllms.completions import Completions
from modules.mllms.engine import RolloutEngine


@dataclass(frozen=True, kw_only=True)
class EngineRollouts:
    """How an engine draws the answers of ``evolve: joint``.

    Args:
        engine: that draws.
        sync_every: updates from one giving of the weights to the next; 1 draws from the model as it is, 2 is one step
            off-policy at most.
        importance_cap: of the ratio by which a token counts, as TRL's ``vllm_importance_sampling_clip_max``.
    """

    engine: RolloutEngine
    sync_every: int = 1
    importance_cap: float = 3.0

    def __post_init__(self) -> None:
        if self.sync_every < 1 or not self.importance_cap >= 1:
            raise ValueError(
                f"sync_every={self.sync_every}, importance_cap={self.importance_cap}: both are at least 1 (a cap below "
                "1 would weaken answers that are drawn from the very model)"
            )


def importance_weights(old_log_probs: Tensor, drawn_log_probs: Tensor, mask: Tensor, cap: float) -> Tensor:
    """min(exp(log pi_old - log pi_drawn), cap) of every token.

    Args:
        old_log_probs: (N, L) nats, of the trained model before the update.
        drawn_log_probs: (N, L), of what the token was drawn from; NaN where that is not told, which counts as equal.
        mask: (N, L), 1 where a position counts.
        cap: at least 1.

    Returns:
        (N, L), 1 at padding.
    """
    difference = torch.nan_to_num((old_log_probs - drawn_log_probs) * mask, nan=0.0)
    return difference.exp().clamp(max=cap)


def importance_ratio(completions: list[Completions]) -> Tensor | None:
    """pi_old / pi_drawn of every token that an engine drew, without a cap, one after another; None where none did."""
    by_engine = [(turn.generation.log_probs, turn.drawn_log_probs) for turn in completions if turn.drawn_log_probs]
    if not by_engine:
        return None
    own, drawn = (torch.cat([row for turn in by_engine for row in turn[n] or ()]) for n in (0, 1))
    return torch.nan_to_num(own - drawn, nan=0.0).exp()


@torch.no_grad()
def with_own_log_probs(completions: Completions, mllm: MLLM, temperature: float, rows_per_forward: int) -> Completions:
    """Texts that an engine drew, with the log-probabilities that the trained model gives them beside the engine's.

    Args:
        completions: of an engine.
        mllm: before the update.
        temperature: they were drawn at.
        rows_per_forward: in one forward.
    """
    drawn, own = completions.generation, []
    for start in range(0, len(completions.rows), rows_per_forward):
        part = slice(start, start + rows_per_forward)
        token_ids = drawn.token_ids[part]
        padded = mllm.log_probs(completions.rows[part], token_ids, temperature)
        own += [row[: len(ids)].float().cpu() for row, ids in zip(padded, token_ids, strict=True)]
    return Completions(completions.rows, Generation(drawn.texts, drawn.token_ids, own), drawn.log_probs)
