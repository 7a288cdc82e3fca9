"""The agent in a world of planted facts: how deep it has to look, what that costs, what it does when models fail."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from scripted_roles import (
    COLOURS,
    CUE,
    Fact,
    Frames,
    ScriptedCaptioner,
    ScriptedReasoner,
    batch_of,
    needle,
    notes_of,
    question,
)
from swinbert_parts import small_network

from modules.methods.swinbert.frame_crops import square_crops
from modules.methods.swinbert.swinbert_captioner import SwinBERTCaptioner
from modules.methods.swinbert.swinbert_folder import save_network
from modules.methods.videolucy.flat_dump import FlatDump
from modules.methods.videolucy.localizers import OracleLocalizer, RandomLocalizer
from modules.methods.videolucy.lucy_settings import LucySettings
from modules.methods.videolucy.notation import Notation
from modules.methods.videolucy.role_prompts import BLANKS, RolePrompts
from modules.methods.videolucy.scopes import Level, Scopes
from modules.methods.videolucy.spending import Budget, thinned
from modules.methods.videolucy.videolucy import VideoLucy
from modules.mllms.openai import OpenAIChat
from modules.records import Answer, Cost
from modules.roles.reasoner import Message
from modules.systems.answering import Answering
from modules.systems.base import Reply, Setting, VideoSystem, prepared

LEVELS = [Level(scope_s=100, fps=1), Level(scope_s=10, fps=2), Level(scope_s=1, fps=2)]
SETTING = Setting(
    answering=Answering(OpenAIChat(model="nobody", base_url="http://127.0.0.1:1/v1"), canary=False), num_frames=4
)


class World:
    """Some videos with one needle each, a captioner, a reasoner, and systems over them."""

    def __init__(
        self,
        folder: Path,
        scope_s: float,
        *,
        num_videos: int = 4,
        duration_s: float = 930.0,
        after_s: float = 0.0,
        **more: Any,
    ) -> None:
        self.folder, self.duration_s, self.source = folder, duration_s, Frames()
        generator = torch.Generator().manual_seed(1)
        self.questions, facts = [], {}
        for n in range(num_videos):
            second = after_s + int(float(torch.rand((), generator=generator)) * (duration_s - 1 - after_s)) + 0.25
            colour, video = COLOURS[n % 4], f"v{n}"
            facts[video] = needle(second, colour, scope_s, **more)
            self.questions.append(question(n, video, colour, evidence_s=((second - 0.2, second + 0.2),)))
        self.captioner, self.reasoner = ScriptedCaptioner(facts), ScriptedReasoner()

    def system(self, depth: int = 3, budget: Budget | None = None, **more: Any) -> VideoLucy:
        settings = LucySettings(memories=str(self.folder / "memories"), budget=budget or Budget(), max_retries=1)
        scopes = [Scopes(levels=LEVELS[:depth])]
        named = {"reasoner": self.reasoner, "captioner": self.captioner, "scopes": scopes, "settings": settings}
        return VideoLucy(**{**named, **more})

    def replies(self, *systems: VideoSystem, **setting: Any) -> list[Reply]:
        """Of the last of some systems, named by their numbers."""
        named = prepared({f"s{n}": s for n, s in enumerate(systems)}, dataclasses.replace(SETTING, **setting))
        batch = batch_of(self.questions, self.duration_s)
        return [system.answer(batch, self.source) for system in named.values()][-1]  # type: ignore[arg-type]


def accuracy(replies: list[Reply]) -> float:
    return sum(chosen(r.answer) == r.answer.answer_index for r in replies) / len(replies)


def chosen(answer: Answer) -> int | None:
    assert answer.option_log_probs is not None
    return next((o for o, p in enumerate(answer.option_log_probs) if p == 0.0), None)


def exits(replies: list[Reply]) -> Counter[str | None]:
    return Counter(r.answer.exit for r in replies)


def looks(reply: Reply) -> int:
    return sum(step.action == "describe again" for step in reply.trace)


# ---- how deep ----


@pytest.mark.parametrize(("scope_s", "needs"), [(100, 1), (10, 2), (1, 3)])
def test_a_needle_needs_the_depth_at_which_it_is_seen(tmp_path: Path, scope_s: float, needs: int) -> None:
    world = World(tmp_path, scope_s, num_videos=8)
    for depth in (1, 2, 3):
        replies = world.replies(world.system(depth))
        if depth >= needs:
            assert accuracy(replies) == 1.0
            assert exits(replies) == {("coarse", "fine", "ultra-fine")[needs - 1]: 8}
            assert all(looks(r) == needs - 1 for r in replies)
        else:
            assert accuracy(replies) == 0.25  # the first option is a guess among four
            assert exits(replies) == {"forced": 8}


def test_the_answer_is_what_was_planted_and_nothing_else(tmp_path: Path) -> None:
    """Neither role knows the right option: with another colour planted, the same question gets another answer."""
    world = World(tmp_path, 10, num_videos=1)
    before = world.replies(world.system())[0].answer
    facts = world.captioner.facts["v0"]
    world.captioner.facts["v0"] = needle(facts[0].second, "green", 10)
    world.folder = tmp_path / "another"
    after = world.replies(world.system())[0].answer
    assert (before.answer_index, after.answer_index) == (0, 0)
    assert (chosen(before), chosen(after)) == (0, 1)


def test_without_a_cue_it_fails_and_says_that_it_is_not_sure(tmp_path: Path) -> None:
    world = World(tmp_path, 1, num_videos=8, cue_scope_s=0.0, after_s=400.0)
    replies = world.replies(world.system())
    assert exits(replies) == {"forced": 8}
    assert accuracy(replies) == 0.25
    assert all(looks(r) == 5 and "not certain after looking back 5 times" in r.trace[-1].reason for r in replies)


def test_a_captioner_that_lies_is_believed(tmp_path: Path) -> None:
    world = World(tmp_path, 10)
    world.captioner.lies = lambda text: text.replace("secret colour is", "secret colour is not grey but")
    assert exits(world.replies(world.system())) == {"forced": 4}
    world.captioner.lies = lambda text: f"{text} and the secret colour is white"
    world.folder = tmp_path / "lies"
    replies = world.replies(world.system())
    assert exits(replies) == {"coarse": 4}
    assert accuracy(replies) == 0.25


def test_work_is_bounded_and_nearly_flat_in_the_length_of_the_video(tmp_path: Path) -> None:
    costs, closer = [], []
    for times in (1, 4, 16):
        world = World(tmp_path / str(times), 1, duration_s=900.0 * times, num_videos=2)
        replies = world.replies(world.system())
        assert accuracy(replies) == 1.0
        costs.append([sum(s.cost.calls for s in r.trace if s.role == "reasoner") for r in replies])
        shown = [len(request.frames) for request in world.captioner.requests]
        closer.append(sum(shown) - world.duration_s * 2)  # beyond the coarse level, which sees a frame a second
        dense = 2 * world.duration_s * 2
        assert sum(shown) < (1.3 if times == 1 else 0.6) * dense
    assert costs == [[6, 6]] * 3  # relevant, answer, two rounds of two
    assert max(closer) == min(closer)


# ---- what it reads, and where ----


def test_coarse_memories_with_neighbours_are_kept_and_a_question_about_everything_keeps_all(tmp_path: Path) -> None:
    world = World(tmp_path, 1, num_videos=1, duration_s=1230.0)
    world.captioner.facts["v0"] = [Fact(250.0, CUE, 1e9), Fact(850.0, CUE, 1e9)]
    world.replies(world.system())
    first_answer = next(prompt for role, prompt in world.reasoner.asked if role == "answer")
    assert [start for start, _, _ in notes_of(first_answer)] == [100.0, 200.0, 300.0, 700.0, 800.0, 900.0]
    world.reasoner.asked.clear()
    world.questions = [question(text="What is it about as a whole?", video="v0")]
    world.replies(world.system(max_rounds=0))
    assert [role for role, _ in world.reasoner.asked] == ["relevant", "answer", "forced"]
    notes = notes_of(world.reasoner.asked[1][1])
    assert len(notes) == 13
    assert notes[-1][:2] == (1200.0, 1230.0)  # the tail


def test_where_nothing_would_be_left_out_nobody_is_asked_what_to_leave_out(tmp_path: Path) -> None:
    world = World(tmp_path, 10, duration_s=260.0)
    assert accuracy(world.replies(world.system())) == 1.0
    assert "relevant" not in [role for role, _ in world.reasoner.asked]


def test_a_video_shorter_than_any_scope(tmp_path: Path) -> None:
    world = World(tmp_path, 1, num_videos=2, duration_s=4.0)
    replies = world.replies(world.system())
    assert accuracy(replies) == 1.0
    assert all(step.spans_s[0] == (0.0, 4.0) for r in replies for step in r.trace if step.role == "captioner")


def test_the_reply_says_where_it_looked_and_what_it_cost(tmp_path: Path) -> None:
    world = World(tmp_path, 10, num_videos=1)
    reply = world.replies(world.system())[0]
    second = world.captioner.facts["v0"][0].second
    assert reply.selection is not None
    assert reply.answer.timestamps_s == reply.selection.timestamps_s
    start = second // 100 * 100
    assert all(start <= t < start + 100 for t in reply.answer.timestamps_s)
    assert reply.selection.num_candidates == 1860
    shown = [len(r.frames) for r in world.captioner.requests]
    assert (reply.cost.frames_shown, reply.cost.visual_tokens) == (sum(shown), 4 * sum(shown))
    assert reply.cost.frames_decoded == len(set(world.source.decoded))
    assert reply.cost.calls == len(shown) + len(world.reasoner.asked)
    total = sum((step.cost for step in reply.trace), Cost())
    assert (total.calls, total.text_tokens_in, total.text_tokens_out) == (
        reply.cost.calls,
        reply.cost.text_tokens_in,
        reply.cost.text_tokens_out,
    )
    assert set(reply.cost.seconds) == {"caption", "reason"}


def test_where_it_never_looked_again_the_reply_has_the_memory_that_it_answered_from(tmp_path: Path) -> None:
    world = World(tmp_path, 100, num_videos=1)
    reply = world.replies(world.system())[0]
    second = world.captioner.facts["v0"][0].second
    start = second // 100 * 100
    assert reply.answer.timestamps_s
    assert all(start <= t < start + 100 for t in reply.answer.timestamps_s)
    world.captioner.facts["v0"] = []
    world.folder = tmp_path / "nothing"
    assert world.replies(world.system(max_rounds=0))[0].selection is None


def test_a_second_question_about_a_video_finds_what_was_described(tmp_path: Path) -> None:
    world = World(tmp_path, 10, num_videos=1)
    first = world.replies(world.system())[0]
    num_captions = len(world.captioner.requests)
    world.questions = [question(9, "v0", "red", "Which colour glitters?")]
    second = world.replies(world.system())[0]
    assert [step.reused for step in first.trace if step.role == "captioner"] == [0, 0]
    assert [step.reused for step in second.trace if step.role == "captioner"] == [10, 11]  # the instruction is the same
    assert len(world.captioner.requests) == num_captions
    assert second.cost.frames_shown == first.cost.frames_shown  # as if nothing had been stored
    assert "caption" not in second.cost.seconds


def test_an_empty_caption_is_not_kept(tmp_path: Path) -> None:
    world = World(tmp_path, 10, num_videos=1)
    world.captioner.lies = lambda text: ""
    system = world.system()
    world.replies(system)
    assert system.shortfalls()["captions of s0 came empty"] > 10
    world.captioner.lies = lambda text: text
    assert accuracy(world.replies(world.system())) == 1.0


# ---- what models do wrong ----


def test_an_answer_that_cannot_be_read_is_asked_for_again(tmp_path: Path) -> None:
    world = World(tmp_path, 10)
    world.reasoner.spoiled = lambda number, role, text: text if number % 2 == 0 else text.replace('"', "'")
    replies = world.replies(world.system())
    assert accuracy(replies) == 1.0
    assert exits(replies) == {"fine": 4}


@pytest.mark.parametrize("role", ["relevant", "locate", "answer"])
def test_a_reasoner_that_never_answers_readably_is_forced_to_answer(tmp_path: Path, role: str) -> None:
    world = World(tmp_path, 10)
    world.reasoner.spoiled = lambda number, asked, text: "Well..." if asked == role else text
    system = world.system()
    replies = world.replies(system)
    assert exits(replies) == {"forced": 4}
    assert all(f"{role}: there is no JSON object in the answer, after 2 calls" in r.trace[-1].reason for r in replies)
    assert system.shortfalls()["of 4 answers of s0 were forced"] == 4


def test_a_forced_answer_that_cannot_be_read_is_kept_as_it_came_and_never_guessed(tmp_path: Path) -> None:
    world = World(tmp_path, 10, num_videos=1)
    world.reasoner.spoiled = lambda number, role, text: "Nobody can know that."
    reply = world.replies(world.system())[0]
    assert reply.answer.text == "Nobody can know that."
    assert chosen(reply.answer) is None
    world.reasoner.spoiled = lambda number, role, text: "The answer is (C)."
    assert chosen(world.replies(world.system())[0].answer) == 2


def test_periods_that_are_none_are_told_and_corrected(tmp_path: Path) -> None:
    world = World(tmp_path, 10, num_videos=1)

    def elsewhere(number: int, role: str, text: str) -> str:
        tries = [asked for asked, _ in world.reasoner.asked].count("locate")
        return '{"period": [90000, 90001], "instruction": "x"}' if role == "locate" and tries == 1 else text

    world.reasoner.spoiled = elsewhere
    reply = world.replies(world.system())[0]
    assert (accuracy([reply]), reply.answer.exit) == (1.0, "fine")


class Numbering(ScriptedReasoner):
    """Reads entries by their numbers: at first it names one that there is not, then the one that it was given."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.located = number, 0

    def _relevant(self, prompt: str) -> dict[str, Any]:
        return {"whole_video": True}

    def _locate(self, prompt: str) -> dict[str, Any]:
        self.located += 1
        return {"period": "#99" if self.located == 1 else f"#{self.number}", "instruction": "x"}

    def _answer(self, prompt: str) -> dict[str, Any]:
        return {"confident": self.located > 0, "answer": "A", "period": f"#{self.number}"}


