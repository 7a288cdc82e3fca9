"""A recipe as plain data: files and overrides merged, interpolations resolved, and every mistake in it found.

`problems` looks at the whole recipe before anything is built: unknown and missing keys against the real signatures,
values against their annotations, and the checks that settings classes (frozen dataclasses) make of themselves.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import inspect
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes.reading import read_file, read_value, with_own_files
from recipes.runs import resolve_checkpoint

TOP_LEVEL = (
    "name", "stage", "run_dir", "checkpoint", "vars", "shortcuts", "seed_everything", "trainer", "model", "data", "job",
)  # fmt: skip
MISSING = "???"
NEW_RUN_DIR = "outputs/NEW"  # stands for a folder that the launcher will name
STAGES = ("fit", "validate", "test", "predict")


class RecipeError(ValueError):
    """One or more mistakes in a recipe, a line each."""

    def __init__(self, source: str, mistakes: list[str]) -> None:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        super().__init__(f"{source} has {count}:\n" + "\n".join(f"  {m}" for m in mistakes))
        self.mistakes = mistakes


def merge(files: list[str], overrides: list[str]) -> DictConfig:
    """Merges recipe, overlays and ``--dotted.key value`` overrides; leaves ``${...}`` as it stands.

    Raises:
        RecipeError: a file is missing or no YAML, an override has no value.
    """
    merged = OmegaConf.create({"run_dir": NEW_RUN_DIR})
    for file in files:
        for content in _with_bases(file):
            _clear_other_classes(merged, content)
            merged.merge_with(content)
    for key, value in pairs(overrides):
        OmegaConf.update(merged, _as_init_args(merged, key), with_own_files(read_value(value)), force_add=True)
    return merged


def _clear_other_classes(merged: Any, content: dict[str, Any]) -> None:
    """Where a file names another class than those before it, their arguments go: they are the other class's."""
    for key, node in content.items():
        known: Any = merged.get(key) if OmegaConf.is_dict(merged) else None
        if not isinstance(node, dict) or not OmegaConf.is_dict(known):
            continue
        if "class_path" in node and "class_path" in known and node["class_path"] != known["class_path"]:
            merged[key] = {}
        else:
            _clear_other_classes(known, node)


