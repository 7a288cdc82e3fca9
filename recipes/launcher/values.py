"""A recipe's values against the annotations of the arguments that they are for."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import inspect
import math
import operator
import re
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import jsonargparse
from jsonargparse.typing import get_registered_type

from recipes.launcher.class_paths import find_class, is_known, restrict_imports
from recipes.launcher.merge import MISSING
from recipes.launcher.mistakes import unknown
from recipes.launcher.signatures import parameters_of
from recipes.launcher.user_classes import UserClass

_OWN = ("modules", "datamodules", "callbacks", "recipes")
_SEQUENCES = (list, tuple, set, collections.abc.Sequence, collections.abc.Iterable)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class Values:
    """Args:
    folders: that may hold classes of the person's own.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        restrict_imports()  # judging a leaf may import nothing

    def of_class(self, key: str, node: Any, bases: tuple[type, ...]) -> list[str]:
        """A ``class_path`` node, or a class path alone, of a class derived from one of those."""
        wanted = " or ".join(base.__name__ for base in bases)
        if isinstance(node, str):
            node = {"class_path": node}
        if not isinstance(node, dict) or "class_path" not in node:
            return [f"{key}: needs a class_path of a {wanted}"]
        allowed = ("class_path", "init_args")
        found = [unknown(f"{key}.{name}", name, allowed) for name in node if name not in allowed]
        try:
            cls = self._derived(str(node["class_path"]), bases)
        except ValueError as error:
            return [*found, f"{key}.class_path: {error}"]
        return [*found, *self.of_arguments(f"{key}.init_args", cls, node.get("init_args") or {})]

    def _derived(self, path: str, bases: tuple[type, ...]) -> type | UserClass:
        """The class of that path.

        Raises:
            ValueError: there is none, or it is derived from none of those bases.
        """
        cls = find_class(path, self.folders)
        if not issubclass(cls.base if isinstance(cls, UserClass) else cls, bases):
            raise ValueError(f"{path} is not a {' or '.join(base.__name__ for base in bases)}")
        return cls

    def _of_bare_class(self, key: str, path: str, bases: tuple[type, ...]) -> list[str]:
        """The path of a class that is handed over as it is, without arguments."""
        try:
            self._derived(path, bases)
        except ValueError as error:
            return [f"{key}: {error}"]
        return []

    def of_arguments(self, key: str, cls: type | UserClass, arguments: Any) -> list[str]:
        """Arguments of a class: none unknown, none missing, each of its type."""
        name = cls.name if isinstance(cls, UserClass) else cls.__name__
        if not isinstance(arguments, dict):
            return [f"{key}: expected a mapping of arguments, got {arguments!r:.100}"]
        parameters, hints = (cls.parameters, cls.hints) if isinstance(cls, UserClass) else parameters_of(cls)
        former = getattr(cls, "former_keys", {})
        found = [
            f"{key}.{given}: {former[given]}" if given in former else unknown(f"{key}.{given}", given, parameters)
            for given in arguments
            if given not in parameters
        ]
        for parameter in parameters.values():
            if parameter.name in arguments:
                value, hint = arguments[parameter.name], hints.get(parameter.name, Any)
                found += self.of_value(f"{key}.{parameter.name}", value, hint)
            elif parameter.default is inspect.Parameter.empty:
                found.append(f"{key}.{parameter.name}: missing; {name} needs it")
        return found or _own_ranges(key, cls, arguments)

    def of_value(self, key: str, value: Any, annotation: Any) -> list[str]:
        """A value against an annotation; ``???`` is for the command line to fill in."""
        if isinstance(value, str) and value == MISSING:
            return [f"{key}: needs a value"]
        members = _members(annotation)
        if Any in members or inspect.Parameter.empty in members or (value is None and type(None) in members):
            return []
        classes = tuple(member for member in members if _is_component(member))
        if isinstance(value, dict):
            return self._of_mapping(key, value, members, classes)
        if isinstance(value, list):
            return self._of_list(key, value, members)
        leaves = [member for member in members if _is_leaf(member)]
        if classes and isinstance(value, str) and ("." in value or not any(_takes_text(leaf) for leaf in leaves)):
            return self.of_class(key, value, classes)
        bare = tuple(get_args(member)[0] for member in members if get_origin(member) is type)
        if bare and isinstance(value, str):
            return self._of_bare_class(key, value, bare)
        if leaves:
            return _of_leaf(key, value, functools.reduce(operator.or_, leaves))
        return [f"{key}: {value!r:.100} is not {_wanted(members, classes)}"]

    def _of_mapping(self, key: str, value: dict, members: list[Any], classes: tuple[type, ...]) -> list[str]:
        if classes and ("class_path" in value or not all(dataclasses.is_dataclass(c) for c in classes)):
            return self.of_class(key, value, classes)
        if classes:
            return self.of_arguments(key, classes[0], value)
        for member in members:
            if get_origin(member) in _MAPPINGS and len(get_args(member)) == 2:
                inner = get_args(member)[1]
                return [m for name, v in value.items() for m in self.of_value(f"{key}.{name}", v, inner)]
        if any(member in _MAPPINGS for member in members):
            return []
        return [f"{key}: a mapping is not {_wanted(members, classes)}"]

    def _of_list(self, key: str, value: list, members: list[Any]) -> list[str]:
        tries: list[list[str]] = []
        for member in members:
            origin, inner = get_origin(member), get_args(member)
            if member in _SEQUENCES or (origin in _SEQUENCES and not inner):
                return []
            if origin not in _SEQUENCES:
                continue
            if origin is tuple and Ellipsis not in inner and len(inner) != len(value):
                tries.append([f"{key}: {len(value)} values where there are {len(inner)}"])
                continue
            of_each = inner if origin is tuple and Ellipsis not in inner else (inner[0],) * len(value)
            pairs = enumerate(zip(value, of_each, strict=True))
            tries.append([m for n, (item, hint) in pairs for m in self.of_value(f"{key}.{n}", item, hint)])
        return min(tries, key=len) if tries else [f"{key}: a list is not {_wanted(members, ())}"]


