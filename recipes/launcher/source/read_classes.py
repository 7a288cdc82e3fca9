"""Classes read from their text: bases, abstract methods, and the arguments of their constructors."""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from typing import Any

from recipes.launcher.source.source_modules import Definition, Found, Outside, SourceModule, Sources

_NO_COMPONENTS = {f"builtins.{name}" for name in ("str", "int", "float", "bool", "bytes")} | {
    f"enum.{name}" for name in ("Enum", "IntEnum", "StrEnum", "Flag", "IntFlag")
}
_DEEPEST = 20  # classes between one and the root


@dataclass(frozen=True)
class Argument:
    """One that a constructor takes."""

    name: str
    required: bool
    annotation: ast.expr | None
    module: SourceModule
    """Whose names the annotation uses."""


@dataclass(frozen=True, eq=False)
class ReadClass:
    """A class that was read and not imported."""

    name: str
    path: str
    """Dotted, where it is defined."""
    module: SourceModule
    node: ast.ClassDef
    order: tuple[ReadClass | Outside, ...]
    """Method resolution order, without itself."""

    def is_derived_from(self, other: ReadClass | Outside) -> bool:
        """Whether this is that class, or derived from it."""
        return any(known.path == other.path for known in (self, *self.order))

    @property
    def is_plain_value(self) -> bool:
        """Whether its objects are texts, numbers or choices, which a recipe writes as they are."""
        return any(isinstance(base, Outside) and base.path in _NO_COMPONENTS for base in self.order)

    @property
    def is_dataclass(self) -> bool:
        return any(own.has_own_dataclass_decorator for own in self.read_order)

    @property
    def has_own_dataclass_decorator(self) -> bool:
        calls = (d.func if isinstance(d, ast.Call) else d for d in self.node.decorator_list)
        return any(getattr(d, "attr", getattr(d, "id", "")) == "dataclass" for d in calls)

    @property
    def is_abstract(self) -> bool:
        """Whether a method is left to derived classes."""
        if not any(_is_abc(known) for known in (self, *self.order)):
            return False
        abstract: set[str] = set()
        for known in reversed(self.read_order):
            for name, is_abstract in _methods(known.node):
                (abstract.add if is_abstract else abstract.discard)(name)
        return bool(abstract)

    @property
    def read_order(self) -> list[ReadClass]:
        """This class and those it is derived from, as far as they were read."""
        return [self, *(known for known in self.order if isinstance(known, ReadClass))]

    @functools.cached_property
    def arguments(self) -> dict[str, Argument]:
        """What its constructor takes, with what its ``**kwargs`` pass on to the classes that it is derived from."""
        found: dict[str, Argument] = {}
        for known in self.read_order:
            init = known.statement("__init__")
            if isinstance(init, ast.FunctionDef):
                found |= {a.name: a for a in _arguments(init, known.module) if a.name not in found}
                if init.args.kwarg is None:
                    break
            elif known.has_own_dataclass_decorator:
                found |= {name: field for name, field in known.fields.items() if name not in found}
                break
        return found

    @functools.cached_property
    def fields(self) -> dict[str, Argument]:
        """The fields of a dataclass that its constructor takes, those of its bases first."""
        found: dict[str, Argument] = {}
        for known in reversed(self.read_order):
            for statement in known.node.body if known.has_own_dataclass_decorator else ():
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    name = statement.target.id
                    found[name] = Argument(name, _needs_value(statement), statement.annotation, known.module)
                    if _is_no_argument(statement):
                        del found[name]
        return found

    def statement(self, name: str) -> ast.stmt | None:
        """The statement of its body that defines a name."""
        for statement in self.node.body:
            target = statement.target if isinstance(statement, ast.AnnAssign) else None
            if getattr(statement, "name", getattr(target, "id", None)) == name:
                return statement
        return None


