"""Parts of Kairos' own modules, run without the modules around them.

What is asked for is built from its own text: a class statement with the methods that its checks use, the constants and
functions that those use, and so on through the modules of Kairos. A name of another package, such as ``torch``, stands
for something that nothing may use: whoever does is told with an `ImportNeededError`.
"""

from __future__ import annotations
import __future__

import ast
import importlib
import sys
from typing import Any, NoReturn

from recipes.launcher.source.source_modules import OWN, Definition, Outside, SourceModule, Sources


class ImportNeededError(Exception):
    """An excerpt uses something that was not imported."""


class Unimported:
    """Stands for something that an excerpt may hand on and compare with None, and not use."""

    def __init__(self, path: str) -> None:
        self._path = path

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise ImportNeededError(self._path)

    __getattr__ = __getitem__ = __call__ = __instancecheck__ = __mro_entries__ = __iter__ = __or__ = _refuse
    __bool__ = __len__ = __contains__ = __eq__ = __lt__ = __gt__ = __le__ = __ge__ = _refuse
    __hash__ = object.__hash__


class Excerpts:
    """Builds parts of modules; what was built once is there for the next part.

    Args:
        sources: of Kairos' modules.
    """

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._namespaces: dict[str, dict[str, Any]] = {}

    def value(self, module: SourceModule, name: str) -> Any:
        """What a module has under a name.

        Raises:
            ImportNeededError: building it needs what is not imported.
        """
        self._define(module, name)
        return self._namespace(module)[name]

    def evaluated(self, module: SourceModule, expression: ast.expr) -> Any:
        """The value of an expression in a module."""
        self._define_names(module, expression)
        code = compile(ast.Expression(expression), str(module.file), "eval")
        return eval(code, self._namespace(module))

    def executed(self, module: SourceModule, statement: ast.FunctionDef) -> Any:
        """A function as it would be in a module, which keeps what it has itself under that name."""
        self._define_names(module, statement)
        own: dict[str, Any] = {}
        exec(_compiled(statement, module), self._namespace(module), own)
        return own[statement.name]

    def _namespace(self, module: SourceModule) -> dict[str, Any]:
        return self._namespaces.setdefault(module.path, {"__name__": __name__, "__file__": str(module.file)})

    def _define_names(self, module: SourceModule, node: ast.AST) -> None:
        for used in _names(node):
            self._define(module, used)

    def _define(self, module: SourceModule, name: str) -> None:
        """Puts what a module calls by a name into its namespace, with all that this uses itself."""
        namespace = self._namespace(module)
        if name in namespace:
            return
        if name in module.definitions:
            namespace[name] = Unimported(f"{module.path}.{name}")  # while it is being defined
            statement = _needed(module.definitions[name])
            self._define_names(module, statement)
            exec(_compiled(statement, module), namespace)
        elif name in module.imported:
            namespace[name] = self._elsewhere(module.imported[name])

    def _elsewhere(self, path: str) -> Any:
        found = self.sources.find(path)
        if isinstance(found, Definition) and found.module.path.partition(".")[0] in OWN:
            return self.value(found.module, found.name)
        if isinstance(found, Outside) and found.path.partition(".")[0] in sys.stdlib_module_names:
            return _of_python(found.path)
        return Unimported(path)


def _of_python(path: str) -> Any:
    """A module of the standard library, or what one of them has under a name."""
    package, _, name = path.rpartition(".")
    try:
        return importlib.import_module(path)
    except ImportError:
        return getattr(importlib.import_module(package), name)


def _compiled(statement: ast.stmt, module: SourceModule) -> Any:
    flags = __future__.annotations.compiler_flag
    return compile(ast.Module([statement], []), str(module.file), "exec", flags, dont_inherit=True)


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
