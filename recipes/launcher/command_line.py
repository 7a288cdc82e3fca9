"""The words of the command line: its commands, their options and their help texts."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any

from recipes.launcher.submit import add_arguments, add_user_dir

_EPILOG = """examples:
  lightning run recipes/tspo.yaml
  lightning run recipes/tspo.yaml --overlay recipes/overlays/smoke.yaml --model.num_frames 4
  lightning run recipes/tspo.yaml --resume last
  lightning serve recipes/serve.yaml --checkpoint last:tspo --video_root videos
  lightning submit recipes/msjoe.yaml --overlay recipes/overlays/zero3.yaml --nodes 2 --gpus 8 --dry-run
  lightning consolidate last:msjoe build/msjoe
  lightning check recipes/tspo.yaml --model.grpo.beta 0.04
  lightning check recipes/paper/tspo_qwen2_5_vl_7b.yaml --memory --time --gpu h100
  lightning score outputs/videomme/20261121-120000 --scorer lmms-eval
  lightning compare RUN_A RUN_B
  lightning report outputs/comparison/20261121-120000
  lightning report "ten minutes=RUN_A,RUN_B" "one hour=RUN_C" --out worlds.html
  lightning export RUN/selections.parquet --format tspo --annotations videomme.json --out frames.json"""


FLAGS = ("--help", "--requeue", "--allow-changes", "--memory", "--time")
"""Options of ``run`` and ``check`` that take no value."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``lightning``; what it does not know are overrides of a recipe's keys."""
    parser = argparse.ArgumentParser(
        prog="lightning",
        description="Kairos: train and use key-frame samplers for video models, by recipe.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(_recipe_command(commands, "run", "check a recipe, build what it names and run its stages"))
    _recipe_command(
        commands, "serve", "answer over HTTP, in OpenAI's chat protocol (recipes/serve.yaml by default)", overlays=False
    )
    _add_check(_recipe_command(commands, "check", "find every mistake in a recipe without building anything"))
    add_arguments(commands.add_parser("submit", help="run a recipe as a SLURM job, on any number of nodes"))
    commands.add_parser("ls", help="list the recipes")
    _add_result_commands(commands)
    return parser


def with_values(words: Sequence[str]) -> list[str]:
    """The words of a recipe's command with ``--key value`` as ``--key=value``, whose value is no recipe's name."""
    if not words or words[0] not in ("run", "check", "serve"):
        return list(words)
    joined, rest = list(words[:1]), list(words[1:])
    while rest:
        word = rest.pop(0)
        takes_value = word.startswith("--") and "=" not in word and word not in FLAGS
        joined.append(f"{word}={rest.pop(0)}" if takes_value and rest else word)
    return joined


def unknown_command(words: Sequence[str], parser: argparse.ArgumentParser) -> str | None:
    """What to say of a first word that is no command; None where it is one, or an option."""
    commands = next(list(a.choices) for a in parser._actions if isinstance(a.choices, dict))
    if not words or words[0].startswith("-") or words[0] in commands:
        return None
    if words[0].endswith((".yaml", ".yml")):
        return f"{words[0]!r:.100} is no command; to run a recipe: lightning run {words[0]:.100}"
    close = difflib.get_close_matches(words[0], commands, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(commands)}"
    return f"{words[0]!r:.100} is no command; {hint}"


def _recipe_command(commands: Any, name: str, text: str, *, overlays: bool = True) -> argparse.ArgumentParser:
    """A command that takes a recipe, perhaps overlays of it, and overrides of its keys."""
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=_EPILOG,
        add_help=False,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("recipe", nargs="?", help="a YAML file; `lightning ls` lists those that come with Kairos")
    command.add_argument("-h", "--help", action="store_true", help="this text; after a recipe, the recipe's own keys")
    if overlays:
        command.add_argument(
            "--overlay", action="append", default=[], metavar="FILE", help="more YAML, merged over the recipe"
        )
    add_user_dir(command)
    command.set_defaults(parser=command)
    return command


def _add_run(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--resume",
        metavar="last|auto|DIR",
        help="go on with this recipe's newest run, or one folder, which needs no recipe; auto: with --run_dir, "
        "where it has begun",
    )
    command.add_argument(
        "--allow-changes", action="store_true", help="with --resume: go on with what the command line changes"
    )
    command.add_argument(
        "--requeue", action="store_true", help="in a SLURM job: save and queue again before the time is up"
    )


def _add_check(command: argparse.ArgumentParser) -> None:
    command.add_argument("--memory", action="store_true", help="also estimate memory a GPU by phase; needs no weights")
    command.add_argument("--time", action="store_true", help="also estimate the time of a step by part")
    command.add_argument("--gpu", metavar="NAME", help="of which card: h100, h200, a100, l40s, ... (h100)")


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
    command = commands.add_parser("report", help="one HTML page of evaluations: tables, cost, every question")
    command.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="run folder; several on the same questions or on several worlds; NAME=RUN,RUN names the world of some",
    )
    command.add_argument("--out", help="file (report.html in the run's folder; of several runs, here)")
    command.add_argument("--scorer", help="says what is right; the one that fits by default" + scoring)
    command.add_argument("--questions", type=int, default=200, metavar="N", help="shown one by one, at most (200)")
    command.add_argument("--max-mb", type=float, default=5.0, metavar="MB", help="size of the file, at most (5)")
    command.add_argument("--no-thumbnails", action="store_true", help="read no videos")
    command = commands.add_parser("export", help="write selections in another harness's form, or a folder for the hub")
    command.add_argument("selections", help=".parquet, .jsonl, or a published *_frameIdx.json; for --hub-folder a run")
    command.add_argument("--format", help="tspo, tspo-float, json or vlmevalkit")
    command.add_argument("--out", help="file; a folder for vlmevalkit")
    command.add_argument(
        "--hub-folder", metavar="DIR", help="write weights, selections and a model card of a run there; uploads nothing"
    )
    command.add_argument("--selections-file", metavar="FILE", help="for --hub-folder: of another run than the training")
    command.add_argument("--sampler", help="which system, where the file holds several")
    command.add_argument("--num-frames", type=int, help="the best so many of each selection")
    command.add_argument("--annotations", help="the benchmark's own file, for tspo and tspo-float")
    add_user_dir(command)
    command = commands.add_parser(
        "consolidate", help="turn a checkpoint into a sampler.safetensors and, if it was trained, the MLLM's folder"
    )
    command.add_argument("checkpoint", help=".ckpt of a run, or last:NAME")
    command.add_argument("out", help="folder")
    add_user_dir(command)
    command = commands.add_parser("track", help="send MLflow what it has not got of a run")
    command.add_argument("run", help="run folder")
    command.add_argument("--tracking-uri", help="another MLflow than the run's recipe names")
    command = commands.add_parser("cache", help="list stored features, or remove those that nobody can use again")
    command.add_argument("action", choices=["ls", "gc"], help="ls lists them; gc removes what is of no use")
    command.add_argument("--root", default="data", metavar="DIR", help="folder that holds feature stores (data)")
    command.add_argument("--dry-run", action="store_true", help="gc: only print what it would remove")
    command.add_argument("--older-than", type=float, metavar="DAYS", help="also what no run has used for so long")
