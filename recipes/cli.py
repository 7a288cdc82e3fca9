"""``lightning run | check | ls``, also ``kairos`` and ``python -m recipes``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.guard import ROOT, guard

if TYPE_CHECKING:
    from omegaconf import DictConfig

_EPILOG = """examples:
  lightning run recipes/tspo.yaml
  lightning run recipes/tspo.yaml --overlay recipes/overlays/smoke.yaml --model.num_frames 4
  lightning run recipes/tspo.yaml --resume last
  lightning check recipes/tspo.yaml --model.grpo.beta 0.04"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightning",
        description="Kairos: train and use key-frame samplers for video models, by recipe.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="run | check | ls")
    for name, text in (
        ("run", "check a recipe, build what it names and run its stages"),
        ("check", "find every mistake in a recipe without building anything"),
    ):
        command = commands.add_parser(
            name, help=text, description=text, epilog=_EPILOG, add_help=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        command.add_argument("recipe", nargs="?", help="a YAML file; `lightning ls` lists those that come with Kairos")
        command.add_argument(
            "-h", "--help", action="store_true", help="this text; after a recipe, the recipe's own keys"
        )
        command.add_argument(
            "--overlay", action="append", default=[], metavar="FILE", help="more YAML, merged over the recipe"
        )
        if name == "run":
            command.add_argument(
                "--resume", metavar="last|DIR", help="go on with the newest run of this recipe, or one folder"
            )
        command.set_defaults(parser=command)
    commands.add_parser("ls", help="list the recipes")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Entry point. Mistakes of the user end it with status 1 and a few lines; anything else keeps its traceback."""
    guard()
    options, overrides = build_parser().parse_known_args(argv)
    if options.command == "ls":
        print(listing())
        return
    if options.recipe is None:
        options.parser.print_help()
        sys.exit(0 if options.help else 2)
    try:
        if options.help:
            print(describe(options.recipe))
        elif options.command == "check":
            check(options.recipe, options.overlay, overrides)
            print(f"{options.recipe}: no mistakes found")
        else:
            run(options.recipe, options.overlay, overrides, options.resume)
    except ValueError as error:
        if os.environ.get("KAIROS_DEBUG"):
            raise
        sys.exit(f"error: {error}\n(KAIROS_DEBUG=1 shows where)")


def check(recipe: str, overlays: list[str], overrides: list[str]) -> DictConfig:
    """The merged recipe; raises `RecipeError` with every mistake in it."""
    from recipes.recipe import RecipeError, expand_shortcuts, merge, problems, resolve

    files = [recipe, *overlays]
    merged = merge(files, expand_shortcuts(files, overrides))
    mistakes = problems(resolve(merged, recipe))
    if mistakes:
        raise RecipeError(" + ".join(files), mistakes)
    return merged


def run(recipe: str, overlays: list[str], overrides: list[str], resume: str | None) -> None:
    """Checks and runs a recipe."""
    merged = check(recipe, overlays, overrides)
    _quieten()
    from recipes.launch import launch

    launch(merged, resume)


def _quieten() -> None:
    """Silences what the libraries say at every start and nobody can act on."""
    import logging
    import warnings

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    for name in ("lightning.pytorch.utilities.rank_zero", "mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*treespec, LeafSpec.*",
        ".*eval mode at the start.*",
        ".*pin_memory.*",
        ".*callbacks used to create the checkpoint.*",
        "Using ModelCheckpoint with manual optimization.*",  # the state after the step is the one we want
        ".*IterableDataset. has .__len__. defined.*",
    ):
        warnings.filterwarnings("ignore", message=message)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def listing() -> str:
    """Each recipe with the first line of its comment."""
    from recipes.recipe import header

    recipes = sorted(p for p in (ROOT / "recipes").rglob("*.yaml"))
    names = [str(p.relative_to(ROOT)) for p in recipes]
    width = max(map(len, names))
    first = [next((line for line in header(str(p)) if line), "") for p in recipes]
    return "\n".join(f"{name:<{width}}  {line}" for name, line in zip(names, first, strict=True))


def describe(recipe: str) -> str:
    """A recipe's opening comment, its shortcuts, and every key with its value."""
    from omegaconf import OmegaConf

    from recipes.recipe import RecipeError, header

    if not Path(recipe).is_file():
        raise RecipeError(recipe, ["no such file; `lightning ls` lists the recipes"])
    content = OmegaConf.to_container(OmegaConf.load(recipe))
    assert isinstance(content, dict)
    lines = [*header(recipe), ""]
    shortcuts = content.pop("shortcuts", None) or {}
    if shortcuts:
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
