"""A tokenizer of whole words, made of the captions of a training set; what the paper takes BERT's WordPiece for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from modules.files.hub import fetching
from modules.files.model_files import AS_DATA, as_data

_SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
_WORD = re.compile(r"\w+|[^\w\s]")


def word_tokenizer(captions: Iterable[str], *, min_count: int = 1) -> PreTrainedTokenizerBase:
    """BERT's special tokens, then every word of the captions in small letters, the most frequent first.

    Args:
        captions: to take words from.
        min_count: words that come less often are unknown.

    Raises:
        ValueError: there is no word in them.
    """
    counts = Counter(word for caption in captions for word in _WORD.findall(caption.lower()))
    words = sorted((w for w, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w))
    if not words:
        raise ValueError("the training captions hold no word, so there is no vocabulary to write captions in")
    vocabulary = {token: number for number, token in enumerate([*_SPECIAL.values(), *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=_SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=True, **_SPECIAL)


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """A published tokenizer with BERT's special tokens, such as that of ``bert-base-uncased``.

    Raises:
        ValueError: it has no start, end, mask or padding token.
    """
    with fetching(path):
        tokenizer: Any = AutoTokenizer.from_pretrained(as_data(path), **AS_DATA)
    lacking = [
        name for name in ("cls_token", "sep_token", "mask_token", "pad_token") if getattr(tokenizer, name) is None
    ]
    if lacking:
        raise ValueError(
            f"the tokenizer {path} has no {', '.join(lacking)}: masked words are predicted with BERT's tokens"
        )
    return tokenizer
