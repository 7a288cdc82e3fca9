"""Modules read as text: what each name at the top of one stands for, followed through imports to where it is defined.

Three kinds of modules are read: Kairos' own, Lightning's, and those in folders that a person names. Everything else is
`Outside`: known by its dotted path alone.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipes.launcher.guard import ROOT
from recipes.launcher.reading import read_text

OWN = ("modules", "datamodules", "callbacks", "recipes")
"""Kairos' packages."""
_FARTHEST = 30  # imports between a name and its definition; Lightning's longest chain has 4


@dataclass(frozen=True)
class SourceModule:
    """A module that was read and not imported."""

    path: str
    """Dotted."""
    file: Path
    definitions: dict[str, ast.stmt]
    """Classes, functions and assignments at its top, by name."""
    imported: dict[str, str]
    """Names that it imports, with the dotted paths they stand for."""
    stars: tuple[str, ...]
    """Modules of which it imports every name."""


@dataclass(frozen=True)
class Definition:
    """What a name at the top of a module is defined as."""

    module: SourceModule
    name: str

    @property
    def path(self) -> str:
        return f"{self.module.path}.{self.name}"

    @property
    def node(self) -> ast.stmt:
        return self.module.definitions[self.name]


@dataclass(frozen=True)
class Outside:
    """Something of a package that is not read."""

    path: str

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


Found = SourceModule | Definition | Outside


class Sources:
    """Finds modules and what they define; each is read once.

    Args:
        folders: of a person's own modules.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self.folders = folders
        self._modules: dict[str, SourceModule | None] = {}

    def module(self, path: str) -> SourceModule | None:
        """The module of that dotted path, None where there is no such file to be read.

        Raises:
            ValueError: the file of a person's own cannot be read as Python.
        """
        if path not in self._modules:
            top = path.partition(".")[0]
            if top in OWN or top == "lightning":
                self._modules[path] = _known_module(path)
            else:
                file = module_file(path, self.folders)
                self._modules[path] = None if file is None else _read(path, file, read_text)
        return self._modules[path]

    def find(self, path: str, steps: int = 0) -> Found | None:
        """What a dotted path stands for, where it is defined; None if there is nothing of that name.

        Raises:
            ValueError: imports that lead in a ring, or a file that is no Python.
        """
        if steps > _FARTHEST:
            raise ValueError(f"{path:.200} is imported in a ring")
        if (module := self.module(path)) is not None:
            return module
        outer, _, name = path.rpartition(".")
        if not outer:
            return Outside(path)
        holder = self.find(outer, steps + 1)
        if isinstance(holder, Outside):
            return Outside(f"{holder.path}.{name}")
        return self.member(holder, name, steps) if isinstance(holder, SourceModule) else None

    def member(self, module: SourceModule, name: str, steps: int = 0) -> Found | None:
        """What a name at the top of a module stands for; None if there is no such name."""
        if name in module.definitions:
            return Definition(module, name)
        if name in module.imported:
            return self.find(module.imported[name], steps + 1)
        for star in module.stars:
            other = self.module(star)
            if other is not None and (found := self.member(other, name, steps + 1)) is not None:
                return found
        return None

    def named(self, module: SourceModule, node: ast.expr) -> Found | None:
        """What an expression such as ``base.Reward`` stands for in a module; names of no module are built in."""
        if isinstance(node, ast.Name):
            if node.id in module.definitions or node.id in module.imported or module.stars:
                return self.member(module, node.id) or Outside(f"builtins.{node.id}")
            return Outside(f"builtins.{node.id}")
        if isinstance(node, ast.Attribute):
            inner = self.named(module, node.value)
            return self.find(f"{inner.path}.{node.attr}") if isinstance(inner, SourceModule | Outside) else None
        return self.named(module, node.value) if isinstance(node, ast.Subscript) else None


def module_file(path: str, folders: Sequence[Path]) -> Path | None:
    """The file of a module in the first of those folders that has it."""
    if not all(part.isidentifier() for part in path.split(".")):
        return None
    inner = Path(*path.split("."))
    places = (folder / file for folder in folders for file in (inner.with_suffix(".py"), inner / "__init__.py"))
    return next((place for place in places if place.is_file()), None)


def file_of(path: str, folders: Sequence[Path]) -> Path | None:
    """The file of a class in the first of those folders that has its module."""
    module, _, name = path.rpartition(".")
    return module_file(module, folders) if module and name.isidentifier() else None


@functools.cache
def _known_module(path: str) -> SourceModule | None:
    """A module of Kairos or of Lightning; these do not change while a process runs."""
    top = path.partition(".")[0]
    file = module_file(path, [ROOT] if top in OWN else [_lightning()])
    return None if file is None else _read(path, file, lambda known: known.read_text(encoding="utf-8"))


@functools.cache
def _lightning() -> Path:
    """The folder that Lightning is installed in; a name without dots is looked up, not imported."""
    spec = importlib.util.find_spec("lightning")
    assert spec is not None, "the environment has no lightning"
    assert spec.origin is not None
    return Path(spec.origin).parent.parent


def _read(path: str, file: Path, text_of: Callable[[Path], str]) -> SourceModule:
    try:
        tree = ast.parse(text_of(file))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{file} cannot be read as Python: {error}") from error
    package = path if file.name == "__init__.py" else path.rpartition(".")[0]
    definitions: dict[str, ast.stmt] = {}
    imported: dict[str, str] = {}
    stars: list[str] = []
    for statement in _at_the_top(tree.body):
        if isinstance(statement, ast.ImportFrom):
            origin = _origin(statement, package)
            stars += [origin for alias in statement.names if alias.name == "*"]
            imported = {a.asname or a.name: f"{origin}.{a.name}" for a in statement.names if a.name != "*"} | imported
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                imported.setdefault(alias.asname or alias.name.partition(".")[0], _imported_as(alias))
        else:
            for name in _defined(statement):
                definitions.setdefault(name, statement)
    return SourceModule(path, file, definitions, imported, tuple(stars))


def _at_the_top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those under ``if`` and ``try`` among them; the first branch counts where two define."""
    for statement in body:
        if isinstance(statement, ast.If):
            yield from _at_the_top([*statement.body, *statement.orelse])
        elif isinstance(statement, ast.Try):
            handlers = [inner for handler in statement.handlers for inner in handler.body]
            yield from _at_the_top([*statement.body, *statement.orelse, *handlers, *statement.finalbody])
        else:
            yield statement


def _origin(statement: ast.ImportFrom, package: str) -> str:
    """The module that is imported from, its leading dots replaced."""
    if not statement.level:
        return statement.module or ""
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - statement.level + 1], *([statement.module] if statement.module else [])])


def _imported_as(alias: ast.alias) -> str:
    return alias.name if alias.asname else alias.name.partition(".")[0]


def _defined(statement: ast.stmt) -> list[str]:
    """The names that a statement defines."""
    if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [statement.name]
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        return [statement.target.id] if isinstance(statement.target, ast.Name) else []
    if isinstance(statement, ast.Assign):
        return [name.id for target in statement.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
    return []
