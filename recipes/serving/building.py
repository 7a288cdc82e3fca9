"""A recipe becomes a server that can be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from recipes.launcher.answering_recipe import AnsweringRecipe
from recipes.launcher.loaded_systems import LoadedSystems
from recipes.serving.access import Access
from recipes.serving.forwarding import Forwarding
from recipes.serving.remote_videos import RemoteVideos
from recipes.serving.served_systems import ServedSystems
from recipes.serving.server import Server
from recipes.serving.serving_metrics import ServingMetrics
from recipes.serving.serving_settings import ServingSettings
from recipes.serving.upload_shelf import UploadShelf
from recipes.serving.upstream import Upstream
from recipes.serving.video_intake import VideoIntake
from recipes.serving.video_root import VideoRoot

_MIB = 2**20


def settings_of(section: Mapping[str, Any]) -> ServingSettings:
    """The ``serve`` section of a checked recipe."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--serve", type=ServingSettings, default=ServingSettings())
    found = parser.instantiate(parser.parse_object({"serve": dict(section)})).serve
    assert isinstance(found, ServingSettings)
    return found


def build_server(recipe: AnsweringRecipe, settings: ServingSettings, folders: Sequence[Path] = ()) -> Server:
    """Everything but the socket; the MLLM is loaded, where it answers here.

    Raises:
        ValueError: others could reach it without a key, the folder of videos is none, or a part cannot be built.
    """
    access, root = Access.of(settings), VideoRoot(settings.video_root)
    device = None if settings.device == "auto" else settings.device
    systems = ServedSystems(LoadedSystems(recipe, device=device, dtype=settings.dtype, folders=folders))
    limits, metrics, forwarding = settings.limits, ServingMetrics(), None
    if settings.upstream.url is None:
        systems.load()
    else:
        forwarding = Forwarding(Upstream(settings.upstream, limits.timeout_s), metrics)
    shelf = UploadShelf(limits.uploads_mib * _MIB)
    remote = RemoteVideos(settings.hosts, limits.body_mib, limits.timeout_s)
    intake = VideoIntake(root, shelf, remote, limits)
    return Server(settings, systems, intake, access, forwarding=forwarding, metrics=metrics)
