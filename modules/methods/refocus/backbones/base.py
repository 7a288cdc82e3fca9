"""What a sequence backbone is: a causal model of vectors whose state can be kept, copied and gone on from."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]
"""Everything a backbone remembers of N sequences; N comes first in each tensor."""


class SequenceBackbone(ABC, nn.Module):
    """Reads vectors of ``width`` one after another.

    A sequence is read in three ways that agree with each other: `prefill` for what is given, `step` for what is decided
    on the way, `parallel` for the same again with graph.
    """

    width: int
    """d, of the vectors that go in and come out."""

    @abstractmethod
    def prefill(self, x: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Reads what is known beforehand, with graph.

        Args:
            x: (N, S, d), S >= 2.
            lengths: int (N,), how many of a row's vectors are real; the rest is padding, whose hidden vectors mean
                nothing.
            state: to go on from; None at the beginning.

        Returns:
            Hidden vectors (N, S, d), and the state after each row's last real vector.
        """

    @abstractmethod
    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Reads one more vector (N, d) of each sequence, without graph; ``state`` may be overwritten."""

    @abstractmethod
    def parallel(self, x: Tensor, state: State) -> Tensor:
        """Reads (N, S, d), all of it real, from a state that it leaves alone; hidden vectors (N, S, d), with graph."""

    def embed(self, token_ids: Tensor) -> Tensor:
        """Vectors (S, d) of tokens (S,) of the backbone's own vocabulary.

        Raises:
            TypeError: it has none.
        """
        raise TypeError(f"{type(self).__name__} has no vocabulary: leave the sampler's prompt out")

    def select(self, state: State, index: Tensor) -> State:
        """Rows ``index`` (M,) of a state, each as often as it is named."""
        return tuple(part.index_select(0, index) for part in state)

    def branch(self, state: State, num_branches: int) -> State:
        """Each row's state ``num_branches`` times in a row: N x num_branches sequences that share their beginning."""
        rows = torch.arange(len(state[0]), device=state[0].device)
        return self.select(state, rows.repeat_interleave(num_branches))

    def stack(self, states: list[State]) -> State:
        """The states of some sequences as one."""
        return tuple(torch.cat(parts) for parts in zip(*states, strict=True))
