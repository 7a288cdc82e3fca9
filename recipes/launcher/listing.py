"""``lightning ls`` and ``lightning run RECIPE --help``: which recipes there are, and what one of them says."""

from __future__ import annotations

from typing import Any

from recipes.launcher.guard import ROOT
from recipes.launcher.recipe_files import header, own_recipes


def listing() -> str:
    """Each recipe with the first line of its comment."""
    recipes = own_recipes()
    names = [str(p.relative_to(ROOT)) for p in recipes]
    width = max(map(len, names))
    first = [next((line for line in header(str(p)) if line), "") for p in recipes]
    return "\n".join(f"{name:<{width}}  {line}" for name, line in zip(names, first, strict=True))


def describe(recipe: str) -> str:
    """A recipe's opening comment, its shortcuts, and every key with its value, those of its bases among them."""
    from omegaconf import OmegaConf

    from recipes.launcher.merge import merge
    from recipes.launcher.reading import with_own_files

    content: Any = OmegaConf.to_container(merge([recipe], []))
    lines = [*header(with_own_files(recipe)), ""]
    shortcuts = content.pop("shortcuts", None)
    if isinstance(shortcuts, dict):
        lines += ["Short names:", *(f"  --{short:<18} {key}" for short, key in shortcuts.items()), ""]
    lines += ["Keys (--key value overrides; init_args may be left out):"]
    lines += [f"  --{key} {value}" for key, value in _leaves("", content)]
    return "\n".join(lines)


def _leaves(prefix: str, node: Any) -> list[tuple[str, Any]]:
    if not isinstance(node, dict) or not node:
        return [(prefix, node)]
    out = []
    for key, value in node.items():
        if key == "init_args":
            out += _leaves(prefix, value)
        else:
            out += _leaves(f"{prefix}.{key}" if prefix else key, value)
    return out
