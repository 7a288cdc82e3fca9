"""How a recipe's text becomes values: one reading for files and for the command line.

YAML 1.2's core schema, as most people take YAML to be. PyYAML reads YAML 1.1, in which ``1e-5`` is text, ``yes`` is
true and ``12:30`` is 750.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from recipes.guard import ROOT

_PLAIN = {
    "null": r"^(?:~|null|Null|NULL|)$",
    "bool": r"^(?:true|True|TRUE|false|False|FALSE)$",
    "int": r"^[-+]?[0-9]+$|^0x[0-9a-fA-F]+$",
    "float": r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN)$",
    "merge": r"^<<$",
}
_STRUCTURED = ("{", "[", '"', "'")  # what a value begins with that is more than plain words
_OWN_FOLDER = "recipes/"
_LOCAL_SCHEMA = "local-dir:"


class RecipeLoader(yaml.SafeLoader):
    """`yaml.SafeLoader` with YAML 1.2's plain values."""

    yaml_implicit_resolvers: dict[Any, Any] = {}

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A leading zero means nothing, as in decimal numbers everywhere else."""
        text = str(self.construct_scalar(node))
        return int(text, 16) if text.startswith("0x") else int(text)


for _tag, _pattern in _PLAIN.items():
    RecipeLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), None)
RecipeLoader.add_constructor("tag:yaml.org,2002:int", RecipeLoader.construct_yaml_int)


def read_file(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        yaml.YAMLError: it is none.
    """
    return yaml.load(path.read_text(), RecipeLoader)


def read_value(text: str) -> Any:
    """A value of the command line: a number, a truth value, null, a ``[list]``, a ``{mapping}``, else the text itself.

    Words stay as they were typed: ``Which is last: a circle?`` is no mapping and ``# of cups?`` no comment.
    """
    if text.lstrip().startswith(_STRUCTURED):
        try:
            return yaml.load(text, RecipeLoader)
        except yaml.YAMLError:
            return text
    loader = RecipeLoader("")
    tag = loader.resolve(yaml.ScalarNode, text.strip(), (True, False))
    if tag == "tag:yaml.org,2002:str":
        return text
    return loader.construct_object(yaml.ScalarNode(tag, text.strip()))


def with_own_files(node: Any) -> Any:
    """Files that come with Kairos (``recipes/haystack/...``) found beside it where the working folder has none."""
    if isinstance(node, dict):
        return {key: with_own_files(value) for key, value in node.items()}
    if isinstance(node, list):
        return [with_own_files(value) for value in node]
    if not isinstance(node, str):
        return node
    schema = _LOCAL_SCHEMA if node.startswith(_LOCAL_SCHEMA) else ""
    path = node.removeprefix(schema)
    if path.startswith(_OWN_FOLDER) and not Path(path).exists() and (ROOT / path).exists():
        return f"{schema}{ROOT / path}"
    return node
