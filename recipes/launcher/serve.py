"""``lightning serve``: a recipe's systems behind OpenAI's chat protocol."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modules.console import PlainConsole
from modules.part_progress import PartProgress
from recipes.launcher.answering_recipe import answering_recipe
from recipes.launcher.guard import ROOT
from recipes.launcher.library_imports import import_torchmetrics, library_imports
from recipes.launcher.merge import pairs
from recipes.launcher.recipe_files import with_bases

if TYPE_CHECKING:
    from recipes.serving.server import Server

DEFAULT = str(ROOT / "recipes" / "serve.yaml")


def serve_command(options: argparse.Namespace, overrides: list[str], folders: Sequence[Path]) -> None:
    """Builds a server and runs it until it is told to stop.

    Args:
        options, overrides: of the command line.
        folders: that may hold classes of the person's own.

    Raises:
        ValueError: the recipe has mistakes, or the address cannot be had.
    """
    source = options.recipe or DEFAULT
    console = PlainConsole(soft_wrap=True)
    console.print(f"{'recipe':<11} {' '.join([source, *overrides])}")
    with PartProgress("Checking the recipe and loading torch", None):
        recipe = answering_recipe(source, dict(pairs(with_serving_names(overrides))), folders)
        with library_imports():
            from recipes.launcher.run import quieten

            quieten()
            import_torchmetrics()
            from recipes.serving.building import build_server, settings_of
            from recipes.serving.listening import listen, listening_socket
    settings = settings_of(recipe.serve)
    bound = listening_socket(settings)  # before the models, which take longer to fail
    with bound:
        with PartProgress("Building models", None):
            server = build_server(recipe, settings, folders)

        def announce() -> None:
            for name, text in _banner(server, bound):
                console.print(f"{name:<11} {text}")

        listen(server, bound, announce)
    console.print("stopped     what was begun is finished")


def with_serving_names(overrides: list[str]) -> list[str]:
    """``--port`` and the like mean the same whichever recipe is served; other words are as they were."""
    shortcuts = with_bases(DEFAULT)[-1]["shortcuts"]
    names = {name: key for name, key in shortcuts.items() if key.startswith("serve.")}
    return [word for key, value in pairs(overrides) for word in (f"--{names.get(key, key)}", value)]


def _banner(server: Server, bound: socket.socket) -> Iterator[tuple[str, str]]:
    """Names and texts: where, what, how much, and what to type next."""
    settings, limits = server.settings, server.settings.limits
    host, port = bound.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    yield "address", f"{address}  (a page for people at /, programs at /v1)"
    yield "systems", f"{', '.join(server.systems.names)}; {server.systems.num_frames} frames by default"
    upstream = settings.upstream
    if upstream.url is not None:
        yield "answers", f"{upstream.model or 'the first model'} at {upstream.url}"
    else:
        yield "answers", f"{type(server.systems.parts.module.mllm).__name__} on {server.systems.parts.device}"
    root = settings.video_root and f"by path below {Path(settings.video_root).resolve()}, "
    hosts = f", from {', '.join(settings.hosts)}" if settings.hosts else ""
    yield "videos", f"{root or ''}sent with the question{hosts}"
    key = f"clients send the key in {settings.key_variable}" if server.access.asks_for_a_key else "no key"
    yield (
        "limits",
        f"{limits.queue} questions at a time, {limits.timeout_s:g} s each; videos of {limits.body_mib} MiB and "
        f"{limits.duration_s:g} s; {key}",
    )
    yield "next", _curl(address, server)


def _curl(address: str, server: Server) -> str:
    """A question as one would type it."""
    key = f'-H "Authorization: Bearer ${server.settings.key_variable}" ' if server.access.asks_for_a_key else ""
    if server.settings.video_root is None:
        return f"curl {key}{address}/v1/models   # or open {address} and drop a video there"
    return (
        f"curl {key}{address}/v1/chat/completions -H 'Content-Type: application/json' -d "
        '\'{"model": "kairos", "messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": '
        '"FILE.mp4"}}, {"type": "text", "text": "What happens?"}]}]}\''
    )
