"""Blank Haystack models: an open_clip model and a LLaVA-OneVision of a few million parameters, before training.

Same classes, configs, processors and file layout as the real ones, so everything that loads these loads those. The
tokenizer is a byte-level BPE whose merges were learnt on the Haystack's own sentences: every string round-trips and
each of the world's words is one token.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast
from transformers.models.llava_onevision.image_processing_llava_onevision import LlavaOnevisionImageProcessor
from transformers.models.llava_onevision.video_processing_llava_onevision import LlavaOnevisionVideoProcessor

_CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}{% for c in m['content'] %}"
    "{% if c['type'] == 'video' %}<video>{% else %} {{ c['text'] }}{% endif %}{% endfor %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)


def blank_tokenizer(sentences: list[str], vocab_size: int = 512) -> PreTrainedTokenizerFast:
    """A byte-level BPE with the special tokens both models need; ``red`` and `` red`` are one token."""
    extra = {"image_token": "<image>", "video_token": "<video>"}
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *extra.values()]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        sentences,
        trainers.BpeTrainer(
            show_progress=False,  # where there is no terminal, it prints empty lines
            vocab_size=vocab_size,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=specials,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        padding_side="left",
        extra_special_tokens=extra,
        model_max_length=4096,
    )


def write_blank_vlm(folder: Path, sentences: list[str], *, image_size: int = 64, width: int = 128) -> None:
    """Writes a LLaVA-OneVision with its processor: siglip vision depth 3, qwen2 text depth 4, 4 tokens a frame."""
    tokenizer = blank_tokenizer(sentences)
    ids = {
        name: tokenizer.convert_tokens_to_ids(name) for name in ("<|endoftext|>", "<|im_end|>", "<image>", "<video>")
    }
    special: dict[str, Any] = {"image_token_id": ids["<image>"], "video_token_id": ids["<video>"]}
    config = transformers.LlavaOnevisionConfig(
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": width,
            "intermediate_size": 3 * width,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "image_size": image_size,
            "patch_size": image_size // 4,
            "vision_use_head": False,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 3 * width,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        image_grid_pinpoints=[[image_size, image_size]],
        tie_word_embeddings=True,
        **special,
    )
    size = {"height": image_size, "width": image_size}
    processor = transformers.LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=[[image_size, image_size]]),
        video_processor=LlavaOnevisionVideoProcessor(size=size),
        tokenizer=tokenizer,
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=_CHAT_TEMPLATE,
    )
    model = transformers.LlavaOnevisionForConditionalGeneration(config)
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=ids["<|im_end|>"], pad_token_id=ids["<|endoftext|>"]
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def write_blank_clip(folder: Path, sentences: list[str], *, image_size: int = 64, embed_dim: int = 64) -> None:
    """Writes an open_clip model with a custom config in the layout of ``local-dir:``."""
    tokenizer = blank_tokenizer(sentences)
    # CLIP's text tower reads the end-of-text position, so every text has to carry that token
    eos = tokenizer.convert_tokens_to_ids("<|im_end|>")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|im_end|>", special_tokens=[("<|im_end|>", eos)]
    )
    tokenizer.padding_side = "right"
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