def resolve(merged: DictConfig, source: str) -> dict[str, Any]:
    """A merged recipe as plain data, every ``${...}`` replaced.

    Raises:
        RecipeError: an interpolation leads nowhere.
    """
    try:
        return OmegaConf.to_container(merged, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise RecipeError(source, [str(error).splitlines()[0]]) from error


def _with_bases(file: str) -> list[dict[str, Any]]:
    """A recipe file after those it is based on: ``base: other.yaml``, beside it."""
    path = Path(with_own_files(file))
    if not path.is_file():
        raise RecipeError(file, [f"no such file{_suggest_file(file)}"])
    try:
        content = read_file(path)
    except yaml.YAMLError as error:
        raise RecipeError(file, [f"not YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(content, dict):
        raise RecipeError(file, ["a recipe is a mapping of keys to values"])
    base = content.pop("base", None)
    return [*(_with_bases(str(path.parent / base)) if base else []), with_own_files(content)]


def _as_init_args(merged: Any, key: str) -> str:
    """``model.num_frames`` means ``model.init_args.num_frames`` where model is a ``class_path``."""
    parts, node, out = key.split("."), merged, []
    for n, part in enumerate(parts):
        if OmegaConf.is_dict(node) and "class_path" in node and part not in ("class_path", "init_args"):
            out.append("init_args")
            node = node.get("init_args")
        out.append(part)
        node = node.get(part) if OmegaConf.is_dict(node) and n < len(parts) - 1 else None
    return ".".join(out)


def pairs(overrides: list[str]) -> Iterator[tuple[str, str]]:
    """``--key value`` and ``--key=value``, in order."""
    rest = list(overrides)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise RecipeError("the command line", [f"{word!r}: expected --dotted.key value"])
        key, equals, value = word[2:].partition("=")
        if not equals:
            if not rest:
                raise RecipeError("the command line", [f"--{key} has no value"])
            value = rest.pop(0)
        yield key, value


def expand_shortcuts(files: list[str], overrides: list[str]) -> list[str]:
    """Replaces the short names that a recipe declares under ``shortcuts`` by the keys they stand for."""
    shortcuts: dict[str, str] = {}
    for file in files:
        for content in _with_bases(file):
            shortcuts |= content.get("shortcuts") or {}
    return [word for key, value in pairs(overrides) for word in (f"--{shortcuts.get(key, key)}", value)]


def header(file: str) -> list[str]:
    """The comment a recipe opens with, without the hashes."""
    lines = []
    for line in Path(file).read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return lines


# ---- checking ----


def problems(recipe: dict[str, Any]) -> list[str]:
    """Every mistake found, as ``key: what is wrong``."""
    found = [_unknown(key, key, TOP_LEVEL) for key in recipe if key not in TOP_LEVEL]
    stages = recipe.get("stage", "fit")
    for stage in stages if isinstance(stages, list) else [stages]:
        if stage not in STAGES:
            found.append(f"stage: {stage!r} is none of {', '.join(STAGES)}")
    if "job" in recipe:
        from recipes.jobs.base import Job

        out_of_place = [key for key in ("model", "data", "trainer", "stage") if key in recipe]
        found += [f"{key}: a recipe with a job has none of its own" for key in out_of_place]
        return found + _check_class("job", recipe["job"], Job)
    for key in ("model", "data"):
        if key not in recipe:
            found.append(f"{key}: missing; a recipe needs one")
        else:
            found += _check_class(key, recipe[key], None)
    from lightning import Trainer

    found += _check_arguments("trainer", Trainer, recipe.get("trainer") or {})
    return found


def missing_weights(recipe: dict[str, Any]) -> list[str]:
    """Where trained weights should come from and are not: files of other runs, as ``key: what is wrong``."""
    arguments = (recipe.get("model") or {}).get("init_args") or {}
    found = []
    for key, value in (
        ("checkpoint", recipe.get("checkpoint")),
        ("model.init_args.init_from", arguments.get("init_from")),
    ):
        try:
            if value not in (None, MISSING):
                resolve_checkpoint(str(value))
        except ValueError as error:
            found.append(f"{key}: {error}")
    return found


def _check_class(key: str, node: Any, expected: type | None) -> list[str]:
    """A ``class_path`` node."""
    if isinstance(node, str) and expected is not None:
        node = {"class_path": node}
    if not isinstance(node, dict) or "class_path" not in node:
        return [f"{key}: needs a class_path" + ("" if expected is None else f" of a {expected.__name__}")]
    extra = [
        _unknown(f"{key}.{k}", k, ("class_path", "init_args")) for k in node if k not in ("class_path", "init_args")
    ]
    cls = _import(str(node["class_path"]))
    if isinstance(cls, str):
        return [*extra, f"{key}.class_path: {cls}"]
    if expected is not None and not (isinstance(cls, type) and issubclass(cls, expected)):
        return [*extra, f"{key}.class_path: {node['class_path']} is not a {expected.__name__}"]
    return [*extra, *_check_arguments(f"{key}.init_args", cls, node.get("init_args") or {})]


def _import(path: str) -> Any:
    """The object, or a sentence why not."""
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        return f"cannot import {path!r}: {error}"
    if not hasattr(module, name):
        close = difflib.get_close_matches(name, [n for n in dir(module) if isinstance(getattr(module, n), type)], 1)
        return f"{module_name} has no {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")
    return getattr(module, name)


def _check_arguments(key: str, cls: Any, arguments: dict[str, Any]) -> list[str]:
    if not isinstance(arguments, dict):
        return [f"{key}: expected a mapping of arguments, got {arguments!r}"]
    parameters, hints = _parameters(cls)
    found = [_unknown(f"{key}.{name}", name, parameters) for name in arguments if name not in parameters]
    for name, parameter in parameters.items():
        if name not in arguments:
            if parameter.default is inspect.Parameter.empty:
                found.append(f"{key}.{name}: missing; {cls.__name__} needs it")
        else:
            found += _check_value(f"{key}.{name}", arguments[name], hints.get(name, Any))
    if (
        not found
        and isinstance(cls, type)
        and dataclasses.is_dataclass(cls)
        and all(_is_plain(v) for v in arguments.values())
    ):
        try:  # a settings class checks its ranges itself
            cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in arguments.items()})
        except (ValueError, TypeError) as error:
            found.append(f"{key}: {error}")
    return found


