"""``lightning consolidate``: what a run has trained, in the files that everybody loads.

A checkpoint of any strategy is one plain file already; this takes the optimizer's states out of it, and puts an MLLM
that was trained into a folder that ``from_pretrained`` reads.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from modules.checkpoints.checkpoint_sums import SUMS_KEY, sums_of
from modules.checkpoints.weights import read_weights
from modules.console import PlainConsole
from modules.files.whole_files import appearing
from recipes.launcher.class_paths import admit, folders_of
from recipes.launcher.mistakes import RecipeError
from recipes.launcher.moved import up_to_date
from recipes.launcher.reading import read_file
from recipes.launcher.runs import resolve_checkpoint
from recipes.launcher.values import Values

_MLLM = "mllm.model."


def consolidate_command(options: argparse.Namespace) -> None:
    """``lightning consolidate CHECKPOINT OUT``."""
    consolidate(options.checkpoint, options.out, folders_of(options.user_dir))


def consolidate(checkpoint: str, out: str, folders: Sequence[Path] = ()) -> None:
    """Writes ``sampler.safetensors`` and, where the MLLM was trained, its folder ``mllm`` with processor and tokenizer.

    Args:
        checkpoint: of a run.
        out: folder.
        folders: that may hold an MLLM's class of the person's own.

    Raises:
        ValueError: no such checkpoint, or its run folder does not say which MLLM it was.
    """
    path, folder = resolve_checkpoint(checkpoint), Path(out)
    weights = read_weights(str(path))
    sampler = {n: w.contiguous() for n, w in weights.items() if n.startswith("sampler.")}
    mllm = {n.removeprefix(_MLLM): w for n, w in weights.items() if n.startswith(_MLLM)}
    with appearing(folder / "sampler.safetensors", "sampler") as partial:
        save_file(sampler, partial, {"format": "pt", SUMS_KEY: sums_of(sampler)})
    console = PlainConsole()
    count = sum(w.numel() for w in sampler.values())
    console.print(f"sampler     {folder / 'sampler.safetensors'}  {count:,} parameters")
    if mllm:
        _write_mllm(path, mllm, folder / "mllm", folders)
        count = sum(w.numel() for w in mllm.values())
        console.print(f"mllm        {folder / 'mllm'}  {count:,} trained parameters")
    words = f"--model.init_from {folder / 'sampler.safetensors'}" + f" --model.mllm.path {folder / 'mllm'}" * bool(mllm)
    console.print(f"next        lightning run RECIPE {words}", soft_wrap=True)


def _write_mllm(checkpoint: Path, trained: dict[str, Any], out: Path, folders: Sequence[Path]) -> None:
    """The MLLM that the run began with, its trained parameters in place; LoRA layers merged into them."""
    import jsonargparse
    import torch

    from modules.mllms.loading import merge_adapters
    from modules.mllms.transformers_mllm import TransformersMLLM

    recipe = checkpoint.parent.parent / "recipe.yaml"
    if not recipe.is_file():
        raise ValueError(f"{checkpoint} has a trained MLLM, but there is no {recipe} to say which model it began as")
    node = _recorded_mllm(recipe, folders)
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


def _recorded_mllm(recipe: Path, folders: Sequence[Path]) -> Any:
    """The MLLM that a run's folder, which may be a stranger's, says it trained; checked like that of any recipe.

    Raises:
        ValueError: it says none, or a class that is no MLLM.
    """
    node = up_to_date(read_file(recipe))
    for key in ("model", "init_args", "mllm"):
        node = node.get(key) if isinstance(node, dict) else None
    values = Values(folders)
    base = values.base("modules.mllms.transformers_mllm.TransformersMLLM")
    if mistakes := values.of_class("model.init_args.mllm", node, (base,)):
        raise RecipeError(str(recipe), mistakes)
    admit(node, folders)
    return node
