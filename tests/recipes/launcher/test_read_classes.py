"""Classes read from their text: by hand, and each that a recipe may name against what Python makes of it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from recipes.launcher.class_paths import KNOWN
from recipes.launcher.source.read_annotations import Annotations, InputPath, OneOf, members_of
from recipes.launcher.source.read_classes import Classes, ReadClass
from recipes.launcher.source.source_modules import OWN, Outside, Sources

BASE = """
from __future__ import annotations
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Optional
if TYPE_CHECKING:
    from modules.rewards.base import Reward
Size = Literal["small", "large"]
class Base(ABC):
    def __init__(self, a: int, *, b: Optional[str] = None, reward: Reward | None = None) -> None: ...
    @abstractmethod
    def go(self): ...
    @property
    @abstractmethod
    def name(self): ...
@dataclass(frozen=True)
class Settings:
    kind: ClassVar[str] = "x"
    size: Size = "small"
    numbers: list[float] = field(default_factory=list)
    made: int = field(init=False)
    last: "tuple[int, ...] | None" = field()
"""
DERIVED = """
from . import base
from .base import Base as Renamed, Settings
class Mixin: pass
class Derived(Mixin, Renamed):
    name = "derived"
    def __init__(self, c: float = 1.0, b: int = 0, **kwargs): super().__init__(**kwargs)
class Whole(Derived):
    def go(self): ...
@base.dataclass
class More(Settings):
    more: base.Size = "large"
    last: int = 3
