"""What a checkpoint of a captioner has beside its weights: its words, and where its video tokens lie."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from modules.methods.swinbert.mask_interpolation import in_other_time
from modules.methods.swinbert.swinbert_network import SwinBERT
from modules.methods.swinbert.token_grid import TokenGrid
from modules.methods.swinbert.video_masks import LearntMask

_log = logging.getLogger(__name__)
_KEY, _PREFIX = "captioner", "network."
_SPECIAL = ("cls_token", "sep_token", "mask_token", "pad_token", "unk_token")


def network_state(network: SwinBERT) -> dict[str, Any]:
    """Plain data for a checkpoint."""
    tokenizer: Any = network.tokenizer
    return {
        "tokenizer": tokenizer.backend_tokenizer.to_str(),
        "special": {name: getattr(tokenizer, name) for name in _SPECIAL},
        "grid": list(network.grid(network.num_frames)),
    }


def kept_tokenizer(
    checkpoint: Mapping[str, Any], source: str, same_as: PreTrainedTokenizerBase | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint.

    Args:
        checkpoint: that was read.
        source: its file, for messages.
        same_as: one that it has to be.

    Raises:
        ValueError: it is no checkpoint of a captioner, or one of other words.
    """
    kept = checkpoint.get(_KEY)
    if not isinstance(kept, Mapping):
        raise ValueError(f"{source} is no checkpoint of a SwinBERT: it says nothing of a captioner's words")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(kept["tokenizer"]), **kept["special"])
    if same_as is not None and tokenizer.get_vocab() != same_as.get_vocab():
        raise ValueError(
            f"{source} was trained with {len(tokenizer)} words and the training captions here have {len(same_as)}, or "
            "others: resume with the same captions, or start anew from it with --model.init_from"
        )
    return tokenizer


def take_network(network: SwinBERT, checkpoint: Mapping[str, Any], source: str) -> None:
    """Copies the weights of a checkpoint; a mask of another number of frames is carried over (`in_other_time`).

    Masks without logits (full, identity) are taken to any other and from any other; what the network has and the
    checkpoint has not stays as it is.

    Raises:
        ValueError: another size of network or of frames.
    """
    weights = {n.removeprefix(_PREFIX): w for n, w in checkpoint["state_dict"].items() if n.startswith(_PREFIX)}
    name, mask = "mask.logits", network.mask
    own = network.state_dict(keep_vars=True)
    if name in weights and isinstance(mask, LearntMask):
        theirs, ours = TokenGrid(*checkpoint[_KEY]["grid"]), network.grid(network.num_frames)
        if theirs[1:] != ours[1:]:
            raise ValueError(
                f"{source} has a mask for {theirs} video tokens (time, rows, columns), and frames give {ours} here: "
                "only the number of frames may change"
            )
        if theirs != ours:
            weights[name] = in_other_time(weights[name].float(), theirs, ours.steps)
            _log.info("the sparse mask of %s was carried from %s to %s video tokens", source, theirs, ours)
    elif name in weights:
        del weights[name]
    wrong = [n for n, w in weights.items() if n not in own or own[n].shape != w.shape]
    lacking = [n for n in own if n not in weights and n != name]
    if wrong or lacking:
        first = (wrong + lacking)[0]
        there = tuple(weights[first].shape) if first in weights else "not there"
        here = tuple(own[first].shape) if first in own else "without a place"
        raise ValueError(f"{source} is of another network: {first} is {there} in it and {here} here")
    with torch.no_grad():
        for n, weight in weights.items():
            own[n].copy_(weight)
