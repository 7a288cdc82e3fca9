"""``recipe.yaml`` of a run folder: what the run is made by now. What it was made by before is kept beside it.

A recipe is never overwritten by another one: the earlier ones are ``recipe.1.yaml``, ``recipe.2.yaml``, ..., the first
one first. A recipe that has taken another's place opens with what it has changed, and from which update on.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from modules.files.whole_files import write_whole


@dataclass(frozen=True)
class Recording:
    """How a run's recipe is to be written down."""

    changes: tuple[str, ...] = ()
    """What a run that goes on has changed in its recipe, ``key: old -> new`` each."""
    resumed: bool = False
    """Whether the run goes on; without changes, its recipe stays as it was recorded then."""


def record(run_dir: Path, recipe: str, recording: Recording, update: int = 0) -> Path:
    """Writes a run's recipe, and keeps the one that was there.

    Args:
        run_dir: folder of the run.
        recipe: text of it.
        recording: whether the run goes on, and with which changes.
        update: number of updates that it has made.

    Returns:
        The file.
    """
    path = run_dir / "recipe.yaml"
    if not path.is_file():
        write_whole(path, "recipe", recipe)
        return path
    before = path.read_text()
    if (recording.resumed and not recording.changes) or _without_note(before) == recipe:
        return path
    earlier = next(p for n in itertools.count(1) if not (p := run_dir / f"recipe.{n}.yaml").exists())
    write_whole(earlier, "earlier recipe", before)
    write_whole(path, "recipe", _note(earlier.name, recording, update) + recipe)
    return path


def _note(earlier: str, recording: Recording, update: int) -> str:
    if not recording.resumed:
        return f"# An earlier run in this folder was made by {earlier}.\n"
    changes = "".join(f"#   {' '.join(change.split())}\n" for change in recording.changes)
    return f"# In effect after update {update}; before, it was {earlier}. What has changed:\n{changes}"


def _without_note(recipe: str) -> str:
    """A recipe without the lines that `record` has put above it."""
    lines = recipe.splitlines(keepends=True)
    return "".join(itertools.dropwhile(lambda line: line.startswith(("# An earlier", "# In effect", "#   ")), lines))
