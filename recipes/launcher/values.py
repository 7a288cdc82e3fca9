"""A recipe's values against the annotations of the arguments that they are for."""

from __future__ import annotations

import collections.abc
import functools
import operator
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from recipes.launcher.class_paths import RecipeClasses, is_known, restrict_imports
from recipes.launcher.leaves import is_leaf, of_leaf, takes_text
from recipes.launcher.merge import MISSING
from recipes.launcher.mistakes import unknown, written
from recipes.launcher.own_checks import OwnChecks
from recipes.launcher.source.read_annotations import Annotations, InputPath, members_of
from recipes.launcher.source.read_classes import ReadClass
from recipes.launcher.source.source_modules import OWN, Outside

_SEQUENCES = (list, tuple, set, collections.abc.Sequence, collections.abc.Iterable)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class Values:
    """Holds values against annotations, for one recipe.

    Args:
        folders: that may hold classes of the person's own.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._classes = RecipeClasses(folders)
        self._annotations = Annotations(self._classes.read)
        self._checks = OwnChecks(self._classes.sources)
        self.inputs: list[tuple[str, str]] = []
        """Files and folders that are to be read, by the keys that name them."""
        restrict_imports()  # judging a leaf may import nothing

    def base(self, path: str) -> ReadClass:
        """A class that others are derived from, by a path that is known to be right."""
        return self._classes.read.at(path)

    def of_class(self, key: str, node: Any, bases: tuple[ReadClass | Outside, ...]) -> list[str]:
        """A ``class_path`` node, or a class path alone, of a class derived from one of those."""
        if isinstance(node, str):
            node = {"class_path": node}
        if not isinstance(node, dict) or "class_path" not in node:
            return [f"{key}: needs a class_path of a {_names(bases)}"]
        allowed = ("class_path", "init_args")
        found = [unknown(f"{key}.{name}", name, allowed) for name in node if name not in allowed]
        try:
            cls = self._derived(str(node["class_path"]), bases)
        except ValueError as error:
            return [*found, f"{key}.class_path: {error}"]
        return [*found, *self.of_arguments(f"{key}.init_args", cls, node.get("init_args") or {})]

    def _derived(self, path: str, bases: tuple[ReadClass | Outside, ...]) -> ReadClass:
        """The class of that path.

        Raises:
            ValueError: there is none, or it is derived from none of those bases.
        """
        cls = self._classes.find(path)
        if not any(cls.is_derived_from(base) for base in bases):
            raise ValueError(f"{path} is not a {_names(bases)}")
        return cls

    def _of_bare_class(self, key: str, path: str, bases: tuple[ReadClass | Outside, ...]) -> list[str]:
        """The path of a class that is handed over as it is, without arguments."""
        try:
            self._derived(path, bases)
        except ValueError as error:
            return [f"{key}: {error}"]
        return []

    def of_arguments(self, key: str, cls: ReadClass, arguments: Any) -> list[str]:
        """Arguments of a class: none unknown, none missing, each of its type."""
        if not isinstance(arguments, dict):
            return [f"{key}: expected a mapping of arguments, got {arguments!r:.100}"]
        parameters = cls.arguments
        found = [self._unknown(key, given, cls) for given in arguments if given not in parameters]
        for parameter in parameters.values():
            if parameter.name in arguments:
                value = arguments[parameter.name]
                found += self.of_value(f"{key}.{parameter.name}", value, self._annotations.of(parameter))
            elif parameter.required:
                found.append(f"{key}.{parameter.name}: missing; {cls.name} needs it")
        return found or self._own_ranges(key, cls, arguments)

    def _unknown(self, key: str, given: str, cls: ReadClass) -> str:
        """What to say of an argument that a class does not take, or takes no longer."""
        for known in cls.read_order:
            former = (self._checks.attribute(known, "former_keys") if is_known(known.path) else None) or {}
            if given in former:
                return f"{key}.{given}: {former[given]}"
        return unknown(f"{key}.{given}", given, cls.arguments)

    def _own_ranges(self, key: str, cls: ReadClass, arguments: dict[str, Any]) -> list[str]:
        """What one of Kairos' own classes finds wrong with values that are each of the right type."""
        if cls.path.partition(".")[0] not in OWN or not is_known(cls.path):
            return []
        if not cls.is_dataclass:
            return [f"{key}: {refusal}" for refusal in self._checks.of_constructor(cls, arguments)]
        plain = {name: value for name, value in arguments.items() if _is_plain(value)}  # objects are not built here
        if any(parameter.required and name not in plain for name, parameter in cls.arguments.items()):
            return []
        mistake = self._checks.of_settings(cls, plain)
        return [] if mistake is None else [f"{key}: {mistake}"]

    def of_value(self, key: str, value: Any, annotation: Any) -> list[str]:
        """A value against an annotation; ``???`` is for the command line to fill in."""
        if isinstance(value, str) and value == MISSING:
            return [f"{key}: needs a value"]
        members = members_of(annotation)
        if InputPath in members:
            members = [str if member is InputPath else member for member in members]
            self.inputs += [(key, value)] * isinstance(value, str)
        if Any in members or (value is None and type(None) in members):
            return []
        classes = tuple(member for member in members if _is_component(member))
        if isinstance(value, dict):
            return self._of_mapping(key, value, members, classes)
        if isinstance(value, list):
            return self._of_list(key, value, members)
        leaves = [member for member in members if is_leaf(member)]
        if isinstance(value, str) and not leaves and (misplaced := self._one_deeper(key, value, classes)):
            return misplaced
        if classes and isinstance(value, str) and ("." in value or not any(takes_text(leaf) for leaf in leaves)):
            return self.of_class(key, value, classes)
        bare = tuple(get_args(member)[0] for member in members if get_origin(member) is type)
        if bare and isinstance(value, str):
            return self._of_bare_class(key, value, bare)
        if leaves:
            return of_leaf(key, value, functools.reduce(operator.or_, leaves))
        return [f"{key}: {value!r:.100} is not {_wanted(members, classes)}"]

    def _of_mapping(
        self, key: str, value: dict, members: list[Any], classes: tuple[ReadClass | Outside, ...]
    ) -> list[str]:
        settings = [known for known in classes if isinstance(known, ReadClass) and known.is_dataclass]
        if "class_path" in value and (misplaced := self._one_deeper(key, value, classes)):
            return misplaced
        if classes and ("class_path" in value or len(settings) < len(classes)):
            return self.of_class(key, value, classes)
        if settings:
            return self.of_arguments(key, settings[0], value)
        for member in members:
            if get_origin(member) in _MAPPINGS and len(get_args(member)) == 2:
                inner = get_args(member)[1]
                return [m for name, v in value.items() for m in self.of_value(f"{key}.{name}", v, inner)]
        if any(member in _MAPPINGS for member in members):
            return []
        return [f"{key}: a mapping is not {_wanted(members, classes)}"]

    def _one_deeper(self, key: str, value: Any, classes: tuple[ReadClass | Outside, ...]) -> list[str]:
        """What to say of a value that stands in the place of settings, and belongs under the one key that they need."""
        settings = classes[0] if len(classes) == 1 else None
        if not isinstance(settings, ReadClass) or not settings.is_dataclass:
            return []
        needed = [argument for argument in settings.arguments.values() if argument.required]
        path = value["class_path"] if isinstance(value, dict) else value
        if len(needed) != 1 or not self._of_bare_class(key, str(path), classes):
            return []
        name, inner = key.rpartition(".")[2], needed[0].name
        others = [f"{other!r}" for other in settings.arguments if other != inner]
        beside = f"; {' and '.join(others)} may stand beside it" if others else ""
        sentence = f"{key}: {path} belongs under {inner!r} here; write {written({name: {inner: value}})}{beside}"
        return [sentence, *self.of_value(f"{key}.{inner}", value, self._annotations.of(needed[0]))]

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


def _is_component(annotation: Any) -> bool:
    """Whether an annotation is a class that a ``class_path`` may stand for."""
    return isinstance(annotation, ReadClass) or (
        isinstance(annotation, Outside) and annotation.path.startswith("torch.")
    )


def _names(bases: tuple[ReadClass | Outside, ...]) -> str:
    return " or ".join(base.name for base in bases)


def _wanted(members: Iterable[Any], classes: tuple[ReadClass | Outside, ...]) -> str:
    names = [_name(member) for member in members if member not in classes]
    return " or ".join([*(f"a class_path of a {c.name}" for c in classes), *names])


def _name(annotation: Any) -> str:
    if get_origin(annotation) in _MAPPINGS and len(get_args(annotation)) == 2:
        return f"a mapping of names to {_name(members_of(get_args(annotation)[1])[0])}"
    if isinstance(annotation, ReadClass | Outside):
        return annotation.name
    return getattr(annotation, "__name__", str(annotation))


def _is_plain(value: Any) -> bool:
    return not isinstance(value, dict) or ("class_path" not in value and all(_is_plain(v) for v in value.values()))
