"""Which classes a recipe may name: those of known packages, and those in folders that a person names.

All of them are read (`recipes.launcher.source`) and none is imported until `lightning run` builds it, so that
`lightning check` is quick and runs no code of a person's own.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recipes.launcher.guard import ROOT
from recipes.launcher.source.read_classes import Classes, ReadClass
from recipes.launcher.source.source_modules import Outside, SourceModule, Sources, file_of

_OF_PYTORCH = ("callbacks", "loggers", "profilers", "strategies", "accelerators", "plugins")
KNOWN = (
    *("modules", "datamodules", "callbacks", "recipes.jobs", "recipes.serving.serving_settings"),
    *(f"lightning.pytorch.{package}" for package in _OF_PYTORCH),
    "lightning.fabric.plugins",
)
"""Packages whose classes a recipe may name. What they import themselves is not theirs."""

_CLASSES_OF_TRAINER = ("callbacks", "logger", "profiler", "plugins", "strategy", "accelerator")


def is_known(path: str) -> bool:
    """Whether a dotted path lies in a known package."""
    return any(path.startswith(f"{package}.") for package in KNOWN)


def class_paths(recipe: dict[str, Any]) -> list[tuple[str, str]]:
    """Every ``class_path`` in a recipe, and the paths that stand alone where nothing else can, with their keys."""
    trainer = recipe.get("trainer")
    places = {key: recipe.get(key) for key in ("model", "data", "job")}
    for key in _CLASSES_OF_TRAINER if isinstance(trainer, dict) else ():
        value = trainer.get(key)
        several = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        places |= {f"trainer.{key}": value, **{f"trainer.{key}.{n}": item for n, item in several}}
    found = [(key, path) for key, path in places.items() if isinstance(path, str) and "." in path]
    rest: list[tuple[str, Any]] = [("", recipe)]
    while rest:
        key, node = rest.pop()
        if isinstance(node, dict) and isinstance(node.get("class_path"), str):
            found.append((f"{key}.class_path".lstrip("."), node["class_path"]))
        children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        rest += [(f"{key}.{name}" if key else str(name), child) for name, child in children]
    return sorted(found)


def origin_mistake(path: str, folders: Sequence[Path]) -> str | None:
    """What is wrong with where a class path leads, found without importing anything; None if nothing is."""
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return f"{path!r:.100} is no path of a class, such as modules.methods.tspo.agent.TSPOSampler"
    if is_known(path):
        return None
    if file_of(path, folders) is None:
        where = f", nor a file of {', '.join(map(str, folders))}" if folders else ""
        return (
            f"{path!r} is in no known package ({', '.join(KNOWN[:4])}, or one of lightning.pytorch's){where}; "
            "--user-dir DIR names a folder with classes of your own"
        )
    return _taken(parts[0], folders)


def _taken(name: str, folders: Sequence[Path]) -> str | None:
    """A module of a person's folder must be the one that Python finds under its name."""
    spec = importlib.util.find_spec(name)  # a name without dots is looked up, not imported
    if spec is None or (spec.origin and any(Path(spec.origin).is_relative_to(f.resolve()) for f in folders)):
        return None
    return (
        f"module {name!r} of your folder has the name of another ({spec.origin or 'a package'}); give it another name"
    )


