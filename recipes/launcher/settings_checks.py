"""What Kairos' own settings classes (frozen dataclasses) find wrong with their values, without the modules around them.

The class is built from its own text: the class statement, the constants and functions that its check uses, and so on
through the modules of Kairos. A name of another package, such as ``torch``, stands for nothing there; where a check
does use one, the module is imported after all.
"""

from __future__ import annotations
import __future__

import ast
import importlib
import sys
from typing import Any, NoReturn

from recipes.launcher.source.read_classes import ReadClass
from recipes.launcher.source.source_modules import OWN, Definition, Outside, SourceModule, Sources


class SettingsChecks:
    """Args:
    sources: of Kairos' modules.
    """

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._namespaces: dict[str, dict[str, Any]] = {}

    def mistake(self, cls: ReadClass, arguments: dict[str, Any]) -> str | None:
        """What a class of Kairos finds wrong with its arguments; None where that is nothing."""
        try:
            return _complaint(self._value(cls.module, cls.name), arguments)
        except _ImportNeededError:
            return _complaint(_real(cls), arguments)

    def attribute(self, cls: ReadClass, name: str) -> Any:
        """The value that the body of a class of Kairos gives a name; None if it gives it none."""
        statement = cls.statement(name)
        if not isinstance(statement, ast.AnnAssign) or statement.value is None:
            return None
        try:
            for used in _names(statement.value):
                self._define(cls.module, used)
            return eval(_compiled(ast.Expression(statement.value), cls.module), self._namespace(cls.module))
        except _ImportNeededError:
            return getattr(_real(cls), name)

    def _value(self, module: SourceModule, name: str) -> Any:
        self._define(module, name)
        return self._namespace(module)[name]

    def _namespace(self, module: SourceModule) -> dict[str, Any]:
        return self._namespaces.setdefault(module.path, {"__name__": __name__, "__file__": str(module.file)})

    def _define(self, module: SourceModule, name: str) -> None:
        """Puts what a module calls by a name into its namespace, with all that this uses itself."""
        namespace = self._namespace(module)
        if name in namespace:
            return
        if name in module.definitions:
            namespace[name] = _Unimported(f"{module.path}.{name}")  # while it is being defined
            statement = _needed(module.definitions[name])
            for used in _names(statement):
                self._define(module, used)
            exec(_compiled(ast.Module([statement], []), module), namespace)
        elif name in module.imported:
            namespace[name] = self._elsewhere(module.imported[name])

    def _elsewhere(self, path: str) -> Any:
        found = self.sources.find(path)
        if isinstance(found, Definition) and found.module.path.partition(".")[0] in OWN:
            return self._value(found.module, found.name)
        if isinstance(found, Outside) and found.path.partition(".")[0] in sys.stdlib_module_names:
            return _of_python(found.path)
        return _Unimported(path)


class _ImportNeededError(Exception):
    """A check uses something that was not imported."""


class _Unimported:
    """Stands for something of another package, which nothing may use."""

    def __init__(self, path: str) -> None:
        self._path = path

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise _ImportNeededError(self._path)

    __getattr__ = __getitem__ = __call__ = __instancecheck__ = __mro_entries__ = __iter__ = __or__ = _refuse


def _complaint(cls: Any, arguments: dict[str, Any]) -> str | None:
    try:
        cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()})
    except (ValueError, TypeError) as error:
        return str(error)
    return None


def _real(cls: ReadClass) -> Any:
    return getattr(importlib.import_module(cls.module.path), cls.name)


def _of_python(path: str) -> Any:
    """A module of the standard library, or what one of them has under a name."""
    package, _, name = path.rpartition(".")
    try:
        return importlib.import_module(path)
    except ImportError:
        return getattr(importlib.import_module(package), name)


def _compiled(node: ast.Module | ast.Expression, module: SourceModule) -> Any:
    mode = "exec" if isinstance(node, ast.Module) else "eval"
    return compile(node, str(module.file), mode, __future__.annotations.compiler_flag, dont_inherit=True)


def _needed(statement: ast.stmt) -> ast.stmt:
    """A statement; of a class its fields, and the methods that its check of itself uses."""
    if not isinstance(statement, ast.ClassDef):
        return statement
    methods = {node.name: node for node in statement.body if isinstance(node, ast.FunctionDef)}
    used, rest = set[str](), ["__init__", "__post_init__", "__new__"]
    while rest:
        name = rest.pop()
        if name in methods and name not in used:
            used.add(name)
            rest += [node.attr for node in ast.walk(methods[name]) if isinstance(node, ast.Attribute)]
    body = [node for node in statement.body if getattr(node, "name", None) not in methods.keys() - used]
    return ast.ClassDef(**{**vars(statement), "body": body})


def _names(node: ast.AST) -> set[str]:
    """The names that a statement uses, apart from those in annotations."""
    if isinstance(node, ast.Name):
        return {node.id}
    children = [child for field, child in ast.iter_fields(node) if field not in ("annotation", "returns")]
    nodes = [n for child in children for n in (child if isinstance(child, list) else [child])]
    return {name for n in nodes if isinstance(n, ast.AST) for name in _names(n)}
