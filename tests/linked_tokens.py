"""A task that needs one link between two video tokens, on SwinBERT's own multimodal encoder and masks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modules.methods.swinbert.caption_encoder import CaptionEncoder, EncoderSize
from modules.methods.swinbert.layer_keys import VideoKeys
from modules.methods.swinbert.token_grid import TokenGrid
from modules.methods.swinbert.video_masks import VideoMask

_VALUES, _READER, _SOURCE = 4, 2, 8
_WIDTH = 32


class _Network(nn.Module):
    """Values to tokens, tokens through the encoder, and the word that a mask token says on one of them."""

    def __init__(self, mask: VideoMask, grid: TokenGrid) -> None:
        super().__init__()
        self.mask = mask
        self.values = nn.Embedding(_VALUES, _WIDTH)
        self.places = nn.Embedding(grid.num_tokens, _WIDTH)
        size = EncoderSize(
            width=_WIDTH,
            num_layers=2,
            num_heads=2,
            inner_width=64,
            video_width=_WIDTH,
            max_positions=4,
            dropout=0.0,
            initial_std=0.15,
        )
        self.encoder = CaptionEncoder(size, _WIDTH, vocab_size=_VALUES + 1, pad_id=_VALUES)
        mask.settle(grid)


class LinkedTokens:
    """The task with its network.

    Args:
        mask: of the video tokens.
        seed: of weights and examples.
        adds: the answer is the sum of both values, modulo 4; otherwise that of token 8, which is learnt sooner.
    """

    grid = TokenGrid(3, 2, 2)

    def __init__(self, mask: VideoMask, seed: int, *, adds: bool = True) -> None:
        torch.manual_seed(seed)
        self.adds = adds
        self.network = _Network(mask, self.grid)
        self.generator = torch.Generator().manual_seed(seed + 1000)

    def logits(self, values: Tensor) -> Tensor:
        """(B, 4) for values int64 (B, 12)."""
        network = self.network
        tokens = network.values(values) + network.places.weight
        keys = network.encoder.read_video(tokens, network.mask.bias(self.grid), self.grid)
        seen = slice(_READER, _READER + 1)
        read = VideoKeys([(k[:, :, seen], v[:, :, seen]) for k, v in keys.layers])
        ids = torch.full((len(values), 1), _VALUES)
        states = network.encoder.read_text(ids, torch.zeros(1, dtype=torch.long), read, torch.ones(1, 1).bool(), 1)
        return network.encoder.logits(states[:, 0])[:, :_VALUES]

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Values (B, 12) and right answers (B,)."""
        values = torch.randint(0, _VALUES, (size, self.grid.num_tokens), generator=self.generator)
        return values, (self.adds * values[:, _READER] + values[:, _SOURCE]) % _VALUES

    @torch.no_grad()
    def accuracy(self, size: int = 1024) -> float:
        """Of fresh examples."""
        values, right = self.batch(size)
        return float((self.logits(values).argmax(-1) == right).float().mean())

    def rank_of_link(self) -> int:
        """Of the needed link among all links between different tokens; 1 is the strongest."""
        links = self.network.mask.links(self.grid).detach()
        off = links.masked_fill(torch.eye(len(links), dtype=torch.bool), -1.0)
        return int((off > off[_READER, _SOURCE]).sum()) + 1


def train_on_links(
    mask: VideoMask,
    seed: int,
    *,
    adds: bool = True,
    start: LinkedTokens | None = None,
    num_steps: int = 600,
    batch_size: int = 128,
    sparsity_weight: float = 0.5,
    learning_rate: float = 2e-3,
    mask_lr_share: float = 5.0,
) -> tuple[LinkedTokens, float]:
    """Trains the task; its network and how many of 1024 fresh examples it gets right.

    Args:
        mask: of the video tokens.
        seed: of weights and examples.
        adds: see `LinkedTokens`.
        start: a trained one, whose weights and logits are taken.
        num_steps, batch_size, sparsity_weight, learning_rate, mask_lr_share: of the training.
    """
    task = LinkedTokens(mask, seed, adds=adds)
    network = task.network
    if start is not None:
        network.load_state_dict(start.network.state_dict())
    links = {id(p) for p in mask.parameters()}
    groups = [
        {"params": [p for p in network.parameters() if id(p) not in links], "lr": learning_rate},
        {"params": list(mask.parameters()), "lr": learning_rate * mask_lr_share},
    ]
    optimizer = torch.optim.Adam([group for group in groups if group["params"]])
    for step in range(num_steps):
        warm = min(1.0, (step + 1) / 40)
        for group, whole in zip(optimizer.param_groups, (learning_rate, learning_rate * mask_lr_share), strict=False):
            group["lr"] = whole * warm
        values, right = task.batch(batch_size)
        loss = nn.functional.cross_entropy(task.logits(values), right) + sparsity_weight * mask.sparsity()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return task, task.accuracy()
