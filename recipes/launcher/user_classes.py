"""Classes of a person's own folder, read from their text: what they are derived from and what they take.

Nothing of it is imported, so that a recipe with code beside it can be looked at before it is trusted.
"""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
import operator
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.launcher.reading import read_text
from recipes.launcher.signatures import parameters_of

_BUILTINS = {c.__name__: c for c in (bool, int, float, str, list, dict, tuple)} | {
    "Any": Any,
    "Literal": typing.Literal,
}
_DEEPEST = 8  # classes of a person's own between one and a known one


@dataclass(frozen=True)
class UserClass:
    """A class that was read and not imported."""

    name: str
    base: type
    """The known class that it is derived from."""
    parameters: dict[str, inspect.Parameter]
    hints: dict[str, Any]


def file_of(path: str, folders: Sequence[Path]) -> Path | None:
    """The file of a class in the first of those folders that has its module."""
    module, _, name = path.rpartition(".")
    if not module or not name or not all(part.isidentifier() for part in path.split(".")):
        return None
    inner = Path(*module.split("."))
    places = (folder / file for folder in folders for file in (inner.with_suffix(".py"), inner / "__init__.py"))
    return next((place for place in places if place.is_file()), None)


def read_class(path: str, folders: Sequence[Path], known: Callable[[str], type], depth: int = 0) -> UserClass:
    """A class of a person's own folder.

    Args:
        path: dotted, from that folder on.
        folders: where modules may lie.
        known: the class of a known package by its path; raises ValueError for others.
        depth: classes of their own that were read on the way here.

    Raises:
        ValueError: it is not there, cannot be read, or is derived from no class of a known package.
    """
    file = file_of(path, folders)
    if file is None or depth > _DEEPEST:
        raise ValueError(f"{path} is no class of a known package")
    module, _, name = path.rpartition(".")
    tree = _parsed(file)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if name not in classes:
        close = difflib.get_close_matches(name, classes, 1)
        raise ValueError(f"{file} has no class {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
    names = _imported(tree, module) | {other: f"{module}.{other}" for other in classes}
    bases = [base for node in classes[name].bases if (base := _dotted(node, names)) is not None]
    parents: list[type | UserClass] = []
    for base in bases:
        own = file_of(base, folders) is not None
        try:
            parents.append(read_class(base, folders, known, depth + 1) if own else known(base))
        except ValueError:
            continue  # abc.ABC, a mixin: one base of a known package is enough
    if not parents:
        raise ValueError(f"{path} is derived from {', '.join(bases) or 'nothing'}, and so from no class of Kairos")
    return _with_signature(classes[name], parents, names, known)


def _with_signature(
    node: ast.ClassDef, parents: list[type | UserClass], names: dict[str, str], known: Callable[[str], type]
) -> UserClass:
    first = parents[0]
    base = first.base if isinstance(first, UserClass) else first
    parameters, hints = (first.parameters, first.hints) if isinstance(first, UserClass) else parameters_of(first)
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is not None:
        inherited = (parameters, hints) if init.args.kwarg else ({}, {})
        positional = [*init.args.posonlyargs, *init.args.args][1:]  # without self
        no_default = len(positional) - len(init.args.defaults)
        own = [(argument, n >= no_default) for n, argument in enumerate(positional)]
        own += [(a, d is not None) for a, d in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)]
        parameters = {a.arg: _parameter(a.arg, optional) for a, optional in own} | inherited[0]
        hints = inherited[1] | {a.arg: _annotation(a.annotation, names, known) for a, _ in own}
    return UserClass(node.name, base, parameters, hints)


def _parameter(name: str, optional: bool) -> inspect.Parameter:
    default = None if optional else inspect.Parameter.empty
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)


def _parsed(file: Path) -> ast.Module:
    try:
        return ast.parse(read_text(file))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{file} cannot be read as Python: {error}") from error


def _imported(tree: ast.Module, module: str) -> dict[str, str]:
    """What each name at the top of a module stands for: a dotted path."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0]
                      for a in node.names}  # fmt: skip
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*package, *([node.module] if node.module else [])])
            names |= {alias.asname or alias.name: f"{origin}.{alias.name}" for alias in node.names}
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str | None:
    """The path that an expression such as ``base.Reward`` stands for."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        inner = _dotted(node.value, names)
        return None if inner is None else f"{inner}.{node.attr}"
    return _dotted(node.value, names) if isinstance(node, ast.Subscript) else None


def _annotation(node: ast.expr | None, names: dict[str, str], known: Callable[[str], type]) -> Any:
    """An annotation of builtins and known classes; Any where it says something else."""
    if isinstance(node, ast.Constant):
        return type(None) if node.value is None else _quoted(node.value, names, known)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        sides = [_annotation(side, names, known) for side in (node.left, node.right)]
        return Any if Any in sides else functools.reduce(operator.or_, sides)
    if isinstance(node, ast.Subscript):
        return _subscripted(node, names, known)
    path = None if node is None else _dotted(node, names)
    if path is None:
        return Any
    try:
        return _BUILTINS.get(path.removeprefix("typing."), None) or known(path)
    except ValueError:
        return Any


def _quoted(text: Any, names: dict[str, str], known: Callable[[str], type]) -> Any:
    try:
        return _annotation(ast.parse(text, mode="eval").body, names, known)
    except (SyntaxError, TypeError):
        return Any


def _subscripted(node: ast.Subscript, names: dict[str, str], known: Callable[[str], type]) -> Any:
    """``list[float]``, ``dict[str, Reward]``, ``Literal["a", "b"]``."""
    origin = _annotation(node.value, names, known)
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if origin is typing.Literal:
        return origin[tuple(i.value for i in items if isinstance(i, ast.Constant))]
    if origin not in (list, dict, tuple):
        return Any
    return origin[tuple(_annotation(item, names, known) for item in items)]
