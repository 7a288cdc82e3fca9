"""Of systems that reason in steps: what is kept, what is printed, and how they ended; and what anybody could guess."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modules.console import PlainConsole
from modules.evaluation.answer_files import Answered, read_answered, write_answers
from modules.evaluation.exits_table import exit_lines, exit_table
from modules.evaluation.guesses import guesses
from modules.evaluation.scorers import scorer
from modules.evaluation.trace_pages import trace_page, write_traces
from modules.records import Answer, Cost, TraceStep
from modules.systems.base import Reply
from modules.systems.reply_text import reply_lines

STEPS = (
    TraceStep(
        action="describe",
        role="captioner",
        spans_s=tuple((60.0 * n, 60.0 * n + 60) for n in range(5)),
        text="[0.0 s - 60.0 s] a <script> of # hope\n  [0.0 s - 10.0 s] **bold**",
        reused=2,
        cost=Cost(calls=3, frames_shown=180, visual_tokens=None, text_tokens_in=90, text_tokens_out=12),
    ),
    TraceStep(
        action="locate",
        role="reasoner",
        spans_s=((60.0, 120.0),),
        text="Say which colour it is.",
        reason="it glitters",
        cost=Cost(calls=2, text_tokens_in=400, text_tokens_out=20, seconds={"reason": 1.5}),
    ),
)


def answer(n: int, chosen: int | None, exit_name: str | None = "forced", **more: Any) -> Answer:
    scores = tuple(0.0 if o == chosen else float("-inf") for o in range(3))
    named: dict[str, Any] = {
        "options": ("red", "green", "a very long one"),
        "answer_index": 1,
        "system": "lucy",
        **more,
    }
    return Answer(
        "d", "s", f"q{n}", "v.mp4", question="Which?", option_log_probs=scores, exit=exit_name, text="B", **named
    )


def test_traces_and_exits_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = [Answered(answer(0, 1, "fine"), Cost(calls=5), STEPS), Answered(answer(1, None, None), Cost())]
    write_answers(tmp_path / "answers.jsonl", written)
    assert read_answered(tmp_path) == written
    first = json.loads((tmp_path / "answers.jsonl").read_text().splitlines()[0])
    assert first["trace"][1]["reason"] == "it glitters"
    assert first["exit"] == "fine"


def test_answers_of_runs_before_there_were_traces_are_still_read(tmp_path: Path) -> None:
    write_answers(tmp_path / "answers.jsonl", [Answered(answer(0, 1, None), Cost())])
    record = json.loads((tmp_path / "answers.jsonl").read_text())
    del record["exit"]
    (tmp_path / "answers.jsonl").write_text(json.dumps(record) + "\n")
    assert read_answered(tmp_path)[0].answer.exit is None


def test_ways_of_exit_by_hand() -> None:
    answered = [
        Answered(answer(0, 1, "fine"), Cost(), STEPS),
        Answered(answer(1, 0, "forced"), Cost(), (*STEPS, STEPS[1])),
        Answered(answer(2, None, "forced"), Cost(), STEPS),
        Answered(answer(3, 1, "forced"), Cost(), STEPS),
        Answered(answer(4, 1, None, system="uniform"), Cost()),
    ]
    forced, fine = exit_lines(answered, scorer("option-logprob"))
    assert (forced.system, forced.exit, forced.num_questions, forced.share) == ("lucy", "forced", 3, 0.75)
    assert forced.accuracy == 1 / 3
    assert forced.reasoner_calls == 8 / 3
    assert (fine.exit, fine.share, fine.accuracy, fine.reasoner_calls) == ("fine", 0.25, 1.0, 2.0)
    unknown = exit_lines([Answered(answer(0, 1, answer_index=None))], scorer("option-logprob"))
    assert unknown[0].accuracy is None
    console = PlainConsole()
    with console.capture() as printed:
        console.print(exit_table([forced, fine, *unknown], {"lucy": "VideoLucy"}))
    assert "75.0" in printed.get()
    assert "33.3" in printed.get()


def test_a_page_tells_every_step_and_takes_nothing_for_markup(tmp_path: Path) -> None:
    answered = Answered(answer(0, 1, "fine"), Cost(calls=5), STEPS)
    page = trace_page(answered)
    assert page.startswith("# q0, lucy, exit: fine\n")
    assert "    B. green   (chosen, right)" in page
    assert "2 of 5 captions written before" in page
    assert "periods 60.0 s - 120.0 s, 2 calls, 400 tokens read, 20 written, 1.5 s." in page
    assert "visual tokens not told" in page
    assert all(line.startswith("    ") for line in page.splitlines() if "<script>" in line or "**bold**" in line)
    commands = TraceStep(action="locate", role="reasoner", text="\x1b[2J\u202egreen\x07")
    assert "    \ufffd[2J\ufffdgreen\ufffd\n" in trace_page(Answered(answer(0, 1), None, (commands,)))
    strange = Answered(answer(0, 1, system="a/../b"), Cost(), STEPS)
    assert write_traces(tmp_path, [answered, strange, Answered(answer(1, 1))]) == 2
    assert (tmp_path / "traces" / "lucy" / "q0.md").read_text() == page
    assert len(list(tmp_path.rglob("*.md"))) == 2
    assert all(path.is_relative_to(tmp_path / "traces") for path in tmp_path.rglob("*.md"))


def test_steps_are_printed_on_one_line_each() -> None:
    lines = dict(reply_lines(Reply(answer(0, 1), None, Cost(), STEPS), 300.0))
    assert lines["step 1"].startswith("describe 0.0-60.0 s and 4 more: [0.0 s - 60.0 s] a <script>")
    assert lines["step 2"] == "locate 60.0-120.0 s: Say which colour it is.: it glitters"


def test_guesses_by_hand() -> None:
    def with_right(n: int, right: int | None) -> Answer:
        return answer(n, 0, answer_index=right)

    answers = [with_right(0, 0), with_right(1, 1), with_right(2, 1), with_right(3, 2), with_right(4, None)]
    again = [with_right(0, 0)] * 5  # another system on the same question
    assert guesses([*answers, *again]) == {"always A": 0.25, "always B": 0.5, "longest option": 0.25}
    assert guesses([with_right(0, 0), with_right(1, 1)]) == {"always A": 0.5, "longest option": 0.0}
    assert guesses([with_right(0, None)]) == {}
