"""A full disk, a folder that may not be written to, two runs on one cache: a sentence each, and nothing half-written.

The disk is a tmpfs of a few MiB, which only root may mount; the tests are skipped where that is refused.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from datamodules.haystack.video_writing import write_videos
from datamodules.haystack.world import World
from datamodules.video.feature_store import Entry, FeatureStore
from modules.checkpoints.checkpoint_files import read, write
from modules.files.paths import ModelPath
from modules.files.whole_files import StorageError, appearing
from modules.mllms.llava_onevision import LlavaOnevision
from modules.records import Candidates
from recipes.launcher import cli
from recipes.launcher.guard import ROOT

FULL = r"could not be written: no space is left for it in .* of 1 MiB free\)\. Make room or name another folder"


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def enlarge(folder: Path) -> None:
    mount("-o", "remount,size=64m", str(folder))


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_a_world_goes_on_where_the_disk_was_full(small_disk: Path, tmp_path: Path, short_world: World) -> None:
    with pytest.raises(StorageError, match="^video .*" + FULL):
        write_videos(str(small_disk), short_world, {"train": 16}, 2)
    whole = {p.name: p.read_bytes() for p in small_disk.rglob("*.mp4")}
    assert 0 < len(whole) < 16
    assert not list(small_disk.rglob("*.partial"))
    enlarge(small_disk)
    write_videos(str(small_disk), short_world, {"train": 16}, 1)
    write_videos(str(tmp_path / "elsewhere"), short_world, {"train": 16}, 1)
    found, expected = ({p.name: p.read_bytes() for p in f.rglob("*.mp4")} for f in (small_disk, tmp_path / "elsewhere"))
    assert found == expected
    assert whole.items() <= found.items()


def entry(video: Path, num_mib: int) -> Entry:
    times = torch.arange(4, dtype=torch.float64)
    return Entry(Candidates(str(video), torch.arange(4), times, 4.0), torch.ones(num_mib * 2**18))


def test_features_on_a_full_disk_are_not_there_afterwards(small_disk: Path, short_video: Path) -> None:
    store = FeatureStore(small_disk / "features", "grid")
    with pytest.raises(StorageError, match="^cache entry .*" + FULL):
        store.save(str(short_video), "key", entry(short_video, 2))
    assert {Path(name).suffix for name in files(small_disk)} == {".lock", ".json"}  # that the video was seen
    assert not store.has(str(short_video), "key")
    enlarge(small_disk)
    store.save(str(short_video), "key", entry(short_video, 2))
    assert store.has(str(short_video), "key")


def test_a_checkpoint_on_a_full_disk_leaves_the_one_before(small_disk: Path) -> None:
    path = small_disk / "checkpoints" / "last.ckpt"
    write({"state_dict": {"a": torch.ones(10)}}, path)
    with pytest.raises(StorageError, match="^checkpoint .*" + FULL):
        write({"state_dict": {"a": torch.zeros(2**19)}}, path)
    assert files(small_disk) == ["last.ckpt"]
    assert torch.equal(read(path)["state_dict"]["a"], torch.ones(10))


def test_a_folder_on_a_full_disk_stays_as_it_was(small_disk: Path) -> None:
    def save(content: bytes) -> None:
        with appearing(small_disk / "mllm", "MLLM") as place:
            place.mkdir()
            (place / "weights").write_bytes(content)

    save(b"first")
    save(b"second")
    with pytest.raises(StorageError, match="^MLLM .*" + FULL):
        save(bytes(2**21))
    assert files(small_disk) == ["weights"]
    assert (small_disk / "mllm" / "weights").read_bytes() == b"second"


def test_a_limit_of_file_sizes_is_named(tmp_path: Path) -> None:
    program = (
        "import resource, signal, torch\nfrom modules.checkpoints.checkpoint_files import write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))\n"
        f"write({{'a': torch.zeros(2**19)}}, {str(tmp_path / 'a.ckpt')!r})"
    )
    done = python(program)
    assert "the limit of file sizes is reached" in done.stderr
    assert files(tmp_path) == []


def python(program: str, *before: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*before, sys.executable, "-c", program], capture_output=True, text=True, env=env, check=False
    )


def refused(folder: Path, *user: str) -> str:
    """What a save below a folder says that may not be written to."""
    path = folder / "new" / "a.ckpt"
    done = python(f"from modules.checkpoints.checkpoint_files import write\nwrite({{}}, {str(path)!r})", *user)
    assert done.returncode == 1
    assert files(folder) == []
    return done.stderr.splitlines()[-1]


def test_a_read_only_file_system_is_named(small_disk: Path) -> None:
    mount("-o", "remount,ro", str(small_disk))
    told = refused(small_disk)
    assert f"{small_disk} is on a read-only file system. Name a folder that may be written to" in told


def test_a_folder_of_somebody_else_is_named() -> None:
    user = ["setpriv", "--reuid", "65534", "--clear-groups"]
    if os.geteuid() or python("", *user).returncode:
        pytest.skip("another user cannot be had here, or cannot run this interpreter")
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        os.chmod(name, 0o755)
        assert f"{name} may not be written to by user 65534. Name a folder" in refused(Path(name), *user)


SMOKE = ["run", str(ROOT / "recipes/tspo.yaml"), "--overlay", str(ROOT / "tests/fuzz/kills.yaml")]


@pytest.mark.long
@pytest.mark.parametrize("full", ["outputs", "videos", "features"])
def test_a_run_on_a_full_disk_ends_with_a_sentence_and_goes_on_with_room(
    full: str, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small_disk / "ballast").write_bytes(bytes({"outputs": 760, "videos": 900, "features": 980}[full] * 1024))
    places = {"outputs": tmp_path / "run", "videos": tmp_path / "videos", "features": tmp_path / "features"}
    places[full] = small_disk / "here"
    words = [
        *SMOKE,
        "--run_dir",
        str(places["outputs"]),
        "--data.root",
        str(places["videos"]),
        "--data.feature_dir",
        str(places["features"]),
        "--resume",
        "auto",
    ]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    told = str(ended.value.code)
    assert told.startswith("error: ")
    assert "no space is left for it in" in told
    assert told.count("\n") == 1
    assert not list(small_disk.rglob("*.part*"))
    assert not (places["outputs"] / "test_summary.json").exists()
    (small_disk / "ballast").unlink()
    enlarge(small_disk)
    cli.main(words)
    assert (places["outputs"] / "test_summary.json").is_file()


@pytest.mark.long
def test_a_full_disk_under_mlflow_costs_the_run_nothing_and_the_rest_is_sent_with_room(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (small_disk / "ballast").write_bytes(bytes(900 * 1024))
    uri, run_dir = f"sqlite:///{small_disk}/mlflow.db", tmp_path / "run"
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KAIROS_RUN_DIR", raising=False)
    cli.main([*SMOKE, "--run_dir", str(run_dir), "--trainer.logger.tracking_uri", uri])
    assert (run_dir / "test_summary.json").is_file()
    assert "lacks what this run has logged" in caplog.text
    assert (run_dir / "mlflow_unsent.jsonl").is_file()
    (small_disk / "ballast").unlink()
    enlarge(small_disk)
    cli.main(["track", str(run_dir)])
    assert not (run_dir / "mlflow_unsent.jsonl").exists()
    with sqlite3.connect(small_disk / "mlflow.db") as db:
        steps = [step for (step,) in db.execute("select step from metrics where key = 'reward/total' order by step")]
    db.close()
    assert steps == [1, 2, 3, 4, 5, 6]


def test_weights_are_unpacked_where_there_is_room(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is at fault and not the weights."""
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    with pytest.raises(StorageError, match=r"^unpacked weights \(TMPDIR names the place\) .*" + FULL):
        LlavaOnevision(path=ModelPath(str(ROOT / "recipes/haystack/weights/vlm")))
    assert not files(small_disk)
    enlarge(small_disk)
    LlavaOnevision(path=ModelPath(str(ROOT / "recipes/haystack/weights/vlm")))
    assert not files(small_disk)
