"""Small random models of every MLLM family, and CLIP: the real classes, configs, processors and file layout.

They stand in for 2-8B models wherever nothing is to be learnt from the answers: contract tests, and two steps of the
recipes for real models. 0.1-0.3 M parameters each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from transformers import PreTrainedTokenizerFast

from modules.small_stack.blank_tokenizer import END, blank_tokenizer, end_every_text

_SENTENCES = [
    "What colour is the star? A. red B. green C. blue D. white Answer with the option's letter. seconds Frame"
]
_TEXT = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
}
_TOWER: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_SQUARES: dict[str, Any] = {**_TOWER, "image_size": 56, "patch_size": 14}
IMAGE_AND_VIDEO = {"image_token": "<image>", "video_token": "<video>"}
_QWEN_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
_QWEN_TOWER = {"depth": 2, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 64}
_QWEN_VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"
_QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


def _template(video: str, image: str = "") -> str:
    """A chat template in the families' common form."""
    images = "{% elif c['type'] == 'image' %}" + image if image else ""
    return (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
        "{% if c['type'] == 'video' %}"
        + video
        + images
        + "{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def _tokenizer(extra: dict[str, str], eos: str = END) -> PreTrainedTokenizerFast:
    """With the special tokens that a processor asks its tokenizer for."""
    return blank_tokenizer(_SENTENCES, extra, vocab_size=320, add_prefix_space=False, eos=eos)


def _text(tokenizer: PreTrainedTokenizerFast, **more: Any) -> dict[str, Any]:
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    return {**_TEXT, **ids, "vocab_size": len(tokenizer), **more}


def _qwen_text(tokenizer: PreTrainedTokenizerFast, sections: list[int], **more: Any) -> dict[str, Any]:
    """Sections of the rotary embedding add up to half a head: vLLM asserts it, transformers takes any."""
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": sections, **more}
    return _text(tokenizer, rope_parameters=rope)


def _ids(tokenizer: PreTrainedTokenizerFast, tokens: dict[str, str]) -> dict[str, Any]:
    """``image_token`` -> ``image_token_id``, and so on."""
    return {f"{name}_id": tokenizer.convert_tokens_to_ids(token) for name, token in tokens.items()}


def qwen25_vl() -> tuple[Any, Any]:
    tokenizer = _tokenizer(_QWEN_TOKENS)
    vision = {
        **_QWEN_TOWER,
        "fullatt_block_indexes": [1],
        "window_size": 56,
        "tokens_per_second": 2,
    }
    config = tf.Qwen2_5_VLConfig(
        text_config=_qwen_text(tokenizer, [2, 3, 3]), vision_config=vision, **_ids(tokenizer, _QWEN_TOKENS)
    )
    size = {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 4}
    processor = tf.Qwen2_5_VLProcessor(
        image_processor=tf.Qwen2VLImageProcessor(size=size),
        tokenizer=tokenizer,
        video_processor=tf.Qwen2VLVideoProcessor(size=size),
        chat_template=_template(_QWEN_VIDEO, _QWEN_IMAGE),
    )
    return tf.Qwen2_5_VLForConditionalGeneration(config), processor


def qwen3_vl() -> tuple[Any, Any]:
    tokenizer = _tokenizer(_QWEN_TOKENS)
    vision = {
        **_QWEN_TOWER,
        "patch_size": 16,
        "deepstack_visual_indexes": [0],
        "num_position_embeddings": 64,
    }
    # heads of 128; transformers interleaves the sections whatever is said here, vLLM only where it is
    text = _qwen_text(tokenizer, [24, 20, 20], mrope_interleaved=True)
    config = tf.Qwen3VLConfig(text_config=text, vision_config=vision, **_ids(tokenizer, _QWEN_TOKENS))
    size = {"shortest_edge": 32 * 32, "longest_edge": 32 * 32 * 256}
    halves = [0.5, 0.5, 0.5]  # as of videos; vLLM normalises both in the tower, by those of images
    processor = tf.Qwen3VLProcessor(
        image_processor=tf.Qwen2VLImageProcessor(size=size, patch_size=16, image_mean=halves, image_std=halves),
        tokenizer=tokenizer,
        video_processor=tf.Qwen3VLVideoProcessor(size=size),
        chat_template=_template(_QWEN_VIDEO, _QWEN_IMAGE),
    )
    return tf.Qwen3VLForConditionalGeneration(config), processor


def onevision(
    tokenizer: PreTrainedTokenizerFast,
    *,
    image_size: int,
    tower: dict[str, Any],
    text: dict[str, Any],
    chat_template: str,
    **more: Any,
) -> tuple[Any, Any]:
    """A LLaVA-OneVision with its processor, of SigLIP's vision and Qwen2's text model.

    Args:
        tokenizer: with `IMAGE_AND_VIDEO` among its special tokens.
        image_size: side of a frame in pixels.
        tower: shape of the vision model.
        text: of the text model, where it is not as small as all of these.
        chat_template: of its processor.
        more: of the config.
    """
    from transformers.models.llava_onevision.image_processing_llava_onevision import LlavaOnevisionImageProcessor
    from transformers.models.llava_onevision.video_processing_llava_onevision import LlavaOnevisionVideoProcessor

    size, grid = {"height": image_size, "width": image_size}, [[image_size, image_size]]
    vision = {"model_type": "siglip_vision_model", **tower, "image_size": image_size, "vision_use_head": False}
    config = tf.LlavaOnevisionConfig(
        vision_config=vision,
        text_config={"model_type": "qwen2", **_text(tokenizer, **text)},
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        image_grid_pinpoints=grid,
        **_ids(tokenizer, IMAGE_AND_VIDEO),
        **more,
    )
    processor = tf.LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=grid),
        tokenizer=tokenizer,
        video_processor=LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=chat_template,
    )
    return tf.LlavaOnevisionForConditionalGeneration(config), processor


