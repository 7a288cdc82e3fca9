"""Models of strangers are data: no folder and no hub repository brings code that runs here, and no key allows it.

transformers runs code of a repository where ``trust_remote_code`` says so, and asks at a terminal where nothing is
said; open_clip hands on whatever a folder's own settings say. So every loader here says no (`AS_DATA`), nobody is
asked, and settings that name code, or files elsewhere, are refused before anything is loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import transformers.dynamic_module_utils

from modules.files.paths import LOCAL_SCHEMA

AS_DATA: dict[str, Any] = {"trust_remote_code": False}
"""For configurations, tokenizers and processors."""
WEIGHTS_AS_DATA: dict[str, Any] = {**AS_DATA, "use_safetensors": True}
"""For models: a pickled ``pytorch_model.bin`` is not read."""

transformers.dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0  # refuse, where it would ask "[y/N]" and wait

_MOST_BYTES = 16 * 2**20
_SETTINGS = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "open_clip_config.json",
)
_NAMES_A_KERNEL = ("attn_implementation", "_attn_implementation", "experts_implementation")
_OPEN_CLIP = "open_clip_config.json"
_TOKENIZER_KEYS = {"clean", "strip_sep_token", "language", "additional_special_tokens", "reduction_mask"}
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def as_data(source: str) -> str:
    """The folder or hub id of a model, whose settings ask for nothing but to be read.

    Raises:
        ValueError: they name code to run, an adapter, or files elsewhere.
    """
    schema, _, rest = source.rpartition(":")
    folder = Path(source.removeprefix(LOCAL_SCHEMA)).expanduser()
    if schema == "hf-hub":
        from huggingface_hub import hf_hub_download

        _check_open_clip(source, _read(Path(hf_hub_download(rest, _OPEN_CLIP))))
    elif folder.is_dir():
        if (folder / "adapter_config.json").exists():
            raise ValueError(f"{folder} holds an adapter of another model; merge it into that model first")
        for path in folder.iterdir():
            if not path.is_file() and not path.is_dir():
                raise ValueError(f"{path} is no plain file; devices, pipes and links to nothing are not read")
            if path.name in _SETTINGS:
                _check(path, _read(path))
    return source


def _read(path: Path) -> Any:
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path} is no plain file of up to {_MOST_BYTES >> 20} MiB")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from error


def _check(path: Path, settings: Any) -> None:
    for key, value in _entries(settings):
        if key == "trust_remote_code" and value:
            raise ValueError(f"{path}: trust_remote_code {value!r} would run code of that folder; models are data here")
        if key in _NAMES_A_KERNEL and isinstance(value, str) and "/" in value:
            raise ValueError(f"{path}: {key} {value!r:.100} would fetch and run a kernel; models are data here")
    if path.name == _OPEN_CLIP:
        _check_open_clip(str(path), settings)


def _entries(node: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a JSON, at any depth."""
    rest = [node]
    while rest:
        node = rest.pop()
        if isinstance(node, dict):
            yield from node.items()
        rest += node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


def _check_open_clip(source: str, settings: Any) -> None:
    """open_clip hands ``tokenizer_kwargs`` to the tokenizer, and loads towers from wherever their names lead."""
    config = settings.get("model_cfg", settings) if isinstance(settings, dict) else None
    if not isinstance(config, dict):
        raise ValueError(f"{source}: no settings of an open_clip model")
    text, vision = (config.get(key) or {} for key in ("text_cfg", "vision_cfg"))
    if not isinstance(text, dict) or not isinstance(vision, dict):
        raise ValueError(f"{source}: text_cfg and vision_cfg are mappings")
    wrong = sorted(set(text.get("tokenizer_kwargs") or {}) - _TOKENIZER_KEYS)
    if wrong:
        raise ValueError(
            f"{source}: tokenizer_kwargs {', '.join(map(repr, wrong))} could run code or read files elsewhere; only "
            f"{', '.join(sorted(_TOKENIZER_KEYS))} are taken"
        )
    for place, key in (
        (text, "hf_model_name"),
        (text, "hf_tokenizer_name"),
        (vision, "timm_model_name"),
        (config, "hf_model_name"),
    ):
        name = place.get(key)
        if name and not (isinstance(name, str) and _HUB_NAME.fullmatch(name)):
            raise ValueError(f"{source}: {key} {name!r:.100} is not the name of a published model")
