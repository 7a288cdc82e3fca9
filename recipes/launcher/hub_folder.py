"""``lightning export RUN --hub-folder DIR``: a trained sampler as a folder that can be pushed to a hub as it is.

Weights as safetensors (and the MLLM's folder where it was trained too), the recipe, the selections of the run's test in
their published form, and a model card with numbers, uses and hashes. Nothing is uploaded, and nothing outside ``DIR``
is written. Names of folders of this machine stay out of selections and card; the recipe's own paths do not, and the
command says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from modules.console import PlainConsole
from modules.files.whole_files import appearing
from modules.selection.published_selections import publish
from modules.selection.selection_files import read_selections
from modules.selection.selection_row import SelectionRow
from recipes.launcher.class_paths import folders_of
from recipes.launcher.consolidate import write_consolidated
from recipes.launcher.model_card import ModelCard, model_card
from recipes.launcher.runs import resolve_checkpoint

_SELECTIONS, _RECIPE = "selections.parquet", "recipe.yaml"
_TRAINED = ("after", "sampler")
"""What the systems that a training or an evaluation recipe tests call the trained sampler."""


def hub_folder_command(options: argparse.Namespace) -> None:
    """``lightning export RUN --hub-folder DIR``."""
    if foreign := [word for word in ("format", "out", "num_frames", "annotations") if getattr(options, word)]:
        raise ValueError(f"--hub-folder has a form of its own: --{foreign[0].replace('_', '-')} does not go with it")
    hub_folder(
        options.selections, options.hub_folder, options.selections_file, options.sampler, folders_of(options.user_dir)
    )


def hub_folder(
    checkpoint: str, out: str, selections: str | None, system: str | None, folders: Sequence[Path] = ()
) -> None:
    """Writes the folder, whole or not at all.

    Args:
        checkpoint: a training's folder, a ``.ckpt`` of one, or ``last:NAME``.
        out: a folder that is not there yet, or empty.
        selections: file of selections; by default that of the training's own test, where it has one.
        system: whose selections; by default the trained sampler's.
        folders: that may hold an MLLM's class of the person's own.

    Raises:
        ValueError: the folder is not empty, there is no checkpoint, or the selections are of several systems.
    """
    folder, path, console = Path(out), resolve_checkpoint(checkpoint), PlainConsole()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"--hub-folder {folder} is not empty: name a new folder, so that nothing of another is pushed")
    run_dir = path.parent.parent
    file = Path(selections) if selections is not None else run_dir / _SELECTIONS
    rows = _selections(file, system) if selections is not None or file.is_file() else []
    with appearing(folder, "folder") as partial:
        partial.mkdir()
        written = write_consolidated(path, partial, folders)
        if written.recipe is not None:
            (partial / _RECIPE).write_text(written.recipe, encoding="utf-8")
        if rows:
            publish(rows, partial / "selections")
        card = ModelCard(folder=partial, written=written, rows=rows, results=file.parent)
        (partial / "README.md").write_text(model_card(card), encoding="utf-8")
    console.print(f"written     {folder}: {', '.join(sorted(p.name for p in folder.iterdir()))}")
    if not rows:
        console.print(f"selections  none: there is no {file}; --selections-file names another", soft_wrap=True)
    if written.recipe is not None:
        console.print(f"look at     {folder / _RECIPE}: its paths are those of this machine", soft_wrap=True)
    console.print("license     yours to choose: `license: ...` between the lines of --- in README.md", soft_wrap=True)
    console.print(f"to push     hf upload OWNER/NAME {folder}        # nothing has been uploaded", soft_wrap=True)


def _selections(file: Path, system: str | None) -> list[SelectionRow]:
    if system is not None:
        return read_selections(file, system)
    for name in _TRAINED:
        try:
            return read_selections(file, name)
        except ValueError as error:
            if "holds no row of sampler" not in str(error):
                raise
    return read_selections(file)
