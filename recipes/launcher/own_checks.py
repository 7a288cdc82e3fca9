"""What Kairos' own classes find wrong with their arguments, without building what needs torch.

Two kinds of checks are run, from the text of the class (`recipes.launcher.source.excerpts`): those that a settings
class (a dataclass) makes of itself, and those with which a constructor begins or goes on: ``if ...: raise ValueError``.
"""

from __future__ import annotations

import ast
import importlib
from typing import Any

from recipes.launcher.source.excerpts import Excerpts, ImportNeededError, Unimported
from recipes.launcher.source.read_classes import ReadClass
from recipes.launcher.source.source_modules import SourceModule, Sources

_OBJECT = Unimported("an object that is not built")


class OwnChecks:
    """Runs the checks of classes on arguments that are each of the right type.

    Args:
        sources: of Kairos' modules.
    """

    def __init__(self, sources: Sources) -> None:
        self._excerpts = Excerpts(sources)

    def of_settings(self, cls: ReadClass, arguments: dict[str, Any]) -> str | None:
        """What a dataclass finds wrong with its values; None where that is nothing."""
        try:
            return _complaint(self._excerpts.value(cls.module, cls.name), arguments)
        except ImportNeededError:
            return _complaint(_imported(cls), arguments)

    def of_constructor(self, cls: ReadClass, arguments: dict[str, Any]) -> list[str]:
        """What the constructors of a class refuse in as many words.

        Args:
            cls: of Kairos.
            arguments: with those that are objects left as the mappings or class paths that name them.
        """
        found = []
        for known in cls.read_order:
            init = known.statement("__init__")
            if isinstance(init, ast.FunctionDef):
                found += self._refusals(known.module, init, arguments)
                if init.args.kwarg is None:
                    break
        return found

    def _refusals(self, module: SourceModule, init: ast.FunctionDef, arguments: dict[str, Any]) -> list[str]:
        """One for each check that fails; a check that needs an object, or what an earlier line made, is left out."""
        taken = [a.arg for a in (*init.args.posonlyargs, *init.args.args, *init.args.kwonlyargs)]
        found = []
        for statement in init.body:
            if not (isinstance(statement, ast.If) and all(isinstance(inner, ast.Raise) for inner in statement.body)):
                continue
            defaults = {"name": "check", "body": [statement], "decorator_list": [], "returns": None}
            try:
                check = self._excerpts.executed(module, ast.FunctionDef(**{**vars(init), **defaults}))
                check(_OBJECT, **{name: _plain(value) for name, value in arguments.items() if name in taken})
            except ValueError as error:
                found.append(str(error))
            except (ImportNeededError, NameError, TypeError, AttributeError, LookupError):
                continue
        return found

    def attribute(self, cls: ReadClass, name: str) -> Any:
        """The value that the body of a class gives a name; None if it gives it none."""
        statement = cls.statement(name)
        if not isinstance(statement, ast.AnnAssign) or statement.value is None:
            return None
        try:
            return self._excerpts.evaluated(cls.module, statement.value)
        except ImportNeededError:
            return getattr(_imported(cls), name)


class _Settings(dict[str, Any]):
    """Settings within settings: their values by attribute, as the object that they become would have them."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error


def _complaint(cls: Any, arguments: dict[str, Any]) -> str | None:
    try:
        cls(**{name: _as_built(value) for name, value in arguments.items()})
    except (ValueError, TypeError) as error:
        return str(error)
    except AttributeError:  # a check that looks at what inner settings do or leave to their defaults
        return None
    return None


def _as_built(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_as_built, value))
    return _Settings((key, _as_built(inner)) for key, inner in value.items()) if isinstance(value, dict) else value


def _plain(value: Any) -> Any:
    """A value as a constructor would get it, if it is plain; what names an object stands for one."""
    return _OBJECT if isinstance(value, dict) and ("class_path" in value or "init_args" in value) else value


def _imported(cls: ReadClass) -> Any:
    return getattr(importlib.import_module(cls.module.path), cls.name)
