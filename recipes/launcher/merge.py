"""A recipe as plain data: files and overrides merged, references replaced; `recipes.launcher.check` finds mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigTypeError, OmegaConfBaseException

from recipes.launcher.mistakes import RecipeError, first_line
from recipes.launcher.moved import up_to_date
from recipes.launcher.named_callbacks import by_name, callbacks_of, is_named
from recipes.launcher.reading import read_value, with_own_files
from recipes.launcher.recipe_files import with_bases
from recipes.launcher.references import malformed, unresolvable

MISSING = "???"
NEW_RUN_DIR = "outputs/NEW"  # stands for a folder that the launcher will name
_DOES_NOT_FIT = (OmegaConfBaseException, ValueError, TypeError, RecursionError)


def merge(files: list[str], overrides: list[str], known: dict[str, Any] | None = None) -> DictConfig:
    """Merges recipe, overlays and ``--dotted.key value`` overrides; leaves ``${...}`` as it stands.

    Args:
        files: the recipe and its overlays.
        overrides: words of the command line.
        known: what is known better than the file says it that asks for it under ``from_checkpoint``, and less well than
            the overlays behind that file do.

    Raises:
        RecipeError: a file is missing or no recipe, an override has no value or does not fit.
    """
    merged = OmegaConf.create({"run_dir": NEW_RUN_DIR})
    contents = [[*with_bases(file)] for file in files]
    asking = [number for number, parts in enumerate(contents) if any("from_checkpoint" in part for part in parts)]
    if known:
        contents[max(asking, default=0)].append(known)
    for file, parts in zip(files, contents, strict=True):
        for content in parts:
            try:
                _name_callbacks(merged, content)
                _clear_callbacks_said_anew(merged, content)
                _clear_other_classes(merged, content)
                merged.merge_with(content)
            except _DOES_NOT_FIT as error:
                reason = _other_kind("", merged, content) or first_line(error)
                raise RecipeError(file, [f"does not go together with the files before it: {reason}"]) from error
    for key, value in sorted(pairs(overrides), key=_after_class_paths):
        try:
            _override(merged, key, value)
        except _DOES_NOT_FIT as error:
            raise RecipeError("the command line", [f"--{key} {value:.100}: {first_line(error)}"]) from error
    return merged


def _after_class_paths(override: tuple[str, str]) -> bool:
    """Puts classes before what is said of them, wherever that was typed: another class drops the one before it."""
    return not override[0].endswith("class_path")


def _other_kind(key: str, known: Any, given: Any) -> str | None:
    """Where one file has a list and another a mapping, such as rewards that have no names."""
    if OmegaConf.is_dict(known) and isinstance(given, list):
        return (
            f"{key} is a mapping of names ({', '.join(map(str, known))}), and a list has none; write NAME: before each"
        )
    if OmegaConf.is_list(known) and isinstance(given, dict):
        return f"{key} is a list, and names are given ({', '.join(map(str, given))})"
    if not (OmegaConf.is_dict(known) and isinstance(given, dict)):
        return None
    inner = (_other_kind(f"{key}.{name}".lstrip("."), known.get(name), value) for name, value in given.items())
    return next((reason for reason in inner if reason is not None), None)


def _override(merged: DictConfig, key: str, value: str) -> None:
    content = with_own_files(up_to_date(read_value(value)))
    if mistakes := malformed({key: content}):
        raise ValueError(mistakes[0].partition(": ")[2])
    given = _nested(_as_init_args(merged, key), content)
    up_to_date(given)  # refuses a key that is no longer there
    _name_callbacks(merged, given)
    known = callbacks_of(OmegaConf.to_container(merged))
    for name, entry in (callbacks_of(given) or {}).items() if is_named(callbacks_of(given)) else ():
        if entry is None and name not in (known or {}):
            raise ValueError(f"there is no callback {name!r} to leave out; there are {', '.join(known or {})}")
    place = _as_init_args(merged, key)
    _clear_other_classes(merged, given)
    _check_numbers_of_lists(merged, place)
    try:
        OmegaConf.update(merged, place, content, force_add=True)
    except ConfigTypeError as error:
        raise ValueError(_other_kind(place, OmegaConf.select(merged, place), content) or first_line(error)) from error


def _nested(key: str, content: Any) -> Any:
    """What a file would say to set a dotted key."""
    for part in reversed(key.split(".")):
        content = {part: content}
    return content


def _name_callbacks(merged: DictConfig, content: dict[str, Any]) -> None:
    """Makes room for the callbacks of a file: names find the entries of a list, and a list replaces names."""
    known, given = callbacks_of(OmegaConf.to_container(merged)), callbacks_of(content)
    if given is None or known is None or is_named(given) == is_named(known):
        return
    if isinstance(known, list) and isinstance(given, dict) and all(map(str.isdecimal, given)):
        return  # entries of a list by number
    if isinstance(given, dict) and any(map(str.isdecimal, given)):
        raise ValueError(f"callbacks have names here and no numbers: {', '.join(known)}")
    OmegaConf.update(merged, "trainer.callbacks", by_name(known) if is_named(given) else None, merge=False)


def _clear_callbacks_said_anew(merged: DictConfig, content: dict[str, Any]) -> None:
    """A callback with its class says all of it; one without changes some arguments of the one before it."""
    given, known = callbacks_of(content), callbacks_of(OmegaConf.to_container(merged))
    for name, entry in given.items() if is_named(given) and is_named(known) else ():
        if isinstance(entry, dict) and "class_path" in entry and name in known:
            merged.trainer.callbacks[name] = {}  # keeps its place


def _clear_other_classes(merged: Any, content: dict[str, Any]) -> None:
    """Where a file or an override names another class than before, or several, their arguments go with them."""
    for key, node in content.items():
        known: Any = merged.get(key) if OmegaConf.is_dict(merged) else None
        if isinstance(node, list) and OmegaConf.is_dict(known) and "class_path" in known:
            merged[key] = []
        if not isinstance(node, dict) or not OmegaConf.is_dict(known):
            continue
        if "class_path" in node and "class_path" in known and node["class_path"] != known["class_path"]:
            merged[key] = {}
        else:
            _clear_other_classes(known, node)


def resolve(merged: DictConfig, source: str) -> dict[str, Any]:
    """A merged recipe as plain data, every ``${...}`` replaced.

    Raises:
        RecipeError: a reference leads nowhere, in a ring, or to too much.
    """
    if mistakes := unresolvable(OmegaConf.to_container(merged)):  # type: ignore[arg-type]
        raise RecipeError(source, mistakes)
    try:
        return OmegaConf.to_container(merged, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise RecipeError(source, [first_line(error)]) from error


def _as_init_args(merged: Any, key: str) -> str:
    """``model.num_frames`` means ``model.init_args.num_frames`` where model is a ``class_path``."""
    parts, node, out = key.split("."), merged, []
    for n, part in enumerate(parts):
        if OmegaConf.is_dict(node) and "class_path" in node and part not in ("class_path", "init_args"):
            out.append("init_args")
            node = node.get("init_args")
        out.append(part)
        node = _child(node, part) if n < len(parts) - 1 else None
    return ".".join(out)


def _check_numbers_of_lists(merged: DictConfig, key: str) -> None:
    """Values of a list are replaced by their numbers.

    Raises:
        ValueError: there is no value of that number, or no number where a list is.
    """
    node: Any = merged
    for n, part in enumerate(parts := key.split(".")):
        if OmegaConf.is_list(node) and not (part.isdecimal() and int(part) < len(node)):
            name, last = ".".join(parts[:n]), len(node) - 1
            there = f"its values have the numbers 0 to {last}" if len(node) else "it is empty"
            raise ValueError(f"{name} is a list and has no {part!r:.100}; {there}")
        node = _child(node, part)


def _child(node: Any, part: str) -> Any:
    if OmegaConf.is_dict(node):
        return node.get(part)
    inside = OmegaConf.is_list(node) and part.isdecimal() and int(part) < len(node)
    return node[int(part)] if inside else None


def pairs(overrides: list[str]) -> Iterator[tuple[str, str]]:
    """``--key value`` and ``--key=value``, in order."""
    rest = list(overrides)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise RecipeError("the command line", [f"{word!r:.200}: expected --dotted.key value{_meant(word)}"])
        key, equals, value = word[2:].partition("=")
        if not equals:
            if not rest:
                raise RecipeError("the command line", [f"--{key} has no value"])
            value = rest.pop(0)
        yield key, value


def _meant(word: str) -> str:
    """What was perhaps meant by a word that is no key."""
    key, equals, _ = word.partition("=")
    if equals and all(part.isidentifier() for part in key.split(".")):
        return f"; did you mean --{word:.200}?"
    return f"; did you mean --overlay {word:.200}?" if word.endswith((".yaml", ".yml")) else ""


def expand_shortcuts(files: list[str], overrides: list[str]) -> list[str]:
    """Replaces the short names that a recipe declares under ``shortcuts`` by the keys they stand for."""
    shortcuts: dict[str, str] = {}
    for file in files if overrides else ():
        for content in with_bases(file):
            own = content.get("shortcuts") or {}
            if not isinstance(own, dict) or not all(isinstance(key, str) for key in own.values()):
                raise RecipeError(file, ["shortcuts: a mapping of short names to dotted keys"])
            shortcuts |= own
    return [word for key, value in pairs(overrides) for word in (f"--{shortcuts.get(key, key)}", value)]
