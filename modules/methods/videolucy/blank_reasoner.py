"""A small language model that has learnt nothing yet, but begins as a reader: like words attend to one another.

An LFM2 of transformers, in which a short convolution stands before each attention. From the usual random weights it
took the model thousands of batches to find the way from words to the name of the note that has them, if it ever did
(docs/log.md). So the way is there from the start, in the manner of the mimetic initialization of attention (arXiv
2305.09828): a convolution gathers the last words as they are, queries and keys are the same projection, and what is
attended to is passed on as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import AddedToken
from torch import nn
from transformers import Lfm2Config, Lfm2ForCausalLM, PreTrainedTokenizerFast

from modules.small_stack.blank_tokenizer import blank_tokenizer

_FRAGMENTS = (
    '{"reason":"',
    '","whole_video":true,"periods":[]}',
    '","whole_video":false,"periods":["',
    '","',
    '"]}',
    '{"instruction":"',
    '","reason":"',
    '","period":"',
    '","period":null',
    '","confident":true,"answer":"',
    ',"confident":false,"answer":"',
    '"}',
)
"""Parts of every form, a token each, so that a short answer takes few steps."""
_LINES = ("\n...", *(f"\n{'  ' * level}-{mark}" for level in range(4) for mark in ("", "*")))
"""How the lines of a memory begin."""
_MOST_NUMBERS = 99
"""Of entries in a memory."""
_REACH = 4
"""Words that a convolution sees: the name behind "red letter K" knows all three."""
_SHARPNESS = 2.0
"""Gain of queries and of keys: of twenty notes one is attended to, and not all of them a little."""
_CONV_SCALE, _ATTENTION_SCALE, _MLP_SCALE = 0.3, 0.2, 0.2
"""Of what each part adds to the words themselves, so that these are still to be recognised at the end."""


def reasoner_tokenizer(sentences: list[str]) -> PreTrainedTokenizerFast:
    """Each word, each number of an entry, and each fragment of a form is a token, whatever stands before it."""
    tokenizer = blank_tokenizer(sentences * 50, {}, vocab_size=600, add_prefix_space=False)
    # what belongs together stands next to each other, with no blanks between: short convolutions bind it
    numbers = [AddedToken(f"#{number}", lstrip=True) for number in range(1, _MOST_NUMBERS + 1)]
    tokenizer.add_tokens([*_FRAGMENTS, *_LINES, *numbers])
    return tokenizer


def blank_reasoner(tokenizer: PreTrainedTokenizerFast, width: int, num_layers: int) -> Lfm2ForCausalLM:
    """The model: convolutions and attentions in turn, with weights drawn from torch's global generator."""
    config = Lfm2Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        block_auto_adjust_ff_dim=False,
        num_hidden_layers=num_layers,
        layer_types=["full_attention" if layer % 2 else "conv" for layer in range(num_layers)],
        num_attention_heads=2,
        num_key_value_heads=2,
        conv_L_cache=_REACH,
        conv_bias=True,
        max_position_embeddings=2048,
        # words are found again at any distance: nearly all dimensions turn too slowly to tell
        rope_parameters={"rope_type": "default", "rope_theta": 1e10},
        initializer_range=width**-0.5,  # the usual 0.02 is that of models twenty times as wide
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Lfm2ForCausalLM(config)
    for layer in model.model.layers:
        layer.feed_forward.w2.weight.data.mul_(_MLP_SCALE)
        if layer.is_attention_layer:
            _attend_to_the_like(layer.self_attn)
        else:
            _gather_the_last_words(layer.conv)
    return model


@torch.no_grad()
def _attend_to_the_like(attention: Any) -> None:
    nn.init.orthogonal_(attention.v_proj.weight)
    attention.out_proj.weight.copy_(attention.v_proj.weight.T * _ATTENTION_SCALE)
    nn.init.orthogonal_(attention.q_proj.weight)
    attention.k_proj.weight.copy_(attention.q_proj.weight)
    attention.q_layernorm.weight.fill_(_SHARPNESS)
    attention.k_layernorm.weight.fill_(_SHARPNESS)


@torch.no_grad()
def _gather_the_last_words(conv: Any) -> None:
    """Both gates open, and each channel looks one to four words back, one word each."""
    width = conv.out_proj.weight.shape[0]
    gates = slice(0, 2 * width)
    conv.in_proj.weight[gates] *= 0.1
    conv.in_proj.bias.zero_()
    conv.in_proj.bias[gates] = 1.0
    nn.init.orthogonal_(conv.in_proj.weight[2 * width :])
    conv.conv.weight.zero_()
    conv.conv.bias.zero_()
    for channel in range(width):
        conv.conv.weight[channel, 0, -1 - channel % _REACH] = 1.0
    nn.init.orthogonal_(conv.out_proj.weight)
    conv.out_proj.weight *= _CONV_SCALE
    conv.out_proj.bias.zero_()
