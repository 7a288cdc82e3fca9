"""Byte-level BPE tokenizers of blank models: every string round-trips, and each word of the sentences is a token."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

END = "<|im_end|>"
"""Of a turn of a chat, and of a text that CLIP reads."""


def blank_tokenizer(
    sentences: Iterable[str],
    extra: dict[str, str],
    *,
    vocab_size: int,
    add_prefix_space: bool,
    eos: str = END,
    max_tokens: int | None = None,
) -> PreTrainedTokenizerFast:
    """A tokenizer whose merges are learnt here.

    Args:
        sentences: to learn them from.
        extra: the special tokens that a processor asks its tokenizer for, by the names that it has for them.
        vocab_size: of bytes, special tokens and merges.
        add_prefix_space: a text begins as if after a space, so that ``red`` and `` red`` are one token.
        eos: the token that ends an answer.
        max_tokens: of a text; None sets no limit.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        sentences,
        trainers.BpeTrainer(
            show_progress=False,  # where there is no terminal, it prints empty lines
            vocab_size=vocab_size,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["<|endoftext|>", "<|im_start|>", END, *extra.values()],
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|endoftext|>",
        eos_token=eos,
        padding_side="left",
        extra_special_tokens=extra,
        **({} if max_tokens is None else {"model_max_length": max_tokens}),
    )


def end_every_text(tokenizer: PreTrainedTokenizerFast) -> int:
    """Has a tokenizer put `END` after each text, as CLIP's text tower reads that position; the token's id."""
    eos = tokenizer.convert_tokens_to_ids(END)
    assert isinstance(eos, int)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, eos)]
    )
    tokenizer.padding_side = "right"
    return eos
