"""Harmed media files are refused by name, or every frame is the one that PyAV shows at its time."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from fuzz.clips import CLIPS, RARER, Clip, write
from fuzz.media import SEEDS, Case, Fuzzer, Row, fuzz
from fuzz.media_mutations import FORMATS, MUTATIONS
from fuzz.truth import Shown, judge

from datamodules.video.video_info import probe

_DEFAULT = ["h264_open.mp4", "h264.ts", "mpeg4.avi", "mpeg2.mpg", "vp9.webm", "mjpeg.avi"]


def _sum(seed: int, count: int, clips: list[str]) -> tuple[Row, list[str]]:
    """What became of so many files, and what was said of those that failed."""
    every, said = Row(), []
    for case, row, sentence in fuzz(seed, range(count), clips):
        every.add(row)
        if row.wrong_place or row.hung or row.crashed or row.errors:
            said.append(f"{case}: {sentence or row}")
    return every, said


def test_a_few_dozen_files() -> None:
    every, said = _sum(0, 3 * len(MUTATIONS), _DEFAULT)
    assert not said
    assert every.accepted > 20
    assert every.refused > 5
    assert every.altered <= every.frames // 1000


_ONCE_WRONG = [
    Case(0, 93, "mpeg1.m1v", "rename", 1000.0),  # guessed times
    Case(0, 176, "h264_open.mkv", "reorder", 1.0),  # a decoder that complains in its log alone
    Case(0, 221, "ffv1_odd.avi", "drop", 5.0),  # a decoder whose pictures' memory is not its own yet
    Case(0, 774, "h264.ts", "reorder", 1000.0),  # numbers of pictures that do not follow one another
    Case(0, 1356, "h264.ts", "cut_payload", 1.0),
    Case(0, 2114, "vp8.webm", "harm_payload", 2.0),
    Case(0, 2844, "h264.mp4", "reorder", 1.0),
]


def test_what_was_read_wrongly_once(tmp_path: Path) -> None:
    for folder in ("seeds", "tried"):
        (tmp_path / folder).mkdir()
    wrong = []
    with Fuzzer(tmp_path / "seeds", tmp_path / "tried") as fuzzer:
        for case in _ONCE_WRONG:
            row, said = fuzzer.try_out(case)
            assert row.accepted, said
            wrong += [(case, said)] if row.failed or row.altered else []
    assert not wrong


@pytest.mark.long
@pytest.mark.parametrize("seed", [10, 11])
def test_hundreds_of_files(seed: int) -> None:
    every, said = _sum(seed, 400, list(SEEDS))
    assert not said
    assert every.accepted > 150
    assert every.altered <= every.frames // 1000


@pytest.mark.long
@pytest.mark.parametrize("name", RARER)
def test_rarer_clips_show_their_numbers(name: str) -> None:
    kinds = list(MUTATIONS)
    intact = range(kinds.index("intact"), 4 * len(kinds), len(kinds))
    for case, row, sentence in fuzz(0, intact, [name]):
        assert row.accepted == 1, sentence
        assert not row.failed, f"{case}: {sentence or row}"


def test_a_case_is_made_again_from_its_numbers(tmp_path: Path) -> None:
    for n in range(len(MUTATIONS)):
        first, again = (Case.of(3, n, ["h264_gop.mp4", "mpeg2.ts"]).write(tmp_path, tmp_path) for _ in range(2))
        content = first.read_bytes()
        assert again == Case.of(3, n, ["h264_gop.mp4", "mpeg2.ts"]).write(tmp_path, tmp_path)
        assert again.read_bytes() == content


@pytest.mark.parametrize("kind", [k for k in MUTATIONS if k not in ("intact", "rename")])
def test_each_mutation_changes_a_file(tmp_path: Path, kind: str) -> None:
    content = write(tmp_path / "a.mkv", Clip("mpeg4", {"g": "12"}, num_frames=40)).read_bytes()
    changed = [MUTATIONS[kind](content, FORMATS[".mkv"], np.random.default_rng(n)) for n in range(3)]
    assert any(c != content for c in changed)
    assert len(set(changed)) > 1


def test_the_judge_knows_each_way_of_being_wrong(tmp_path: Path) -> None:
    info = probe(str(write(tmp_path / "a.mp4", CLIPS["h264_zerolatency.mp4"])))
    pts, pictures = info.table.pts[:5].tolist(), [b"a", b"b", b"c", b"d", b"e"]
    shown, ids = Shown(pts, pictures, [False] * 5), np.arange(5)
    assert judge(info, ids, pictures, shown).wrong == 0
    assert judge(info, ids, [b"a", b"c", b"d", b"e", b"e"], shown).shifted == 3
    assert judge(info, ids, [b"a", b"a", b"c", b"d", b"e"], shown).doubled == 1
    assert judge(info, ids, [b"a", b"x", b"c", b"d", b"e"], shown).altered == 1
    assert judge(info, ids, pictures, Shown(pts[:4], pictures[:4], [False] * 4)).phantom == 1


def test_writing_clips_leaves_this_process_as_it_was(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)
    write(tmp_path / "x.mkv", Clip("libsvtav1", {"preset": "12"}, num_frames=2))
    assert os.sched_getscheduler(0) == before