def _members(annotation: Any) -> list[Any]:
    """The alternatives of an annotation, its unions written out."""
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return [member for inner in get_args(annotation) for member in _members(inner)]
    if isinstance(annotation, typing.TypeVar):
        return _members(annotation.__bound__ or Any)
    return [annotation]


def _is_component(annotation: Any) -> bool:
    """Whether an annotation is a class that a ``class_path`` may stand for."""
    return (
        isinstance(annotation, type)
        and annotation.__module__.partition(".")[0] in (*_OWN, "lightning", "torch")
        and not issubclass(annotation, str | int | float | enum.Enum)
        and get_registered_type(annotation) is None
    )


def _is_leaf(annotation: Any) -> bool:
    """Whether an annotation is of values that name no class: numbers, texts, choices."""
    if get_origin(annotation) is typing.Literal:
        return True
    return (
        isinstance(annotation, type)
        and get_origin(annotation) is None
        and (
            issubclass(annotation, bool | int | float | str | enum.Enum | Path) or bool(get_registered_type(annotation))
        )
    )


def _takes_text(annotation: Any) -> bool:
    if get_origin(annotation) is typing.Literal:
        return any(isinstance(choice, str) for choice in get_args(annotation))
    return not issubclass(annotation, bool | int | float)


def _of_leaf(key: str, value: Any, annotation: Any) -> list[str]:
    """jsonargparse's judgement of one plain value."""
    numbers_only = not any(_takes_text(member) for member in _members(annotation))
    if isinstance(value, str) and numbers_only:
        return [f"{key}: {value!r:.100} is text where a number is wanted; write it without quotes"]
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=annotation)
    try:
        parsed = parser.parse_object({"value": value}).value
    except (jsonargparse.ArgumentError, TypeError, ValueError, OSError, OverflowError) as error:
        message = " ".join(str(error).split())
        reason = re.sub(r"^.*?Parser key \"value\":\s*", "", message)
        return [f"{key}: {value!r:.100}: {reason:.300}"]
    if isinstance(parsed, float) and not math.isfinite(parsed):
        return [f"{key}: {value!r:.100} is not finite"]
    return []


def _wanted(members: Iterable[Any], classes: tuple[type, ...]) -> str:
    names = [_name(member) for member in members if member not in classes]
    return " or ".join([*(f"a class_path of a {c.__name__}" for c in classes), *names])


def _name(annotation: Any) -> str:
    if get_origin(annotation) in _MAPPINGS and len(get_args(annotation)) == 2:
        return f"a mapping of names to {_name(_members(get_args(annotation)[1])[0])}"
    return getattr(annotation, "__name__", str(annotation))


def _own_ranges(key: str, cls: type | UserClass, arguments: dict[str, Any]) -> list[str]:
    """What one of Kairos' own settings classes (frozen dataclasses) finds wrong with its values."""
    if isinstance(cls, UserClass) or not dataclasses.is_dataclass(cls) or not is_known(f"{cls.__module__}."):
        return []
    plain = {name: value for name, value in arguments.items() if _is_plain(value)}  # objects are not built here
    needed = {f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING}
    if cls.__module__.partition(".")[0] not in _OWN or not needed & arguments.keys() <= plain.keys():
        return []
    try:
        cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()})
    except (ValueError, TypeError) as error:
        return [f"{key}: {error}"]
    return []


def _is_plain(value: Any) -> bool:
    return not isinstance(value, dict) or ("class_path" not in value and all(_is_plain(v) for v in value.values()))
