"""The README of a trained sampler's folder: what it is, how it is used, what it reached, and hashes of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from modules.evaluation.statistics import cluster_bootstrap
from modules.selection.selection_row import SelectionRow
from recipes.launcher.consolidate import Consolidated

_TABLE = "test_rows.csv"


@dataclass(frozen=True)
class ModelCard:
    """What a card is made of."""

    folder: Path
    """With every file that the card names."""
    written: Consolidated
    rows: Sequence[SelectionRow]
    """That were published."""
    results: Path
    """Folder of the test run, where there was one."""


def model_card(card: ModelCard) -> str:
    """The text, in Markdown with a YAML header as hubs read it."""
    recipe: Any = {} if card.written.recipe is None else yaml.safe_load(card.written.recipe)
    arguments = recipe.get("model", {}).get("init_args", {}) if isinstance(recipe, dict) else {}
    sampler = str((arguments.get("sampler") or {}).get("class_path", "unknown"))
    header = {"library_name": "kairos", "tags": ["video", "key-frame-selection", "reinforcement-learning"]}
    parts = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---",
        f"# {sampler.rpartition('.')[2]}: a key-frame sampler",
        _about(card, recipe, arguments, sampler),
        _use(card),
        _reached(card.results / _TABLE),
        _selections(card.rows),
        _hashes(card.folder),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(card: ModelCard, recipe: dict[str, Any], arguments: dict[str, Any], sampler: str) -> str:
    data = recipe.get("data", {}) if recipe else {}
    settings = data.get("init_args", {})
    rewards = [name for name, term in (arguments.get("rewards") or {}).items() if term and term.get("weight")]
    facts = {
        "sampler": f"`{sampler}`, {card.written.num_parameters:,} parameters",
        "trained on": f"`{data.get('class_path', 'unknown')}`",
        "frames chosen in training": arguments.get("num_frames"),
        "candidates a second": settings.get("candidate_fps"),
        "encoder": f"`{(settings.get('encoder') or {}).get('class_path')}`" if settings.get("encoder") else None,
        "reward": ", ".join(rewards) or None,
        "updates": (recipe.get("trainer") or {}).get("max_steps") if recipe else None,
        "seed": recipe.get("seed_everything") if recipe else None,
    }
    if card.written.mllm is not None:
        facts["MLLM"] = f"trained too, in `{card.written.mllm.name}`: {card.written.num_mllm_parameters:,} parameters"
    lines = [f"| {name} | {value} |" for name, value in facts.items() if value is not None]
    intro = "It chooses the frames of a long video that a multimodal model should read to answer a question."
    return "\n".join([intro, "", "| | |", "|---|---|", *lines])


def _use(card: ModelCard) -> str:
    if card.written.recipe is None:
        return "## Use\n\nThe checkpoint did not say how it was trained, so a recipe has to name its sampler."
    return (
        "## Use\n\nWith this folder downloaded to `FOLDER`:\n\n```sh\n"
        'lightning run recipes/ask.yaml --checkpoint FOLDER --video FILE --question "..."\n```\n\n'
        "`recipe.yaml` is what it was trained by. The sampler was made for the encoder that it names."
    )


def _mean_of(correct: np.ndarray, rows: np.ndarray) -> float:
    return float(correct[rows].mean())


def _reached(file: Path) -> str:
    """Right answers of every system of the test, with 95 % intervals from resampling whole videos."""
    if not file.is_file():
        return ""
    table = pd.read_csv(file, dtype={"sample_id": str})
    lines = []
    for system, own in table.groupby("system"):
        correct = own["correct"].to_numpy()
        low, high = cluster_bootstrap(partial(_mean_of, correct), own["video"].to_numpy())
        interval = "" if np.isnan(low) else f" [{low:.3f}, {high:.3f}]"
        lines.append((correct.mean(), f"| {system} | {correct.mean():.3f}{interval} | {len(own)} |"))
    ordered = [line for _, line in sorted(lines, key=lambda pair: pair[0])]
    head = "## Reached\n\nShare of right answers (95 %, videos resampled), of every system of one test run.\n"
    return "\n".join([head, "| system | right | questions |", "|---|---|---|", *ordered])


def _selections(rows: Sequence[SelectionRow]) -> str:
    if not rows:
        return ""
    return (
        f"## Selections\n\n`selections` has the frames that were chosen for {len(rows)} questions, with the rate and "
        "the number of frames of each video. The `about` file beside the list gives units and hashes. A recipe answers "
        "on these frames without encoder and sampler:\n\n```sh\n"
        "lightning run RECIPE --overlay recipes/overlays/precomputed.yaml --selections FILE\n```"
    )


def _hashes(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "README.md")
    lines = [f"| `{p.relative_to(folder)}` | `{_sha256(p)}` |" for p in files]
    return "\n".join(["## SHA-256", "", "| file | SHA-256 |", "|---|---|", *lines])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
