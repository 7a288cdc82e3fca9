"""One server of recipes/serve.yaml with the small stack, in this process, and what is asked of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving_requests import RECIPE
from starlette.testclient import TestClient

from recipes.launcher.answering_recipe import answering_recipe
from recipes.serving.app import build_app
from recipes.serving.building import build_server, settings_of
from recipes.serving.server import Server


@pytest.fixture(scope="session")
def video_root(short_video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "videos"
    (folder / "inner").mkdir(parents=True)
    shutil.copy(short_video, folder / "a.mp4")
    shutil.copy(short_video, folder / "inner" / "b.mp4")
    (folder.parent / "outside.mp4").write_bytes(short_video.read_bytes())
    return folder


@pytest.fixture(scope="session")
def served(video_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Server]:
    """Builds a server; keywords are keys of the recipe."""
    features = str(tmp_path_factory.mktemp("features"))

    def build(**settings: Any) -> Server:
        keys = {"features": features, "video_root": str(video_root), "device": "cpu", **settings}
        recipe = answering_recipe(RECIPE, keys, [])
        return build_server(recipe, settings_of(recipe.serve))

    return build


@pytest.fixture(scope="session")
def server(served: Callable[..., Server]) -> Server:
    return served(**{"serve.limits": {"body_mib": 2, "bodies_mib": 4, "uploads_mib": 1, "listed_frames": 8}})


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[TestClient]:
    with TestClient(build_app(server), base_url="http://127.0.0.1", raise_server_exceptions=False) as made:
        yield made
