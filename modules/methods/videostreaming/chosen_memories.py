"""Some of a short video's memories, chosen while condenser and reader learn: the paper's one stage for all three.

In training V of N are drawn by Gumbel top-K with a straight-through gradient, and the divergence of the marked segment
from the choice is added at first, as in `modules.methods.videostreaming.answer_loss`; otherwise the V most probable are
read. Unlike there, the memories have a graph: the loss of an answer reaches the condenser both through what the reader
reads and through the indicators by which it was chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from modules.methods.videostreaming.marked_segments import segment_divergence
from modules.methods.videostreaming.straight_through import straight_through_top_k
from modules.selection.policies import PlackettLuce


@dataclass(frozen=True, kw_only=True)
class ChosenMemories:
    """How many memories are read, and how their choice learns.

    Args:
        num_memories: V (paper: 4).
        temperature: of the scores, see `MemorySelection`.
        gradient_temperature: of the softmax whose gradient is taken.
        kl_steps: updates at the start in which the divergence is added; 0 never, None always.
    """

    num_memories: PositiveInt = 4
    temperature: PositiveFloat = 0.1
    gradient_temperature: PositiveFloat = 1.0
    kl_steps: NonNegativeInt | None = None

    def drawn(self, policy: PlackettLuce, memories: Tensor) -> tuple[Tensor, Tensor]:
        """Memories (B, V, 1 + F P, W) as drawn, with gradient to the scores, and which they are, int64 (B, V).

        Args:
            policy: over N clips, N >= V.
            memories: (B, N, 1 + F P, W).

        Raises:
            ValueError: there are fewer clips than are read.
        """
        self._check(memories)
        draws = straight_through_top_k(
            policy.logits, policy.mask, self.num_memories, temperature=self.gradient_temperature
        )
        rows = draws.rows[:, 0].to(memories.dtype)
        return torch.einsum("bvn,bnpw->bvpw", rows, memories), draws.candidate_index[:, 0]

    def best(self, policy: PlackettLuce, memories: Tensor) -> tuple[Tensor, Tensor]:
        """The V most probable memories, in the form of `drawn`."""
        self._check(memories)
        index = policy.logits.topk(self.num_memories, dim=1).indices.sort(1).values
        return memories[torch.arange(len(memories), device=index.device)[:, None], index], index

    def divergence(self, policy: PlackettLuce, needed: Tensor, step: int) -> Tensor:
        """Scalar, the mean over all questions; 0 after the steps in which it is added.

        Args:
            policy: over N clips.
            needed: bool (B, N), the marked segments.
            step: updates so far.
        """
        if self.kl_steps is not None and step >= self.kl_steps:
            return policy.logits.new_zeros(())
        return segment_divergence(policy.logits, policy.mask, needed.to(policy.mask.device)).mean()

    def _check(self, memories: Tensor) -> None:
        if memories.shape[1] < self.num_memories:
            raise ValueError(
                f"selection.num_memories={self.num_memories} of {memories.shape[1]} clips cannot be chosen: the "
                "examples' num_clips has to be larger"
            )