@pytest.mark.parametrize(("behind", "line"), [(False, r"^#3 A room"), (True, r"^- A room.* #3$")])
def test_entries_that_are_called_by_their_numbers(behind: bool, line: str, tmp_path: Path) -> None:
    """A number that is none is told and corrected; where it looked and found something is in seconds all the same."""
    world = World(tmp_path, 10, num_videos=1)
    reasoner = Numbering(3)
    notation = Notation(times="numbers", behind=behind)
    settings = LucySettings(memories=str(tmp_path), notation=notation, max_retries=1)
    reply = world.replies(world.system(settings=settings, reasoner=reasoner))[0]
    prompts = [prompt for role, prompt in reasoner.asked if role == "locate"]
    assert len(prompts) == 2  # asked again
    assert re.search(line, prompts[0], re.MULTILINE)
    (looked,) = [step for step in reply.trace if step.action == "describe again"]
    assert looked.spans_s[0] == (200.0, 300.0)
    assert looked.text.startswith("200 A room")  # for people
    answered = [step for step in reply.trace if step.action == "answer"]
    assert answered[-1].spans_s == ((200.0, 300.0),)


@pytest.mark.parametrize("letter", ["E", "", "purple", "A or B"])
def test_an_answer_that_is_no_option_is_no_certainty(tmp_path: Path, letter: str) -> None:
    world = World(tmp_path, 100, num_videos=1)

    def wrong(number: int, role: str, text: str) -> str:
        return f'{{"confident": true, "answer": "{letter}"}}' if role == "answer" else text

    world.reasoner.spoiled = wrong
    assert world.replies(world.system())[0].answer.exit == "forced"


