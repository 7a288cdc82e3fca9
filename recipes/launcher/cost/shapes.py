"""What a recipe's models are made of, built on the meta device: no weights, no files but configs."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from modules.files.model_files import as_data
from modules.mllms.loading import Loading, Lora
from modules.mllms.shapes import config_of
from recipes.launcher.class_paths import is_known
from recipes.launcher.cost.condensers import QUESTION_TOKENS, Condenser, condenser_of
from recipes.launcher.cost.decoders import BYTES, Decoder, decoder_of, language_model_of, mlp_size, on_meta

_LANGUAGE = ("language_model", "text_model", "lm_head")
_NOT_COUNTED = "modules.methods.training_free."
"""Samplers without weights."""
_FILES = ("weights", "path", "tokenizer")  # arguments that name files; shapes need none


@dataclass(frozen=True)
class Tower:
    """The vision tower, its projector included."""

    num_parameters: int
    num_layers: int
    hidden: int
    mlp: int
    patches: float
    """Of a frame."""
    patch_values: int
    """Numbers of pixels in a patch."""


@dataclass(frozen=True)
class Model:
    """The MLLM that answers."""

    name: str
    decoder: Decoder
    tower: Tower
    frame_tokens: float
    """Tokens of a frame."""
    token_width: int
    """Numbers a token of a frame holds; more than `Decoder.hidden` where several depths of the tower are read."""
    bytes_each: int
    """Of a weight, as loaded."""
    num_adapters: int
    """Parameters of LoRA layers."""
    largest_layer: int
    """Parameters of the largest block or embedding, which ZeRO-3 gathers at a time."""

    @property
    def num_parameters(self) -> int:
        return self.decoder.num_parameters + self.tower.num_parameters


@dataclass(frozen=True)
class Network:
    """A sampler or an encoder: parameters, and what its layers hold of each position."""

    num_parameters: int
    num_trained: int
    activations: int
    """Numbers a position: inputs and outputs of all linear layers."""
    question_tokens: int = 0
    """That it reads of each question; then nearly all of its parameters work on those, and not on candidates."""
    question_layers: Decoder | None = None
    """Through which it reads them."""


def model_of(node: dict[str, Any]) -> Model | None:
    """Shape of ``model.mllm``; None where it runs on a server, whose memory is the server's.

    Raises:
        ValueError: the shape of such a model is not known.
    """
    cls, settings = class_of(node["class_path"]), node.get("init_args") or {}
    if not hasattr(cls, "model_class"):
        return None
    config = config_of(str(settings["path"]))
    text, vision = config.get_text_config(), getattr(config, "vision_config", None)
    network = language_model_of(config) if vision is None else on_meta(lambda: cls.model_class(config))
    loading = settings.get("loading") or {}
    sees = vision is not None
    language = sum(p.numel() for n, p in network.named_parameters() if not sees or any(part in n for part in _LANGUAGE))
    whole, largest = sum(p.numel() for p in network.parameters()), max(_layer_sizes(network))
    memory_dim = settings.get("memory_dim")
    output = 0 if memory_dim is None else mlp_size(int(memory_dim), text.hidden_size)
    adapters = _adapters(network, loading.get("lora"))
    levels = 1 + len(getattr(vision, "deepstack_visual_indexes", ()))
    return Model(
        name=str(settings["path"]),
        decoder=decoder_of(text, language + output),
        tower=_tower(cls.__name__, config, settings, whole - language),
        frame_tokens=tokens_a_frame(cls.__name__, config, settings),
        token_width=int(memory_dim or levels * text.hidden_size),
        bytes_each=BYTES[loading.get("dtype", "float32")],
        num_adapters=adapters + (adapters > 0) * output,
        largest_layer=largest,
    )


def _tower(family: str, config: Any, settings: dict[str, Any], num_parameters: int) -> Tower:
    """Of a vision-language model's configuration; nothing where a language model reads memories."""
    vision = getattr(config, "vision_config", None)
    if vision is None:
        return Tower(num_parameters=0, num_layers=0, hidden=0, mlp=0, patches=0, patch_values=0)
    patches, patch_values = _patches(family, config, settings)
    return Tower(
        num_parameters=num_parameters,
        num_layers=_depth(vision),
        hidden=vision.hidden_size,
        mlp=vision.intermediate_size,
        patches=patches,
        patch_values=patch_values,
    )


