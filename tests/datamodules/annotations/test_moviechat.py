"""MovieChat-1K: whole-video and mid-stream questions, open answers, and files that are not as they should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from datamodules.annotations.moviechat import MovieChat
from modules.files.rows import FileError

VIDEO: dict[str, Any] = {
    "info": {"num_frame": 11520, "fps": 24, "url": "", "h": 432, "video_path": "10.mp4", "w": 1024, "class": "movie"},
    "global": [{"question": "Where is it?", "answer": "At sea"}, {"question": "Is it night?", "answer": "No"}],
    "breakpoint": [{"question": "What is he holding?", "answer": "A rope", "time": 1440}],
}


def source(path: Path) -> MovieChat:
    return MovieChat(annotations=str(path), videos=str(path if path.is_dir() else path.parent))


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_a_folder_of_videos(tmp_path: Path) -> None:
    write(tmp_path / "10.json", VIDEO)
    other = {**VIDEO, "info": {**VIDEO["info"], "video_path": "sub/11.mp4"}, "breakpoint": []}
    write(tmp_path / "11.json", other)
    questions = source(tmp_path).load().questions
    assert [q.sample_id for q in questions] == [
        "10-global-1",
        "10-global-2",
        "10-breakpoint-1",
        "11-global-1",
        "11-global-2",
    ]
    moment = questions[2]
    assert moment.until_s == 60.0
    assert moment.references == ("A rope",)
    assert moment.groups == {"mode": "breakpoint", "class": "movie"}
    assert (moment.duration_s, Path(moment.video).name) == (480.0, "10.mp4")
    assert questions[0].until_s is None


def test_without_answers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [{"info": VIDEO["info"], "global": [{"question": "Where is it?"}]}])
    loaded = source(path).load()
    assert loaded.questions[0].references == ()
    assert loaded.manifest.repairs["no answer is given; kept without a reference"] == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"breakpoint": [{"question": "What?", "answer": "x"}]}, "breakpoint question 1.*time"),
        ({"info": {"video_path": "10.mp4"}}, "time"),
        ({"info": {"fps": 24}}, "video_path"),
        ({"info": {**VIDEO["info"], "video_path": "../../etc/passwd"}, "breakpoint": []}, "allowed: a file inside"),
        ({"global": [{"answer": "x"}]}, "question"),
        ({"global": None, "breakpoint": None}, "global"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = write(tmp_path / "10.json", {**VIDEO, **change})
    with pytest.raises(FileError, match=said) as refused:
        source(path).load()
    assert "10.json" in str(refused.value)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"without any \.json file"):
        source(tmp_path).load()
