"""What a report reads of a run folder: answers, selections, card and recipe. Only the answers must be there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from modules.evaluation.answer_files import FILE_NAME, Answered, read_answered
from modules.selection.selection_files import read_all_selections
from modules.selection.selection_row import SelectionRow


@dataclass(frozen=True)
class EvaluatedRun:
    """A run folder as it was read."""

    folder: Path
    answered: list[Answered]
    selections: dict[tuple[str, str], SelectionRow]
    """By system and sample_id; empty where the run has not ended or the file cannot be read."""
    card: Mapping[str, Any]
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    remarks: list[str] = field(default_factory=list)
    """What is missing or could not be read, in sentences."""

    @property
    def name(self) -> str:
        """The folder's own name, with that of its recipe where folders are named after the time."""
        own = self.folder.absolute().name
        return f"{self.folder.absolute().parent.name}/{own}" if own[:1].isdigit() else own

    @property
    def places(self) -> list[Path]:
        """Folders that relative names of videos may start from, the most likely first."""
        told = self.environment.get("working_folder")
        return [*([Path(told)] if isinstance(told, str) else []), Path.cwd()]


def read_run(folder: str | Path) -> EvaluatedRun:
    """Reads a run folder.

    Raises:
        ValueError: it is none, has no answers, or its answers cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: {'a file, no run folder' if folder.exists() else 'no such folder'}")
    remarks: list[str] = []
    if not (folder / FILE_NAME).is_file():
        if not any(folder.glob("answers-unfinished-*.jsonl")):
            raise ValueError(f"{folder} is no folder of an evaluation: it has no {FILE_NAME}; {_content(folder)}")
        remarks.append("The run has not ended: the report has the answers that were there.")
    answered = read_answered(folder)
    if not answered:
        raise ValueError(f"{folder} has no answer yet; a report needs at least one question that was answered")
    return EvaluatedRun(
        folder=folder,
        answered=answered,
        selections=_selections(folder, remarks),
        card=_mapping(folder / "card.json", remarks),
        recipe=_mapping(folder / "recipe.yaml", remarks),
        environment=_mapping(folder / "environment.json", remarks),
        remarks=remarks,
    )


def _content(folder: Path) -> str:
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"in it there is {', '.join(names[:8]) or 'nothing'}{more}"


def _selections(folder: Path, remarks: list[str]) -> dict[tuple[str, str], SelectionRow]:
    """The rows of the first of the two files that can be read."""
    reasons = []
    for name in ("selections.parquet", "selections.jsonl"):
        if (folder / name).is_file():
            try:
                rows = read_all_selections(folder / name)
            except (ValueError, OSError) as error:
                reasons.append(str(error))
            else:
                return {(row.sampler, row.sample_id): row for row in rows}
    why = f" ({'; '.join(reasons)})" if reasons else ""
    remarks.append(f"There are no selections that can be read{why}: no thumbnails, and no scores of frames.")
    return {}


def _mapping(path: Path, remarks: list[str]) -> Mapping[str, Any]:
    if not path.is_file():
        remarks.append(f"There is no {path.name}.")
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, OSError, yaml.YAMLError, RecursionError) as error:
        remarks.append(f"{path.name} cannot be read: {str(error).splitlines()[0]:.200}")
        return {}
    return found if isinstance(found, dict) else {}