class Classes:
    """Reads classes; each is one object, however it is named.

    Args:
        sources: of their modules.
    """

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._known: dict[str, ReadClass] = {}

    def at(self, path: str) -> ReadClass:
        """A class that is known to be there, such as the base of all models."""
        read = self.read(self.sources.find(path))
        assert read is not None, path
        return read

    def read(self, found: Found | None, depth: int = 0) -> ReadClass | None:
        """The class that was found; None if it is something else.

        Raises:
            ValueError: it is derived from itself.
        """
        if not isinstance(found, Definition) or not isinstance(node := found.node, ast.ClassDef):
            return None
        if found.path not in self._known:
            if depth > _DEEPEST:
                reason = f"is derived from itself, or through more than {_DEEPEST} classes"
                raise ValueError(f"{found.path} {reason}, and so from no class of Kairos")
            bases = [base for named in node.bases if (base := self._base(named, found, depth)) is not None]
            of_bases = [[base, *(base.order if isinstance(base, ReadClass) else ())] for base in bases]
            order = _merged([*of_bases, bases])
            self._known[found.path] = ReadClass(found.name, found.path, found.module, node, tuple(order))
        return self._known[found.path]

    def _base(self, node: ast.expr, within: Definition, depth: int) -> ReadClass | Outside | None:
        base = self.sources.named(within.module, node)
        return base if isinstance(base, Outside) else self.read(base, depth + 1)


def _merged(lists: list[list[Any]]) -> list[Any]:
    """C3, the order in which Python looks through base classes."""
    order: list[Any] = []
    rest = [list(one) for one in lists if one]
    while rest:
        tails = [later for one in rest for later in one[1:]]
        first = next((one[0] for one in rest if one[0] not in tails), rest[0][0])
        order.append(first)
        rest = [left for one in rest if (left := [known for known in one if known != first])]
    return order


def _is_abc(known: ReadClass | Outside) -> bool:
    if isinstance(known, Outside):
        return known.path == "abc.ABC" or known.path.startswith(("collections.abc.", "typing.Protocol"))
    return any(keyword.arg == "metaclass" for keyword in known.node.keywords)


def _methods(node: ast.ClassDef) -> list[tuple[str, bool]]:
    """The names that the body of a class defines, and whether each is abstract."""
    found = []
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [getattr(d, "attr", getattr(d, "id", "")) for d in statement.decorator_list]
            found.append((statement.name, any(name.startswith("abstract") for name in names)))
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            found += [(statement.target.id, False)] if isinstance(statement.target, ast.Name) else []
        elif isinstance(statement, ast.Assign):
            found += [(target.id, False) for target in statement.targets if isinstance(target, ast.Name)]
    return found


def _arguments(init: ast.FunctionDef, module: SourceModule) -> list[Argument]:
    """Those of a constructor that can be given by name, without ``self``."""
    at_positions = [*init.args.posonlyargs, *init.args.args]
    first_default = len(at_positions) - len(init.args.defaults)
    found = [(a, n < first_default) for n, a in enumerate(at_positions)][max(1, len(init.args.posonlyargs)) :]
    found += [(a, default is None) for a, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)]
    return [Argument(a.arg, required, a.annotation, module) for a, required in found]


def _is_no_argument(field: ast.AnnAssign) -> bool:
    """Whether a field of a dataclass is none that its constructor takes."""
    annotation = ast.unparse(field.annotation).strip("'\"")
    if annotation.startswith(("ClassVar", "typing.ClassVar")):
        return True
    given = {k.arg: k.value for k in field.value.keywords} if _is_field(field.value) else {}
    return isinstance(given.get("init"), ast.Constant) and given["init"].value is False


def _needs_value(field: ast.AnnAssign) -> bool:
    """Whether a field of a dataclass has no default."""
    if not _is_field(field.value):
        return field.value is None
    return not {keyword.arg for keyword in field.value.keywords} & {"default", "default_factory"}  # type: ignore


def _is_field(value: ast.expr | None) -> Any:
    """Whether a default is a call of `dataclasses.field`."""
    return isinstance(value, ast.Call) and getattr(value.func, "attr", getattr(value.func, "id", "")) == "field"
