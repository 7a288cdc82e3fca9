"""Every published layout, with the defects the real files have, on small files of the same form."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from datamodules.annotations.choices import as_options, choices_of, find_answer, find_place, split_question
from datamodules.annotations.longvideobench import LongVideoBench
from datamodules.annotations.lvbench import LVBench
from datamodules.annotations.mlvu import MLVU
from datamodules.annotations.nextgqa import NExTGQA
from datamodules.annotations.subtitles import read_subtitles, seconds
from datamodules.annotations.tables import read_rows
from datamodules.annotations.training import TSPO10K, LLaVAVideo
from datamodules.annotations.videomme import VideoMME


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(r) for r in rows) + "\n")
    elif path.suffix in (".tsv", ".csv"):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text(json.dumps(rows))
    return path


def tsv(
    index: str, video: str, question: str, candidates: list[str], number: int, answer: str, task: str = "t"
) -> dict:
    return {
        "index": index,
        "task_name": task,
        "video_name": video,
        "question_id": 0,
        "question": question,
        "answer_number": number,
        "candidates": repr(candidates),
        "answer": answer,
    }


# ---- forms of options and answers ----


def test_letters_go_only_where_every_option_has_its_own() -> None:
    assert choices_of(["A. red", "B. blue"]).texts == ("red", "blue")
    assert choices_of(["(A) red", "(B) blue"]).texts == ("red", "blue")
    assert choices_of(["A. Lincoln", "Grant"]).texts == ("A. Lincoln", "Grant")
    assert choices_of(["A. red", "B. blue", "N/A", None]).texts == ("red", "blue")
    assert choices_of(["A. red", "B. N/A", "C. blue"]).texts == ("red", "blue")


@pytest.mark.parametrize(
    ("text", "question", "options"),
    [
        ("What?\n(A) red\n(B) blue", "What?", ["red", "blue"]),
        ("What?\nA. red\nB. blue\n\nAnswer now.", "What?", ["red", "blue"]),
        ("A. Lincoln spoke. Who listened?\nA. red\nB. blue", "A. Lincoln spoke. Who listened?", ["red", "blue"]),
        ("A dog runs.\nWhy?\n(A) fear\n(B) joy\n(C) A. Smith", "A dog runs.\nWhy?", ["fear", "joy", "A. Smith"]),
        ("No options here", "No options here", []),
        ("What?\nA. only one", "What?\nA. only one", []),
    ],
)
def test_options_inside_a_question_are_found(text: str, question: str, options: list[str]) -> None:
    assert split_question(text) == (question, options)


@pytest.mark.parametrize(
    ("answer", "index"),
    [
        ("B", 1),
        ("(b)", 1),
        ("b.", 1),
        ("blue", 1),
        ("Blue.", 1),
        ('"blue"', 1),
        ("B. blue", 1),
        ("grey", None),
        (None, None),
        ("", None),
    ],
)
@pytest.mark.parametrize("convention", ["letter", "text", "either"])
def test_answers_as_letter_or_text(answer, index, convention) -> None:
    assert find_answer(answer, choices_of(["red", "blue", "green"]), convention, Counter()) == index


def test_a_number_that_is_an_option_is_its_text_not_its_place() -> None:
    numbers = choices_of(["2", "3", "4", "5"])
    assert find_answer("3", numbers, "text", Counter()) == 1
    assert find_answer(3, numbers, "text", Counter()) == 1
    assert find_place("3", numbers) == 3
    repairs: Counter[str] = Counter()
    assert find_answer("x", choices_of(["y", "x", "x"]), "text", repairs) == 1
    assert "several options" in next(iter(repairs))


def test_tables_keep_text_as_text(tmp_path: Path) -> None:
    rows = [{"video_id": "001", "question": 'He said\t"no"\nand left', "answer": "a"}]
    for name in ("t.tsv", "t.csv", "t.jsonl", "t.json", "t.parquet"):
        read = read_rows(write(tmp_path / name, rows))
        assert read[0]["video_id"] == "001", name
        assert read[0]["question"] == 'He said\t"no"\nand left', name
    (tmp_path / "b.json").write_text("[{")
    with pytest.raises(ValueError, match=r"b\.json cannot be read"):
        read_rows(tmp_path / "b.json")
    with pytest.raises(ValueError, match="no such file"):
        read_rows(tmp_path / "c.json")
    (tmp_path / "t.txt").write_text("")
    with pytest.raises(ValueError, match=r"\.parquet"):
        read_rows(tmp_path / "t.txt")
    with pytest.raises(ValueError, match="a list of texts"):
        as_options("__import__('os')")


# ---- LongVideoBench ----

LVB = {
    "video_id": "@user-7123456789012345678",
    "question": "At 0:12, who?",
    "question_wo_referring_query": "Who?",
    "candidates": ["a man", "a dog", "a cat"],
    "correct_choice": 2,
    "position": [12, 300],
    "topic_category": "K",
    "question_category": "S2E",
    "level": "L1",
    "id": "@user-7123456789012345678_0",
    "video_path": "@user-7123456789012345678.mp4",
    "subtitle_path": "x_en.json",
    "duration_group": 15,
    "starting_timestamp_for_subtitles": 100.0,
    "duration": 12.5,
    "view_count": 1,
}


def test_longvideobench_in_each_layout(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "7123456789012345678.mp4").touch()  # "@" ids: the last 19 characters
    write(
        tmp_path / "subs" / "x_en.json",
        [
            {"timestamp": [101.0, 103.5], "text": "hello"},
            {"timestamp": [110.0, None], "text": "bye"},
            {"timestamp": [5.0, 6.0], "text": "before the cut"},
        ],
    )
    flat = {k: v for k, v in LVB.items() if k not in ("candidates", "position")}
    flat |= {f"option{o}": (LVB["candidates"][o] if o < 3 else "N/A") for o in range(5)}
    files = [
        write(tmp_path / "lvb_val.json", [LVB]),
        write(tmp_path / "lvb.parquet", [flat]),
        write(
            tmp_path / "lvb.tsv",
            [tsv(LVB["id"], LVB["video_id"], LVB["question"], LVB["candidates"], 2, "C", "S2E")],
        ),
    ]
    for file in files:
        source = LongVideoBench(
            annotations=str(file), videos=str(tmp_path / "videos"), subtitles=str(tmp_path / "subs")
        )
        loaded = source.load()
        (q,) = loaded.questions
        assert q.options == ("a man", "a dog", "a cat"), file
        assert q.answer == "a cat"
        assert q.video.endswith("/7123456789012345678.mp4")
        assert q.sample_id == LVB["id"]
        assert q.groups["category"] == "S2E"
        assert not q.evidence_s
        assert loaded.manifest.num_dropped == 0
        if file.suffix != ".tsv":
            assert q.groups["duration"] == "15"
            assert q.subtitles == ((1.0, 3.5, "hello"), (10.0, 12.5, "bye"))
        assert "published: 1337 on 753" in loaded.manifest.unexpected[0]


def test_counts_as_published_are_expected(tmp_path: Path) -> None:
    """A file of LongVideoBench's published shape: 1 337 questions on 753 videos, groups 189/172/412/564, options
    983 x 5, 353 x 4, 1 x 3."""
    groups = [15] * 189 + [60] * 172 + [600] * 412 + [3600] * 564
    sizes = [5] * 983 + [4] * 353 + [3]
    rows = [
        {
            **LVB,
            "id": f"v{n % 753}_{n}",
            "video_id": f"v{n % 753}",
            "video_path": f"v{n % 753}.mp4",
            "duration_group": g,
            "candidates": [f"option {o}" for o in range(sizes[n])],
            "correct_choice": n % 3,
        }
        for n, g in enumerate(groups)
    ]
    manifest = LongVideoBench(annotations=str(write(tmp_path / "lvb_val.json", rows)), videos="v").load().manifest
    assert (manifest.num_rows, manifest.num_questions, manifest.num_videos) == (1337, 1337, 753)
    assert manifest.groups["duration"] == {"15": 189, "60": 172, "600": 412, "3600": 564}
    assert manifest.unexpected == []
    assert manifest.dropped == {}


def test_counts_of_the_other_benchmarks(tmp_path: Path) -> None:
    """Files of the published shapes: nothing is dropped, nothing is unexpected."""
    tasks = {
        "plotQA": 539,
        "needle": 355,
        "ego": 352,
        "topic_reasoning": 263,
        "order": 259,
        "count": 206,
        "anomaly_reco": 200,
    }
    rows = [
        {
            "video_name": f"v{n % 1122}.mp4",
            "duration": 180,
            "question": "Q?\n(A) a\n(B) b\n(C) c\n(D) d",
            "candidates": list("abcd"),
            "answer": "C",
            "task_type": task,
            "question_id": f"Q{n}",
        }
        for n, task in enumerate(t for t, count in tasks.items() for _ in range(count))
    ]
    mlvu = MLVU(annotations=str(write(tmp_path / "mlvu.json", rows)), videos="v").load().manifest
    assert mlvu.groups == {"task": tasks}
    rows = [
        {
            "video_id": f"{n // 3:03d}",
            "duration": ("short", "medium", "long")[n // 900],
            "domain": "d",
            "videoID": f"y{n // 3}",
            "sub_category": "s",
            "task_type": f"t{n % 12}",
            "question_id": f"{n // 3:03d}-{n % 3}",
            "question": "Q?",
            "options": ["A. a", "B. b", "C. c", "D. d"],
            "answer": "D",
        }
        for n in range(2700)
    ]
    videomme = VideoMME(annotations=str(write(tmp_path / "test.parquet", rows)), videos="v").load().manifest
    assert videomme.groups["duration"] == {"short": 900, "medium": 900, "long": 900}
    qa = {"question": "Q?\n(A) a\n(B) b", "answer": "A", "question_type": ["x"], "time_reference": "01:00-02:00"}
    sizes = [15] * 102 + [19]
    lines = [
        {
            "key": f"k{v}",
            "type": "t",
            "video_info": {"duration_minutes": 60},
            "qa": [{**qa, "uid": f"{v}-{n}"} for n in range(size)],
        }
        for v, size in enumerate(sizes)
    ]
    lvbench = LVBench(annotations=str(write(tmp_path / "video_info.meta.jsonl", lines)), videos="v").load().manifest
    manifests = [mlvu, videomme, lvbench]
    for split, num_questions, num_videos in (("val", 3358, 567), ("test", 5553, 990)):
        rows = [
            {
                "video_id": f"{n % num_videos:04d}",
                "question": "q",
                "answer": "b",
                "qid": str(n),
                "type": "CW",
                **{f"a{o}": c for o, c in enumerate("abcde")},
            }
            for n in range(num_questions)
        ]
        file = write(tmp_path / f"{split}.csv", rows)
        manifests.append(NExTGQA(annotations=str(file), videos="v", split=split).load().manifest)
    for manifest in manifests:
        assert manifest.unexpected == [], manifest.dataset
        assert manifest.num_dropped == 0
        assert manifest.num_rows == manifest.num_questions


def test_subtitle_forms(tmp_path: Path) -> None:
    srt = tmp_path / "a.srt"
    srt.write_text(
        '1\n00:00:01,500 --> 00:00:03,000\n<font color="white">Hi <b>there</b></font>\n{\\an8}again\n\n'
        "2\n00:01:00,000 --> 00:01:02,000\nplain\n\n3\n00:02:00,000 --> 00:02:01,000\n\n"
    )
    assert read_subtitles(srt) == ((1.5, 3.0, "Hi there again"), (60.0, 62.0, "plain"))
    clock = write(tmp_path / "b.json", [{"start": "0:01:05.250", "end": "0:01:07.000", "line": "x"}])
    assert read_subtitles(clock, offset_s=60.0) == ((5.25, 7.0, "x"),)
    assert read_subtitles(tmp_path / "none.srt") == ()
    (tmp_path / "bad.json").write_text('[{"x": 1}]')
    with pytest.raises(ValueError, match=r"bad\.json, row 1: there is no field 'start'"):
        read_subtitles(tmp_path / "bad.json")
    assert seconds("100:05") == 6005.0


# ---- MLVU ----


def test_mlvu_original_folder_repack_and_tsv(tmp_path: Path) -> None:
    folder = tmp_path / "json"
    needle = {
        "video": "needle_1.mp4",
        "duration": 480.5,
        "question": "Which?",
        "candidates": ["x", "y", "y", "z"],
        "answer": "y",
        "question_type": "findNeedle",
    }
    write(folder / "2_needle.json", [needle, {**needle, "answer": "nothing of these"}])
    write(folder / "1_plotQA.json", [{**needle, "question_type": "plotQA", "video": "p.mp4", "answer": "z"}])
    write(
        folder / "8_sub_scene.json",
        [{"video": "s.mp4", "duration": 1, "question": "Tell.", "answer": "free", "question_type": "subPlot"}],
    )
    (tmp_path / "videos" / "2_needle").mkdir(parents=True)
    (tmp_path / "videos" / "2_needle" / "needle_1.mp4").touch()
    loaded = MLVU(annotations=str(folder), videos=str(tmp_path / "videos")).load()
    assert [q.answer for q in loaded.questions] == ["z", "y", None]
    assert loaded.questions[1].answer_index == 1  # the first of two that are alike
    assert loaded.questions[1].video.endswith("2_needle/needle_1.mp4")
    assert loaded.manifest.groups == {"task": {"plotQA": 1, "needle": 2}}
    assert loaded.manifest.dropped == {"subPlot is a generation task, without options": ["8_sub_scene_0"]}
    assert loaded.manifest.num_rows == 4 == loaded.manifest.num_questions + loaded.manifest.num_dropped
    assert sum(loaded.manifest.repairs.values()) == 5

    repack = {
        "video_name": "needle_1.mp4",
        "duration": 480,
        "question": "Which?\n(A) x\n(B) y\n(C) w\n(D) z",
        "candidates": ["x", "y", "w", "z"],
        "answer": "D",
        "task_type": "needle",
        "question_id": "Q0",
    }
    for name in ("mlvu.json", "mlvu.parquet"):
        (q,) = MLVU(annotations=str(write(tmp_path / name, [repack])), videos="v").load().questions
        assert (q.question, q.options, q.answer) == ("Which?", ("x", "y", "w", "z"), "z")
    row = tsv("1_mlvu_1", "needle_1.mp4", "Which?", ['said "x"', "y", "w", "z"], 0, "said x", "findNeedle")
    (q,) = MLVU(annotations=str(write(tmp_path / "MLVU.tsv", [row])), videos="v").load().questions
    assert (q.answer, q.sample_id, q.groups) == ('said "x"', "1_mlvu_1", {"task": "needle"})


def test_mlvu_test_has_six_options(tmp_path: Path) -> None:
    text = "Which?\n" + "\n".join(f"({c}) option {c}" for c in "ABCDEF")
    row = {
        "video_name": "a.mp4",
        "duration": 200,
        "question": text,
        "candidates": [],
        "answer": "F",
        "task_type": "needleQA",
        "question_id": "Q7",
    }
    (q,) = MLVU(annotations=str(write(tmp_path / "test.json", [row])), videos="v", split="test").load().questions
    assert (len(q.options), q.answer) == (6, "option F")


# ---- Video-MME ----


def test_videomme_with_and_without_subtitles(tmp_path: Path) -> None:
    row = {
        "video_id": "001",
        "duration": "short",
        "domain": "Knowledge",
        "sub_category": "History",
        "url": "u",
        "videoID": "-fFjv93ACGo",
        "question_id": "001-1",
        "task_type": "Counting",
        "question": "How many?",
        "options": ["A. 1.", "B. 2.", "C. 3.", "D. 4."],
        "answer": "C",
    }
    (tmp_path / "subtitle").mkdir()
    (tmp_path / "subtitle" / "-fFjv93ACGo.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhm\n")
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "-fFjv93ACGo.mkv").touch()
    tsv_row = tsv("001-1", "-fFjv93ACGo", "How many?", row["options"], 2, "C", "Counting")
    for file in (
        write(tmp_path / "v.parquet", [row]),
        write(tmp_path / "v.json", [row]),
        write(tmp_path / "v.tsv", [tsv_row]),
    ):
        (q,) = (
            VideoMME(annotations=str(file), videos=str(tmp_path / "v"), subtitles=str(tmp_path / "subtitle"))
            .load()
            .questions
        )
        assert q.options == ("1.", "2.", "3.", "4.")
        assert q.answer == "3."
        assert q.video.endswith("-fFjv93ACGo.mkv")
        assert q.subtitles == ((1.0, 2.0, "hm"),)
        assert q.groups["task"] == "Counting"
        assert VideoMME(annotations=str(file), videos="v").load().questions[0].subtitles == ()


# ---- LVBench ----


def test_lvbench_with_its_defects(tmp_path: Path) -> None:
    qa = {
        "uid": "12",
        "question": "Who?\n(A) x\n(B) y\n(C) z\n(D) w",
        "answer": "B",
        "question_type": ["er", "sum"],
        "time_reference": "100:05-100:20",
    }
    line = {
        "key": "Cm73ma6Ibcs",
        "type": "cartoon",
        "video_info": {"duration_minutes": 110, "fps": 25, "resolution": {}},
        "qa": [qa, {**qa, "uid": 13, "time_reference": "02:00-01:00"}, {**qa, "uid": "14", "time_reference": "None"}],
    }
    loaded = LVBench(annotations=str(write(tmp_path / "video_info.meta.jsonl", [line])), videos="v").load()
    assert [q.sample_id for q in loaded.questions] == ["12", "13", "14"]
    assert [q.evidence_s for q in loaded.questions] == [((6005.0, 6020.0),), ((60.0, 120.0),), ()]
    assert loaded.questions[0].groups == {"type": ("er", "sum"), "category": "cartoon"}
    assert loaded.questions[0].duration_s == 6600.0
    assert loaded.manifest.groups["type"] == {"er": 3, "sum": 3}
    assert set(loaded.manifest.repairs) == {
        "the evidence ends before it starts; turned round",
        "no evidence interval is given; left empty",
    }
    repack = {"video_path": "Cm73ma6Ibcs.mp4", "question": "Who?", "options": ["(A) x", "(B) y"], "answer": "B"}
    (q,) = LVBench(annotations=str(write(tmp_path / "lv.parquet", [repack])), videos="v").load().questions
    assert (q.options, q.answer) == (("x", "y"), "y")
    row = tsv("Cm73ma6Ibcs12", "Cm73ma6Ibcs", "Who?", ["x", "y"], 1, "y", "er")
    (q,) = LVBench(annotations=str(write(tmp_path / "LVBench.tsv", [row])), videos="v").load().questions
    assert q.answer == "y"


# ---- NExT-GQA ----


def test_nextgqa_joins_spans_and_files(tmp_path: Path) -> None:
    row = {
        "video_id": "0094",
        "frame_count": 600,
        "width": 640,
        "height": 480,
        "question": "why did he run",
        "answer": "to catch",
        "qid": "3",
        "type": "CW",
        "a0": "to hide",
        "a1": "to catch",
        "a2": "c",
        "a3": "d",
        "a4": "e",
    }
    write(tmp_path / "val.csv", [row, {**row, "qid": "4", "type": "TN"}])
    (tmp_path / "gsub_val.json").write_text(
        json.dumps(
            {
                "0094": {"duration": 40, "fps": 29.97, "location": {"3": [[1.5, 4.0], [9, 12.0]]}},
                "9999": {"location": {}},
            }
        )
    )
    (tmp_path / "map_vid_vidorID.json").write_text(json.dumps({"0094": "1150/0094"}))
    (tmp_path / "videos" / "1150").mkdir(parents=True)
    (tmp_path / "videos" / "1150" / "0094.mp4").touch()
    loaded = NExTGQA(annotations=str(tmp_path), videos=str(tmp_path / "videos"), split="val").load()
    first, second = loaded.questions
    assert first.evidence_s == ((1.5, 4.0), (9.0, 12.0))
    assert second.evidence_s == ()
    assert (first.answer, first.duration_s, first.groups) == ("to catch", 40.0, {"type": "causal why"})
    assert first.video.endswith("1150/0094.mp4")
    assert len(loaded.manifest.files) == 3


# ---- training ----


def test_tspo_10k(tmp_path: Path) -> None:
    row = {
        "video": "academic/208.mp4",
        "original_question": "<image>\nWhat is shown?\nA. Sand.\nB. A sea.\nC. Snow.\n"
        "Please respond with only the letter of the correct answer.",
        "original_answer": "A. Sand.",
        "problem": "<image>\nWhat?",
        "solution": "<answer>a</answer>",
        "complete_answer": "unrelated",
        "type": "general",
    }
    rows = [
        row,
        {**row, "type": "specific", "solution": "<answer>b</answer>", "original_answer": "B. A sea."},
        {**row, "original_question": "<image>\nDescribe it."},
        {**row, "solution": "<answer>c</answer>"},
        {**row, "original_answer": "", "solution": ""},
    ]
    loaded = TSPO10K(annotations=str(write(tmp_path / "TSPO_10k.jsonl", rows)), videos="v").load()
    assert [q.answer for q in loaded.questions] == ["Sand.", "A sea."]
    assert [q.question for q in loaded.questions] == ["What is shown?"] * 2
    assert [q.groups["type"] for q in loaded.questions] == ["general", "specific"]
    assert {reason: len(ids) for reason, ids in loaded.manifest.dropped.items()} == {
        "no options found in original_question": 1,
        "solution and original_answer name different options": 1,
        "no answer": 1,
    }


def test_llava_video_178k(tmp_path: Path) -> None:
    def turn(asked: str, said: str) -> list[dict]:
        return [{"from": "human", "value": asked}, {"from": "gpt", "value": said}]

    instruction = "Please provide your answer by stating the letter followed by the full option."
    mc = f"<image>\nWhere?\nA. here\nB. there\n{instruction}"
    rows = [
        {"id": "a", "video": "x.mp4", "data_source": "0_30_s", "conversations": turn(mc, "B. there.")},
        {"id": "a", "video": "x.mp4", "data_source": "0_30_s", "conversations": turn(mc, "A. here.")},
        {"id": "b", "video": "y.mp4", "conversations": turn("<image>\nDescribe.", "A man.") + turn(mc, "A")},
    ]
    loaded = LLaVAVideo(annotations=str(write(tmp_path / "l.json", rows)), videos="v").load()
    assert [q.answer for q in loaded.questions] == ["there", "here", "here"]
    assert loaded.manifest.num_rows == 4
    assert loaded.manifest.dropped == {"not multiple choice": ["b-0"]}
    assert loaded.manifest.repairs["an id occurs again; a number is added"] == 1


def test_ids_that_occur_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"l\.json, row 2: id is .* allowed: an id that occurs once, and l\.json, row 1 has it"
    ):
        LongVideoBench(annotations=str(write(tmp_path / "l.json", [LVB, LVB])), videos="v").load()


def test_a_row_of_another_layout_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "m.json", [{"question": "no video", "candidates": ["a", "b"], "answer": "a"}])
    with pytest.raises(ValueError, match=r"m\.json, row 1: there is no field 'video'"):
        MLVU(annotations=str(file), videos="v").load()
