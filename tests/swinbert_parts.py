"""A SwinBERT of a few thousand parameters, and the slow ways that its fast ones are held against."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modules.methods.swinbert.caption_encoder import EncoderSize
from modules.methods.swinbert.caption_search import NextWords
from modules.methods.swinbert.grid_waves import waves
from modules.methods.swinbert.swinbert_network import SwinBERT
from modules.methods.swinbert.token_grid import TokenGrid
from modules.methods.swinbert.video_masks import LogMask, VideoMask
from modules.methods.swinbert.video_swin import VideoSwin
from modules.methods.swinbert.word_vocabulary import word_tokenizer

CAPTIONS = ("a red ball moves left", "two blue squares, then a star", "the green ring turns")


def small_swin(**settings: Any) -> VideoSwin:
    """Two stages of width 16: frames of 16 px become two rows and columns."""
    own = {"embed_dim": 16, "depths": [1, 2], "num_heads": [2, 4], "window": [2, 2, 2], "drop_path": 0.0}
    return VideoSwin(**{**own, **settings})


def small_network(
    mask: VideoMask | None = None, *, num_frames: int = 4, size_px: int = 16, width: int = 32, seed: int = 0
) -> SwinBERT:
    """With weights large enough that words differ."""
    torch.manual_seed(seed)
    size = EncoderSize(
        width=width,
        num_layers=2,
        num_heads=2,
        inner_width=64,
        video_width=24,
        max_positions=32,
        dropout=0.1,
        video_places=True,
    )
    network = SwinBERT(
        backbone=small_swin(),
        encoder=size,
        mask=mask or LogMask(),
        tokenizer=word_tokenizer(CAPTIONS),
        num_frames=num_frames,
        size_px=size_px,
    )
    with torch.no_grad():
        for name, parameter in network.encoder.named_parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.25 if "decoder" not in name else 0.5)
    return network.eval()


def clips(num_videos: int, num_frames: int = 4, size_px: int = 16, seed: int = 0) -> Tensor:
    """uint8 (B, T, 3, S, S)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num_videos, num_frames, 3, size_px, size_px), generator=generator).to(torch.uint8)


def whole_attention(network: SwinBERT, num_words: int, grid: TokenGrid) -> Tensor:
    """The (N + M) x (N + M) matrix of the official code, text first: what is added to the logits, float32."""
    num_video = grid.num_tokens
    sees = torch.zeros(num_words + num_video, num_words + num_video, dtype=torch.bool)
    sees[:num_words, :num_words] = torch.ones(num_words, num_words).tril().bool()
    sees[:num_words, num_words:] = True
    sees[num_words:, num_words:] = True
    bias = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)
    learnt = network.mask.bias(grid)
    if learnt is not None:
        bias[num_words:, num_words:] += learnt
    return bias


def read_at_once(network: SwinBERT, frames: Tensor, ids: Tensor) -> Tensor:
    """States (B, N + M, width) of text and video in one pass over the whole matrix, without any cache."""
    encoder, grid = network.encoder, network.grid(frames.shape[1])
    video = encoder.video_out(encoder.video_in(network.backbone(frames)))
    assert encoder.places is not None
    video = video + encoder.places(waves(grid))
    states = torch.cat([encoder.embeddings(input_ids=ids), video], 1)
    bias = whole_attention(network, ids.shape[1], grid)[None, None]
    for layer in encoder.layers:
        states = layer(states, bias)
    return states


class RecomputedNextWords(NextWords):
    """Official decoding: a mask token behind the words, then everything again, video tokens too.

    Args:
        network: that writes.
        frames: of R captions.
    """

    def __init__(self, network: SwinBERT, frames: Tensor) -> None:
        self.network = network
        self.video = network.backbone(frames)
        self.grid = network.grid(frames.shape[1])
        self.bias = network.mask.bias(self.grid)

    @torch.no_grad()
    def log_probs(self, words: Tensor) -> Tensor:
        network = self.network
        masks = torch.full_like(words[:, :1], network.mask_id)
        ids = torch.cat([words, masks], 1)
        keys = network.encoder.read_video(self.video, self.bias, self.grid)
        last = torch.zeros(ids.shape, dtype=torch.bool)
        last[:, -1] = True
        return network.word_logits(ids, keys, last).log_softmax(-1)

    def reorder(self, rows: Tensor) -> None:
        self.video = self.video[rows]
