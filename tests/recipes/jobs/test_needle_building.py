"""Needle building with a served model that writes questions: what each filter drops, and that nothing else is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from swinbert_parts import small_network

from datamodules.annotations.training import TSPO10K
from datamodules.haystack.video_writing import write_video
from modules.methods.swinbert.swinbert_captioner import SwinBERTCaptioner
from modules.methods.swinbert.swinbert_folder import save_network
from modules.mllms.openai import OpenAIChat
from modules.records import VideoQuestion
from modules.roles.captioner import CaptionRequest
from recipes.jobs.asking import Clips
from recipes.jobs.counts import report
from recipes.jobs.needle_questions import BuildNeedles

DESCRIPTIONS = {
    0: "A red star crosses a dark field slowly.",
    1: "short",
    2: "Three moons rise and then vanish again.",
    3: "A counter runs from one to nine.",
    4: "A blue ring turns around a green one.",
}
WELL_FORMED = "Question: {}\nA. this\nB. that\nC. other\nD. none\nAnswer: B"


class Writer(ChatServer):
    """Describes clips in turn, writes a question about each, and knows which clip it is looking at by its frames."""

    def __init__(self) -> None:
        super().__init__()
        self.described: dict[str, int] = {}
        self.written: dict[int, str] = {n: WELL_FORMED.format(f"clip {n}?") for n in DESCRIPTIONS}
        self.right: dict[tuple[int, int], bool] = {}

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        content = body["messages"][-1]["content"]
        text = content[-1]["text"]
        images = [c["image_url"]["url"] for c in content if c["type"] == "image_url"]
        answer = super().reply(body)
        if text.startswith("Describe"):
            said = DESCRIPTIONS[self.described.setdefault(images[0], len(self.described))]
        elif "Description:" in text:
            said = self.written[next(n for n, d in DESCRIPTIONS.items() if text.endswith(d))]
        else:
            asked = int(text.split("clip ")[1][0])
            seen = self.described[images[0]]
            letter = "B" if self.right.get((asked, seen), asked == seen) else "A"
            said = letter
            top = [{"token": letter, "logprob": -0.01, "bytes": None}]
            answer["choices"][0]["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        answer["choices"][0]["message"]["content"] = said
        return answer


@pytest.fixture
def server() -> Iterator[Writer]:
    running = Writer()
    yield running
    running.close()


@pytest.fixture(scope="module")
def clips(short_world, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for n in range(5):
        write_video(folder / f"{n}.mp4", short_world, "val", n)
    return folder


def test_each_filter_drops_what_it_should_and_says_so(server: Writer, clips: Path, tmp_path: Path) -> None:
    server.written[2] = "I would ask: what rises?"  # not in the asked form
    server.right[(3, 3)] = False  # wrong on its own clip
    server.right |= {(4, n): True for n in range(5)}  # right whatever is shown
    mllm = OpenAIChat(model="m", base_url=server.url, concurrency=1)
    out = tmp_path / "needles.jsonl"
    job = BuildNeedles(videos=str(clips), mllm=mllm, out=str(out), num_frames=4, num_distractors=3)
    job.run(tmp_path / "run")
    counts = json.loads((tmp_path / "run" / "counts.json").read_text())
    assert counts == {
        "total": 5,
        "kept": 1,
        "description of fewer than 5 words": 1,
        "no question in the asked form": 1,
        "answered wrong on its own clip": 1,
        "ambiguous: answered right on other clips": 1,
    }
    (question,) = TSPO10K(annotations=str(out), videos=str(clips)).load().questions
    assert (question.question, question.answer, question.groups["type"]) == ("clip 0?", "that", "specific")
    assert question.video == str(clips / "0.mp4")
    before = len(server.requests)
    job.run(tmp_path / "again")  # descriptions are kept: only questions are written and tried
    assert not any(r["messages"][-1]["content"][-1]["text"].startswith("Describe") for r in server.requests[before:])


@pytest.mark.parametrize(("kept", "after"), [(1, "lightning run"), (0, "none: no question is left")])
def test_a_next_command_is_named_where_there_is_something_to_go_on_with(
    kept: int, after: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    report(
        tmp_path, tmp_path / "needles.jsonl", 2, +Counter({"kept": kept, "description of fewer than 5 words": 2 - kept})
    )
    assert f"\nnext        {after}" in capsys.readouterr().out


def test_too_few_clips(server: Writer, tmp_path: Path) -> None:
    mllm = OpenAIChat(model="m", base_url=server.url)
    with pytest.raises(ValueError, match="needles need at least 4"):
        BuildNeedles(videos=str(tmp_path), mllm=mllm, out=str(tmp_path / "o")).run(tmp_path)


def test_an_answer_that_names_no_option_is_wrong_even_where_the_first_is_right(server: Writer, clips: Path) -> None:
    mute = OpenAIChat(model="m", base_url=server.url, log_probs_from="answer")
    asked = VideoQuestion("d", "s", "q", str(clips / "0.mp4"), 0.0, "Which clip 0?", ("this", "that"), 0)
    server.described = {}
    looked = Clips(mute, 4, None)
    row = looked.row(asked, asked.video)
    assert row.question.duration_s == pytest.approx(100.0)
    server.reply = lambda body: ChatServer.reply(server, body)
    server.text = "I cannot say."
    assert not looked.right(asked, asked.video)
    server.text = "A"
    assert looked.right(asked, asked.video)
    looked.close()


def test_a_swinbert_describes_in_the_mllms_place(server: Writer, clips: Path, tmp_path: Path) -> None:
    save_network(small_network(), tmp_path / "model", updates=0, recipe="")
    captioner = SwinBERTCaptioner(path=str(tmp_path / "model"))  # type: ignore[arg-type]
    mllm = OpenAIChat(model="m", base_url=server.url, concurrency=1)
    out = tmp_path / "needles.jsonl"
    job = BuildNeedles(
        videos=str(clips),  # type: ignore[arg-type]
        mllm=mllm,
        out=str(out),
        style="identify",
        num_frames=4,
        min_words=40,  # the server is not asked to answer here
        captioner=captioner,
    )
    job.run(tmp_path)
    reader = Clips(mllm, 4, None)
    try:
        for line in map(json.loads, out.with_suffix(".descriptions.jsonl").read_text().splitlines()):
            request = CaptionRequest("clip", *reader.decode(line["video"]), "anything")
            assert line["description"] == captioner.caption([request])[0].text != ""
    finally:
        reader.close()
    assert not server.described  # nobody asked the MLLM to describe