def _parameters(cls: Any) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Parameters of a constructor with those its ``**kwargs`` pass on to its bases, and their annotations."""
    parameters: dict[str, inspect.Parameter] = {}
    hints: dict[str, Any] = {}
    for base in cls.__mro__ if isinstance(cls, type) else [cls]:
        function = base.__dict__.get("__init__") if isinstance(base, type) else base
        if function is None or base is object:
            continue
        own = inspect.signature(function).parameters.values()
        named = [p for p in own if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]
        parameters = {p.name: p for p in named} | parameters
        with contextlib.suppress(NameError, TypeError):  # annotations only a type checker can read
            hints = get_type_hints(function) | hints
        if not any(p.kind is p.VAR_KEYWORD for p in own):
            break
    return parameters, hints


def _check_value(key: str, value: Any, annotation: Any) -> list[str]:
    """``???`` in a recipe is for the command line to fill in."""
    if value == MISSING:
        return [f"{key}: needs a value"]
    return _check_given(key, value, annotation)


def _check_given(key: str, value: Any, annotation: Any) -> list[str]:
    """A value against its annotation: looks into nested classes and settings; the rest is jsonargparse's to judge."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        members = [a for a in arguments if a is not type(None)]
        if value is None and type(None) in arguments:
            return []
        if len(members) == 1:
            return _check_value(key, value, members[0])
        if isinstance(value, (dict, list)):  # several alternatives: look into what is there, judge no type
            return _look_inside(key, value)
    if origin is list and isinstance(value, list) and arguments:
        return [m for i, v in enumerate(value) for m in _check_value(f"{key}.{i}", v, arguments[0])]
    if origin is dict and isinstance(value, dict) and len(arguments) == 2:
        return [m for k, v in value.items() for m in _check_value(f"{key}.{k}", v, arguments[1])]
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        if isinstance(value, dict) and "class_path" not in value:
            return _check_arguments(key, annotation, value)
        return _check_class(key, value, annotation)
    if isinstance(value, dict) and "class_path" in value:
        return _check_class(key, value, annotation if isinstance(annotation, type) else None)
    if isinstance(value, str) and "." in value and _is_component(annotation):
        return _check_class(key, value, annotation)
    return _check_type(key, value, annotation)


def _is_component(annotation: Any) -> bool:
    """Whether an annotation is a class of ours that a bare ``class_path`` may stand for."""
    return (
        isinstance(annotation, type)
        and annotation.__module__.split(".")[0] == "modules"
        and not issubclass(annotation, str)
    )


def _look_inside(key: str, value: Any) -> list[str]:
    if isinstance(value, dict) and "class_path" in value:
        return _check_class(key, value, None)
    children = value.items() if isinstance(value, dict) else enumerate(value)
    return [m for k, v in children if isinstance(v, (dict, list)) for m in _look_inside(f"{key}.{k}", v)]


def _check_type(key: str, value: Any, annotation: Any) -> list[str]:
    import jsonargparse

    if annotation in (Any, inspect.Parameter.empty):
        return []
    if isinstance(value, str) and isinstance(annotation, type) and issubclass(annotation, (int, float)):
        return [f"{key}: {value!r} is text where a number is wanted; write it without quotes"]
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=annotation)
    try:
        parser.parse_object({"value": value})
    except (jsonargparse.ArgumentError, TypeError, ValueError) as error:
        message = " ".join(str(error).split())
        reason = re.sub(r"^.*?Parser key \"value\":\s*", "", message)
        return [f"{key}: {value!r}: {reason}"]
    return []


def _is_plain(value: Any) -> bool:
    return not isinstance(value, dict) or ("class_path" not in value and all(_is_plain(v) for v in value.values()))


def _unknown(key: str, name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"
    return f"{key}: no such key; {hint}"


def _suggest_file(file: str) -> str:
    recipes = Path(__file__).parent
    known = [str(p.relative_to(recipes.parent)) for p in recipes.rglob("*.yaml")]
    close = difflib.get_close_matches(file, known, 1)
    return f"; did you mean {close[0]}?" if close else "; `lightning ls` lists the recipes"
