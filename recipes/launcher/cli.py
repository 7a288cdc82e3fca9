"""``lightning run | submit | check | ls | score | compare | export | consolidate | track`` (``python -m recipes``)."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipes.launcher.class_paths import admit, folders_of, passed_through
from recipes.launcher.guard import ROOT, guard
from recipes.launcher.parent import end_with_parent
from recipes.launcher.submit import add_user_dir
from recipes.launcher.source.source_modules import file_of

_EPILOG = """examples:
  lightning run recipes/tspo.yaml
  lightning run recipes/tspo.yaml --overlay recipes/overlays/smoke.yaml --model.num_frames 4
  lightning run recipes/tspo.yaml --resume last
  lightning submit recipes/msjoe.yaml --overlay recipes/overlays/zero3.yaml --nodes 2 --gpus 8 --dry-run
  lightning consolidate last:msjoe build/msjoe
  lightning check recipes/tspo.yaml --model.grpo.beta 0.04
  lightning check recipes/paper/tspo_qwen2_5_vl_7b.yaml --memory --time --gpu h100
  lightning score outputs/videomme/20261121-120000 --scorer lmms-eval
  lightning compare RUN_A RUN_B
  lightning export RUN/selections.parquet --format tspo --annotations videomme.json --out frames.json"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightning",
        description="Kairos: train and use key-frame samplers for video models, by recipe.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("run", "check a recipe, build what it names and run its stages"),
        ("check", "find every mistake in a recipe without building anything"),
    ):
        command = commands.add_parser(
            name, help=text, description=text, epilog=_EPILOG, add_help=False, allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        command.add_argument("recipe", nargs="?", help="a YAML file; `lightning ls` lists those that come with Kairos")
        command.add_argument(
            "-h", "--help", action="store_true", help="this text; after a recipe, the recipe's own keys"
        )
        command.add_argument(
            "--overlay", action="append", default=[], metavar="FILE", help="more YAML, merged over the recipe"
        )
        add_user_dir(command)
        if name == "run":
            command.add_argument(
                "--resume",
                metavar="last|auto|DIR",
                help="go on with this recipe's newest run, or one folder; auto: with --run_dir, where it has begun",
            )
            command.add_argument(
                "--requeue", action="store_true", help="in a SLURM job: save and queue again before the time is up"
            )
        command.set_defaults(parser=command)
        if name == "check":
            command.add_argument(
                "--memory", action="store_true", help="also estimate memory a GPU by phase; needs no weights"
            )
            command.add_argument("--time", action="store_true", help="also estimate the time of a step by part")
            command.add_argument("--gpu", metavar="NAME", help="of which card: h100, h200, a100, l40s, ... (h100)")
    from recipes.launcher.submit import add_arguments

    add_arguments(commands.add_parser("submit", help="run a recipe as a SLURM job, on any number of nodes"))
    commands.add_parser("ls", help="list the recipes")
    _add_result_commands(commands)
    return parser


def _add_result_commands(commands: Any) -> None:
    """What can be done with finished runs."""
    scoring = "; option-logprob, strict-letter, lmms-eval, lmms-eval-longvideobench or vlmevalkit"
    command = commands.add_parser("score", help="score the raw answers of an evaluation anew")
    command.add_argument("run", help="run folder, or its answers.jsonl")
    command.add_argument("--scorer", action="append", help="may be given several times" + scoring)
    command.add_argument("--macro-over", help="group whose labels count alike, e.g. task for MLVU")
    command = commands.add_parser("compare", help="paired comparison of two evaluations on the same questions")
    command.add_argument("run_a")
    command.add_argument("run_b")
    command.add_argument("--system-a", "--arm-a", help="system of run A, where it has several")
    command.add_argument("--system-b", "--arm-b", help="system of run B, where it has several")
    command.add_argument("--scorer", default="option-logprob", help="for both" + scoring)
    command = commands.add_parser("export", help="write selections in another harness's form")
    command.add_argument("selections", help=".parquet, .jsonl, or a published *_frameIdx.json")
    command.add_argument("--format", required=True, help="tspo, tspo-float, json or vlmevalkit")
    command.add_argument("--out", required=True, help="file; a folder for vlmevalkit")
    command.add_argument("--sampler", help="which system, where the file holds several")
    command.add_argument("--num-frames", type=int, help="the best so many of each selection")
    command.add_argument("--annotations", help="the benchmark's own file, for tspo and tspo-float")
    command = commands.add_parser(
        "consolidate", help="turn a checkpoint into a sampler.safetensors and, if it was trained, the MLLM's folder"
    )
    command.add_argument("checkpoint", help=".ckpt of a run, or last:NAME")
    command.add_argument("out", help="folder")
    add_user_dir(command)
    command = commands.add_parser("track", help="send MLflow what it has not got of a run")
    command.add_argument("run", help="run folder")
    command.add_argument("--tracking-uri", help="another MLflow than the run's recipe names")


def main(argv: list[str] | None = None) -> None:
    """Entry point. Mistakes of the user end it with status 1 and a few lines; anything else keeps its traceback."""
    guard()
    try:
        _main(argv)
    except KeyboardInterrupt:  # a run that has begun ends in order by itself: callbacks.interruption
        sys.exit(130)


def _main(argv: list[str] | None) -> None:
    end_with_parent()
    options, overrides = build_parser().parse_known_args(argv)
    if options.command == "ls":
        print(listing())
        return
    if options.command in ("score", "compare", "export", "consolidate", "track"):
        _finished(options, overrides)
        return
    if options.command == "submit":
        _submit(options, overrides)
        return
    if options.recipe is None:
        options.parser.print_help()
        sys.exit(0 if options.help else 2)
    folders: list[Path] = []
    try:
        if options.help:
            print(describe(options.recipe))
        elif options.command == "check":
            _check(options, overrides)
        else:
            folders = folders_of(options.user_dir, options.recipe)
            run(options.recipe, options.overlay, overrides, options.resume, options.requeue, folders)
    except (ValueError, OSError, argparse.ArgumentError) as error:
        if os.environ.get("KAIROS_DEBUG") or passed_through(error, folders):
            raise
        sys.exit(f"error: {_reason(error)}\n(KAIROS_DEBUG=1 shows where)")


def _check(options: argparse.Namespace, overrides: list[str]) -> None:
    """Checks, and says what the recipe would take; that needs no trained weights, so they are looked for last."""
    from recipes.launcher.cost.gpus import gpu_named

    gpu = gpu_named(options.gpu or "h100") if options.gpu or options.time else None
    folders = folders_of(options.user_dir, options.recipe)
    merged = check(options.recipe, options.overlay, overrides, trained=False, folders=folders)
    if options.memory or options.time:
        from recipes.launcher.cost.report import report

        print(report(merged, options.recipe, memory=options.memory, gpu=gpu, time=options.time))
    check_weights(merged, options.recipe)
    print(f"{options.recipe}: no mistakes found")


def _submit(options: argparse.Namespace, overrides: list[str]) -> None:
    """Checks a recipe here, so that no job waits in a queue to die of a misspelt key."""
    from recipes.launcher.submit import submit

    try:
        waits = any("dependency" in option for option in options.sbatch)  # perhaps for the run that it starts from
        folders = folders_of(options.user_dir, options.recipe)
        check(options.recipe, options.overlay, overrides, trained=not waits, folders=folders)
        print(submit(options, overrides))
    except ValueError as error:
        sys.exit(f"error: {error}")


def _reason(error: BaseException) -> str:
    """What went wrong, in the words of whoever noticed; the parser that built it adds every value it was given."""
    from modules.files.whole_files import storage_reason

    inner = error
    while isinstance(inner, argparse.ArgumentError) or "Given value type" in str(inner):
        cause = inner.__cause__ or inner.__context__
        if cause is None:
            break
        inner = cause
    return storage_reason(inner) or str(inner)


def _finished(options: argparse.Namespace, rest: list[str]) -> None:
    """Commands on finished runs."""
    try:
        if rest:
            raise ValueError(f"{options.command} does not know {' '.join(rest)}; lightning {options.command} --help")
        from recipes.launcher import results

        if options.command == "score":
            results.score(options.run, options.scorer or ["option-logprob"], options.macro_over)
        elif options.command == "compare":
            results.compare(options.run_a, options.run_b, options.system_a, options.system_b, options.scorer)
        elif options.command == "consolidate":
            from recipes.launcher.consolidate import consolidate

            consolidate(options.checkpoint, options.out, folders_of(options.user_dir))
        elif options.command == "track":
            from recipes.launcher.track import track

            print(track(options.run, options.tracking_uri))
        else:
            results.export(
                options.selections,
                options.format,
                options.out,
                options.sampler,
                options.num_frames,
                options.annotations,
            )
    except (ValueError, OSError) as error:
        if os.environ.get("KAIROS_DEBUG"):
            raise
        sys.exit(f"error: {_reason(error)}\n(KAIROS_DEBUG=1 shows where)")


def check(
    recipe: str, overlays: list[str], overrides: list[str], trained: bool = True, folders: Sequence[Path] = ()
) -> DictConfig:
    """The merged recipe.

    Args:
        recipe, overlays, overrides: as on the command line.
        trained: trained weights that it starts from have to be there.
        folders: that may hold classes of the person's own; they are read, not imported.

    Raises:
        RecipeError: with every mistake in it.
    """
    from recipes.launcher.check import missing_weights, problems
    from recipes.launcher.from_checkpoint import known_of_checkpoint
    from recipes.launcher.merge import expand_shortcuts, merge, resolve
    from recipes.launcher.mistakes import RecipeError

    files = [recipe, *overlays]
    merged = merge(files, expand_shortcuts(files, overrides))
    if (known := known_of_checkpoint(merged)) is not None:
        merged = merge(files, expand_shortcuts(files, overrides), known)
    resolved = resolve(merged, recipe)
    if mistakes := problems(resolved, folders) + (missing_weights(resolved) if trained else []):
        raise RecipeError(" + ".join(files), mistakes)
    return merged


def check_weights(merged: DictConfig, recipe: str) -> None:
    """Whether trained weights that a checked recipe starts from are there.

    Raises:
        RecipeError: they are not.
    """
    from recipes.launcher.check import missing_weights
    from recipes.launcher.merge import resolve
    from recipes.launcher.mistakes import RecipeError

    if mistakes := missing_weights(resolve(merged, recipe)):
        raise RecipeError(recipe, mistakes)


def run(
    recipe: str, overlays: list[str], overrides: list[str], resume: str | None, requeue: bool = False,
    folders: Sequence[Path] = (),
) -> None:  # fmt: skip
    """Checks and runs a recipe."""
    merged = check(recipe, overlays, overrides, folders=folders)
    _quieten()
    for path in admit(OmegaConf.to_container(merged), folders):
        logging.getLogger(__name__).warning("%s is code of %s, and runs", path, file_of(path, folders))
    from recipes.launcher.launch import launch

    launch(merged, resume, requeue)


def _quieten() -> None:
    """Silences what the libraries say at every start and nobody can act on."""
    import warnings

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("modules.rl").setLevel(logging.INFO)  # what a run learns from
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
        ".*sync_dist=True.*",  # what is logged was gathered from all ranks before
        ".*`srun` command is available.*",
    ):
        warnings.filterwarnings("ignore", message=message)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    set_verbosity_error()
    disable_progress_bar()


def listing() -> str:
    """Each recipe with the first line of its comment."""
    from recipes.launcher.recipe_files import header, own_recipes

    recipes = own_recipes()
    names = [str(p.relative_to(ROOT)) for p in recipes]
    width = max(map(len, names))
    first = [next((line for line in header(str(p)) if line), "") for p in recipes]
    return "\n".join(f"{name:<{width}}  {line}" for name, line in zip(names, first, strict=True))


def describe(recipe: str) -> str:
    """A recipe's opening comment, its shortcuts, and every key with its value, those of its bases among them."""
    from recipes.launcher.merge import merge
    from recipes.launcher.reading import with_own_files
    from recipes.launcher.recipe_files import header

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