class RecipeClasses:
    """The classes that a recipe names, read from their files.

    Args:
        folders: with classes of a person's own.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self.sources = Sources(folders)
        self.read = Classes(self.sources)

    def find(self, path: str) -> ReadClass:
        """A class by its path.

        Raises:
            ValueError: there is none; says why.
        """
        if mistake := origin_mistake(path, self.folders):
            raise ValueError(mistake)
        found = self._defined(path)
        if not is_known(path):
            _derived_from_a_known_one(path, found)
        elif found.is_abstract:
            raise ValueError(f"{path} is a base class; name one that is derived from it")
        return found

    def _defined(self, path: str) -> ReadClass:
        """A class of a known package, or of a person's own module.

        Raises:
            ValueError: there is none of that name, or it comes from elsewhere.
        """
        module_name, _, name = path.rpartition(".")
        module = self.sources.module(module_name)
        if module is None:
            raise ValueError(f"cannot import {path!r}: there is no module {module_name}")
        found = self.sources.member(module, name) or self.sources.module(path)
        read = self.read.read(found)
        if not is_known(path) and read is None:
            raise ValueError(f"{module.file} has no class {name!r}{_near(module, name)}")
        if found is None:
            raise ValueError(f"{module_name} has no {name!r}{_near(module, name)}")
        if isinstance(found, Outside) and "." in found.path:
            raise ValueError(f"{path} is {found.path}, which is in no known package")
        if read is None:
            raise ValueError(f"{path} is no class")
        if is_known(path) and not is_known(read.path):
            raise ValueError(f"{path} is {read.path}, which is in no known package")
        return read


def _derived_from_a_known_one(path: str, found: ReadClass) -> None:
    if not any(is_known(base.path) for base in found.order):
        bases = ", ".join(base.path.removeprefix("builtins.") for base in found.order)
        raise ValueError(f"{path} is derived from {bases or 'nothing'}, and so from no class of Kairos")


def _near(module: SourceModule, name: str) -> str:
    """A class of the module that was perhaps meant."""
    classes = [known for known, node in module.definitions.items() if isinstance(node, ast.ClassDef)]
    close = difflib.get_close_matches(name, [*classes, *module.imported], 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _texts(node: Any) -> Iterator[str]:
    """Every text in a recipe: a class without arguments may be named by its path alone."""
    if isinstance(node, str):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _texts(child)


def restrict_imports(paths: Sequence[str] = ()) -> None:
    """Has jsonargparse import nothing but classes of the known packages, and these.

    Args:
        paths: of classes in a person's own folders.
    """
    from jsonargparse import set_parsing_settings

    set_parsing_settings(
        import_path_denylist=["*"], import_path_allowlist=[*KNOWN, *paths], instantiate_subclass_spec_in_any=False
    )


def admit(recipe: Any, folders: Sequence[Path]) -> list[str]:
    """Makes the classes that a checked recipe takes from a person's folders importable; their paths."""
    own = sorted({text for text in _texts(recipe) if not is_known(text) and file_of(text, folders) is not None})
    restrict_imports(own)
    for folder in {str(folder.resolve()) for folder in folders if own} - set(sys.path):
        sys.path.append(folder)
    return own


def folders_of(user_dirs: Sequence[str], files: Sequence[str] = ()) -> list[Path]:
    """Where a person's own classes may lie; the first of these folders that has a module is where it is taken from.

    Args:
        user_dirs: folders that they name; these come last.
        files: the recipe and its overlays, in the order of the command line. Each one's folder counts, unless the file
            comes with Kairos.

    Raises:
        ValueError: one of ``user_dirs`` is no folder.
    """
    for folder in user_dirs:
        if not Path(folder).is_dir():
            raise ValueError(f"--user-dir {folder}: no such folder")
    beside = [folder for folder in (Path(file).parent for file in files) if folder.is_dir()]
    own = [folder for folder in beside if not folder.resolve().is_relative_to(ROOT / "recipes")]
    return list(dict.fromkeys([*own, *map(Path, user_dirs)]))


def passed_through(error: BaseException, folders: Sequence[Path]) -> bool:
    """Whether an error came through code of a person's own, who wants to see where."""
    files = []
    cause: BaseException | None = error
    while cause is not None:
        files += [frame.filename for frame in traceback.extract_tb(cause.__traceback__)]
        cause = cause.__cause__ or cause.__context__
    own = [Path(file) for file in files if not any(Path(file).is_relative_to(place) for place in _NOBODYS_OWN)]
    return any(file.is_relative_to(folder.resolve()) for file in own for folder in folders)


_NOBODYS_OWN = (Path(sys.prefix), *(ROOT / room for room in ("modules", "datamodules", "callbacks", "recipes")))
"""Kairos and what is installed, also where a recipe lies in the folder that holds them."""
