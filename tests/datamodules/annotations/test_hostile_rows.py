"""Rows that are wrong: read rightly, refused by name, or counted; never otherwise.

The oracle and the mutations lie in ``tests/fuzz``, whose command tries thousands.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from fuzz.annotations import GOOD, draw_mutant, judge, truth
from fuzz.layouts import LAYOUTS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datamodules.annotations.annotation_files import inside, name_below, video_file
from datamodules.annotations.choices import as_options, choices_of, find_answer, find_place, question_and_choices
from datamodules.annotations.evidence_spans import as_spans, within
from datamodules.annotations.long_video_qa import LongVideoQA, write_long_video_qa
from datamodules.annotations.longvideobench import LongVideoBench
from datamodules.annotations.mlvu import MLVU
from datamodules.annotations.subtitles import read_subtitles
from datamodules.annotations.training import TSPO10K, LLaVAVideo
from datamodules.annotations.videomme import VideoMME
from datamodules.questions.annotated import AnnotatedVideos
from datamodules.questions.kept_questions import only_kept
from datamodules.questions.pass_rate_files import read_pass_rates
from modules.files.row_files import rows_of
from modules.files.rows import FileError, RowError
from modules.records import VideoQuestion
from recipes.jobs.question_files import tspo_record, write_lines

MLVU_ROW = {
    "video_name": "a.mp4",
    "duration": 60,
    "question": "Q?",
    "candidates": ["red", "green", "blue"],
    "answer": "C",
    "task_type": "order",
    "question_id": "q0",
}
LVB_ROW = {
    "id": "q0",
    "video_id": "a",
    "question": "Q?",
    "candidates": ["red", "green", "blue"],
    "correct_choice": 2,
    "duration": 60.0,
    "duration_group": 60,
}
LONG_ROW = {
    "id": "q0",
    "video": "a.mp4",
    "duration": 60,
    "question": "Q?",
    "options": ["red", "green"],
    "answer": "red",
}


def load(source: type, folder: Path, *rows: dict, on_bad_row: str = "raise", **more):
    file = folder / "rows.json"
    file.write_text(json.dumps(list(rows)))
    return source(annotations=str(file), videos=str(folder / "videos"), **more).load(on_bad_row)


# ---- anything ----


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("hostile") / "data"


@pytest.fixture(scope="module")
def known(workplace: Path) -> list:
    return [truth(layout, workplace) for layout in LAYOUTS]


@pytest.mark.parametrize("which", range(len(LAYOUTS)), ids=[layout.name for layout in LAYOUTS])
def test_whatever_is_wrong_is_named_or_counted(which: int, workplace: Path, known: list) -> None:
    @settings(max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False))
    def holds(draw: Random) -> None:
        mutant = draw_mutant(LAYOUTS[which], draw)
        verdict = judge(LAYOUTS[which], mutant, known[which], workplace)
        assert verdict.name in GOOD, f"{mutant.kind}, {mutant.what}: {verdict}"

    logging.disable(logging.WARNING)
    try:
        holds()
    finally:
        logging.disable(logging.NOTSET)


def test_the_oracle_sees_a_reader_that_errs(workplace: Path, known: list, monkeypatch) -> None:
    """With a reader that counts places anew behind a hole, as lists do, wrong answers are found."""
    import datamodules.annotations.longvideobench as reader

    monkeypatch.setattr(
        reader, "choices_of", lambda options: choices_of([o for o in options if o not in (None, "", "N/A")])
    )
    mutants = [draw_mutant(LAYOUTS[0], Random(seed)) for seed in range(400)]
    holes = [m for m in mutants if m.kind == "options: a hole"]
    verdicts = Counter(judge(LAYOUTS[0], mutant, known[0], workplace).name for mutant in holes)
    assert verdicts["silently wrong"] > 3, verdicts


# ---- answers ----


@pytest.mark.parametrize("hole", ["N/A", "", None, " "])
def test_an_index_counts_the_places_of_holes(hole, tmp_path: Path) -> None:
    row = {**LVB_ROW, "candidates": ["red", hole, "blue", "white"]}
    (question,) = load(LongVideoBench, tmp_path, row).questions
    assert (question.options, question.answer) == (("red", "blue", "white"), "blue")
    with pytest.raises(RowError, match=r"rows\.json, row 1: correct_choice is 1; allowed: .* 0, 2, 3 \(from 0\)"):
        load(LongVideoBench, tmp_path, {**row, "correct_choice": 1})


def test_a_letter_counts_the_places_of_holes() -> None:
    choices = choices_of(["A. red", "N/A", "C. blue", "D. white"])
    assert choices.texts == ("red", "blue", "white")
    assert choices.texts[find_answer("C", choices, "letter", Counter())] == "blue"
    with pytest.raises(ValueError, match="by letter A, C, D"):
        find_answer("B", choices, "letter", Counter())


@pytest.mark.parametrize(("convention", "text"), [("letter", "A"), ("text", "C")])
def test_a_letter_that_is_an_option_s_text_follows_the_layout(convention: str, text: str) -> None:
    choices = choices_of(["C", "B", "A", "D"])
    assert choices.texts[find_answer("C", choices, convention, Counter())] == text


def test_where_a_layout_has_no_convention_two_meanings_are_refused(tmp_path: Path) -> None:
    row = {**LONG_ROW, "options": ["C", "B", "A", "D"], "answer": "C"}
    with pytest.raises(RowError, match="row 1: answer is 'C'; allowed: an answer that is not one option's letter and"):
        load(LongVideoQA, tmp_path, row)
    assert load(LongVideoQA, tmp_path, {**row, "answer": "B"}).questions[0].answer == "B"
    assert load(LongVideoQA, tmp_path, {**row, "answer": "C. A"}).questions[0].answer == "A"
    with pytest.raises(RowError, match=r"row 1: answer is 'B. 1'"):
        load(LongVideoQA, tmp_path, {**row, "options": ["2", "1", "B. 1"], "answer": "B. 1"})


@pytest.mark.parametrize("value", [True, 1.7, -1, float("nan"), float("inf"), "1.7", "x", [1], 10**30, "C"])
def test_no_place_is_made_of_what_is_none(value) -> None:
    with pytest.raises(ValueError, match=r"whole number|by place"):
        find_place(value, choices_of(["red", "green", "blue"]))


@pytest.mark.parametrize("value", ["red", "[red]", {"A": "red"}, 3, ["red", True], ["red", ["green"]], None])
def test_a_text_is_no_list_of_its_letters(value, tmp_path: Path) -> None:
    for source, row in (
        (LongVideoBench, LVB_ROW | {"candidates": value}),
        (LongVideoQA, LONG_ROW | {"options": value}),
    ):
        with pytest.raises(RowError, match=r"row 1: (candidates|options) is"):
            load(source, tmp_path, row)


def test_letters_of_other_places_are_refused_where_the_answer_is_a_letter() -> None:
    with pytest.raises(ValueError, match="letters of other places"):
        find_answer("A", choices_of(["B. red", "A. green"]), "letter", Counter())
    initials = choices_of(["A. Lincoln", "U. Grant"])
    assert find_answer("A", initials, "letter", Counter()) == 0
    assert find_answer("U. Grant", initials, "letter", Counter()) == 1


def test_the_letter_and_the_text_behind_it_have_to_agree() -> None:
    choices = choices_of(["red", "green", "blue"])
    with pytest.raises(ValueError, match="the letter and the text of one option"):
        find_answer("B. blue", choices, "letter", Counter())
    assert find_answer("B. violet", choices, "letter", Counter()) is None


@pytest.mark.parametrize(
    "text",
    ["Q?\nA. red\nB. green\nD. blue", "Q?\n(A) red\n(B) green\nand more\n(C) blue", "Q?\nE. grey\nA. red\nB. green"],
)
def test_options_are_lettered_in_a_row(text: str) -> None:
    with pytest.raises(ValueError, match="lettered in a row"):
        question_and_choices(text)


def test_options_inside_the_question_are_those_beside_it(tmp_path: Path) -> None:
    row = {**MLVU_ROW, "question": "Q?\n(A) red\n(B) green\n(C) blue"}
    assert load(MLVU, tmp_path, row).questions[0].answer == "blue"
    with pytest.raises(RowError, match=r"row 1: candidates is .* the same options inside the question"):
        load(MLVU, tmp_path, {**row, "candidates": ["red", "blue"]})


def test_lost_answers_are_counted_and_said(tmp_path: Path, caplog) -> None:
    rows = [{**MLVU_ROW, "question_id": f"q{n}", "answer": a} for n, a in enumerate(["C", "violet", None, ""])]
    loaded = load(MLVU, tmp_path, *rows)
    assert [q.answer for q in loaded.questions] == ["blue", None, None, None]
    assert loaded.manifest.num_unanswered == 3
    assert "mlvu/dev: 3 of 4 questions have no answer" in caplog.text


def test_turns_are_of_human_and_gpt_by_turns(tmp_path: Path) -> None:
    asked, said = {"from": "human", "value": "Q?\nA. red\nB. green"}, {"from": "gpt", "value": "B"}
    assert (
        load(LLaVAVideo, tmp_path, {"id": "a", "video": "v", "conversations": [asked, said]}).questions[0].answer
        == "green"
    )
    for turns in ([asked, asked, said, said], [asked, asked, said], [said, asked], [], "asked", [asked, 3]):
        with pytest.raises(RowError, match="row 1"):
            load(LLaVAVideo, tmp_path, {"id": "a", "video": "v", "conversations": turns})


@pytest.mark.parametrize("options", [("C", "B", "A", "D"), ("A", "B"), ("2", "1", "C. 1"), ("red", "Red.")])
def test_what_is_written_is_read_back(options: tuple[str, ...], tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    for n, answer in enumerate(options):
        question = VideoQuestion("d", "train", f"q{n}", str(videos / "a.mp4"), 60.0, "Q?", options, n)
        write_long_video_qa(tmp_path / "long.json", [question], {}, videos)
        write_lines(tmp_path / "tspo.jsonl", [tspo_record(question, "general", videos)])
        for source, file in ((LongVideoQA, "long.json"), (TSPO10K, "tspo.jsonl")):
            (read,) = source(annotations=str(tmp_path / file), videos=str(videos)).load().questions
            assert (read.options, read.answer, read.video) == (options, answer, question.video), source


# ---- numbers, spans ----


@pytest.mark.parametrize("value", ["nan", float("nan"), float("inf"), -1, "1_000", "1e400", True, [], "12:00"])
def test_a_duration_is_seconds(value, tmp_path: Path) -> None:
    with pytest.raises(RowError, match=r"row 1: duration is .* allowed: seconds from 0 to 10000000"):
        load(LongVideoBench, tmp_path, {**LVB_ROW, "duration": value})


@pytest.mark.parametrize("value", [[[1, float("nan")]], [[-1, 2]], [[1, 2, 3]], [1, 2], "1-2", {"a": 1}, [["x", 2]]])
def test_evidence_is_spans_of_seconds(value, tmp_path: Path) -> None:
    with pytest.raises(RowError, match="row 1: evidence is"):
        load(LongVideoQA, tmp_path, {**LONG_ROW, "evidence": value})


def test_evidence_lies_inside_of_the_video() -> None:
    repairs: Counter[str] = Counter()
    assert within(as_spans([[1, 5], [9, 3], [50, 90], [60.5, 60.9]]), 60.0, repairs) == (
        (1, 5),
        (3, 9),
        (50, 60),
        (60.5, 60.9),
    )
    assert sum(repairs.values()) == 2
    with pytest.raises(ValueError, match="inside of the video's 60 s"):
        within(((70.0, 80.0),), 60.0, repairs)
    assert within(((70.0, 80.0),), 0.0, repairs) == ((70.0, 80.0),)


# ---- the rule for bad rows ----


def test_bad_rows_stop_or_are_left_out_and_counted(tmp_path: Path, caplog) -> None:
    rows = [{**MLVU_ROW, "question_id": f"q{n}"} for n in range(4)]
    rows[1]["duration"], rows[2]["candidates"] = -5, "red"
    with pytest.raises(RowError, match=r"row 2: duration is -5; allowed: .*\. `on_bad_row: skip` \(a key of data\)"):
        load(MLVU, tmp_path, *rows)
    loaded = load(MLVU, tmp_path, *rows, rows[0], on_bad_row="skip")
    assert [q.sample_id for q in loaded.questions] == ["q0", "q3"]
    assert loaded.manifest.num_rows == 5 == len(loaded.questions) + loaded.manifest.num_dropped
    assert caplog.text.count("mlvu/dev: 3 of 5 rows are left out: 1: duration: not seconds from 0 to 10000000") == 1
    assert "rows.json, row 5" in caplog.text


def test_the_recipe_s_key_reaches_the_source(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([MLVU_ROW, {**MLVU_ROW, "question_id": 3, "duration": "long"}]))
    source = MLVU(annotations=str(tmp_path / "rows.json"), videos=str(tmp_path))
    with pytest.raises(RowError):
        AnnotatedVideos(test=source, feature_dir=str(tmp_path)).questions("test")
    data = AnnotatedVideos(test=source, feature_dir=str(tmp_path), on_bad_row="skip")
    assert len(data.questions("test")) == 1


def test_more_options_than_letters_are_refused_when_read(tmp_path: Path) -> None:
    options = [f"thing {n}" for n in range(11)]
    with pytest.raises(RowError, match=r"row 1: question q0: 11 options, but only 10 have a letter \(A to J\)"):
        load(MLVU, tmp_path, {**MLVU_ROW, "candidates": options})
    text = "\n".join(["Q?", *(f"({'ABCDEFGHIJK'[n]}) {option}" for n, option in enumerate(options))])
    with pytest.raises(RowError, match=r"row 1: .*11 options"):
        load(MLVU, tmp_path, {**MLVU_ROW, "question": text, "candidates": []})
    with pytest.raises(ValueError, match="q0: 11 options"):
        VideoQuestion("haystack", "train", "q0", "v", 60.0, "?", tuple(options), 0)
    assert len(load(MLVU, tmp_path, {**MLVU_ROW, "candidates": options[:10]}).questions[0].options) == 10


# ---- files ----


@pytest.mark.parametrize(
    "name",
    [
        "../secret.mp4",
        "a/../../b",
        "/etc/passwd",
        "~/x",
        "~root/x",
        "C:\\x",
        "..\\x",
        "file:///x",
        "http://h/x",
        "..",
        ".",
        "/",
        "",
        "a\0b",
        "x" * 300,
        "a/" * 3000,
    ],
)
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").touch()
    with pytest.raises(ValueError, match="a file"):
        inside(tmp_path / "videos", name)
    for source, row, field in ((MLVU, MLVU_ROW, "video_name"), (LongVideoQA, LONG_ROW, "video")):
        if name:
            with pytest.raises(RowError, match=f"row 1: {field} is"):
                load(source, tmp_path, {**row, field: name})
    if name:
        with pytest.raises(RowError, match="row 1: subtitle_path is"):
            load(LongVideoBench, tmp_path, {**LVB_ROW, "subtitle_path": name}, subtitles=str(tmp_path / "subtitles"))


def test_names_inside_of_the_folder_are_found(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "videos" / "sub").mkdir(parents=True)
    (tmp_path / "elsewhere.mp4").touch()
    (tmp_path / "videos" / "linked.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    (tmp_path / "videos" / "sub" / "a..b.mkv").touch()
    (tmp_path / "link").symlink_to(tmp_path / "videos")
    monkeypatch.chdir(tmp_path)
    for folder in (Path("videos"), tmp_path / "videos", tmp_path / "link", Path("link")):
        assert video_file(folder, "sub/a..b") == str(folder / "sub" / "a..b.mkv")
        assert video_file(folder, str(folder.absolute() / "sub" / "a..b.mkv")) == str(folder / "sub" / "a..b.mkv")
        assert Path(video_file(folder, "linked")).resolve() == tmp_path / "elsewhere.mp4"
        assert video_file(folder, name_below(folder, str(folder / "linked.mp4"))) == str(folder / "linked.mp4")


def test_subtitles_outside_of_their_folder_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nsecret\n")
    row = {"videoID": "../secret", "question_id": "q", "question": "Q?", "options": ["A. x", "B. y"], "answer": "A"}
    with pytest.raises(RowError, match=r"row 1: videoID is '\.\./secret'; allowed: a file inside"):
        load(VideoMME, tmp_path, row, subtitles=str(tmp_path / "subtitles"))


@pytest.mark.parametrize(
    "times", ["x --> 2", "nan --> inf", "00:09 --> 00:02", "-1 --> 2", "-->", "1" * 400 + " --> 2"]
)
def test_subtitles_name_the_line_that_is_wrong(times: str, tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text(f"1\n00:01 --> 00:02\nhello\n\n2\n{times}\nthere\n")
    with pytest.raises(FileError, match=r"a\.srt, line 6: times is"):
        read_subtitles(path)


# ---- what is in a file ----


def test_a_line_of_json_lines_ends_at_a_line_feed_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('\ufeff{"id": "a\u2028b\x85c"}\r\n\n{"id": 2}\n', encoding="utf-8")
    assert [row.content["id"] for row in rows_of(path)] == ["a\u2028b\x85c", 2]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"{",
        b"[1",
        b"{}",
        b'"text"',
        b"null",
        b"[" * 100_000,
        b"[" + b"9" * 5000 + b"]",
        b"\xff\xfe",
        b"[]",
        "[]".encode("utf-16"),
    ],
)
def test_a_file_that_is_none_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"a\.json cannot be read"):
        rows_of(path)


def test_broken_lines_and_ragged_rows_are_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"id": 1}\n{"id"\n{"id": "\xff"}\n' + b"[" * 10_000 + b"\n3\n")
    with pytest.raises(RowError, match=r"a\.jsonl, row 2: no JSON"):
        only_kept([], str(tmp_path / "a.jsonl"))
    (tmp_path / "a.csv").write_text("a,b\n1,2\n1\n1,2,3\n")
    contents = [row.content for row in rows_of(tmp_path / "a.csv")]
    assert contents[0] == {"a": "1", "b": "2"}
    assert [c.reason for c in contents[1:]] == ["1 cells for 2 columns", "3 cells for 2 columns"]
    for text in ("a,a\n1,2\n", 'a,b\n1,"2\n'):
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(FileError, match=r"a\.csv cannot be read"):
            rows_of(tmp_path / "a.csv")


def test_a_key_that_stands_twice_has_no_value(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([MLVU_ROW]).replace('"answer"', '"answer": "A", "answer"'))
    with pytest.raises(RowError, match="row 1: answer is given more than once: 'A' and 'C'; allowed:"):
        MLVU(annotations=str(tmp_path / "rows.json"), videos=str(tmp_path)).load()


@pytest.mark.parametrize("value", ["\ud800", "a\0b", " ", 3.5j, None, ["a"], True])
def test_a_question_is_a_text_that_can_be_written(value, tmp_path: Path) -> None:
    row = {**MLVU_ROW, "question": value if value != 3.5j else {"a": 1}}
    with pytest.raises(RowError, match="row 1: question is"):
        load(MLVU, tmp_path, row)


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "a", "pass_rate": 1.5}',
        '{"id": "a", "pass_rate": true}',
        '{"pass_rate": 0.5}',
        "[]",
        '{"id"',
        '{"id": "a", "pass_rate": NaN}',
        '{"id": "b", "pass_rate": 0.25}',
    ],
)
def test_pass_rates_are_shares_and_one_a_question(line: str, tmp_path: Path) -> None:
    path = tmp_path / "rates.jsonl"
    path.write_text('{"id": "b", "pass_rate": 0.5}\n' + line + "\n")
    with pytest.raises(RowError, match=r"rates\.jsonl, row 2: "):
        read_pass_rates(str(path))


def test_options_of_a_table_are_the_literal_of_a_list() -> None:
    assert as_options("['a', None, 2]") == ("a", None, "2")
    for text in (
        "['a'",
        "a, b",
        "__import__('os')",
        "{'a'}",
        "[" * 5000,
        "['a', 1j]",
        "[True]",
        "9" * 5000,
        "-" * 50_000 + "1",
    ):
        with pytest.raises(ValueError, match=r"list of texts|finite number"):
            as_options(text)


def test_a_row_keeps_its_options_when_another_is_wrong(tmp_path: Path) -> None:
    good = load(MLVU, tmp_path, MLVU_ROW).questions
    both = load(
        MLVU, tmp_path, {**MLVU_ROW, "question_id": "x", "candidates": 3}, MLVU_ROW, on_bad_row="skip"
    ).questions
    assert [dataclasses.asdict(q) for q in both] == [dataclasses.asdict(q) for q in good]
