"""``lightning consolidate``: what a run has trained, in the files that everybody loads.

A checkpoint of any strategy is one plain file already; this takes the optimizer's states out of it, and puts an MLLM
that was trained into a folder that ``from_pretrained`` reads. What it writes knows what it is as the checkpoint does,
and is taken wherever one is.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.checkpoints.checkpoint_files import read
from modules.checkpoints.sampler_files import MLLM_FOLDER, SUFFIX, TEMPERATURE_KEY, write_sampler
from modules.checkpoints.weights import SAMPLER, weights_of
from modules.console import PlainConsole
from modules.files.whole_files import appearing
from recipes.launcher.class_paths import admit, folders_of
from recipes.launcher.from_checkpoint import recorded_recipe, recorded_text
from recipes.launcher.mistakes import RecipeError
from recipes.launcher.runs import SAMPLER_FILE, resolve_checkpoint
from recipes.launcher.values import Values

_MLLM = "mllm.model."
_log = logging.getLogger(__name__)


def consolidate_command(options: argparse.Namespace) -> None:
    """``lightning consolidate CHECKPOINT OUT``."""
    consolidate(options.checkpoint, options.out, folders_of(options.user_dir))


@dataclass(frozen=True)
class Consolidated:
    """What a checkpoint became."""

    file: Path
    num_parameters: int
    """Of the sampler."""
    recipe: str | None
    """Text of the recipe it was trained by, where the checkpoint says."""
    mllm: Path | None = None
    """Folder of the MLLM, where it was trained too."""
    num_mllm_parameters: int = 0
    """Of those that were trained."""


def consolidate(checkpoint: str, out: str, folders: Sequence[Path] = ()) -> None:
    """Writes the files of `write_consolidated`, and says what they are for.

    Args:
        checkpoint: of a run.
        out: folder.
        folders: that may hold an MLLM's class of the person's own.
    """
    folder, console = Path(out), PlainConsole()
    written = write_consolidated(resolve_checkpoint(checkpoint), folder, folders)
    if written.recipe is None:
        _log.warning(
            "%s does not say what it is, so %s cannot either: whoever uses it names its sampler", checkpoint, out
        )
    console.print(f"sampler     {written.file}  {written.num_parameters:,} parameters")
    words = f"--model.init_from {written.file}"
    if written.mllm is not None:
        console.print(f"mllm        {written.mllm}  {written.num_mllm_parameters:,} trained parameters")
        words += f" --model.mllm.path {written.mllm}"
    console.print(f"ask         lightning run recipes/ask.yaml --checkpoint {folder} --video FILE --question WORDS")
    console.print(f"train on    lightning run RECIPE {words}", soft_wrap=True)


def write_consolidated(path: Path, folder: Path, folders: Sequence[Path] = ()) -> Consolidated:
    """Writes ``sampler.safetensors`` and, where the MLLM was trained, its folder ``mllm`` with processor and tokenizer.

    The MLLM is written first: a folder with a sampler in it is complete.

    Args:
        path: of a checkpoint.
        folder: where the files go.
        folders: that may hold an MLLM's class of the person's own.

    Raises:
        ValueError: no such checkpoint, one that is consolidated already, or its run folder does not say which MLLM it
            was.
    """
    if path.suffix == SUFFIX:
        raise ValueError(f"{path} is what `lightning consolidate` wrote: there is nothing left to take out of it")
    saved = read(path)
    weights, recipe = weights_of(saved, str(path)), recorded_text(path)
    sampler = {n: w.contiguous() for n, w in weights.items() if n.startswith(SAMPLER)}
    mllm = {n.removeprefix(_MLLM): w for n, w in weights.items() if n.startswith(_MLLM)}
    if mllm:
        _write_mllm(path, mllm, folder / MLLM_FOLDER, folders)
    file = folder / SAMPLER_FILE
    write_sampler(file, sampler, recipe=recipe, temperature=saved.get(TEMPERATURE_KEY), with_mllm=bool(mllm))
    return Consolidated(
        file,
        sum(w.numel() for w in sampler.values()),
        recipe,
        folder / MLLM_FOLDER if mllm else None,
        sum(w.numel() for w in mllm.values()),
    )


def _write_mllm(checkpoint: Path, trained: dict[str, Any], out: Path, folders: Sequence[Path]) -> None:
    """The MLLM that the run began with, its trained parameters in place; LoRA layers merged into them."""
    import jsonargparse
    import torch

    from modules.mllms.loading import merge_adapters
    from modules.mllms.transformers_mllm import TransformersMLLM

    recipe = recorded_recipe(checkpoint)
    if recipe is None:
        raise ValueError(f"{checkpoint} has a trained MLLM, but no recipe to say which model it began as")
    node = _recorded_mllm(recipe, str(checkpoint), folders)
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(TransformersMLLM, "mllm")
    mllm = parser.instantiate(parser.parse_object({"mllm": node})).mllm
    own = dict(mllm.model.named_parameters())
    unknown = sorted(trained.keys() - own.keys())
    if unknown:
        raise ValueError(
            f"{node['init_args']['path']} has no parameter {unknown[0]!r}: it is another model than was trained"
        )
    with torch.no_grad():
        for name, tensor in trained.items():
            own[name].copy_(tensor)
    merge_adapters(mllm.model)
    with appearing(out, "MLLM") as partial:
        mllm.model.save_pretrained(partial)
        mllm.processor.save_pretrained(partial)


def _recorded_mllm(recipe: dict[str, Any], source: str, folders: Sequence[Path]) -> Any:
    """The MLLM that a run, which may be a stranger's, says it trained; checked like that of any recipe.

    Raises:
        ValueError: it says none, or a class that is no MLLM.
    """
    node: Any = recipe
    for key in ("model", "init_args", "mllm"):
        node = node.get(key) if isinstance(node, dict) else None
    values = Values(folders)
    base = values.base("modules.mllms.transformers_mllm.TransformersMLLM")
    if mistakes := values.of_class("model.init_args.mllm", node, (base,)):
        raise RecipeError(source, mistakes)
    admit(node, folders)
    return node
