"""The files that a recipe is made of: its own, and those that it names under ``base``."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from recipes.launcher.guard import ROOT
from recipes.launcher.mistakes import RecipeError
from recipes.launcher.moved import up_to_date
from recipes.launcher.reading import read_file, read_text, with_own_files
from recipes.launcher.references import malformed

BLOCKS = ROOT / "recipes" / "base"
"""Blocks that recipes are composed of; none of them is a recipe that runs."""
_MOST_FILES = 20


def with_bases(file: str) -> list[dict[str, Any]]:
    """What a recipe's files hold, in the order in which they are merged: its own content last.

    ``base: other.yaml`` or ``base: [one.yaml, two.yaml]`` names files relative to the one that says so, or, where there
    is none, a recipe that comes with Kairos (``recipes/tspo.yaml``). Later ones are merged over earlier ones. A file
    that is named twice is taken once, where it comes first.

    Raises:
        RecipeError: one of them is missing or no recipe, or is based on itself.
    """
    found: dict[Path, dict[str, Any]] = {}
    _collect(Path(with_own_files(file)), file, (), found)
    return list(found.values())


def _collect(path: Path, source: str, within: tuple[Path, ...], found: dict[Path, dict[str, Any]]) -> None:
    """Adds a file after those that it is based on.

    Args:
        path: of the file.
        source: file that the person named.
        within: files that are based on this one.
        found: files so far, with their contents.
    """
    content = read_recipe(path, source)
    for base in _bases(content.pop("base", None), source):
        other, chain = _based_on(path, base), (*within, path)
        names = " -> ".join(map(str, (*chain, other)))
        if any(_same_file(other, file) for file in chain):
            raise RecipeError(source, [f"base: a ring: {names:.500}"])
        if len(found) + len(chain) >= _MOST_FILES:
            raise RecipeError(source, [f"base: more than {_MOST_FILES} files: {names:.500}"])
        if not any(_same_file(other, file) for file in found):
            _collect(other, source, chain, found)
    try:
        found[path] = with_own_files(up_to_date(content))
    except ValueError as error:
        raise RecipeError(source, [str(error)]) from error


def _based_on(path: Path, base: str) -> Path:
    """The file that a recipe names as its base: beside it, or else among those that come with Kairos."""
    beside, own = path.parent / base, ROOT / base
    return own if not _exists(beside) and base.startswith("recipes/") and _exists(own) else beside


def _bases(node: Any, source: str) -> list[str]:
    names = node if isinstance(node, list) else [] if node is None else [node]
    if wrong := [name for name in names if not isinstance(name, str) or not name]:
        raise RecipeError(source, [f"base: {wrong[0]!r:.100} is not the name of a file, nor a list of such names"])
    return names


def read_recipe(path: Path, source: str) -> dict[str, Any]:
    """One file of a recipe.

    Args:
        path: of it.
        source: file that the person named.

    Raises:
        RecipeError: it is missing or no recipe.
    """
    if not _exists(path):
        raise RecipeError(source, [f"no such file: {path}{_suggestion(source)}"])
    try:
        content = read_file(path)
    except ValueError as error:
        raise RecipeError(source, [f"{path}: {error}"]) from error
    if not isinstance(content, dict):
        raise RecipeError(source, [f"{path}: a recipe is a mapping of keys to values"])
    if mistakes := malformed(content):
        raise RecipeError(source, mistakes)
    return content


def header(file: str) -> list[str]:
    """The comment a recipe opens with, without the hashes."""
    lines = []
    for line in read_text(Path(file)).splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return lines


def own_recipes() -> list[Path]:
    """The recipes and overlays that come with Kairos."""
    return sorted(path for path in (ROOT / "recipes").rglob("*.yaml") if BLOCKS not in path.parents)


def _same_file(one: Path, other: Path) -> bool:
    return _exists(one) and one.samefile(other)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _suggestion(file: str) -> str:
    close = difflib.get_close_matches(file, [str(path.relative_to(ROOT)) for path in own_recipes()], 1)
    return f"; did you mean {close[0]}?" if close else "; `lightning ls` lists the recipes"
