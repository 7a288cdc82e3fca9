"""Run folders as trainings leave them, made without training: a checkpoint of the recipe's own parts, set at random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser

from modules.checkpoints.checkpoint_files import write
from modules.mllms.base import MLLM
from modules.selection.base import FrameSampler
from recipes.launcher.guard import ROOT
from recipes.launcher.merge import merge, resolve

RECIPES = ROOT / "recipes"
KINDS: dict[str, list[str]] = {
    "tspo": ["tspo.yaml"],
    "unet": ["tspo.yaml", "overlays/unet.yaml"],
    "refocus": ["refocus.yaml"],
    "kairos": ["kairos.yaml"],
    "msjoe": ["msjoe.yaml"],
}
"""The samplers that recipes train, by the files of their recipes. MSJoE's trains its MLLM too."""


def built(kind: Any, node: Any) -> Any:
    parser = ArgumentParser(parser_mode="omegaconf+", exit_on_error=False)
    parser.add_argument("--part", type=kind)
    return parser.instantiate(parser.parse_object({"part": node})).part


def trained_run(folder: Path, kind: str) -> Path:
    """A run's folder with ``recipe.yaml`` and ``checkpoints/last.ckpt``."""
    recipe = resolve(merge([str(RECIPES / file) for file in KINDS[kind]], []), kind)
    recipe["run_dir"] = str(folder)
    arguments = recipe["model"]["init_args"]
    torch.manual_seed(1)
    sampler = built(FrameSampler, arguments["sampler"])
    weights = {f"sampler.{name}": p.detach().clone() for name, p in sampler.named_parameters()}
    weights = {name: w + 0.05 * torch.randn_like(w) for name, w in weights.items()}
    if arguments.get("evolve") == "joint":
        language = built(MLLM, arguments["mllm"]).named_parameters()
        weights |= {f"mllm.{n}": p.detach() * 1.02 for n, p in language if "norm" in n and "language" in n}
    text = yaml.safe_dump(recipe)
    temperature = getattr(sampler, "temperature", None)
    write({"state_dict": weights, "recipe": text, "temperature": temperature}, folder / "checkpoints/last.ckpt")
    (folder / "recipe.yaml").write_text(text)
    return folder
