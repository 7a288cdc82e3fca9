"""Which video tokens attend to which in the multimodal encoder: SwinBERT's sparse mask, and what it is compared with.

The paper learns one M x M matrix V of weights in (0, 1), shared by all layers, heads and videos, and pushes it towards
0. The official code adds ``(1 - V) * -10000`` to the attention's logits. That closes a link unless V > 0.9995: the mask
is the identity from the first step to the last, and its gradient from the captions is 0 (`AdditiveMask`, kept as the
control that shows this). Here the default is the form in which V is a factor of the attention's weight (`LogMask`):

    attention = softmax(q k / sqrt(d) + log(V + eps)),   V = sigmoid(w), 1 on the diagonal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from jsonargparse.typing import PositiveFloat
from torch import Tensor, nn

from modules.methods.swinbert.mask_interpolation import in_other_time
from modules.methods.swinbert.token_grid import TokenGrid

_CLOSED = -10000.0  # official code, and BERT's own


class VideoMask(nn.Module, ABC):
    """What is added to the logits of attention from video tokens to video tokens."""

    kind: ClassVar[str]
    """Its name in a saved model's config.json."""

    def __init__(self) -> None:
        super().__init__()
        self.grid: TokenGrid | None = None

    def settle(self, grid: TokenGrid) -> None:
        """Makes the parameters of a grid; called once, before any other method."""
        self.grid = grid

    @abstractmethod
    def bias(self, grid: TokenGrid) -> Tensor | None:
        """float32 (M, M), row = the token that looks; None adds nothing.

        Raises:
            ValueError: the mask was learnt on a grid of other rows or columns.
        """

    @abstractmethod
    def links(self, grid: TokenGrid) -> Tensor:
        """float32 (M, M), how far each link is open, 0..1; 1 on the diagonal."""

    def sparsity(self) -> Tensor:
        """Mean of the links off the diagonal, which the sparsity loss makes small; 0 where nothing is learnt."""
        return torch.zeros(())

    def settings(self) -> dict[str, Any]:
        """Arguments to make one like it."""
        return {}


class FullMask(VideoMask):
    """Every video token sees every other (the paper's baseline)."""

    kind = "full"

    def bias(self, grid: TokenGrid) -> None:
        return None

    def links(self, grid: TokenGrid) -> Tensor:
        return torch.ones(grid.num_tokens, grid.num_tokens)


class IdentityMask(VideoMask):
    """A video token sees itself alone; what the official soft mask comes to."""

    kind = "identity"

    def bias(self, grid: TokenGrid) -> Tensor:
        return (1 - self.links(grid)) * _CLOSED

    def links(self, grid: TokenGrid) -> Tensor:
        return torch.eye(grid.num_tokens)


class LearntMask(VideoMask):
    """V = sigmoid(w) with a logit w for each pair of tokens.

    Args:
        initial_logit: of every link at the start; None draws from N(0, 1) as the official code does, which blurs the
            rank of what is learnt.
    """

    def __init__(self, *, initial_logit: float | None = 2.0) -> None:
        super().__init__()
        self.initial_logit = initial_logit
        self.logits: nn.Parameter

    def settle(self, grid: TokenGrid) -> None:
        super().settle(grid)
        shape = (grid.num_tokens, grid.num_tokens)
        start = torch.randn(shape) if self.initial_logit is None else torch.full(shape, float(self.initial_logit))
        self.logits = nn.Parameter(start)

    def settings(self) -> dict[str, Any]:
        return {"initial_logit": self.initial_logit}

    def logits_on(self, grid: TokenGrid) -> Tensor:
        """float32 (M, M) of a grid of any number of steps; those of another number are interpolated.

        Raises:
            ValueError: its rows or columns are others than those the mask was learnt on.
        """
        own = self._grid
        if grid == own:
            return self.logits.float()
        if grid[1:] != own[1:]:
            raise ValueError(
                f"the sparse mask was made for {own} video tokens (time, rows, columns) and these frames give {grid}: "
                "it can be carried to another number of frames, but not to another size of frames; give the size_px "
                "that it was trained with"
            )
        return in_other_time(self.logits.float(), own, grid.steps)

    def links(self, grid: TokenGrid) -> Tensor:
        weights = self.logits_on(grid).sigmoid()
        return weights.masked_fill(_diagonal(weights), 1.0)

    def sparsity(self) -> Tensor:
        weights = self.logits.float().sigmoid()
        return weights[~_diagonal(weights)].mean()

    @torch.no_grad()
    def carry_to(self, steps: int) -> None:
        """Becomes the mask of another number of steps, to be trained on from there."""
        self.logits = nn.Parameter(in_other_time(self.logits.float(), self._grid, steps), self.logits.requires_grad)
        self.grid = self._grid._replace(steps=steps)

    @property
    def _grid(self) -> TokenGrid:
        assert self.grid is not None  # settle
        return self.grid


