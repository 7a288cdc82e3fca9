"""Annotations read from their text.

An annotation becomes what `typing` would make of it, such as ``dict[str, int]``, in which a class that was read stands
for itself and a union is a `OneOf`. Types that a recipe's values are held against as they are (numbers, texts,
jsonargparse's ``PositiveInt``) are the real ones.
"""

from __future__ import annotations

import ast
import collections.abc
import importlib
import types
import typing
from dataclasses import dataclass
from typing import Any

from recipes.launcher.source.read_classes import Argument, Classes
from recipes.launcher.source.source_modules import OWN, Definition, Outside, SourceModule

_BUILTINS = {c.__name__: c for c in (bool, int, float, complex, str, bytes, list, dict, tuple, set, frozenset, type)}
_IMPORTED = (
    "typing",
    "typing_extensions",
    "collections",
    "collections.abc",
    "pathlib",
    "os",
    "datetime",
    "decimal",
    "uuid",
    "re",
    "jsonargparse.typing",
)
"""Modules whose types are taken from them; they are small, and importing them does nothing else."""
_INPUT_PATH = "modules.files.paths.InputPath"
_OF_WHAT_IS_INSIDE = (typing.Annotated, typing.ClassVar, typing.Final)
_GENERIC = (
    list,
    dict,
    tuple,
    set,
    frozenset,
    type,
    collections.abc.Sequence,
    collections.abc.Iterable,
    collections.abc.Mapping,
    collections.abc.MutableMapping,
)


class InputPath(str):
    """A text that names a file or folder which is read, and so has to be there: `modules.files.paths.InputPath`."""


@dataclass(frozen=True)
class OneOf:
    """A union."""

    members: tuple[Any, ...]


class Annotations:
    """Reads annotations.

    Args:
        classes: that they name.
    """

    def __init__(self, classes: Classes) -> None:
        self.classes = classes

    def of(self, argument: Argument) -> Any:
        """The annotation of an argument; Any where it has none, or says what is not known here."""
        return Any if argument.annotation is None else self._of(argument.annotation, argument.module)

    def _of(self, node: ast.expr, module: SourceModule) -> Any:
        if isinstance(node, ast.Constant):
            return self._of_constant(node.value, module)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return OneOf((self._of(node.left, module), self._of(node.right, module)))
        if isinstance(node, ast.Subscript):
            return self._of_subscript(node, module)
        found = self.classes.sources.named(module, node)
        if isinstance(found, Outside):
            return _outside(found)
        return self._defined(found) if isinstance(found, Definition) else Any

    def _of_constant(self, value: Any, module: SourceModule) -> Any:
        if isinstance(value, str):
            try:
                return self._of(ast.parse(value, mode="eval").body, module)
            except SyntaxError:
                return Any
        return type(None) if value is None else value

    def _of_subscript(self, node: ast.Subscript, module: SourceModule) -> Any:
        """``list[float]``, ``dict[str, Reward]``, ``Literal["a", "b"]``, ``Optional[int]``."""
        origin = self._of(node.value, module)
        items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if origin is typing.Literal:
            return origin[tuple(ast.literal_eval(item) for item in items)]
        if origin in _OF_WHAT_IS_INSIDE:
            return self._of(items[0], module)
        if origin in (typing.Union, typing.Optional):
            members = tuple(self._of(item, module) for item in items)
            return OneOf((*members, type(None)) if origin is typing.Optional else members)
        origin = typing.get_origin(origin) or origin  # typing.List is list
        return origin[tuple(self._of(item, module) for item in items)] if origin in _GENERIC else origin

    def _defined(self, found: Definition) -> Any:
        """A class, a name for another annotation, or a type variable."""
        if found.path == _INPUT_PATH:
            return InputPath
        if (read := self.classes.read(found)) is not None:
            if not read.is_plain_value:
                return read if any(_is_read_for_all(known.path) for known in read.read_order) else Any
            # a kind of text or number: jsonargparse judges it by the real class, whose module of Kairos is a small one
            return getattr(importlib.import_module(found.module.path), found.name) if _is_own(found) else Any
        value = getattr(found.node, "value", None)
        if isinstance(value, ast.Call):
            bound = next((keyword.value for keyword in value.keywords if keyword.arg == "bound"), None)
            return Any if bound is None else self._of(bound, found.module)
        return Any if value is None else self._of(value, found.module)


def _is_read_for_all(path: str) -> bool:
    """Whether a class is no person's own; of one that is, and derived from nothing else, `check` says nothing."""
    return path.partition(".")[0] in (*OWN, "lightning")


def _is_own(found: Definition) -> bool:
    return found.module.path.partition(".")[0] in OWN


def _outside(found: Outside) -> Any:
    """A type of Python or jsonargparse by its path; what belongs to other packages stays a path."""
    package, _, name = found.path.rpartition(".")
    if package == "builtins":
        return _BUILTINS.get(name, Any)
    return getattr(importlib.import_module(package), name, Any) if package in _IMPORTED else found


def members_of(annotation: Any) -> list[Any]:
    """The alternatives of an annotation, its unions written out."""
    if isinstance(annotation, OneOf):
        return [member for inner in annotation.members for member in members_of(inner)]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [member for inner in typing.get_args(annotation) for member in members_of(inner)]
    return [annotation]
