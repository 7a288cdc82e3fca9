"""A person's own questions: every way to write them, what is refused and how, and which split has which."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from datamodules.annotations.multiple_choice import MultipleChoice
from datamodules.annotations.video_split import split_of_videos
from datamodules.questions.annotated import AnnotatedVideos
from modules.files.rows import FileError, RowError
from modules.records import VideoQuestion

ROW: dict[str, Any] = {
    "video": "a.mp4",
    "question": "Which colour?",
    "options": ["red", "green", "blue"],
    "answer": "B",
}


def load(folder: Path, *rows: dict[str, Any], on_bad_row: str = "raise", **more: Any) -> list[VideoQuestion]:
    (folder / "mine.json").write_text(json.dumps(list(rows)))
    source = MultipleChoice(annotations=str(folder / "mine.json"), **more)
    return source.load(on_bad_row).questions  # type: ignore[arg-type]


def refused(folder: Path, row: dict[str, Any], **more: Any) -> str:
    with pytest.raises(RowError) as error:
        load(folder, row, **more)
    assert f"{folder / 'mine.json'}, row 1: " in str(error.value)
    return str(error.value)


# ---- what can be written ----


def test_a_row_of_everything(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n")
    row = {
        **ROW,
        "id": 7,
        "evidence": [[1, 2.5], [4, 5]],
        "groups": {"kind": "colour", "tags": ["x", "y"]},
        "subtitles": "a.srt",
        "duration": 60,
    }
    (question,) = load(tmp_path, row, name="kitchen")
    assert question == VideoQuestion(
        "kitchen",
        "test",
        "7",
        str(tmp_path / "a.mp4"),
        60.0,
        "Which colour?",
        ("red", "green", "blue"),
        1,
        ((1.0, 2.5), (4.0, 5.0)),
        {"kind": "colour", "tags": ("x", "y")},
        ((1.0, 2.0, "hello"),),
    )


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        ("csv", 'video,question,options,answer\na.mp4,"Which, now?",red|green|blue,green\n'),
        ("csv", 'video,question,options,answer\na.mp4,"Which, now?","[""red"", ""green"", ""blue""]",B\n'),
        ("csv", "video,question,options,answer\na.mp4,\"Which, now?\",\"['red', 'green', 'blue']\",B\n"),
        ("csv", 'video,question,option_a,option_b,option_c,answer\na.mp4,"Which, now?",red,green,blue,(b)\n'),
        ("csv", 'video,question,option 1,option 2,option 3,answer\na.mp4,"Which, now?",red,green,blue,B. green\n'),
        ("csv", "\ufeffvideo;question;options;answer\r\na.mp4;Which, now?;red|green|blue;B\r\n"),
        ("tsv", "video\tquestion\toptions\tanswer\na.mp4\tWhich, now?\tA. red|B. green|C. blue\tB\n"),
        (
            "jsonl",
            '{"video": "a", "question": "Which, now?", "options": ["red", "green", "blue"], "answer": "Green."}\n',
        ),
    ],
)
def test_the_same_question_in_other_forms(suffix: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / f"mine.{suffix}"
    file.write_text(text)
    (question,) = MultipleChoice(annotations=str(file)).load().questions
    assert (question.question, question.options, question.answer) == ("Which, now?", ("red", "green", "blue"), "green")
    assert (question.video, question.sample_id) == (str(tmp_path / "a.mp4"), "1")


def test_a_table_in_another_encoding_says_how_to_save_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("video;question;options;answer\na.mp4;Grün?;ja|nein;A\n", encoding="cp1252")
    with pytest.raises(ValueError, match=r"byte 38 is 0xfc, which is no text in UTF-8; save the table anew"):
        MultipleChoice(annotations=str(file)).load()


def test_a_table_of_four_and_of_two_options(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(
        "video,question,option_a,option_b,option_c,option_d,answer,evidence_start,evidence_end,group_kind\n"
        "a.mp4,Which?,red,green,blue,white,D,3,4.5,colour\nb.mp4,Is it?,yes,no,,,no,,,\n"
    )
    first, second = MultipleChoice(annotations=str(file)).load().questions
    assert (first.answer, first.evidence_s, first.groups) == ("white", ((3.0, 4.5),), {"kind": "colour"})
    assert (second.options, second.answer, second.evidence_s, second.groups) == (("yes", "no"), "no", (), {})


@pytest.mark.parametrize("references", [["a ball", "the ball"], '["a ball", "the ball"]', "a ball | the ball"])
def test_references_make_an_open_question(references: Any, tmp_path: Path) -> None:
    (question,) = load(tmp_path, {"video": "a.mp4", "question": "What rolls?", "references": references})
    assert (question.options, question.answer_index, question.references) == ((), None, ("a ball", "the ball"))
    (question,) = load(tmp_path, {"video": "a.mp4", "question": "What rolls?", "references": "a ball"})
    assert question.references == ("a ball",)


def test_an_open_question_counts_as_answered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(tmp_path, {"video": "a.mp4", "question": "What rolls?", "references": "a ball"})
    assert "no answer" not in caplog.text


def test_columns_of_other_names(tmp_path: Path) -> None:
    row = {"clip": "a.mp4", "prompt": "Which?", "choices": ["red", "blue"], "label": 1}
    names = {"video": "clip", "question": "prompt", "options": "choices", "answer": "label"}
    (question,) = load(tmp_path, row, columns=names, answers="index_from_0")
    assert (question.question, question.answer) == ("Which?", "blue")
    with pytest.raises(ValueError, match="columns: 'colour' is none of id, video"):
        load(tmp_path, row, columns={"colour": "x"})


def test_a_misspelt_video_column_is_told_although_the_videos_were_to_be_dealt_out(tmp_path: Path) -> None:
    row = {{"video": "vidoe"}.get(name, name): value for name, value in ROW.items()}
    assert "did you mean 'vidoe'?" in refused(tmp_path, row, split="train", split_shares=(0.8, 0.1, 0.1))


# ---- where videos lie ----


def test_videos_lie_beside_the_file_or_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mkv").touch()
    assert load(tmp_path, ROW)[0].video == str(tmp_path / "a.mp4")
    assert load(tmp_path, {**ROW, "video": "clips/a"})[0].video == str(tmp_path / "clips/a.mkv")
    assert load(tmp_path, {**ROW, "video": "a"}, videos=str(tmp_path / "clips"))[0].video.endswith("clips/a.mkv")
    said = refused(tmp_path, {**ROW, "video": "/elsewhere/a.mp4"})
    assert f"allowed: a file inside {tmp_path} (the key `videos` names another folder)" in said
    assert load(tmp_path, {**ROW, "video": "/elsewhere/a.mp4"}, videos="/")[0].video == "/elsewhere/a.mp4"


# ---- answers ----


@pytest.mark.parametrize(
    ("answers", "answer", "found"),
    [
        ("any", "c", "blue"),
        ("any", "Blue", "blue"),
        ("any", "C. blue", "blue"),
        ("letter", "A", "red"),
        ("index_from_0", 2, "blue"),
        ("index_from_0", "0", "red"),
        ("index_from_1", 1, "red"),
        ("index_from_1", "3", "blue"),
    ],
)
def test_answers_by_letter_text_and_number(answers: str, answer: Any, found: str, tmp_path: Path) -> None:
    assert load(tmp_path, {**ROW, "answer": answer}, answers=answers)[0].answer == found


@pytest.mark.parametrize(
    ("options", "answer", "answers", "said"),
    [
        (["red", "blue"], 1, "any", "`answers: index_from_0` or `index_from_1` says from where"),
        (["2", "3", "1"], "2", "any", "where they are the options, `answers: text`"),
        (["C", "B", "A"], "C", "any", "(`answers: letter` or `answers: text` says which it is)"),
        (["red", "blue"], "violet", "any", "the options are red, blue"),
        (["red", "blue"], "D", "any", "by letter A, B"),
        (["red", "red", "blue"], "red", "any", "2 options have this one"),
        (["red", "blue"], 0, "index_from_1", "an option that is there: 1, 2 (`answers: index_from_1`)"),
        (["red", "blue"], 2, "index_from_0", "an option that is there: 0, 1"),
        (["red", "blue"], "B", "index_from_0", "a whole number"),
        (["red", "blue"], True, "index_from_0", "a whole number"),
    ],
)
def test_answers_that_could_be_two_or_none_are_refused(
    options: list[str], answer: Any, answers: str, said: str, tmp_path: Path
) -> None:
    found = refused(tmp_path, {**ROW, "options": options, "answer": answer}, answers=answers)
    assert "row 1: answer is " in found
    assert said in found


def test_what_the_refusals_advise_works(tmp_path: Path) -> None:
    numbers, letters = {**ROW, "options": ["2", "3", "1"]}, {**ROW, "options": ["C", "B", "A"]}
    assert load(tmp_path, {**numbers, "answer": "2"}, answers="text")[0].answer == "2"
    assert load(tmp_path, {**numbers, "answer": "2"}, answers="index_from_0")[0].answer == "1"
    assert load(tmp_path, {**letters, "answer": "C"}, answers="letter")[0].answer == "A"
    assert load(tmp_path, {**letters, "answer": "C"}, answers="text")[0].answer == "C"


def test_a_question_without_an_answer_is_tested_on_and_not_trained_on(tmp_path: Path, caplog: Any) -> None:
    rows = [ROW, {**ROW, "answer": ""}]
    assert [q.answer for q in load(tmp_path, *rows)] == ["green", None]
    assert "1 of 2 questions have no answer" in caplog.text
    assert len(load(tmp_path, *rows, split="train")) == 1
    assert "1 of 2 rows are left out: 1: no answer (e.g. 2)" in caplog.text


# ---- what is refused ----


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"video": None, "vidoe": "a.mp4"}, "there is no field 'video'; did you mean 'vidoe'?"),
        ({"video": None, "file": "a.mp4"}, "there is no field 'video'; there are question, options, answer, file"),
        ({"evidense": [[1, 2]]}, "the field 'evidense' is not known; did you mean 'evidence'?"),
        ({"Groups": {"a": "b"}}, "the field 'Groups' is not known; did you mean 'groups'?"),
        ({"options": "red, green"}, "options is 'red, green'; allowed: a list of texts, or a text with '|' between"),
        ({"options": None}, "there are no options, and no references"),
        ({"references": "x"}, "there are options and references"),
        ({"option_a": "red", "option_b": "blue"}, "'green', 'blue']; allowed: nothing, beside option_a"),
        ({"options": None, "option_a": "red", "option_c": "x"}, "none left out; there are option_a, option_c"),
        ({"evidence": [9, "x"]}, "evidence is [9, 'x']; allowed: a list of [start, end] in seconds"),
        ({"evidence_start": 3}, "two numbers of seconds: evidence_start and evidence_end"),
        ({"groups": "colour"}, "groups is 'colour'; allowed: an object such as"),
        ({"subtitles": "no.srt"}, "subtitles is 'no.srt'; allowed: a file that is there"),
        ({"subtitles": "../x.srt"}, "subtitles is '../x.srt'; allowed: a file inside"),
        ({"duration": "long"}, "duration is 'long'; allowed: seconds"),
        ({"question": " "}, "question is ' '; allowed: a text, not empty"),
        ({"split": "dev"}, "split is 'dev'; allowed: one of train, val, test"),
    ],
)
def test_errors_name_file_row_and_field(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    row = {key: value for key, value in {**ROW, **change}.items() if value is not None}
    assert said in refused(tmp_path, row)


def test_refused_rows_can_be_left_out_and_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [ROW, {**ROW, "answer": "violet"}, {**ROW, "answer": 3}, {**ROW, "video": "../x.mp4"}, ROW]
    assert [q.sample_id for q in load(tmp_path, *rows, on_bad_row="skip")] == ["1", "5"]
    assert "mine/test: 3 of 5 rows are left out" in caplog.text


def test_columns_that_are_not_read_are_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(tmp_path, {**ROW, "worker": 3}, {**ROW, "worker": 4, "url": "x"})
    assert caplog.text.count("columns that are not read: url, worker") == 1


# ---- splits ----


def of_videos(num_videos: int, per_video: int = 2) -> list[dict[str, Any]]:
    return [{**ROW, "video": f"{'./' * (n % 2)}v{v}.mp4"} for v in range(num_videos) for n in range(per_video)]


def test_videos_are_dealt_out_the_same_each_time_and_whole(tmp_path: Path) -> None:
    shares, rows = (0.6, 0.2, 0.2), of_videos(20)
    found = {s: load(tmp_path, *rows, split=s, split_shares=shares) for s in ("train", "val", "test")}
    videos = {split: {Path(q.video).name for q in questions} for split, questions in found.items()}
    assert [len(videos[s]) for s in ("train", "val", "test")] == [12, 4, 4]
    assert sum(map(len, found.values())) == 40
    assert len(set.union(*videos.values())) == 20
    again = load(tmp_path, *reversed(rows), split="test", split_shares=shares)
    assert {Path(q.video).name for q in again} == videos["test"]
    other = load(tmp_path, *rows, split="test", split_shares=shares, split_seed=1)
    assert {Path(q.video).name for q in other} != videos["test"]
    assert {q.sample_id for q in found["test"]} < {str(n) for n in range(1, 41)}  # numbers of the whole file


def test_the_order_of_videos_is_written_down() -> None:
    """By hand: the order of SHA-256("0/a"), ("0/b"), ... decides, on any machine."""
    split = split_of_videos("abcde", (0.6, 0.2, 0.2), 0)
    assert sorted(split.values()) == ["test", "train", "train", "train", "val"]
    import hashlib

    order = sorted("abcde", key=lambda name: hashlib.sha256(f"0/{name}".encode()).hexdigest())
    assert (split[order[0]], split[order[1]]) == ("test", "val")


def test_every_share_has_a_video_or_the_file_is_refused(tmp_path: Path) -> None:
    shares = (0.8, 0.1, 0.1)
    assert [len(load(tmp_path, *of_videos(3), split=s, split_shares=shares)) for s in ("train", "val", "test")] == [
        2
    ] * 3
    with pytest.raises(FileError, match=r"2 videos are too few for split_shares=\[0.8, 0.1, 0.1\]"):
        load(tmp_path, *of_videos(2), split_shares=shares)
    with pytest.raises(ValueError, match="add up to 1"):
        load(tmp_path, ROW, split_shares=(0.5, 0.1, 0.1))


def test_a_column_says_it_row_by_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{**ROW, "video": f"v{n}.mp4", "split": s} for n, s in enumerate(["train", "train", "val", "test"])]
    assert [q.sample_id for q in load(tmp_path, *rows, split="train", split_shares=(0.8, 0.1, 0.1))] == ["1", "2"]
    assert "mine/train: 2 of 4 rows of" in caplog.text
    assert "(by the column split)" in caplog.text
    assert [q.sample_id for q in load(tmp_path, *rows)] == ["4"]
    with pytest.raises(RowError, match="row 2: split is None; allowed: one of train, val, test"):
        load(tmp_path, rows[0], ROW)
    with pytest.raises(FileError, match="no row of split 'val'; there are train"):
        load(tmp_path, *rows[:2], split="val")


def test_a_video_in_train_and_test_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, videos in (("train", [0, 1, 2]), ("test", [2, 3])):
        (tmp_path / f"{name}.json").write_text(json.dumps([{**ROW, "video": f"v{n}.mp4"} for n in videos]))
    (tmp_path / "v2.mp4").touch()
    (tmp_path / "v3.mp4").symlink_to(tmp_path / "v2.mp4")
    sources = {s: MultipleChoice(annotations=str(tmp_path / f"{s}.json"), split=s) for s in ("train", "test")}
    AnnotatedVideos(**sources, feature_dir=str(tmp_path)).questions("test")
    assert "1 of 1 videos of split 'test' are also trained on" in caplog.text
    caplog.clear()
    (tmp_path / "v3.mp4").unlink()
    rows = of_videos(20)
    (tmp_path / "one.json").write_text(json.dumps(rows))
    shares: Any = {"annotations": str(tmp_path / "one.json"), "split_shares": (0.8, 0.1, 0.1)}
    data = AnnotatedVideos(
        train=MultipleChoice(split="train", **shares), test=MultipleChoice(**shares), feature_dir=str(tmp_path)
    )
    with caplog.at_level(logging.INFO):
        assert len(data.questions("test")) == 4
    assert "also trained on" not in caplog.text
