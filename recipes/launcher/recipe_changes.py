"""What one recipe would change in another, key by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipes.launcher.recipe_values import values_by_key

FREE = (
    "run_dir",
    "stage",
    "shortcuts",
    "data.decoding.num_workers",
    "data.decoding.pixel_cache_mib",
    "trainer.logger",
    "trainer.profiler",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "trainer.callbacks.update_progress",
    "trainer.callbacks.rich_progress_bar",
    "trainer.callbacks.watchdog",
)
"""Keys on which no number of a run depends: a command that goes on may set them for itself."""


@dataclass(frozen=True)
class Change:
    """A key whose value another recipe would change, by its short name: ``init_args`` is left out."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.old} -> {self.new}"


def changes_of(old: Mapping[str, Any], new: Mapping[str, Any], typed: Mapping[str, Any]) -> list[Change]:
    """Keys of a recipe that another one sets otherwise, in the order of the old one.

    What is absent and what is null are the same. A key that the old recipe does not have and nobody typed is a default
    of newer code, and no change.

    Args:
        old, new: with every default in them.
        typed: the new one without defaults.
    """
    before, after, words = (values_by_key(recipe) for recipe in (old, new, typed))
    found = []
    for key in dict.fromkeys([*before, *after]):
        one, other = before.get(key), after.get(key)
        is_default = key not in before and key not in words
        if one != other and not is_default and not _is_free(key):
            found.append(Change(key, one, other))
    return found


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in FREE)
