"""The keys that may stand at the top of a recipe: Lightning's, and Kairos' own with what each of them takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

RUN_NAME = re.compile(r"\w[\w.-]{0,99}")
"""What a recipe may be called."""
STAGES = ("fit", "validate", "test", "predict")


@dataclass(frozen=True)
class OwnKey:
    """A key of Kairos' own at the top of a recipe."""

    name: str
    annotation: Any
    """What the parser takes."""
    default: Any
    help: str
    wanted: tuple[type, str] | None = None
    """What `check` wants where the key is given: a type, and words for it. None: it looks at the value itself."""
    of_jobs: bool = True
    """Whether a recipe with a ``job`` may have it."""


OWN = (
    OwnKey("name", str, "run", "of the run, and of its folder"),
    OwnKey("stage", str | list[str], "fit", f"{', '.join(STAGES)}, or a list", of_jobs=False),
    OwnKey("run_dir", str | None, None, "folder of everything the run writes", wanted=(str, "the name of a folder")),
    OwnKey("checkpoint", str | None, None, "trained parts to start from", wanted=(str, "the name of a file")),
    OwnKey(
        "from_checkpoint",
        dict[str, str] | None,
        None,
        "keys that the checkpoint's own recipe knows better: key here -> key there",
        wanted=(dict, "a mapping"),
    ),
    OwnKey("vars", dict | None, None, "values used in several places as ${vars.x}", wanted=(dict, "a mapping")),
    OwnKey(
        "serve",
        dict | None,
        None,
        "how `lightning serve` serves it",
        wanted=(dict, "a mapping of settings"),
        of_jobs=False,
    ),
    OwnKey("shortcuts", dict[str, str] | None, None, "short names of long keys", wanted=(dict, "a mapping")),
)
TOP_LEVEL = (*(key.name for key in OWN), "seed_everything", "trainer", "model", "data", "job")
