"""``lightning check RECIPE --memory``: parameters and memory a GPU, from shapes alone (on the meta device, no weights).

Estimates, in GiB of 2^30 bytes, P parameters of the MLLM, R rows a forward of L tokens, width H:

- sampler-only: the frozen MLLM whole on every GPU, P x bytes of its dtype; the sampler in float32 with its gradient and
  two Adam moments, 16 bytes a parameter; activations of a forward without graph, about R L (6 H + 3 F) in the MLLM's
  dtype, F the width of its MLP (alive: residual, attention's projections, the gated MLP), and R V logits in float32.
- joint, ZeRO-3 over N GPUs: of the language model (2 + 2 + 12) / N bytes a parameter (bfloat16 weights and gradients;
  float32 weights and two moments), of the frozen vision tower 2 / N; and the larger of
  - rollouts: the whole model gathered, 2 P (1 - 1/N) bytes, and activations as above;
  - the loss: the two largest gathered layers, and for R trajectories with gradient checkpointing one residual a layer,
    layers x R L H x 2 bytes, the layer being computed, and R L' V logits of the answer's tokens in float32.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from omegaconf import DictConfig

from modules.mllms.shapes import config_of
from recipes.recipe import resolve

_GIB = 2**30
_PROMPT_TOKENS = 256
_ANSWER_TOKENS = 256


def memory_report(merged: DictConfig, source: str) -> str:
    """The estimate of a recipe with a transformers MLLM, as text.

    Raises:
        ValueError: the recipe has no such MLLM, or its shape is not known.
    """
    recipe = resolve(merged, source)
    arguments = (recipe.get("model") or {}).get("init_args") or {}
    mllm = arguments.get("mllm")
    if not isinstance(mllm, dict):
        raise ValueError("--memory: the recipe names no model.mllm")
    cls = _class(mllm["class_path"])
    if not hasattr(cls, "model_class"):
        raise ValueError(f"--memory: {mllm['class_path']} runs on a server; its memory is the server's")
    settings = mllm.get("init_args") or {}
    config = config_of(str(settings["path"]))
    with torch.device("meta"):
        model = cls.model_class(config)
    total = sum(p.numel() for p in model.parameters())
    text = config.get_text_config()
    spoken = ("language_model", "text_model", "lm_head")
    language = sum(p.numel() for n, p in model.named_parameters() if any(part in n for part in spoken))
    num_frames = int(arguments.get("num_frames", 64))
    tokens = tokens_a_frame(cls.__name__, config, settings)
    length = round(num_frames * tokens) + _PROMPT_TOKENS
    rows = _rows(arguments)
    bytes_each = {"float32": 4}.get((settings.get("loading") or {}).get("dtype", "float32"), 2)
    activations = rows * length * (6 * text.hidden_size + 3 * text.intermediate_size) * bytes_each
    logits = rows * text.vocab_size * 4
    parts = _sampler(arguments)
    sampler = sum(p.numel() for p in parts or [])
    frozen = total * bytes_each
    lines = [
        "",
        f"mllm        {settings['path']}: {total:,} parameters ({language:,} language, {total - language:,} vision)",
        f"sampler     {sampler:,} parameters"
        if parts is not None
        else "sampler     not counted below: it has a model of its own, whose memory comes on top",
        f"a row       {num_frames} frames x {tokens:g} tokens + {_PROMPT_TOKENS} = {length:,} tokens; "
        f"{rows} rows a forward",
        "",
        "memory a GPU, estimated (GiB)",
        f"  sampler-only       weights {frozen / _GIB:.1f} + sampler {16 * sampler / _GIB:.2f} + activations "
        f"{(activations + logits) / _GIB:.1f} = {(frozen + 16 * sampler + activations + logits) / _GIB:.1f}",
    ]
    largest = 2 * 2 * max(_layer_sizes(model))
    for num_gpus in (1, 2, 4, 8, 16, 32):
        state = (16 * language + 2 * (total - language)) / num_gpus
        kept = text.num_hidden_layers * rows * length * text.hidden_size * 2
        layer = rows * length * (6 * text.hidden_size + 3 * text.intermediate_size) * 2
        answer = 2 * rows * _ANSWER_TOKENS * text.vocab_size * 4
        rollouts = 2 * total * (1 - 1 / num_gpus) + activations + logits
        loss = largest + kept + layer + answer
        lines.append(
            f"  joint, ZeRO-3, {num_gpus:>2} GPUs  states {state / _GIB:.1f} + the larger of rollouts "
            f"{rollouts / _GIB:.1f} and loss {loss / _GIB:.1f} = {(state + max(rollouts, loss)) / _GIB:.1f}"
        )
    return "\n".join(lines)


def tokens_a_frame(family: str, config: Any, settings: dict[str, Any]) -> float:
    """Tokens of the language model that one frame takes at most.

    Raises:
        ValueError: a frame has no number of its own.
    """
    vision = config.vision_config
    if family in ("Qwen25VL", "Qwen3VL"):
        side = vision.patch_size * vision.spatial_merge_size
        # without the key: the processors' own upper bound, 768 tokens' worth of pixels
        high = (settings.get("frame_pixels") or (0, 768 * side**2))[1]
        return high / side**2 / int(settings.get("frames_per_grid", 2))
    if family == "LlavaOnevision":
        pooled = -(-(vision.image_size // vision.patch_size) // 2)
        return pooled * (pooled + 1) if settings.get("newline") == "grid" else pooled**2
    if family == "InternVL":
        return config.image_seq_length
    if family == "SmolVLM":
        return (vision.image_size // vision.patch_size) ** 2 / config.scale_factor**2
    raise ValueError(f"--memory: how many tokens {family} makes of a frame depends on the frames beside it")


def _rows(arguments: dict[str, Any]) -> int:
    default = 256 if "grpo" in arguments else 8
    return min(int(arguments.get("rows_per_forward", default)), _rollouts(arguments))


def _rollouts(arguments: dict[str, Any]) -> int:
    return int((arguments.get("grpo") or {}).get("num_generations", 8))


def _layer_sizes(model: torch.nn.Module) -> list[int]:
    """Parameters of each block, which ZeRO-3 gathers at a time."""
    blocks = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList)]
    sizes = [sum(p.numel() for p in layer.parameters()) for block in blocks for layer in block]
    return sizes + [m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Embedding)]


def _sampler(arguments: dict[str, Any]) -> list[torch.nn.Parameter] | None:
    """Its parameters, on no device; None where it is built of parts, as one with a sequence model is."""
    node = arguments.get("sampler")
    if not isinstance(node, dict):
        return []
    if any(isinstance(value, dict) for value in (node.get("init_args") or {}).values()):
        return None
    plain = {
        k: v for k, v in (node.get("init_args") or {}).items()
        if isinstance(v, (int, float)) and not isinstance(v, bool)
    }  # fmt: skip
    with torch.device("meta"):
        return list(_class(node["class_path"])(**plain).parameters())


def _class(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