def _depth(vision: Any) -> int:
    return getattr(vision, "depth", None) or vision.num_hidden_layers


def _adapters(network: Any, lora: dict[str, Any] | None) -> int:
    if lora is None:
        return 0
    with torch.device("meta"):
        adapted = Loading(lora=Lora(**lora)).adapted(network)
    return sum(p.numel() for n, p in adapted.named_parameters() if "lora_" in n)


def _patches(family: str, config: Any, settings: dict[str, Any]) -> tuple[float, int]:
    """Patches that the tower sees of a frame, and numbers in each."""
    vision = config.vision_config
    if family in ("Qwen25VL", "Qwen3VL"):
        depth = vision.temporal_patch_size
        return (
            tokens_a_frame(family, config, settings) * vision.spatial_merge_size**2,
            vision.in_channels * depth * vision.patch_size**2,
        )
    side, patch = (s[0] if isinstance(s, (list, tuple)) else s for s in (vision.image_size, vision.patch_size))
    return (side // patch) ** 2, 3 * patch**2


def tokens_a_frame(family: str, config: Any, settings: dict[str, Any]) -> float:
    """Tokens of the language model that one frame takes at most.

    Raises:
        ValueError: a frame has no number of its own.
    """
    if family in ("MemoryReader", "LanguageModelReader"):  # a memory stands in the place of a frame
        return int(settings["memory_tokens"])
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
    raise ValueError(
        f"how many tokens {family} makes of a frame depends on the frames beside it, so nothing is estimated"
    )


def _layer_sizes(model: nn.Module) -> list[int]:
    """Parameters of each block and embedding, which ZeRO-3 gathers at a time."""
    blocks = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    sizes = [sum(p.numel() for p in layer.parameters()) for block in blocks for layer in block]
    return sizes + [m.weight.numel() for m in model.modules() if isinstance(m, nn.Embedding)]


def sampler_of(node: Any) -> Network:
    """Shape of a sampler, also of one that is built of parts."""
    if not isinstance(node, dict) or node["class_path"].startswith(_NOT_COUNTED):
        return Network(0, 0, 0)
    if node["class_path"].endswith(".MemorySelection"):
        return _memory_selection(node["init_args"])
    with torch.device("meta"):
        return _network(_built(node))


def _memory_selection(arguments: dict[str, Any]) -> Network:
    """A condenser that reads questions, all but its input MLP, and two maps of indicators."""
    condenser = condenser_of(arguments["condenser"])
    width = condenser.layers.hidden
    heads = 2 * (width + 1) * width
    return Network(
        num_parameters=condenser.num_parameters + heads,
        num_trained=condenser.layers.num_parameters + heads,
        activations=2 * width,
        question_tokens=condenser.memory_tokens + QUESTION_TOKENS,
        question_layers=condenser.layers,
    )


def _built(node: dict[str, Any]) -> nn.Module:
    """A sampler or a part of one, on the device that is set."""
    path, arguments = node["class_path"], dict(node.get("init_args") or {})
    if path.endswith(".QuestionPrompt"):  # a tokenizer: no weights
        return nn.Module()
    if path.endswith(".Mamba2Backbone") and "path" in arguments:
        arguments |= _mamba2(str(arguments["path"]))
    given = {}
    for name, value in arguments.items():
        if isinstance(value, dict) and "class_path" in value:
            given[name] = _built(value)
        elif name not in _FILES:
            given[name] = class_of(value) if isinstance(value, str) and value.startswith("modules.") else value
    return class_of(path)(**given)


def _mamba2(path: str) -> dict[str, int]:
    config: Any = config_of(path)
    return {
        "width": config.hidden_size,
        "num_layers": config.num_hidden_layers,
        "state_size": config.state_size,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
    }


def _network(module: nn.Module) -> Network:
    layers = [m for m in module.modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.GRU))]
    return Network(
        num_parameters=sum(p.numel() for p in module.parameters()),
        num_trained=sum(p.numel() for p in module.parameters() if p.requires_grad),
        activations=sum(_width(m) for m in layers),
    )