def llava_onevision() -> tuple[Any, Any]:
    tokenizer, chat_template = _tokenizer(IMAGE_AND_VIDEO), _template("<video>")
    return onevision(tokenizer, image_size=56, tower=_SQUARES, text={}, chat_template=chat_template)


def internvl() -> tuple[Any, Any]:
    from transformers.models.got_ocr2.image_processing_got_ocr2 import GotOcr2ImageProcessor
    from transformers.models.internvl.video_processing_internvl import InternVLVideoProcessor

    tokens = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = _tokenizer(tokens)
    config = tf.InternVLConfig(
        vision_config={**_TOWER, "image_size": [56, 56], "patch_size": [14, 14]},
        text_config={"model_type": "qwen2", **_text(tokenizer)},
        image_seq_length=4,
        downsample_ratio=0.5,
        **_ids(tokenizer, {"image_token": "<IMG_CONTEXT>"}),
    )
    size = {"height": 56, "width": 56}
    processor = tf.InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=size),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(size=size),
        image_seq_length=4,
        chat_template=_template("<video>"),
    )
    return tf.InternVLForConditionalGeneration(config), processor


def smolvlm() -> tuple[Any, Any]:
    from transformers.models.smolvlm.image_processing_smolvlm import SmolVLMImageProcessor
    from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor

    tokens = {
        "fake_image_token": "<fake_token_around_image>",
        "image_token": "<image>",
        "end_of_utterance_token": "<end_of_utterance>",
        "global_image_token": "<global-img>",
        "video_token": "<video>",
    }
    tokenizer = _tokenizer(tokens, eos="<end_of_utterance>")
    text = _text(tokenizer, bos_token_id=tokenizer.convert_tokens_to_ids("<|im_start|>"))
    ids = {**_ids(tokenizer, {"image_token": "<image>"}), "pad_token_id": tokenizer.pad_token_id}
    config = tf.SmolVLMConfig(
        vision_config={**_SQUARES}, text_config={"model_type": "llama", **text}, scale_factor=2, **ids
    )
    size = {"longest_edge": 56}
    video_processor = SmolVLMVideoProcessor(size=size, max_image_size=size)
    video_processor.num_frames, video_processor.fps = 64, 1
    processor = tf.SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(size=size, max_image_size=size),
        tokenizer=tokenizer,
        video_processor=video_processor,
        image_seq_len=4,
        chat_template=_template("<video>"),
    )
    return tf.SmolVLMForConditionalGeneration(config), processor


