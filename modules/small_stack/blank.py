"""Blank Haystack models: an open_clip model and a LLaVA-OneVision of a few million parameters, before training.

Same classes, configs, processors and file layout as the real ones, so everything that loads these loads those. The
tokenizer is a byte-level BPE whose merges were learnt on the Haystack's own sentences: every string round-trips and
each of the world's words is one token.
"""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

from modules.small_stack.blank_families import IMAGE_AND_VIDEO, onevision, save_with_processor
from modules.small_stack.blank_tokenizer import blank_tokenizer, end_every_text

_CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}{% for c in m['content'] %}"
    "{% if c['type'] == 'video' %}<video>{% else %} {{ c['text'] }}{% endif %}{% endfor %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)


def _tokenizer(sentences: list[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Of both models; ``red`` and `` red`` are one token."""
    return blank_tokenizer(sentences, IMAGE_AND_VIDEO, vocab_size=vocab_size, add_prefix_space=True, max_tokens=4096)


def write_blank_vlm(
    folder: Path, sentences: list[str], *, image_size: int = 64, width: int = 128, vocab_size: int = 512
) -> None:
    """Writes a LLaVA-OneVision with its processor: siglip vision depth 3, qwen2 text depth 4, 4 tokens a frame."""
    model, processor = onevision(
        _tokenizer(sentences, vocab_size),
        image_size=image_size,
        tower={
            "hidden_size": width,
            "intermediate_size": 3 * width,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "patch_size": image_size // 4,
        },
        text={
            "hidden_size": width,
            "intermediate_size": 3 * width,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
        },
        chat_template=_CHAT_TEMPLATE,
        tie_word_embeddings=True,
    )
    save_with_processor(model, processor, folder)


def write_blank_clip(
    folder: Path, sentences: list[str], *, image_size: int = 64, embed_dim: int = 64, vocab_size: int = 512
) -> None:
    """Writes an open_clip model with a custom config in the layout of ``local-dir:``."""
    tokenizer = _tokenizer(sentences, vocab_size)
    eos = end_every_text(tokenizer)
    config = {
        "model_cfg": {
            "embed_dim": embed_dim,
            "vision_cfg": {
                "image_size": image_size,
                "layers": 3,
                "width": 96,
                "head_width": 24,
                "patch_size": image_size // 4,
                "mlp_ratio": 3.0,
            },
            "text_cfg": {
                "context_length": 32,
                "vocab_size": len(tokenizer),
                "hf_tokenizer_name": "local",
                "width": 64,
                "heads": 4,
                "layers": 2,
                "pool_type": "eos",
                "eos_id": eos,
                "pad_id": tokenizer.pad_token_id,
            },
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bicubic"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_open_clip(model, folder, dtype=torch.float32)


def save_open_clip(model: torch.nn.Module, folder: Path, dtype: torch.dtype) -> None:
    """Writes the weights under the name that ``local-dir:`` looks for."""
    state = {k: v.detach().to(dtype).contiguous() for k, v in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
