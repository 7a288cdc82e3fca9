"""How a recipe's text becomes values: one reading for files and for the command line.

YAML 1.2's core schema, as most people take YAML to be. PyYAML reads YAML 1.1, in which ``1e-5`` is text, ``yes`` is
true and ``12:30`` is 750. Whoever wrote a file, reading it takes a second at most: files that are large, deep or grow
through anchors are refused while they are read, and values are plain (no tags), finite, and named once.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from recipes.launcher.guard import ROOT

_PLAIN = {
    "null": r"^(?:~|null|Null|NULL|)$",
    "bool": r"^(?:true|True|TRUE|false|False|FALSE)$",
    "int": r"^[-+]?[0-9]+$|^0x[0-9a-fA-F]+$",
    "float": r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN)$",
    "merge": r"^<<$",
}
_STRUCTURED = ("{", "[", '"', "'")  # what a value begins with that is more than plain words
MOST_BYTES, MOST_VALUES, DEEPEST = 256 * 1024, 10_000, 50
"""Of a file; the largest recipe that comes with Kairos has 7 KiB and 151 values."""
_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}
_TEXT_TAG = "tag:yaml.org,2002:str"
_OWN_FOLDER = "recipes/"
_LOCAL_SCHEMA = "local-dir:"


class RecipeLoader(yaml.SafeLoader):
    """`yaml.SafeLoader` with YAML 1.2's plain values, which gives up on what is too much."""

    yaml_implicit_resolvers: dict[Any, Any] = {}

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._num_values, self._depth = 0, 0
        self._extent: dict[int, tuple[int, int]] = {}  # of each finished node: values in it, and levels

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node; those that an alias repeats count again, as they will lie in the recipe again."""
        is_alias, before = self.check_event(yaml.AliasEvent), self._num_values
        self._depth, self._num_values = self._depth + 1, before + 1
        self._check_extent(levels=0)
        node = super().compose_node(parent, index)
        if is_alias:
            values, levels = self._extent.get(id(node), (MOST_VALUES, 0))  # one that holds itself is not finished
            self._num_values += values
            self._check_extent(levels)
        elif node is not None:
            self._check_plain(node)
            children = [n for n in _children(node) if id(n) in self._extent]
            levels = 1 + max((self._extent[id(n)][1] for n in children), default=0)
            self._extent[id(node)] = (self._num_values - before, levels)
        self._depth -= 1
        return node

    def _check_extent(self, levels: int) -> None:
        if self._num_values > MOST_VALUES:
            raise yaml.YAMLError(f"more than {MOST_VALUES} values, anchors written out; a recipe has a few hundred")
        if self._depth + levels > DEEPEST:
            raise yaml.YAMLError(f"nested more than {DEEPEST} levels deep")

    @staticmethod
    def _check_plain(node: yaml.Node) -> None:
        """Nothing but plain values under names that occur once."""
        where = f"line {node.start_mark.line + 1}"
        if node.tag not in _PLAIN_TAGS:
            raise yaml.YAMLError(f"{where}: {node.tag.rpartition(':')[2]!r} is a tag; a recipe has plain values alone")
        names = [key for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
        for key in names:
            if key.tag not in (_TEXT_TAG, "tag:yaml.org,2002:merge"):
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: the key {key.value!r:.80} is no text")
        counts = Counter(str(key.value) for key in names)
        if repeated := [text for text, count in counts.items() if count > 1]:
            raise yaml.YAMLError(f"{where}: the key {repeated[0]!r:.80} is there twice")

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A leading zero means nothing, as in decimal numbers everywhere else."""
        text = str(self.construct_scalar(node))
        if len(text) > 20 or abs(number := int(text, 16) if text.startswith("0x") else int(text)) >= 2**63:
            raise yaml.YAMLError(f"{text[:30]} is a whole number beyond 64 bits")
        return number

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """A finite number."""
        number = super().construct_yaml_float(node)
        if not math.isfinite(number):
            raise yaml.YAMLError(f"{str(node.value)[:30]} is not finite; null is what stands for no limit")
        return number


def _children(node: yaml.Node) -> list[yaml.Node]:
    """What lies in a node."""
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


for _tag, _pattern in _PLAIN.items():
    RecipeLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), None)
RecipeLoader.add_constructor("tag:yaml.org,2002:int", RecipeLoader.construct_yaml_int)
RecipeLoader.add_constructor("tag:yaml.org,2002:float", RecipeLoader.construct_yaml_float)


def read_text(path: Path) -> str:
    """A text file.

    Raises:
        ValueError: it is a folder, a device or a pipe, longer than `MOST_BYTES`, not UTF-8, or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("no plain file; folders, devices and pipes are not read")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise ValueError(f"longer than {MOST_BYTES // 1024} KiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not text in UTF-8: byte {error.start} is 0x{content[error.start]:02x}") from error


def read_file(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        ValueError: it cannot be read, is no YAML, or holds what no recipe holds; one sentence.
    """
    return content_of(read_text(path))


def content_of(text: str) -> Any:
    """The content of a recipe's text.

    Raises:
        ValueError: it is too long, no YAML, or holds what no recipe holds; one sentence.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"longer than {MOST_BYTES // 1024} KiB")
    try:
        return yaml.load(text, RecipeLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"not YAML of a recipe: {' '.join(str(error).split())[:300]}") from error


def read_value(text: str) -> Any:
    """A value of the command line: a number, a truth value, null, a ``[list]``, a ``{mapping}``, else the text itself.

    Words stay as they were typed: ``Which is last: a circle?`` is no mapping and ``# of cups?`` no comment.

    Raises:
        ValueError: a number that is not finite, or beyond 64 bits.
    """
    if text.lstrip().startswith(_STRUCTURED):
        try:
            return yaml.load(text, RecipeLoader)
        except (yaml.YAMLError, ValueError):
            return text
    loader = RecipeLoader("")
    tag = loader.resolve(yaml.ScalarNode, text.strip(), (True, False))
    if tag == _TEXT_TAG:
        return text
    try:
        return loader.construct_object(yaml.ScalarNode(tag, text.strip()))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


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
    if path.startswith(_OWN_FOLDER) and not os.path.exists(path) and os.path.exists(ROOT / path):
        return f"{schema}{ROOT / path}"
    return node
