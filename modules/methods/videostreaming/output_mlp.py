"""From memories to tokens that the answering language model reads: two layers with a GELU (paper: 2560 to 4096)."""

from __future__ import annotations

from torch import Tensor, nn

from modules.checkpoints.weights import read_weights
from modules.files.paths import InputPath

PREFIX = "output."
"""Of its names in a file of weights."""


class OutputMLP(nn.Sequential):
    """Reads the memories of clips.

    Args:
        memory_dim: W, width of a memory's tokens.
        memory_tokens: F P, tokens of a memory.
        width: of the language model's tokens.
        weights: safetensors file with trained weights (``output.*``).
    """

    def __init__(self, *, memory_dim: int, memory_tokens: int, width: int, weights: InputPath | None = None) -> None:
        super().__init__(nn.Linear(memory_dim, width), nn.GELU(), nn.Linear(width, width))
        self.memory_shape = (memory_tokens, memory_dim)
        if weights is not None:
            trained = {n.removeprefix(PREFIX): t for n, t in read_weights(weights).items() if n.startswith(PREFIX)}
            if not trained:
                raise ValueError(f"{weights} has no {PREFIX}* tensors: it is no file of a reader of memories")
            self.load_state_dict(trained)

    def tokens(self, clips: Tensor) -> Tensor:
        """(K F P, width) from (K, 1 + F P, W), indicators and memories of K clips.

        Raises:
            ValueError: they are of another condenser.
        """
        memories = clips[:, 1:]  # the first token is the indicator
        if tuple(memories.shape[1:]) != self.memory_shape:
            raise ValueError(
                f"memories of {tuple(memories.shape[1:])} (tokens, width) cannot be read by a model of "
                f"{self.memory_shape}: they are of another condenser"
            )
        first = next(self.parameters())
        return self(memories.to(first.device, first.dtype)).flatten(0, 1)
