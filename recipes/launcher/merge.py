"""A recipe as plain data: files and overrides merged, references replaced; `recipes.launcher.check` finds mistakes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes.launcher.reading import read_file, read_text, read_value, with_own_files
from recipes.launcher.references import malformed, unresolvable

MISSING = "???"
NEW_RUN_DIR = "outputs/NEW"  # stands for a folder that the launcher will name
_MOST_BASES = 5
_MOST_SHOWN, _LONGEST_SHOWN = 50, 800  # mistakes, and characters of each
_DOES_NOT_FIT = (OmegaConfBaseException, ValueError, TypeError, RecursionError)


class RecipeError(ValueError):
    """One or more mistakes in a recipe, a line each."""

    def __init__(self, source: str, mistakes: list[str]) -> None:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        more = [f"and {len(mistakes) - _MOST_SHOWN} more"] if len(mistakes) > _MOST_SHOWN else []
        lines = [_printable(f"{mistake:.{_LONGEST_SHOWN}}") for mistake in [*mistakes[:_MOST_SHOWN], *more]]
        super().__init__(f"{source} has {count}:\n" + "\n".join(f"  {line}" for line in lines))
        self.mistakes = mistakes


def _printable(line: str) -> str:
    """A stranger's text without commands to the terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in line)


def merge(files: list[str], overrides: list[str]) -> DictConfig:
    """Merges recipe, overlays and ``--dotted.key value`` overrides; leaves ``${...}`` as it stands.

    Raises:
        RecipeError: a file is missing or no recipe, an override has no value or does not fit.
    """
    merged = OmegaConf.create({"run_dir": NEW_RUN_DIR})
    for file in files:
        for content in with_bases(file):
            try:
                _clear_other_classes(merged, content)
                merged.merge_with(content)
            except _DOES_NOT_FIT as error:
                raise RecipeError(
                    file, [f"does not go together with the files before it: {_first_line(error)}"]
                ) from error
    for key, value in pairs(overrides):
        try:
            _override(merged, key, value)
        except _DOES_NOT_FIT as error:
            raise RecipeError("the command line", [f"--{key} {value:.100}: {_first_line(error)}"]) from error
    return merged


def _override(merged: DictConfig, key: str, value: str) -> None:
    content = with_own_files(read_value(value))
    if mistakes := malformed({key: content}):
        raise ValueError(mistakes[0].partition(": ")[2])
    OmegaConf.update(merged, _as_init_args(merged, key), content, force_add=True)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


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
        RecipeError: a reference leads nowhere, in a ring, or to too much.
    """
    if mistakes := unresolvable(OmegaConf.to_container(merged)):  # type: ignore[arg-type]
        raise RecipeError(source, mistakes)
    try:
        return OmegaConf.to_container(merged, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise RecipeError(source, [_first_line(error)]) from error


def with_bases(file: str) -> list[dict[str, Any]]:
    """A recipe file after those it is based on: ``base: other.yaml``, beside it.

    Raises:
        RecipeError: one of them is missing or no recipe, or is based on itself.
    """
    found: list[dict[str, Any]] = []
    files = [Path(with_own_files(file))]
    while True:
        content = read_recipe(files[-1], file)
        base = content.pop("base", None)
        found.insert(0, with_own_files(content))
        if not base:
            return found
        if not isinstance(base, str):
            raise RecipeError(file, [f"base: {base!r:.100} is not the name of one other recipe"])
        files.append(files[-1].parent / base)
        if len(files) > _MOST_BASES or any(_same_file(files[-1], other) for other in files[:-1]):
            names = " -> ".join(str(f) for f in files)
            raise RecipeError(file, [f"base: a ring, or more than {_MOST_BASES} recipes: {names:.500}"])


def read_recipe(path: Path, source: str) -> dict[str, Any]:
    """One file of a recipe.

    Args:
        path: of it.
        source: file that the person named.

    Raises:
        RecipeError: it is missing or no recipe.
    """
    if not _exists(path):
        raise RecipeError(source, [f"no such file: {path}{_suggest_file(source)}"])
    try:
        content = read_file(path)
    except ValueError as error:
        raise RecipeError(source, [f"{path}: {error}"]) from error
    if not isinstance(content, dict):
        raise RecipeError(source, [f"{path}: a recipe is a mapping of keys to values"])
    if mistakes := malformed(content):
        raise RecipeError(source, mistakes)
    return content


def _same_file(one: Path, other: Path) -> bool:
    return _exists(one) and one.samefile(other)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


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
    for file in files if overrides else ():
        for content in with_bases(file):
            own = content.get("shortcuts") or {}
            if not isinstance(own, dict) or not all(isinstance(key, str) for key in own.values()):
                raise RecipeError(file, ["shortcuts: a mapping of short names to dotted keys"])
            shortcuts |= own
    return [word for key, value in pairs(overrides) for word in (f"--{shortcuts.get(key, key)}", value)]


def header(file: str) -> list[str]:
    """The comment a recipe opens with, without the hashes."""
    lines = []
    for line in read_text(Path(file)).splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return lines


def _suggest_file(file: str) -> str:
    recipes = Path(__file__).resolve().parents[1]
    known = [str(p.relative_to(recipes.parent)) for p in recipes.rglob("*.yaml")]
    close = difflib.get_close_matches(file, known, 1)
    return f"; did you mean {close[0]}?" if close else "; `lightning ls` lists the recipes"