def _width(layer: Any) -> int:
    if isinstance(layer, nn.Linear):
        return layer.in_features + layer.out_features
    if isinstance(layer, nn.Conv1d):
        return layer.in_channels + layer.out_channels
    return layer.num_layers * (layer.input_size + 4 * layer.hidden_size)  # a GRU keeps its three gates


@dataclass(frozen=True)
class FrameEncoder:
    """What makes features of frames: float32, frozen."""

    name: str
    num_parameters: int
    hidden: int
    mlp: int
    patches: int
    frames_per_forward: int
    tokens: int = 1
    """Features of a frame: one, or so many patches."""
    condenser: Condenser | None = None
    """What makes memories of clips of the patches."""


def encoder_of(node: Any) -> FrameEncoder | None:
    """Shape of ``data.encoder``; None where there is none, or its class is not one of ours."""
    if not isinstance(node, dict):
        return None
    name, arguments = node["class_path"].rpartition(".")[2], node.get("init_args") or {}
    if name == "ClipMemories":
        return _memories(arguments)
    if name == "OpenCLIPEncoder":
        return _open_clip(str(arguments["model"]), int(arguments.get("frames_per_forward", 256)))
    if name not in ("TransformersCLIP", "SiglipPatches"):
        return None
    import transformers

    path, patches_kept = str(arguments["path"]), name == "SiglipPatches"
    try:
        config: Any = config_of(path)
    except ValueError:  # an encoder is small beside the MLLM; the report says that it is not counted
        return None
    vision = getattr(config, "vision_config", config)
    with torch.device("meta"):
        network = transformers.SiglipVisionModel(vision) if patches_kept else transformers.CLIPModel(config)
    patches = (vision.image_size // vision.patch_size) ** 2
    tokens = math.ceil(vision.image_size // vision.patch_size / int(arguments.get("pool", 2))) ** 2
    return FrameEncoder(
        path,
        sum(p.numel() for p in network.parameters()),
        vision.hidden_size,
        vision.intermediate_size,
        patches,
        int(arguments.get("frames_per_forward", 64 if patches_kept else 256)),
        tokens if patches_kept else 1,
    )


def _memories(arguments: dict[str, Any]) -> FrameEncoder:
    """A vision tower and the condenser that reads its patches."""
    import transformers

    patches = arguments["patches"]["init_args"]
    config: Any = config_of(str(patches["path"]))
    vision = getattr(config, "vision_config", config)
    network = on_meta(lambda: transformers.AutoModel.from_config(vision))
    return FrameEncoder(
        str(patches["path"]),
        sum(p.numel() for p in network.parameters()),
        vision.hidden_size,
        vision.intermediate_size,
        (vision.image_size // vision.patch_size) ** 2,
        int(patches.get("frames_per_forward", 256)),
        condenser=condenser_of(arguments["condenser"]),
    )


def _open_clip(name: str, frames_per_forward: int) -> FrameEncoder | None:
    """Only towers that open_clip writes down itself; timm's have names, no shapes."""
    import json
    from pathlib import Path

    import open_clip

    folder = name.removeprefix("local-dir:")
    if folder != name:
        as_data(name)
        config = json.loads((Path(folder) / "open_clip_config.json").read_text())["model_cfg"]
    else:
        config = open_clip.get_model_config(name)
    if config is None or not isinstance((config.get("vision_cfg") or {}).get("layers"), int):
        return None
    vision = config["vision_cfg"]
    with torch.device("meta"):
        network = open_clip.CLIP(**{k: v for k, v in config.items() if k in ("embed_dim", "vision_cfg", "text_cfg")})
    width, count = vision["width"], sum(p.numel() for p in network.parameters())
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    return FrameEncoder(name, count, width, round(width * vision.get("mlp_ratio", 4)), patches, frames_per_forward)


def class_of(path: str) -> Any:
    """A class of a known package.

    Raises:
        ValueError: it is one of a person's own folder, which is not run to look at a recipe.
    """
    if not is_known(path):
        raise ValueError(f"{path} is of your own folder: it would have to run for an estimate, and only `run` runs it")
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
