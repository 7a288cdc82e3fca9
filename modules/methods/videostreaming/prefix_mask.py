"""What may look at what while a condenser learns to summarise: the text sees the summaries and never the frames."""

from __future__ import annotations

import torch
from torch import Tensor


def prefix_mask(num_before: int, num_summaries: int, num_text: int, device: torch.device | None = None) -> Tensor:
    """The attention mask of the prefix task (paper, section 3.3).

    The sequence is *before* (time prompt, history, frame tokens), *summaries*, the global token, and *text* (question
    and answer). Attention is causal throughout; a text position sees the summaries, and the text up to itself. So
    whatever the text needs of the frames has to pass through the summaries.

    Args:
        num_before: positions that the text does not see.
        num_summaries: summary tokens; the global token behind them is not counted.
        num_text: text tokens.

    Returns:
        bool (L, L) with L = num_before + num_summaries + 1 + num_text, True where row attends to column.

    >>> prefix_mask(2, 1, 2).int().tolist()[-2:]
    [[0, 0, 1, 0, 1, 0], [0, 0, 1, 0, 1, 1]]
    """
    sees = _causal(num_before, num_summaries, num_text, device)
    sees[-num_text:, :num_before] = False
    sees[-num_text:, num_before + num_summaries] = False
    return sees


def indicator_mask(num_before: int, num_summaries: int, num_text: int, device: torch.device | None = None) -> Tensor:
    """The same with the global token in the place of the summaries: the text sees it alone. Not in the paper.

    In the paper's prefix task nothing reads the global token, so what it says of a clip is left to the training of the
    selection. With this mask the clip's indicator learns from the same texts to say what the clip shows.

    Args:
        num_before, num_summaries, num_text: see `prefix_mask`.
    """
    sees = _causal(num_before, num_summaries, num_text, device)
    sees[-num_text:, : num_before + num_summaries] = False
    return sees


def _causal(num_before: int, num_summaries: int, num_text: int, device: torch.device | None) -> Tensor:
    length = num_before + num_summaries + 1 + num_text
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()