def test_a_video_that_cannot_be_decoded_gets_no_answer(tmp_path: Path) -> None:
    world = World(tmp_path, 10)
    world.source.undecodable = {"v1"}
    replies = world.replies(world.system())
    assert exits(replies) == {"fine": 3, None: 1}
    assert (replies[1].answer.text, chosen(replies[1].answer), replies[1].selection) == ("", None, None)


def test_open_questions_and_those_that_somebody_else_words(tmp_path: Path) -> None:
    world = World(tmp_path, 100, num_videos=1)
    own = world.questions[0]
    world.reasoner.spoiled = lambda number, role, text: text.replace('"answer": "A"', '"answer": "a red one"')
    world.questions = [dataclasses.replace(own, options=(), answer_index=None, wording="Which?\nA. red\nB. green")]
    reply = world.replies(world.system(), write_text=True)[0]
    assert (reply.answer.text, reply.answer.option_log_probs) == ("a red one", None)
    assert "Which?\nA. red\nB. green\n" in world.reasoner.asked[-1][1]


# ---- budget ----


@pytest.mark.parametrize("calls", [1, 2, 3, 4, 6, 7])
def test_a_budget_of_calls_is_kept_and_leaves_one_for_the_answer(tmp_path: Path, calls: int) -> None:
    world = World(tmp_path, 1, num_videos=1)
    reply = world.replies(world.system(budget=Budget(calls=calls)))[0]
    assert len(world.reasoner.asked) == min(calls, 6)
    assert chosen(reply.answer) is not None
    assert reply.answer.exit == ("ultra-fine" if calls >= 7 else "forced")
    if calls < 7:
        assert f"the budget of {calls} calls is spent" in reply.trace[-1].reason


