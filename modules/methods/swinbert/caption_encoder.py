"""SwinBERT's multimodal encoder: transformers' BERT layers over text and video tokens, and a head that names words.

Attention, over N text and M video tokens (paper, section 3.2; official ``caption_tensorizer.py``):

=============  =====================  =========================
who looks      at text                at video
=============  =====================  =========================
text           itself and before      everything
video          nothing                what the sparse mask opens
=============  =====================  =========================

Video never sees text. So video tokens are read first, once, and text is read on their keys and values: the same numbers
as one pass over the (N + M) x (N + M) matrix, and what makes decoding cheap.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertEmbeddings, BertLayer, BertLMPredictionHead

from modules.methods.swinbert.grid_waves import NUM_WAVES, waves
from modules.methods.swinbert.layer_keys import GrowingKeys, KeptKeys, VideoKeys
from modules.methods.swinbert.token_grid import TokenGrid


@dataclass(frozen=True, kw_only=True)
class EncoderSize:
    """Of the multimodal encoder; the defaults are the paper's, which are BERT-base's.

    Args:
        width: of a token.
        num_layers, num_heads: of the encoder.
        inner_width: of the feed-forward layers.
        video_width: between the two linear maps that video tokens come in through.
        max_positions: longest text.
        dropout: everywhere.
        video_places: video tokens are told when and where they are (paper: they are not, and know it from the backbone
            alone, whose tables were trained on Kinetics; a backbone that begins with random weights learns it slowly).
        initial_std: of random weights. BERT's 0.02 is for 768; narrower layers want about 0.55 / sqrt(width).
    """

    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
    inner_width: int = 3072
    video_width: int = 512
    max_positions: int = 512
    dropout: float = 0.1
    video_places: bool = False
    initial_std: float = 0.02

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                raise ValueError(f"{name}={value}: at least 1")
        if self.width % self.num_heads:
            raise ValueError(f"width={self.width} is no multiple of num_heads={self.num_heads}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}: at least 0 and below 1")
        if self.initial_std <= 0:
            raise ValueError(f"initial_std={self.initial_std}: above 0")

    def bert(self, vocab_size: int, pad_id: int) -> BertConfig:
        """As transformers has it."""
        config: Any = BertConfig(
            vocab_size=vocab_size,
            pad_token_id=pad_id,
            hidden_size=self.width,
            num_hidden_layers=self.num_layers,
            num_attention_heads=self.num_heads,
            intermediate_size=self.inner_width,
            max_position_embeddings=self.max_positions,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            tie_word_embeddings=False,  # paper's code: the head has weights of its own
        )
        config._attn_implementation = "sdpa"
        return config


class CaptionEncoder(nn.Module):
    """Reads video tokens, then text on them.

    Args:
        size: of it.
        video_dim: width of the backbone's tokens.
        vocab_size: of the text.
        pad_id: token that fills texts up.
    """

    def __init__(self, size: EncoderSize, video_dim: int, vocab_size: int, pad_id: int) -> None:
        super().__init__()
        config = size.bert(vocab_size, pad_id)
        self.embeddings = BertEmbeddings(config)
        self.layers = nn.ModuleList(BertLayer(config, layer_idx=n) for n in range(size.num_layers))
        self.head = BertLMPredictionHead(config)
        # official code: no position, no segment and no norm for video tokens
        self.video_in = nn.Linear(video_dim, size.video_width)
        self.video_out = nn.Linear(size.video_width, size.width)
        self.places = nn.Linear(NUM_WAVES, size.width, bias=False) if size.video_places else None
        self.dropout = nn.Dropout(size.dropout)
        self.apply(partial(_as_bert, std=size.initial_std))
        self.head.bias = self.head.decoder.bias  # one parameter; transformers ties them at loading

    def read_video(self, tokens: Tensor, bias: Tensor | None, grid: TokenGrid) -> VideoKeys:
        """Video tokens (B, M, D) of the backbone on a grid, under a mask's bias (M, M): what text attends to."""
        states = self.video_out(self.video_in(tokens))
        if self.places is not None:
            states = states + self.places(waves(grid).to(states))
        states = self.dropout(states)
        kept = KeptKeys()
        self._run(states, None if bias is None else bias.to(states)[None, None], kept)
        return VideoKeys(kept.layers)

    def read_text(
        self, ids: Tensor, positions: Tensor, keys: VideoKeys | GrowingKeys, sees: Tensor, before: int
    ) -> Tensor:
        """States (R, N, width) of text tokens.

        Args:
            ids: int64 (R, N).
            positions: int64 (N,).
            keys: of the video, and of words read before.
            sees: bool (N, N), which of the text tokens that are read now each sees.
            before: how many tokens ``keys`` has; all of them are seen.
        """
        states = self.embeddings(input_ids=ids, position_ids=positions[None])
        bias = states.new_zeros(1, 1, len(sees), before + len(sees))
        bias[..., before:].masked_fill_(~sees.to(states.device), torch.finfo(states.dtype).min)
        return self._run(states, bias, keys)

    def _run(self, states: Tensor, bias: Tensor | None, keys: Any) -> Tensor:
        for layer in self.layers:
            states = layer(states, bias, past_key_values=keys)
        return states

    def logits(self, states: Tensor) -> Tensor:
        """float32 (..., V)."""
        return self.head(states).float()


def _as_bert(module: nn.Module, std: float) -> None:
    """BERT's initial weights: N(0, std), and 0 where a bias or the embedding of padding is."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=std)
        if module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx].zero_()
