"""A SwinBERT as a folder in the style of the Hugging Face hub: config, safetensors, tokenizer and a card."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

from modules.files.hub import fetching
from modules.files.model_files import as_data
from modules.files.strict_json import strict_json
from modules.files.whole_files import appearing
from modules.methods.swinbert.caption_encoder import EncoderSize
from modules.methods.swinbert.swinbert_network import SwinBERT
from modules.methods.swinbert.video_masks import MASKS
from modules.methods.swinbert.video_swin import VideoSwin
from modules.methods.swinbert.word_vocabulary import load_tokenizer

_TYPE = "kairos_swinbert"
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_CARD = """---
pipeline_tag: video-text-to-text
tags: [video-captioning, swinbert]
---

# A SwinBERT

A video captioner after *SwinBERT: End-to-End Transformers with Sparse Attention for Video Captioning* (arXiv
2111.13196), trained with Kairos; no weights of the paper's authors are in it unless the recipe below names them.

| | |
|---|---|
| frames | {num_frames}, evenly spaced, cut to squares of {size_px} px |
| video tokens | {grid} (time, rows, columns), width {video_dim} |
| multimodal encoder | {num_layers} layers of width {width} |
| sparse mask | {kind}; {mean:.3f} open on average off the diagonal, {above:.1%} of the links above 0.5 |
| vocabulary | {vocabulary} tokens |
| parameters | {parameters:,} |
| trained for | {updates} updates |

```python
from modules.methods.swinbert.swinbert_captioner import SwinBERTCaptioner

captioner = SwinBERTCaptioner(path="THIS FOLDER")  # any place of a recipe that takes a captioner takes it
```

## How it was made

```yaml
{recipe}
```
"""


def save_network(network: SwinBERT, folder: Path, *, updates: int, recipe: str) -> None:
    """Writes a network with its card; a folder that is there is replaced once all is written.

    Args:
        network: to save.
        folder: to write.
        updates: that it was trained for.
        recipe: text of the recipe that trained it.
    """
    grid = network.grid(network.num_frames)
    config = {
        "model_type": _TYPE,
        "backbone": network.backbone.shape,
        "encoder": asdict(network.size),
        "mask": {"kind": network.mask.kind, **network.mask.settings()},
        "num_frames": network.num_frames,
        "size_px": network.size_px,
    }
    links = network.mask.links(grid).detach().cpu()
    off = links[~torch.eye(len(links), dtype=torch.bool)] if len(links) > 1 else links
    card = _CARD.format(
        num_frames=network.num_frames,
        size_px=network.size_px,
        grid=grid,
        video_dim=network.backbone.width,
        num_layers=network.size.num_layers,
        width=network.size.width,
        kind=network.mask.kind,
        mean=float(off.mean()),
        above=float((off > 0.5).float().mean()),
        vocabulary=len(network.tokenizer),
        parameters=sum(p.numel() for p in network.parameters()),
        updates=updates,
        recipe=recipe.strip() or "not recorded",
    )
    state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in network.named_parameters()}
    with appearing(folder, "captioner") as partial:
        partial.mkdir(parents=True)
        (partial / _CONFIG).write_text(strict_json(config, indent=2) + "\n", encoding="utf-8")
        save_file(state, partial / _WEIGHTS, {"format": "pt"})
        network.tokenizer.save_pretrained(partial)
        (partial / "README.md").write_text(card, encoding="utf-8")


def load_network(path: str) -> SwinBERT:
    """The network of a folder or hub id that `save_network` wrote; on the host, ready to write captions.

    Raises:
        ValueError: it is no folder of a SwinBERT, or its files do not agree.
    """
    with fetching(path):
        files = {name: Path(str(transformers.utils.cached_file(as_data(path), name))) for name in (_CONFIG, _WEIGHTS)}
    config: dict[str, Any] = json.loads(files[_CONFIG].read_text(encoding="utf-8"))
    if config.get("model_type") != _TYPE:
        raise ValueError(
            f"{path} is no SwinBERT of Kairos: its config.json has model_type {config.get('model_type')!r}, and not "
            f"{_TYPE!r}; recipes/swinbert.yaml writes such a folder at the end of a training"
        )
    try:
        mask = dict(config["mask"])
        network = SwinBERT(
            backbone=VideoSwin(**config["backbone"]),
            encoder=EncoderSize(**config["encoder"]),
            mask=MASKS[mask.pop("kind")](**mask),
            tokenizer=load_tokenizer(path),
            num_frames=config["num_frames"],
            size_px=config["size_px"],
        )
        weights = load_file(files[_WEIGHTS])
        network.load_state_dict(weights, strict=False)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path}: config.json and model.safetensors do not make a SwinBERT: {error}") from error
    if lacking := {name for name, _ in network.named_parameters()} - weights.keys():
        raise ValueError(f"{path}: {_WEIGHTS} lacks {len(lacking)} tensors, e.g. {min(lacking)}")
    return network.eval()
