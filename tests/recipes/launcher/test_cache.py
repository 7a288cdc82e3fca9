"""``lightning cache``: lists what is stored, removes what nobody can use again, and nothing that anybody may."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from datamodules.video.cached_entries import entries_of
from datamodules.video.feature_store import Entry, FeatureStore
from datamodules.video.sightings import Sightings
from modules.records import Candidates
from recipes.launcher import cli
from recipes.launcher.guard import ROOT

DAY_S = 86400


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two videos, and features of each by two encoders; this process leaves the lock of a run alone."""
    monkeypatch.setattr("datamodules.video.sightings.hold", lambda root: None)
    folder = tmp_path / "data"
    folder.mkdir()
    store = FeatureStore(folder / "features", "fps=1")
    for name in ("one", "two"):
        video = folder / f"{name}.mp4"
        video.write_bytes(name.encode() * 1000)
        candidates = Candidates(str(video), torch.arange(3), torch.arange(3, dtype=torch.float64), 3.0)
        for key in ("clip-224px", "vlm-384px"):
            store.save(str(video), key, Entry(candidates, torch.ones(3, 5000)))
    return folder


def cache(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    cli.main(["cache", *words])
    return capsys.readouterr().out


def stored(data: Path) -> list[str]:
    """Encoder and video of each entry."""
    return sorted(f"{e.encoder} {Path(e.video).name}" for e in entries_of(data / "features"))


ALL = ["clip-224px one.mp4", "clip-224px two.mp4", "vlm-384px one.mp4", "vlm-384px two.mp4"]


def test_ls_shows_video_encoder_grid_size_and_age(data: Path, capsys) -> None:
    (clip,) = {e.path for e in entries_of(data / "features") if e.encoder == "clip-224px" and "one" in e.video}
    os.utime(clip, (time.time() - 9.2 * DAY_S,) * 2)
    lines = cache(capsys, "ls", "--root", str(data)).splitlines()
    assert lines[0].startswith(f"{data}/features: 4 files, 23")
    assert lines[0].endswith(" KiB")
    assert len(lines) == 5
    assert lines[1].split()[2:] == ["used", "9", "days", "ago", "clip-224px", "fps=1", f"{data}/one.mp4"]
    assert all("used today" in line for line in lines[2:])


def test_gc_removes_nothing_that_is_of_use(data: Path, capsys) -> None:
    assert cache(capsys, "gc", "--root", str(data)) == f"{data}/features: removed 0 files, 0 B\n"
    assert stored(data) == ALL


def test_gc_removes_the_features_of_a_video_that_is_gone_and_says_so(data: Path, capsys) -> None:
    (data / "one.mp4").unlink()
    told = cache(capsys, "gc", "--root", str(data), "--dry-run")
    assert f"{data}/features: would remove 3 files, " in told
    assert len(stored(data)) == 5  # with the note on the video
    assert "lightning cache gc" in cache(capsys, "ls", "--root", str(data))
    assert cache(capsys, "gc", "--root", str(data)) == told.replace("would remove", "removed")
    assert told.count(f"{data}/one.mp4  (its video is gone)") == 2
    assert stored(data) == [name for name in ALL if "two" in name]


def test_a_replaced_video_leaves_an_orphan_and_a_moved_one_that_was_seen_again_none(data: Path, capsys) -> None:
    (data / "one.mp4").rename(data / "moved.mp4")
    Sightings(data / "features").of(str(data / "moved.mp4"))
    (data / "two.mp4").write_bytes(b"replaced")
    cache(capsys, "gc", "--root", str(data))
    assert stored(data) == ["clip-224px moved.mp4", "vlm-384px moved.mp4"]


def test_features_whose_disk_or_machine_is_away_stay(data: Path, capsys) -> None:
    (data / "one.mp4").unlink()
    (data / "two.mp4").unlink()
    for path in (data / "features" / "known_videos").iterdir():
        note = json.loads(path.read_text())
        path.write_text(json.dumps({**note, "device": note["device"] + 1}))
    assert "removed 0 files" in cache(capsys, "gc", "--root", str(data))
    assert stored(data) == ALL


def test_older_than_removes_what_no_run_has_used_and_a_run_marks_what_it_uses(data: Path, capsys) -> None:
    for entry in entries_of(data / "features"):
        os.utime(entry.path, (time.time() - 40 * DAY_S,) * 2)
    video = str(data / "one.mp4")
    assert FeatureStore(data / "features", "fps=1").has(video, "clip-224px")
    assert "removed 0 files" in cache(capsys, "gc", "--root", str(data), "--older-than", "41")
    told = cache(capsys, "gc", "--root", str(data), "--older-than", "30")
    assert "removed 3 files" in told
    assert told.count("(not used for 40 days)") == 3
    assert stored(data) == ["clip-224px one.mp4"]


def test_leftovers_of_writers_go_after_an_hour_and_damaged_entries_at_once(data: Path, capsys) -> None:
    folder = data / "features" / "clip-224px"
    young, old, strange = (folder / name for name in ("0" * 16 + ".partial", "1" * 16 + ".partial", "mine.partial"))
    for path in (young, old, strange, folder / "notes.txt"):
        path.write_bytes(b"x")
    for path in (old, strange):
        os.utime(path, (time.time() - 2 * 3600,) * 2)
    damaged = next(e.path for e in entries_of(data / "features") if e.encoder == "vlm-384px")
    damaged.write_bytes(b"\xff" * 100)
    (folder / "model.safetensors").write_bytes(torch.zeros(1).numpy().tobytes())
    told = cache(capsys, "gc", "--root", str(data))
    assert "removed 2 files, 101 B" in told
    assert "a writer that has ended left it unfinished" in told
    assert "it is damaged" in told
    assert not damaged.exists()
    assert sorted(p.name for p in folder.iterdir() if "-" not in p.name) == [
        young.name,
        "mine.partial",
        "model.safetensors",
        "notes.txt",
    ]


@pytest.mark.parametrize(
    "header", [b"[]", b"{}", b'{"__metadata__": 1}', b'{"__metadata__": {"key": 1}}', b"[" * 10**5, b"\xff"], ids=str
)
def test_an_entry_with_a_header_that_is_none_is_damaged(header: bytes, data: Path, capsys) -> None:
    damaged = entries_of(data / "features")[0].path
    damaged.write_bytes(len(header).to_bytes(8, "little") + header)
    assert "(it is damaged)" in cache(capsys, "gc", "--root", str(data))
    assert not damaged.exists()


@pytest.mark.parametrize(
    "changed", [{"path": "/dev/zero"}, {"path": "a\0b"}, {"path": "\ud800"}, {"path": ""}], ids=repr
)
def test_notes_of_strangers_remove_nothing_of_use(changed: dict, data: Path, capsys) -> None:
    for path in (data / "features" / "known_videos").iterdir():
        path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    cache(capsys, "gc", "--root", str(data))
    assert [name.split()[0] for name in stored(data)] == [name.split()[0] for name in ALL]


def test_second_names_of_an_earlier_version_go_and_entries_that_have_no_other_stay(data: Path, capsys) -> None:
    first, second, *_ = (e.path for e in entries_of(data / "features"))
    os.link(first, first.with_name("one-0123456789abcdef0123.safetensors"))
    second.rename(second.with_name("two-0123456789abcdef0123.safetensors"))
    told = cache(capsys, "gc", "--root", str(data))
    assert told.startswith(f"{data}/features: removed 1 file, 0 B\n")
    assert told.rstrip().endswith("(an earlier version's second name, which takes no room)")
    assert first.exists()
    assert second.with_name("two-0123456789abcdef0123.safetensors").exists()
    assert cache(capsys, "ls", "--root", str(data)).count("  ?\n") == 1


def test_nothing_is_removed_while_a_run_uses_the_folder(data: Path, capsys) -> None:
    (data / "one.mp4").unlink()
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom datamodules.video.feature_store import FeatureStore\n"
        "store = FeatureStore(Path(sys.argv[1]) / 'features', 'fps=1')\n"
        "print(store.has(f'{sys.argv[1]}/two.mp4', 'clip-224px'), flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(data)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "True\n"
        told = cache(capsys, "gc", "--root", str(data))
        assert "nothing was removed, because a run is using it" in told
        assert len(stored(data)) == 5
        assert "would remove 3 files" in cache(capsys, "gc", "--root", str(data), "--dry-run")
        run.kill()
    assert "removed 3 files" in cache(capsys, "gc", "--root", str(data))


def test_a_link_that_leads_in_a_circle_and_a_folder_without_stores(data: Path, tmp_path: Path, capsys) -> None:
    (data / "circle").symlink_to(data)
    assert cache(capsys, "ls", "--root", str(data)).count("features: ") == 1
    (tmp_path / "empty").mkdir()
    assert "holds no feature store" in cache(capsys, "ls", "--root", str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ls", "--root", "nowhere"], "no such folder"),
        (["gc", "--root", ".", "--older-than", "-1"], "0 or more"),
        (["gc", "--root", ".", "--older-than", "nan"], "0 or more"),
        (["ls", "more"], "does not know more"),
    ],
)
def test_mistakes(words: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        cli.main(["cache", *words])


def test_it_needs_no_torch() -> None:
    program = "import sys, recipes.launcher.cache\nsys.exit('torch' in sys.modules or 'av' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