class Ring(Ring2): pass
class Ring2(Ring): pass
"""


@pytest.fixture
def classes(tmp_path: Path) -> Classes:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/__init__.py").write_text("from own.derived import *\n")
    (tmp_path / "own/base.py").write_text(BASE)
    (tmp_path / "own/derived.py").write_text(DERIVED)
    return Classes(Sources([tmp_path]))


def test_arguments_are_those_of_the_constructor_and_of_what_it_passes_on(classes: Classes) -> None:
    derived, annotations = classes.at("own.derived.Derived"), Annotations(classes)
    assert {n: a.required for n, a in derived.arguments.items()} == {"c": False, "b": False, "a": True, "reward": False}
    assert annotations.of(derived.arguments["b"]) is int
    reward, none = members_of(annotations.of(derived.arguments["reward"]))
    assert (reward.path, none) == ("modules.rewards.base.Reward", type(None))


def test_fields_of_a_dataclass(classes: Classes) -> None:
    more, annotations = classes.at("own.derived.More"), Annotations(classes)
    assert {n: a.required for n, a in more.arguments.items()} == {
        "size": False,
        "numbers": False,
        "last": False,
        "more": False,
    }
    assert classes.at("own.base.Settings").arguments["last"].required
    assert annotations.of(more.arguments["more"]) == typing.Literal["small", "large"]
    assert annotations.of(more.arguments["last"]) is int
    assert annotations.of(classes.at("own.base.Settings").arguments["last"]) == OneOf((tuple[int, ...], type(None)))


def test_what_a_class_is(classes: Classes) -> None:
    derived, whole = classes.at("own.derived.Derived"), classes.at("own.Whole")
    assert [known.path for known in whole.order] == [
        "own.derived.Derived",
        "own.derived.Mixin",
        "own.base.Base",
        "abc.ABC",
    ]
    assert (derived.is_abstract, whole.is_abstract) == (True, False)
    assert whole.is_derived_from(classes.at("own.derived.Renamed"))
    assert not whole.is_derived_from(classes.at("own.base.Settings"))
    assert classes.at("own.derived.More").is_dataclass
    with pytest.raises(ValueError, match="is derived from itself"):
        classes.at("own.derived.Ring")


def known_modules() -> Iterator[types.ModuleType]:
    for package in KNOWN:
        top = importlib.import_module(package)
        yield top
        if package.partition(".")[0] in OWN:
            for found in pkgutil.walk_packages(getattr(top, "__path__", ()), f"{package}."):
                yield importlib.import_module(found.name)


def named() -> dict[str, type]:
    """Every class that a known package defines, by each path that a recipe may give it."""
    roots = (*OWN, "lightning")
    found = {f"{module.__name__}.{name}": cls for module in known_modules() for name, cls in vars(module).items()}
    return {p: c for p, c in found.items() if isinstance(c, type) and c.__module__.partition(".")[0] in roots}


def parameters_of(cls: type) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """What Python knows of a constructor and of those that its ``**kwargs`` go to."""
    parameters: dict[str, inspect.Parameter] = {}
    hints: dict[str, Any] = {}
    for function in [base.__init__ for base in cls.__mro__[:-1] if "__init__" in vars(base)]:
        own = inspect.signature(function).parameters.values()
        known = [p for p in own if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]
        parameters = {p.name: p for p in known} | parameters
        try:
            hints = get_type_hints(function) | hints
        except NameError:  # names that only a type checker has
            hints = dict.fromkeys([p.name for p in known]) | hints
        if not any(p.kind is p.VAR_KEYWORD for p in own):
            break
    return parameters, hints


def text_of(annotation: Any, name_of: Callable[[Any], str]) -> str:
    """An annotation in one form, whichever of the two readings it comes from."""
    texts = []
    for member in members_of(annotation):
        origin, inner = get_origin(member), get_args(member)
        if origin is None or origin is typing.Literal or not isinstance(origin, type):
            texts.append(name_of(member))
        elif origin in (list, tuple, dict, type, set) or origin.__name__ in ("Sequence", "Iterable", "Mapping"):
            texts.append(f"{origin.__name__}[{', '.join(text_of(each, name_of) for each in inner)}]")
        else:
            texts.append(origin.__name__)
    return " | ".join(sorted(texts))


def name_of(member: Any) -> str:
    if member is InputPath:
        return "str"
    if member in (Any, object):
        return "Any"
    if isinstance(member, ReadClass):
        return member.path
    if isinstance(member, Outside):  # where it is taken from is not always where it is defined
        return member.name
    if isinstance(member, type) and member.__module__.partition(".")[0] in (*OWN, "lightning"):
        return f"{member.__module__}.{member.__qualname__}"
    return getattr(member, "__name__", repr(member)) if isinstance(member, type) else repr(member)


NOT_READ = {"LookaheadLoader"}  # it passes its arguments on to torch's, and no recipe names it


@pytest.mark.slow
def test_every_class_that_a_recipe_may_name_is_read_as_python_has_it() -> None:
    classes = Classes(Sources())
    annotations = Annotations(classes)
    compared, found = 0, {p: c for p, c in named().items() if "graveyard" not in c.__module__}
    assert len(found) > 500
    for path, cls in found.items():
        read = classes.at(path)
        assert read.path == f"{cls.__module__}.{cls.__qualname__}"
        order = [base for base in cls.__mro__ if base.__module__.partition(".")[0] in (*OWN, "lightning")]
        assert [k.path for k in read.read_order] == [f"{base.__module__}.{base.__qualname__}" for base in order]
        assert read.is_abstract == inspect.isabstract(cls), path
        assert read.is_dataclass == dataclasses.is_dataclass(cls), path
        if cls.__name__ in NOT_READ:
            continue
        parameters, hints = parameters_of(cls)
        assert read.arguments.keys() == parameters.keys(), path
        for name, parameter in parameters.items():
            argument = read.arguments[name]
            assert argument.required == (parameter.default is inspect.Parameter.empty), f"{path}.{name}"
            hint = hints.get(name, Any)
            if hint is not None and not _is_of_no_recipe(hint):
                compared += 1
                texts = [text_of(each, name_of) for each in (annotations.of(argument), hint)]
                assert texts[0] == texts[1], f"{path}.{name}"
    assert compared > 2000


def _is_of_no_recipe(hint: Any) -> bool:
    """Types of Python that no recipe can write, and that stay unread."""
    return any(word in str(hint) for word in ("memoryview", "Future", "Counter", "TypeVar", "~"))