def videollama3() -> tuple[Any, Any]:
    from transformers.models.video_llama_3.image_processing_video_llama_3 import VideoLlama3ImageProcessor
    from transformers.models.video_llama_3.video_processing_video_llama_3 import VideoLlama3VideoProcessor

    tokenizer = _tokenizer(IMAGE_AND_VIDEO)
    config = tf.VideoLlama3Config(
        vision_config={**_TOWER, "patch_size": 14},
        text_config={"model_type": "qwen2", **_text(tokenizer)},
        **_ids(tokenizer, IMAGE_AND_VIDEO),
    )
    size = {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 64}
    processor = tf.VideoLlama3Processor(
        image_processor=VideoLlama3ImageProcessor(size=size),
        tokenizer=tokenizer,
        video_processor=VideoLlama3VideoProcessor(size=size),
        chat_template=_template("<video>"),
    )
    return tf.VideoLlama3ForConditionalGeneration(config), processor


FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llava_onevision": llava_onevision,
    "qwen2_5_vl": qwen25_vl,
    "qwen3_vl": qwen3_vl,
    "internvl": internvl,
    "smolvlm": smolvlm,
    "videollama3": videollama3,
}


def write_blank_family(family: str, folder: Path, seed: int = 0) -> None:
    """Writes a family's small random model and its processor."""
    torch.manual_seed(seed)
    model, processor = FAMILIES[family]()
    with torch.no_grad():  # larger than the families' own initial weights, so that what is shown matters to the answer
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    save_with_processor(model, processor, folder)


def save_with_processor(model: Any, processor: Any, folder: Path) -> None:
    """Writes a model and its processor; what it generates ends where its tokenizer says."""
    tokenizer = processor.tokenizer
    model.generation_config = tf.GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def write_blank_hf_clip(
    folder: Path, *, width: int = 32, projection: int = 32, patch_size: int = 16, seed: int = 0
) -> None:
    """Writes a small random transformers CLIP with its processor, in the layout of openai/clip-vit-large-patch14."""
    torch.manual_seed(seed)
    tokenizer = _tokenizer({})
    eos = end_every_text(tokenizer)
    tokenizer.model_max_length = 77
    layers = {
        "hidden_size": width,
        "intermediate_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "projection_dim": projection,
    }
    text = {
        **layers,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 77,
        "eos_token_id": eos,
        "bos_token_id": None,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = tf.CLIPConfig(
        text_config=text,
        vision_config={**layers, "image_size": 32, "patch_size": patch_size},
        projection_dim=projection,
    )
    from transformers.models.clip.image_processing_clip import CLIPImageProcessor

    size = {"height": 32, "width": 32}
    image_processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size)
    tf.CLIPModel(config).save_pretrained(folder)
    tf.CLIPProcessor(image_processor, tokenizer).save_pretrained(folder)


def write_blank_refocus(folder: Path, *, width: int = 32, seed: int = 0) -> None:
    """Writes what ReFoCUS starts from below a folder: a vision tower, ``siglip``, and a sequence model, ``mamba2``."""
    torch.manual_seed(seed)
    tokenizer = _tokenizer({})
    tf.SiglipVisionModel(tf.SiglipVisionConfig(**_SQUARES)).save_pretrained(folder / "siglip")
    config = tf.Mamba2Config(
        hidden_size=width,
        num_hidden_layers=2,
        state_size=8,
        head_dim=16,
        num_heads=2 * width // 16,
        n_groups=1,
        chunk_size=32,
        vocab_size=len(tokenizer),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    tf.Mamba2ForCausalLM(config).save_pretrained(folder / "mamba2")
    tokenizer.save_pretrained(folder / "mamba2")


def write_blank_videostreaming(folder: Path, *, width: int = 32, seed: int = 0) -> None:
    """Writes what VideoStreaming is made of below a folder.

    They are a vision tower of 8 x 8 patches, ``clip``, the language model whose lower layers are the streaming encoder,
    ``phi``, and the one that answers, ``llama``.
    """
    write_blank_hf_clip(folder / "clip", width=width, patch_size=4, seed=seed)
    torch.manual_seed(seed)
    tokenizer = _tokenizer({})
    shape = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "max_position_embeddings": 4096,
        "vocab_size": len(tokenizer),
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    for name, model in (
        ("phi", tf.PhiForCausalLM(tf.PhiConfig(**shape))),
        ("llama", tf.LlamaForCausalLM(tf.LlamaConfig(**shape))),
    ):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
