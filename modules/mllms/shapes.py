"""Shapes of published models, as their config.json gives them: for sizes and memory before a weight is on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers as tf

from modules.files.model_files import AS_DATA, as_data

_QWEN2_7B = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}
_SIGLIP_SO400M = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
    "vision_use_head": False,
}


def _mrope(sections: list[int], theta: float) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": theta, "mrope_section": sections}


def _qwen25(text: dict[str, Any], tie: bool = False) -> tf.Qwen2_5_VLConfig:
    vision = {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "patch_size": 14,
        "out_hidden_size": text["hidden_size"],
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
    }
    text = {**text, "rope_parameters": _mrope([16, 24, 24], 1e6), "tie_word_embeddings": tie}
    return tf.Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tie)


def _qwen25_7b() -> tf.Qwen2_5_VLConfig:
    return _qwen25(_QWEN2_7B)


def _qwen25_3b() -> tf.Qwen2_5_VLConfig:
    text = {
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "max_position_embeddings": 128000,
    }
    return _qwen25(text, tie=True)


def _qwen3_8b() -> tf.Qwen3VLConfig:
    text = {
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "rope_parameters": _mrope([24, 20, 20], 5e6),
    }
    vision = {
        "depth": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_heads": 16,
        "out_hidden_size": 4096,
        "patch_size": 16,
        "deepstack_visual_indexes": [8, 16, 24],
        "num_position_embeddings": 2304,
    }
    return tf.Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False)


def _llava_7b() -> tf.LlavaOnevisionConfig:
    return tf.LlavaOnevisionConfig(
        vision_config=_SIGLIP_SO400M,
        text_config={"model_type": "qwen2", **_QWEN2_7B},
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
    )


_QWEN2_1_5B = {
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 151674,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}


def _internvl3_8b() -> tf.InternVLConfig:
    return _internvl3({**_QWEN2_7B, "vocab_size": 151674})


def _internvl3_2b() -> tf.InternVLConfig:
    return _internvl3(_QWEN2_1_5B)


def _internvl3(text: dict[str, Any]) -> tf.InternVLConfig:
    vision = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": [448, 448],
        "patch_size": [14, 14],
    }
    return tf.InternVLConfig(
        vision_config=vision, text_config={"model_type": "qwen2", **text}, tie_word_embeddings=False
    )


def _clip_large() -> tf.CLIPConfig:
    vision = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
    }
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    return tf.CLIPConfig(vision_config=vision, text_config=text, projection_dim=768)


def _siglip_so400m() -> tf.SiglipVisionConfig:
    whole: dict[str, Any] = {**_SIGLIP_SO400M, "num_hidden_layers": 27}  # LLaVA leaves the last layer out
    return tf.SiglipVisionConfig(**{k: v for k, v in whole.items() if k != "model_type"})


def _mamba2_1_3b() -> tf.Mamba2Config:
    return tf.Mamba2Config(
        hidden_size=2048, num_hidden_layers=48, state_size=128, head_dim=64, num_heads=64, n_groups=1, vocab_size=50288
    )


def _phi_2() -> tf.PhiConfig:
    return tf.PhiConfig(
        hidden_size=2560,
        intermediate_size=10240,
        num_hidden_layers=32,
        num_attention_heads=32,
        vocab_size=51200,
        max_position_embeddings=2048,
    )


def _vicuna_7b() -> tf.LlamaConfig:
    return tf.LlamaConfig(vocab_size=32000, max_position_embeddings=4096)  # the defaults are Llama's of that size


_KNOWN = {
    "Qwen/Qwen2.5-VL-7B-Instruct": _qwen25_7b,
    "Qwen/Qwen2.5-VL-3B-Instruct": _qwen25_3b,
    "Qwen/Qwen3-VL-8B-Instruct": _qwen3_8b,
    "llava-hf/llava-onevision-qwen2-7b-ov-hf": _llava_7b,
    "lmms-lab/LLaVA-Video-7B-Qwen2": _llava_7b,
    "models/llava-video-7b": _llava_7b,  # where recipes/data/convert_llava_video.yaml writes it
    "OpenGVLab/InternVL3-8B-hf": _internvl3_8b,
    "OpenGVLab/InternVL3-2B-hf": _internvl3_2b,
    "openai/clip-vit-large-patch14": _clip_large,
    "hzf666/TSPO-0.4B": _clip_large,
    "google/siglip-so400m-patch14-384": _siglip_so400m,
    "AntonV/mamba2-1.3b-hf": _mamba2_1_3b,
    "microsoft/phi-2": _phi_2,
    "lmsys/vicuna-7b-v1.5": _vicuna_7b,
}


def config_of(path: str) -> tf.PretrainedConfig:
    """Config of a folder, or of a published model that is known here; nothing is fetched.

    Raises:
        ValueError: neither.
    """
    if (Path(path) / "config.json").is_file():
        return tf.AutoConfig.from_pretrained(as_data(path), **AS_DATA)
    if path not in _KNOWN:
        raise ValueError(f"the shape of {path!r} is not known: no such folder, and none of {', '.join(_KNOWN)}")
    return _KNOWN[path]()
