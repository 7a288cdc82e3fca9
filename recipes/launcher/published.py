"""Published folders of trained samplers, which say in their own way what they are: TSPO-0.4B and those laid out alike.

Such a folder is named where a checkpoint is. Nothing is taken out of it here: the recipe that this gives has TSPO's
sampler and encoder read the folder themselves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_ARCHITECTURE, _MOST_BYTES = "TSPOModel", 1 << 20
_WIDTH_OF_CLIP = 512  # what transformers leaves out of a config, because it is its default


def published_recipe(folder: Path) -> dict[str, Any] | None:
    """What a training recipe would say of the sampler in a folder; None where it is no such folder.

    Raises:
        ValueError: the folder is of TSPO, but does not say how wide its features are.
    """
    config = folder / "config.json"
    if not config.is_file() or config.stat().st_size > _MOST_BYTES:
        return None
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except ValueError:
        return None
    if not isinstance(content, dict) or _ARCHITECTURE not in (content.get("architectures") or []):
        return None
    width, path = content.get("projection_dim", _WIDTH_OF_CLIP), str(folder.absolute())
    if not isinstance(width, int):
        raise ValueError(f"{config}: projection_dim is {width!r:.40}, and should be the width of the features")
    return {
        "model": {
            "init_args": {
                "sampler": {
                    "class_path": "modules.methods.tspo.agent.TSPOSampler",
                    "init_args": {"dim": width, "weights": path},
                }
            }
        },
        "data": {
            "init_args": {
                "encoder": {
                    "class_path": "modules.encoders.transformers_clip.TransformersCLIP",
                    "init_args": {"path": path},
                }
            }
        },
    }
