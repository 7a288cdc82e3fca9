"""``lightning run | serve | submit | check | ls | score | compare | report | export | consolidate | track | cache``.

Each command is in a file of its own, which is imported when the command is given: `lightning ls` needs no torch.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from recipes.launcher.closed_pipe import quiet_if_closed
from recipes.launcher.command_line import build_parser, unknown_command, with_values
from recipes.launcher.guard import guard
from recipes.launcher.library_imports import library_imports
from recipes.launcher.parent import begin_with_parent, end_with_parent

_OF_FINISHED_RUNS = {
    "score": "results",
    "compare": "results",
    "report": "report",
    "export": "results",
    "consolidate": "consolidate",
    "track": "track",
    "cache": "cache",
}
"""Commands that take no keys of a recipe, and the modules of `recipes.launcher` that have their functions."""


def main(argv: list[str] | None = None) -> None:
    """Entry point. Mistakes of the user end it with status 1 and a few lines; anything else keeps its traceback."""
    guard()
    try:
        _main(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:  # a run that has begun ends in order by itself: callbacks.interruption
        print("stopped     by SIGINT", file=sys.stderr)
        sys.exit(130)


def _main(words: list[str]) -> None:
    end_with_parent()
    begin_with_parent()
    folders: list[Path] = []
    try:
        with quiet_if_closed():
            _run(*_parsed(words), folders)
    except (ValueError, OSError, argparse.ArgumentError) as error:
        from recipes.launcher.class_paths import passed_through
        from recipes.launcher.mistakes import reason_of

        if os.environ.get("KAIROS_DEBUG") or passed_through(error, folders):
            raise
        sys.exit(f"error: {reason_of(error)}\n(KAIROS_DEBUG=1 shows where)")


def _parsed(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options of a command, and words for its recipe's keys; ends the process where only help is wanted."""
    parser = build_parser()
    if mistake := unknown_command(words, parser):
        parser.error(mistake)
    options, rest = parser.parse_known_args(with_values(words))
    if options.command == "serve" and options.help and options.recipe is None:
        options.parser.print_help()
        sys.exit(0)
    if options.command in ("run", "check") and options.recipe is None and not getattr(options, "resume", None):
        options.parser.print_help()
        sys.exit(0 if options.help else 2)
    return options, rest


def _run(options: argparse.Namespace, rest: list[str], folders: list[Path]) -> None:
    """Runs a command.

    Args:
        options, rest: its words.
        folders: is given those whose code runs.
    """
    if options.command in _OF_FINISHED_RUNS:
        _of_finished_runs(options, rest)
    elif options.command == "ls":
        from recipes.launcher.listing import listing

        print(listing())
    elif options.command == "submit":
        from recipes.launcher.submit import submit_command

        print(submit_command(options, rest))
    elif options.help:
        from recipes.launcher.listing import describe

        print(describe(options.recipe))
    elif options.command == "check":
        from recipes.launcher.check import check_command

        for text in check_command(options, rest):
            print(text)
    elif options.command == "serve":
        from recipes.launcher.class_paths import folders_of
        from recipes.launcher.serve import serve_command

        folders += folders_of(options.user_dir, [options.recipe] if options.recipe else [])
        serve_command(options, rest, folders)
    else:
        from recipes.launcher.class_paths import folders_of
        from recipes.launcher.run import run_command

        files = [] if options.recipe is None else [options.recipe, *options.overlay]
        folders += folders_of(options.user_dir, files)
        run_command(options, rest, folders)


def _of_finished_runs(options: argparse.Namespace, rest: list[str]) -> None:
    if rest:
        raise ValueError(f"{options.command} does not know {' '.join(rest)}; lightning {options.command} --help")
    name, file = options.command, _OF_FINISHED_RUNS[options.command]
    if getattr(options, "hub_folder", None) is not None:
        name = file = "hub_folder"
    with library_imports():
        module = importlib.import_module(f"recipes.launcher.{file}")
    if (text := getattr(module, f"{name}_command")(options)) is not None:
        print(text)
