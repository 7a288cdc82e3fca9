"""Shared fixtures: a blank small stack, a short world, and the real clips where they are at hand."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # two workers of one thread each; of two threads each they would crawl
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
DEVICE = os.environ.get("KAIROS_TEST_DEVICE", "cpu")
if DEVICE == "phantom":  # of the whole process: tests/accelerator starts one
    sys.path.insert(0, str(ROOT / "tests" / "accelerator"))
    import phantom

    phantom.register()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker is left alone with one at the end (`make test`)."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where tests that take it compute: on the CPU, or what the environment's KAIROS_TEST_DEVICE names."""
    return torch.device(DEVICE)


@pytest.fixture(scope="session")
def on_device(device: torch.device) -> list[str]:
    """What brings a recipe to that device, as words of the command."""
    return ["--overlay", str(ROOT / "tests/accelerator/phantom.yaml")] if device.type == "phantom" else []


@pytest.fixture(autouse=True)
def _own_run_folder() -> Iterator[None]:
    """What a command run in this process has told its ranks ends with the test."""
    yield
    for name in ("KAIROS_RUN_DIR", "KAIROS_STARTED_IN"):
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in one order: with two threads they round differently from run to run, which Adam's first steps magnify."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """Folder of awkward real clips; tests that need it are skipped where it is absent."""
    for folder in (Path(os.environ.get("KAIROS_TEST_VIDEOS", "")), ROOT.parent / "shared" / "videos"):
        if str(folder) != "." and (folder / "nasa_13013.mp4").is_file():
            return folder
    pytest.skip("the real clips are not on this machine (KAIROS_TEST_VIDEOS)")


@pytest.fixture(scope="session")
def short_world():
    from datamodules.haystack.world import World

    return World(seed=7, duration_s=100.0, event_duration_s=(2.0, 2.5))


@pytest.fixture(scope="session")
def short_video(short_world, tmp_path_factory) -> Path:
    from datamodules.haystack.video_writing import write_video

    path = tmp_path_factory.mktemp("videos") / "train-00000.mp4"
    write_video(path, short_world, "train", 0)
    return path


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    from datamodules.haystack.examples import FrameLabels

    return FrameLabels().sentences()


@pytest.fixture(scope="session")
def blank_vlm(sentences, tmp_path_factory) -> Path:
    from modules.small_stack.blank import write_blank_vlm

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vlm")
    write_blank_vlm(folder, sentences, width=32)
    return folder


@pytest.fixture(scope="session")
def blank_clip(sentences, tmp_path_factory) -> Path:
    from modules.small_stack.blank import write_blank_clip

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    write_blank_clip(folder, sentences, embed_dim=32)
    return folder
