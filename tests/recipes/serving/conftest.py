"""One server of recipes/serve.yaml with the small stack, in this process, and what is asked of it."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from recipes.launcher.answering_recipe import answering_recipe
from recipes.serving.app import build_app
from recipes.serving.building import build_server, settings_of
from recipes.serving.server import Server

ROOT = Path(__file__).resolve().parents[3]
RECIPE = str(ROOT / "recipes" / "serve.yaml")
QUESTION, OPTIONS = "What colour is the star?", ["red", "blue", "green", "white"]


def request_of(url: str | None, question: str = QUESTION, **more: Any) -> dict[str, Any]:
    """A request about a video; ``kairos`` and the protocol's own fields as keywords."""
    parts: list[dict[str, Any]] = [] if url is None else [{"type": "video_url", "video_url": {"url": url}}]
    content = [*parts, {"type": "text", "text": question}]
    return {"model": "kairos", "messages": [{"role": "user", "content": content}], **more}


def data_url(file: Path, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


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
