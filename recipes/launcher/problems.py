"""Every mistake in a recipe, found before anything of it is built.

`problems` looks first at what needs no class (within a second, without torch), then at the whole:
unknown and missing keys against the real signatures, the class that a ``class_path`` names against the annotation of
its place, values against their annotations, and the checks that Kairos' own settings classes make of themselves. A
person's own classes are read, not imported; a function is never called, whatever it is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipes.launcher.class_paths import class_paths, origin_mistake
from recipes.launcher.missing_files import missing_inputs, missing_weights
from recipes.launcher.missing_packages import missing_packages
from recipes.launcher.mistakes import unknown
from recipes.launcher.named_callbacks import callbacks_of, is_named
from recipes.launcher.top_level import OWN, RUN_NAME, STAGES, TOP_LEVEL
from recipes.launcher.values import Values

_SERVING = "recipes.serving.serving_settings.ServingSettings"


def problems(recipe: dict[str, Any], folders: Sequence[Path] = (), files: bool = True) -> list[str]:
    """Every mistake found, as ``key: what is wrong``.

    Args:
        recipe: resolved.
        folders: that may hold classes of the person's own.
        files: the data and the trained weights that it names, and the packages of its loggers, have to be there.
    """
    found, values = _at_the_top(recipe), Values(folders)
    # where a part is missing or from elsewhere, what it would take is not known
    found += _missing_or_from_elsewhere(recipe, folders) or _in_parts(values, recipe)
    if not files:
        return found
    return found + missing_inputs(values.inputs, recipe) + missing_weights(recipe) + missing_packages(recipe)


def _in_parts(values: Values, recipe: dict[str, Any]) -> list[str]:
    """Mistakes in the job, or in model, data and trainer."""
    found: list[str] = []
    if "job" in recipe:
        return values.of_class("job", recipe["job"], (values.base("recipes.jobs.base.Job"),))
    for key, base in (("model", "LightningModule"), ("data", "LightningDataModule")):
        found += values.of_class(key, recipe[key], (values.base(f"lightning.pytorch.{base}"),))
    if isinstance(recipe.get("serve"), dict):
        found += values.of_arguments("serve", values.base(_SERVING), recipe["serve"])
    return found + _in_trainer(values, recipe)


def _in_trainer(values: Values, recipe: dict[str, Any]) -> list[str]:
    """Mistakes in the arguments of the trainer; callbacks by name are looked at one by one."""
    trainer, callback = values.base("lightning.pytorch.Trainer"), values.base("lightning.pytorch.Callback")
    arguments, callbacks = recipe.get("trainer") or {}, callbacks_of(recipe)
    if not is_named(callbacks):
        return values.of_arguments("trainer", trainer, arguments)
    found = values.of_arguments("trainer", trainer, {k: v for k, v in arguments.items() if k != "callbacks"})
    for name, entry in callbacks.items():
        key = f"trainer.callbacks.{name}"
        if isinstance(entry, dict) and "class_path" not in entry:
            others = [other for other in callbacks if other != name]
            found.append(f"{unknown(key, name, others)}; a callback of your own needs a class_path")
        elif entry is not None:
            found += values.of_class(key, entry, (callback,))
    return found


def _missing_or_from_elsewhere(recipe: dict[str, Any], folders: Sequence[Path]) -> list[str]:
    """Parts that are not there, and classes of neither a known package nor a person's own folder."""
    wanted = () if "job" in recipe else ("model", "data")
    found = [f"{key}: missing; a recipe needs one" for key in wanted if key not in recipe]
    mistakes = ((key, origin_mistake(path, folders)) for key, path in class_paths(recipe))
    return found + [f"{key}: {mistake}" for key, mistake in mistakes if mistake]


def _at_the_top(recipe: dict[str, Any]) -> list[str]:
    """Mistakes in the keys that are Kairos' own: stages, names, seeds."""
    found = [unknown(key, key, TOP_LEVEL) for key in recipe if key not in TOP_LEVEL]
    stages = recipe.get("stage", "fit")
    for stage in stages if isinstance(stages, list) else [stages]:
        if stage not in STAGES:
            found.append(f"stage: {stage!r:.100} is none of {', '.join(STAGES)}")
    name = recipe.get("name", "run")
    if not isinstance(name, str) or not RUN_NAME.fullmatch(name):
        found.append(f"name: {name!r:.100} names a folder: letters, digits, '_', '-' and '.', 100 at most")
    if "job" in recipe:
        out_of_place = [key for key in ("model", "data", "trainer", "stage") if key in recipe]
        found += [f"{key}: a recipe with a job has none of its own" for key in out_of_place]
    seed = recipe.get("seed_everything", 0)
    if not isinstance(seed, int) or not 0 <= int(seed) < 2**32:
        found.append(f"seed_everything: {seed!r:.100} is no whole number from 0 on, or true")
    expected = {key.name: key.wanted for key in OWN if key.wanted} | {"trainer": (dict, "a mapping of arguments")}
    for key, (kind, words) in expected.items():
        if recipe.get(key) is not None and not isinstance(recipe[key], kind):
            found.append(f"{key}: {recipe[key]!r:.100} is not {words}")
    return found
