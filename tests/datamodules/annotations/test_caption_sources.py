"""Captions in the layouts that data sets are published in, and in one's own files; and what is wrong with them."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from fuzz.row_mutations import HOSTILE, PATHS

from datamodules.annotations.base import AnnotationSource
from datamodules.annotations.caption_source import DESCRIBE
from datamodules.annotations.msrvtt import MSRVTT
from datamodules.annotations.msvd import MSVD
from datamodules.annotations.own_captions import OwnCaptions
from datamodules.annotations.tvc import TVC
from datamodules.annotations.vatex import VATEX
from datamodules.annotations.youcook2 import YouCook2
from datamodules.haystack.clip_world import ClipWorld
from datamodules.haystack.video_writing import write_video
from datamodules.questions.annotated import AnnotatedVideos
from datamodules.video.decoding_settings import DecodingSettings
from modules.files.rows import FileError, RowError
from modules.records import VideoQuestion

MSRVTT_VIDEO = {
    "video_id": "video0",
    "category": 9,
    "url": "u",
    "start time": 137.7,
    "end time": 149.4,
    "split": "test",
    "id": 0,
}
MSRVTT_FILE = {
    "info": {"year": "2016"},
    "videos": [
        MSRVTT_VIDEO,
        {**MSRVTT_VIDEO, "video_id": "video1", "split": "validate", "category": 3},
        {**MSRVTT_VIDEO, "video_id": "video2", "split": "train"},
    ],
    "sentences": [
        {"video_id": "video0", "sen_id": 0, "caption": "a car is shown"},
        {"video_id": "video1", "sen_id": 1, "caption": "a man kicks a ball"},
        {"video_id": "video0", "sen_id": 2, "caption": "someone drives a car"},
        {"video_id": "video2", "sen_id": 3, "caption": "a dog runs"},
    ],
}
YOUCOOK2_FILE = {
    "database": {
        "xHr8X2Wpmno": {
            "duration": 311.77,
            "subset": "validation",
            "recipe_type": "226",
            "video_url": "u",
            "annotations": [
                {"segment": [41, 54], "id": 0, "sentence": "pick the ends off the verdalago"},
                {"segment": [84, 101.5], "id": 1, "sentence": "combine lemon juice and salt"},
            ],
        },
        "GLd3aX16zBg": {
            "duration": 241.6,
            "subset": "training",
            "recipe_type": "113",
            "video_url": "u",
            "annotations": [{"segment": [90, 102], "id": 0, "sentence": "spread margarine on bread"}],
        },
    }
}
TVC_ROW = {
    "vid_name": "castle_s01e01_seg02_clip_00",
    "duration": 90.02,
    "ts": [16.48, 33.87],
    "clip_id": 86603,
    "descs": [{"desc_id": 1, "desc": "Castle smiles.", "type": "v"}, {"desc_id": 2, "desc": "He sits.", "type": "vt"}],
}
VATEX_ROW = {"videoID": "G0mjFqytJt4_000152_000162", "enCap": ["a boy folds paper", "a child folds"], "chCap": ["x"]}
MSVD_CSV = """VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description
mv89psg6zh4,33,46,588702,unverified,55,Slovene,Papagaj se umiva.
mv89psg6zh4,33,46,362812,unverified,30,English,"A bird, in a sink."
mv89psg6zh4,33,46,968828,unverified,40,English,A faucet is running.
mv89psg6zh4,33,46,203142,unverified,21,English,
-4wsuPCjDBc,5,15,203142,unverified,21,English,A squirrel is eating a nut.
"""


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        content = "\n".join(map(json.dumps, content))
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def load(source: type, folder: Path, file: str, content: Any, on_bad_row: str = "raise", **more: Any) -> Any:
    return source(annotations=str(write(folder / file, content)), videos=str(folder / "videos"), **more).load(
        on_bad_row
    )


# ---- published layouts ----


def test_msrvtt_as_published(tmp_path: Path) -> None:
    loaded = load(MSRVTT, tmp_path, "test_videodatainfo.json", MSRVTT_FILE, split="test")
    (question,) = loaded.questions
    assert question.references == ("a car is shown", "someone drives a car")
    assert (question.sample_id, question.question, question.options) == ("video0", DESCRIBE, ())
    assert question.video == str(tmp_path / "videos" / "video0.mp4")
    assert (question.from_s, question.until_s) == (0, None)  # its times are of the video it was cut from
    assert question.groups == {"category": "vehicles"}
    assert (loaded.manifest.num_rows, loaded.manifest.num_joined) == (2, 1)
    assert "published: 2990 on 2990" in loaded.manifest.unexpected[0]
    for split, video in (("val", "video1"), ("validate", "video1"), ("train", "video2")):
        (other,) = load(MSRVTT, tmp_path, "a.json", MSRVTT_FILE, split=split).questions
        assert other.sample_id == video
    with pytest.raises(FileError, match="no sentence is about a video of split 'dev'"):
        load(MSRVTT, tmp_path, "a.json", MSRVTT_FILE, split="dev")


def test_msrvtt_repacked(tmp_path: Path) -> None:
    row = {
        "video_id": "video7020",
        "video": "video7020.mp4",
        "caption": ["a woman cooks", "someone cooks"],
        "category": 16,
        "source": "MSR-VTT",
    }
    (question,) = load(MSRVTT, tmp_path, "test.json", [row]).questions
    assert question.references == ("a woman cooks", "someone cooks")
    (question,) = load(MSRVTT, tmp_path, "one.jsonl", [row | {"caption": "a woman cooks"}]).questions
    assert (question.references, question.groups) == (("a woman cooks",), {"category": "food"})


def test_msvd_csv_has_descriptions_in_many_languages(tmp_path: Path) -> None:
    loaded = load(MSVD, tmp_path, "video_corpus.csv", MSVD_CSV)
    bird, squirrel = loaded.questions
    assert bird.references == ("A bird, in a sink.", "A faucet is running.")
    assert squirrel.sample_id == "-4wsuPCjDBc_5_15"
    assert {len(rows) for rows in loaded.manifest.dropped.values()} == {1}
    assert "description without a word" in " ".join(loaded.manifest.dropped)
    (slovene,) = load(MSVD, tmp_path, "video_corpus.csv", MSVD_CSV, language="Slovene").questions
    assert slovene.references == ("Papagaj se umiva.",)


@pytest.mark.parametrize("listed", ["-4wsuPCjDBc_5_15 vid1301\nmv89psg6zh4_33_46 vid1\n", "-4wsuPCjDBc_5_15.avi\n"])
def test_msvd_s_split_is_that_of_the_mapping_or_of_a_list(listed: str, tmp_path: Path) -> None:
    clips = str(write(tmp_path / "clips.txt", listed))
    (question,) = load(MSVD, tmp_path, "video_corpus.csv", MSVD_CSV, clips=clips).questions
    assert question.sample_id == "-4wsuPCjDBc_5_15"
    if "vid1301" in listed:
        (question,) = load(MSVD, tmp_path, "video_corpus.csv", MSVD_CSV, clips=clips, split="train").questions
        assert question.sample_id == "mv89psg6zh4_33_46"
        with pytest.raises(FileError, match="no row is about a clip of split 'val'"):
            load(MSVD, tmp_path, "video_corpus.csv", MSVD_CSV, clips=clips, split="val")


def test_msvd_text_and_repacked(tmp_path: Path) -> None:
    text = "# about\n# this file\n-4wsuPCjDBc_5_15 a squirrel is eating\n-4wsuPCjDBc_5_15 a squirrel eats a nut\n"
    (question,) = load(MSVD, tmp_path, "AllVideoDescriptions.txt", text).questions
    assert question.references == ("a squirrel is eating", "a squirrel eats a nut")
    with pytest.raises(RowError, match=r"a\.txt, line 1: a clip `VIDEO_START_END` and its description"):
        load(MSVD, tmp_path, "a.txt", "nothing like it\n")
    row = {"video_id": "-4wsuPCjDBc_5_15", "video": "-4wsuPCjDBc_5_15.avi", "caption": ["a", "b"], "source": "MSVD"}
    (question,) = load(MSVD, tmp_path, "test.json", [row]).questions
    assert question.video.endswith("videos/-4wsuPCjDBc_5_15.avi")


def test_vatex_is_a_clip_or_a_stretch_of_the_whole_video(tmp_path: Path) -> None:
    (question,) = load(VATEX, tmp_path, "v.json", [VATEX_ROW]).questions
    assert (question.sample_id, question.references) == (VATEX_ROW["videoID"], ("a boy folds paper", "a child folds"))
    assert (question.video, question.until_s) == (str(tmp_path / "videos/G0mjFqytJt4_000152_000162.mp4"), None)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "G0mjFqytJt4.mkv").touch()
    (question,) = load(VATEX, tmp_path, "v.json", [VATEX_ROW]).questions
    assert (question.video, question.from_s, question.until_s) == (str(tmp_path / "videos/G0mjFqytJt4.mkv"), 152, 162)
    (tmp_path / "videos" / "G0mjFqytJt4_000152_000162.mp4").touch()
    assert load(VATEX, tmp_path, "v.json", [VATEX_ROW]).questions[0].until_s is None
    (private,) = load(VATEX, tmp_path, "v.json", [{"videoID": VATEX_ROW["videoID"]}]).questions
    assert private.references == ()
    assert load(VATEX, tmp_path, "v.json", [VATEX_ROW], language="zh").questions[0].references == ("x",)


def test_tvc_is_stretches_of_clips_of_shows(tmp_path: Path) -> None:
    other = {**TVC_ROW, "vid_name": "s01e02_seg01_clip_00", "clip_id": 5, "ts": [0, 3.5]}
    (tmp_path / "videos" / "castle").mkdir(parents=True)
    (tmp_path / "videos" / "castle" / "castle_s01e01_seg02_clip_00.mp4").touch()
    first, second = load(TVC, tmp_path, "tvc_val_release.jsonl", [TVC_ROW, other], split="val").questions
    assert first.video == str(tmp_path / "videos/castle/castle_s01e01_seg02_clip_00.mp4")
    assert (first.sample_id, first.from_s, first.until_s, first.duration_s) == ("86603", 16.48, 33.87, 90.02)
    assert (first.references, first.groups) == (("Castle smiles.", "He sits."), {"show": "castle", "type": ("v", "vt")})
    assert (second.groups["show"], second.from_s, second.until_s) == ("bbt", 0.0, 3.5)
    asked = load(TVC, tmp_path, "t.jsonl", [{k: v for k, v in TVC_ROW.items() if k != "descs"}])
    assert asked.manifest.num_unanswered == 1


def test_youcook2_is_stretches_of_recipes(tmp_path: Path) -> None:
    (tmp_path / "videos" / "validation" / "226").mkdir(parents=True)
    (tmp_path / "videos" / "validation" / "226" / "xHr8X2Wpmno.mp4").touch()
    first, second = load(YouCook2, tmp_path, "y.json", YOUCOOK2_FILE, split="val").questions
    assert first.video == str(tmp_path / "videos/validation/226/xHr8X2Wpmno.mp4")
    assert (first.sample_id, first.from_s, first.until_s, first.duration_s) == ("xHr8X2Wpmno_0", 41, 54, 311.77)
    assert second.references == ("combine lemon juice and salt",)
    assert load(YouCook2, tmp_path, "y.json", YOUCOOK2_FILE, split="train").manifest.num_rows == 1
    row = {
        "id": "a",
        "youtube_id": "xHr8X2Wpmno",
        "segment": [41, 54],
        "sentence": "pick the ends",
        "recipe_type": "226",
    }
    (listed,) = load(YouCook2, tmp_path, "y.jsonl", [row]).questions
    assert (listed.video, listed.until_s) == (str(tmp_path / "videos/xHr8X2Wpmno.mp4"), 54)


# ---- one's own ----


def own(folder: Path, file: str, content: Any, on_bad_row: str = "raise", **more: Any) -> Any:
    return OwnCaptions(annotations=str(write(folder / file, content)), **more).load(on_bad_row)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("c.csv", 'video,caption\na.mp4,"a cat, asleep"\na.mp4,a cat sleeps\nb.mp4,a dog runs\n'),
        ("c.csv", "\ufeffvideo;captions\na.mp4;a cat, asleep|a cat sleeps\nb.mp4;a dog runs\n"),
        ("c.tsv", 'video\tcaptions\na.mp4\t["a cat, asleep", "a cat sleeps"]\nb.mp4\ta dog runs\n'),
        (
            "c.json",
            [
                {"video": "a.mp4", "captions": ["a cat, asleep", "a cat sleeps"]},
                {"video": "b.mp4", "caption": "a dog runs"},
            ],
        ),
        ("c.json", {"a.mp4": ["a cat, asleep", "a cat sleeps"], "b.mp4": "a dog runs"}),
        (
            "c.jsonl",
            [
                {"video": "a.mp4", "caption": "a cat, asleep"},
                {"video": "a.mp4", "caption": "a cat sleeps"},
                {"video": "b.mp4", "caption": "a dog runs"},
            ],
        ),
    ],
    ids=["csv", "csv of a German spreadsheet", "tsv", "json", "json object", "jsonl"],
)
def test_one_s_own_captions_in_every_form(file: str, content: Any, tmp_path: Path) -> None:
    first, second = own(tmp_path, file, content).questions
    assert first.references == ("a cat, asleep", "a cat sleeps")
    assert second.references == ("a dog runs",)
    assert (first.video, first.dataset, first.split) == (str(tmp_path / "a.mp4"), "mine", "test")


def test_stretches_splits_groups_and_other_names(tmp_path: Path) -> None:
    rows = [
        {"clip": "a.mp4", "text": "a cat sleeps", "start": 1, "end": 2.5, "split": "train", "group_kind": "cats"},
        {"clip": "a.mp4", "text": "a cat wakes up", "start": 2.5, "end": 4, "split": "train"},
        {"clip": "a.mp4", "text": "it wakes", "start": 2.5, "end": 4, "split": "train"},
        {"clip": "b.mp4", "text": "a dog runs", "split": "test", "caption_id": 7},
    ]
    names = {"video": "clip", "caption": "text"}
    first, second = own(tmp_path, "c.json", rows, columns=names, split="train").questions
    assert (first.from_s, first.until_s, first.groups) == (1, 2.5, {"kind": "cats"})
    assert second.references == ("a cat wakes up", "it wakes")
    (test,) = own(tmp_path, "c.json", rows, columns=names).questions
    assert (test.references, test.until_s) == (("a dog runs",), None)
    plain = [{"video": f"{n}.mp4", "caption": "a cat"} for n in range(10)]
    sizes = [
        len(own(tmp_path, "p.json", plain, split=s, split_shares=(0.6, 0.2, 0.2)).questions)
        for s in ("train", "val", "test")
    ]
    assert sizes == [6, 2, 2]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"video": "a.mp4", "caption": ""}, "row 2: caption is .* allowed: a caption that is not empty"),
        ({"video": "a.mp4", "caption": None}, "row 2: caption is .* allowed: a caption that is not empty"),
        ({"video": "a.mp4", "captions": []}, "row 2: caption is .* allowed: a caption that is not empty"),
        ({"video": "a.mp4", "captions": ["a", " "]}, "row 2: captions is"),
        ({"video": "a.mp4", "caption": 3}, "row 2: caption is 3; allowed: a caption, or a list of captions"),
        ({"video": "a.mp4", "caption": "a", "captions": "b"}, "row 2: caption is"),
        ({"video": "a.mp4", "captoin": "a"}, r"row 2: there is no field 'caption'; did you mean 'captoin'\?"),
        ({"video": "../a.mp4", "caption": "a"}, "row 2: video is '../a.mp4'; allowed: a file inside"),
        ({"video": "a.mp4", "caption": "a", "start": 3}, "row 2: start, end is .* two numbers of seconds"),
        ({"video": "a.mp4", "caption": "a", "start": 3, "end": 3}, "row 2: start, end is .* a start and an end behind"),
        ({"video": "a.mp4", "caption": "a", "start": 3, "end": math.inf}, "row 2: start, end is"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_or_counted(row: dict, message: str, tmp_path: Path) -> None:
    rows = [{"video": "b.mp4", "caption": "a dog runs"}, row]
    with pytest.raises(RowError, match=message):
        own(tmp_path, "c.json", rows)
    loaded = own(tmp_path, "c.json", rows, "skip")
    assert [q.references for q in loaded.questions] == [("a dog runs",)]
    assert (loaded.manifest.num_dropped, loaded.manifest.num_rows) == (1, 2)


def test_a_bad_caption_leaves_the_others_of_its_video(tmp_path: Path) -> None:
    text = "video,caption\na.mp4,a cat\na.mp4,\na.mp4,the cat\n"
    loaded = own(tmp_path, "c.csv", text, "skip")
    assert [q.references for q in loaded.questions] == [("a cat", "the cat")]
    assert (loaded.manifest.num_dropped, loaded.manifest.num_joined) == (1, 1)


def test_videos_that_are_missing_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_video(tmp_path / "a.mp4", ClipWorld(size_px=32, duration_s=4.0, fps=2.0, max_count=3), "train", 0)
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 100)
    content = {"a.mp4": "a cat", "gone.mp4": "a dog", "broken.mp4": "a bird"}
    source = OwnCaptions(annotations=str(write(tmp_path / "c.json", content)))
    how = {"feature_dir": str(tmp_path / "features"), "candidate_fps": 2.0}
    data = AnnotatedVideos(test=source, decoding=DecodingSettings(on_bad_video="skip"), **how)
    with caplog.at_level(logging.INFO):
        data.setup("test")
    assert [q.references for q, *_ in (data.items("test")[n] for n in range(len(data.items("test"))))] == [("a cat",)]
    assert {Path(p).name for p in data.bad_videos} == {"gone.mp4", "broken.mp4"}
    assert "gone.mp4" in caplog.text
    with pytest.raises(ValueError, match=r"gone\.mp4|broken\.mp4"):
        AnnotatedVideos(test=source, decoding=DecodingSettings(on_bad_video="raise"), **how).setup("test")


# ---- anything ----

FILES: list[tuple[type, str, str, Any]] = [
    (MSRVTT, "m.json", "test", MSRVTT_FILE),
    (MSRVTT, "m.jsonl", "test", [{"video_id": f"v{n}", "caption": ["a", "b"], "category": 3} for n in range(3)]),
    (MSVD, "m.json", "test", [{"video_id": f"v_{n}_9", "video": f"v_{n}_9.avi", "caption": ["a b"]} for n in range(3)]),
    (VATEX, "v.json", "test", [VATEX_ROW, {**VATEX_ROW, "videoID": "abc_000001_000011"}]),
    (TVC, "t.jsonl", "val", [TVC_ROW, {**TVC_ROW, "clip_id": 9}]),
    (YouCook2, "y.json", "val", YOUCOOK2_FILE),
    (
        YouCook2,
        "y.jsonl",
        "val",
        [{"id": f"{n}", "youtube_id": f"v{n}", "segment": [1, n + 2.5], "sentence": "stir"} for n in range(3)],
    ),
    (OwnCaptions, "c.json", "test", {"a.mp4": ["a cat", "the cat"], "b.mp4": "a dog"}),
    (
        OwnCaptions,
        "c.jsonl",
        "test",
        [
            {"video": f"{n}.mp4", "captions": ["a"], "start": 1, "end": 2, "groups": {"k": "v"}, "id": f"{n}"}
            for n in range(3)
        ],
    ),
]


def leaves(value: Any, path: tuple = ()) -> list[tuple]:
    found = [path] if path else []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += leaves(inner, (*path, key))
    return found


@pytest.mark.parametrize(("source", "file", "split", "content"), FILES, ids=[f"{s.__name__} {f}" for s, f, *_ in FILES])
def test_whatever_stands_there_is_read_refused_by_name_or_counted(
    source: Callable[..., AnnotationSource], file: str, split: str, content: Any, tmp_path: Path
) -> None:
    logging.disable(logging.WARNING)
    try:
        _try_everything(source, file, split, content, tmp_path)
    finally:
        logging.disable(logging.NOTSET)


def _try_everything(source: Callable[..., AnnotationSource], file: str, split: str, content: Any, folder: Path) -> None:
    values = [v for v in [*HOSTILE, *PATHS] if not (isinstance(v, str) and len(v) > 1000 and "[" not in v)]
    refused = accepted = 0
    for number, path in enumerate(leaves(content)):
        for value in values[number % 5 :: 5]:
            changed = deepcopy(content)
            place = changed
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
            write(folder / file, changed)
            made = source(annotations=str(folder / file), videos=str(folder / "videos"), split=split)
            loaded, said = _load(made, "raise")
            if said:
                refused += 1
                loaded, said_again = _load(made, "skip")
                assert file in said, (path, value, said)
                assert file in (said_again or file), (path, value, said_again)
            else:
                accepted += 1
            if loaded is None:
                continue
            found, manifest = loaded.questions, loaded.manifest
            assert len(found) + manifest.num_dropped + manifest.num_joined == manifest.num_rows, (path, value)
            assert manifest.num_dropped or not said, (path, value)
            assert all(_is_sound(question, folder) for question in found), (path, value, found)
    assert refused > 10 < accepted


def _load(source: AnnotationSource, on_bad_row: Any) -> tuple[Any, str]:
    """What came of it, and what was said where nothing did."""
    try:
        return source.load(on_bad_row), ""
    except FileError as error:
        return None, str(error)


def _is_sound(question: VideoQuestion, folder: Path) -> bool:
    texts = [question.sample_id, question.video, *question.references]
    times = [question.duration_s, question.from_s, question.until_s or 0.0]
    return (
        Path(question.video).resolve().is_relative_to((folder / "videos").resolve())
        and all(math.isfinite(t) and t >= 0 for t in times)
        and (question.until_s is None or question.until_s > question.from_s)
        and all(text.strip() and not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text) for text in texts)
    )