def test_a_budget_of_tokens_is_kept_and_the_memory_is_thinned_for_the_last_answer(tmp_path: Path) -> None:
    world = World(tmp_path, 1, num_videos=1, duration_s=9000.0)
    free = world.replies(world.system())[0]
    spent = sum(s.cost.text_tokens_in + s.cost.text_tokens_out for s in free.trace if s.role == "reasoner")
    for tokens in (spent // 8, spent // 3, spent // 2):
        world.reasoner.asked.clear()
        reply = world.replies(world.system(budget=Budget(tokens=tokens)))[0]
        used = sum(s.cost.text_tokens_in + s.cost.text_tokens_out for s in reply.trace if s.role == "reasoner")
        assert reply.answer.exit == "forced"
        assert f"the budget of {tokens} tokens is spent" in reply.trace[-1].reason
        assert used <= 1.1 * tokens
        assert chosen(reply.answer) is not None


def test_a_memory_that_is_longer_than_the_reasoner_reads_is_thinned(tmp_path: Path) -> None:
    class ShortSighted(ScriptedReasoner):
        context_tokens = 500  # type: ignore[assignment]

        def count_tokens(self, messages: Sequence[Message]) -> int:
            return sum(len(m.text.split()) for m in messages)

    world = World(tmp_path, 1, num_videos=1, duration_s=9000.0)
    world.reasoner = ShortSighted()
    reply = world.replies(world.system())[0]
    assert [role for role, _ in world.reasoner.asked] == ["forced"]
    assert 300 < len(world.reasoner.asked[0][1].split()) <= 500
    assert "and the reasoner reads 500" in reply.trace[-1].reason
    assert chosen(reply.answer) is not None
    ShortSighted.context_tokens = 3  # type: ignore[assignment]  # not even the prompt fits
    assert world.replies(world.system())[0].answer.exit == "forced"


def test_a_budget_of_seconds_ends_the_search(tmp_path: Path) -> None:
    world = World(tmp_path, 1, num_videos=1)
    reply = world.replies(world.system(budget=Budget(seconds=1e-6)))[0]
    assert [role for role, _ in world.reasoner.asked] == ["forced"]
    assert reply.answer.exit == "forced"
    with pytest.raises(ValueError, match="above 0"):
        Budget(calls=0)


def test_thinning_keeps_evenly_spaced_lines_that_fit() -> None:
    lines = [f"{n:04d}" for n in range(10)]
    assert thinned(lines, 1000) == lines
    assert thinned(lines, 25) == ["0001", "0003", "0005", "0007", "0009"]
    assert thinned(lines, 5) == ["0005"]
    assert thinned(lines, 3) == ["000"]
    assert thinned([], 3) == []
    for limit in range(5, 60):
        assert sum(map(len, thinned(lines, limit))) + len(thinned(lines, limit)) <= limit


# ---- controls ----


def test_the_controls_share_everything_but_what_they_change(tmp_path: Path) -> None:
    world = World(tmp_path, 1, num_videos=8)
    lucy = world.system()
    full = world.replies(lucy)
    coarse = world.replies(lucy, VideoLucy(like="s0", max_rounds=0))
    oracle = world.replies(lucy, VideoLucy(like="s0", localizer=OracleLocalizer()))
    drawn = world.replies(lucy, VideoLucy(like="s0", localizer=RandomLocalizer(seed=3)))
    assert accuracy(full) == accuracy(oracle) == 1.0
    world.questions = [dataclasses.replace(q, evidence_s=((-2.0, -1.0), (9999.0, 9999.5))) for q in world.questions]
    assert exits(world.replies(lucy, VideoLucy(like="s0", localizer=OracleLocalizer()))).total() == 8  # nobody knows
    assert exits(coarse) == {"forced": 8}
    assert exits(drawn)["forced"] >= 5
    assert drawn != world.replies(lucy, VideoLucy(like="s0", localizer=RandomLocalizer(seed=4)))
    again = world.replies(lucy, VideoLucy(like="s0", localizer=RandomLocalizer(seed=3)))
    assert [r.answer.timestamps_s for r in again] == [r.answer.timestamps_s for r in drawn]


def test_the_flat_dump_reads_one_level_in_as_much_text_as_the_search(tmp_path: Path) -> None:
    world = World(tmp_path, 10, num_videos=2, duration_s=9000.0)
    lucy = world.system()
    searched = world.replies(lucy)
    read = sum(len(prompt) for role, prompt in world.reasoner.asked) / 2
    world.reasoner.asked.clear()
    dumped = world.replies(lucy, FlatDump(like="s0"))
    role, prompt = world.reasoner.asked[-1]
    assert role == "forced"
    spans = [(start, end) for start, end, _ in notes_of(prompt)]
    assert all(end - start == 10 for start, end in spans)
    assert 0.5 * read < len(prompt) < 1.5 * read
    assert len(spans) < 900
    assert exits(dumped) == {"read at once": 2}
    assert exits(searched) == {"fine": 2}


def test_what_a_system_cannot_be_like() -> None:
    scopes = [Scopes(levels=LEVELS)]
    with pytest.raises(ValueError, match="needs a reasoner and scopes"):
        VideoLucy(scopes=scopes)
    with pytest.raises(ValueError, match="takes reasoner, captioner, scopes and settings of the other"):
        VideoLucy(like="s0", scopes=scopes)
    alone = VideoLucy(reasoner=ScriptedReasoner(), captioner=ScriptedCaptioner({}), scopes=scopes)
    with pytest.raises(ValueError, match=r"like 'b', which is none of the VideoLucy systems before it: \[\]"):
        prepared({"a": FlatDump(like="b"), "b": alone}, SETTING)
    with pytest.raises(ValueError, match=r"before it: \['b'\]"):
        prepared({"b": alone, "c": VideoLucy(like="b"), "a": FlatDump(like="c")}, SETTING)


# ---- prompts ----


def test_the_shipped_prompts_have_their_blanks_and_name_nobodys_options() -> None:
    prompts = RolePrompts("recipes/prompts/videolucy")
    for name in BLANKS:
        filled = prompts.text(name, memory="{period}", question="Q", period="P", instruction="I", error="E")
        assert "{memory}" not in filled
    assert "{period}" in prompts.text("answer", memory="{period}", period="P")  # a caption with braces stays
    assert "question" not in prompts.text("describe")


def test_a_prompt_that_lacks_a_blank_is_refused(tmp_path: Path) -> None:
    for name in BLANKS:
        (tmp_path / f"{name}.txt").write_text("{memory} {question} {period}")
    with pytest.raises(ValueError, match=r"correction\.txt has no \{error\}"):
        RolePrompts(str(tmp_path))
    with pytest.raises(ValueError, match="no such file"):
        RolePrompts(str(tmp_path / "elsewhere"))


def test_a_swinbert_describes_for_it(tmp_path: Path) -> None:
    """It reads no prompt; what it says of the frames of a period is what the reasoner reads about that period."""
    network = small_network()
    save_network(network, tmp_path / "model", updates=0, recipe="")
    captioner = SwinBERTCaptioner(path=str(tmp_path / "model"))  # type: ignore[arg-type]
    world = World(tmp_path, 10, num_videos=1, duration_s=230.0)
    (reply,) = world.replies(world.system(2, captioner=captioner))
    grey = square_crops(torch.full((4, 3, 8, 12), 99, dtype=torch.uint8), network.size_px)
    said = network.text_of(network.write(network.read(grey[None]), max_words=20)[0])
    assert said
    assert all(
        note[2] == said for role, prompt in world.reasoner.asked if role == "answer" for note in notes_of(prompt)
    )
    assert reply.answer.exit == "forced"  # nothing in it leads to the needle