class LogMask(LearntMask):
    """V is a factor of a link's weight before attention is normalised, so the captions' gradient reaches every link.

    Args:
        initial_logit: see `LearntMask`; 2 begins with links of 0.88.
        eps: added to V before the logarithm.
    """

    kind = "log"

    def __init__(self, *, initial_logit: float | None = 2.0, eps: PositiveFloat = 1e-6) -> None:
        super().__init__(initial_logit=initial_logit)
        self.eps = float(eps)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "eps": self.eps}

    def bias(self, grid: TokenGrid) -> Tensor:
        return (self.links(grid) + self.eps).log()


class AdditiveMask(LearntMask):
    """The official code's form, ``(1 - V) * -10000``; a control, of which nothing can be learnt but to be closed.

    Args:
        initial_logit: see `LearntMask`.
    """

    kind = "additive"

    def __init__(self, *, initial_logit: float | None = None) -> None:
        super().__init__(initial_logit=initial_logit)

    def bias(self, grid: TokenGrid) -> Tensor:
        return (1 - self.links(grid)) * _CLOSED


class BinaryMask(LearntMask):
    """The strongest links of a mask that was learnt are open and the others closed; the model is then tuned to that.

    Rank decides, not a threshold: how high the links of a trained mask lie depends on the weight of the sparsity loss,
    while their order hardly does (official code: V >= 0.5). The logits come with the weights of the run that learnt
    them and stay as they are.

    Args:
        budget_frac: share of the links between different tokens that is open.
    """

    kind = "binary"

    def __init__(self, *, budget_frac: float = 0.1) -> None:
        super().__init__()
        if not 0 <= budget_frac <= 1:
            raise ValueError(f"budget_frac={budget_frac}: a share of the links, 0 to 1")
        self.budget_frac = budget_frac

    def settle(self, grid: TokenGrid) -> None:
        super().settle(grid)
        self.logits.requires_grad_(False)

    def settings(self) -> dict[str, Any]:
        return {"budget_frac": self.budget_frac}

    def links(self, grid: TokenGrid) -> Tensor:
        logits = self.logits_on(grid)
        diagonal = _diagonal(logits)
        num_open = round(self.budget_frac * (len(logits) ** 2 - len(logits)))
        best = logits.masked_fill(diagonal, -torch.inf).flatten().topk(num_open).indices
        links = torch.zeros_like(logits).flatten().index_fill(0, best, 1.0).view_as(logits)
        return links.masked_fill(diagonal, 1.0)

    def sparsity(self) -> Tensor:
        return torch.zeros((), device=self.logits.device)

    def bias(self, grid: TokenGrid) -> Tensor:
        return (1 - self.links(grid)) * _CLOSED


MASKS: dict[str, type[VideoMask]] = {
    mask.kind: mask for mask in (FullMask, IdentityMask, LogMask, AdditiveMask, BinaryMask)
}
"""By the name that a saved model's config.json has for each."""


def _diagonal(matrix: Tensor) -> Tensor:
    return torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)
