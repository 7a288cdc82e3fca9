"""Captioners and reasoners: forms that are read or refused, what a model is told, and the adapters against a server."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_server import ChatServer
from linear_time import assert_linear
from pydantic import FiniteFloat

from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.openai import OpenAIChat
from modules.records import Cost
from modules.roles.captioner import Caption, Captioner, CaptionRequest
from modules.roles.checked_json import Form, filled_form
from modules.roles.local_reasoner import LocalReasoner
from modules.roles.lying_captioner import LyingCaptioner
from modules.roles.mllm_captioner import MLLMCaptioner
from modules.roles.mllm_reasoner import MLLMReasoner
from modules.roles.reasoner import Message, Reasoner, Written


class Verdict(Form):
    confident: bool
    answer: str
    period: tuple[FiniteFloat, FiniteFloat] | None = None


GOOD = '{"confident": true, "answer": "B", "period": [1, 2.5]}'
"""Fills the form in."""
QUOTED = '{"a'


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f'<think>{{"confident": false, "answer": "A"}}</think> So: {GOOD} That is all.',
        f'First {{"confident": false, "answer": "A"}}, but on second thought {GOOD}',
        f"{{not json}} {{{{ {GOOD} {{",
        GOOD.replace("}", ', "because": {"deep": {"er": [{}]}}}'),
        GOOD + ' {"another": "object"}',
    ],
)
def test_a_form_is_found_in_what_stands_around_it(text: str) -> None:
    found = filled_form(text, Verdict)
    assert (found.confident, found.answer, found.period) == (True, "B", (1.0, 2.5))


def test_words_within_texts_come_through_unaltered() -> None:
    answer = "it is true that {false} and 'None' are \"true\""
    assert filled_form(json.dumps({"confident": False, "answer": answer}), Verdict).answer == answer


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON object"),
        ("I am confident: B", "no JSON object"),
        (GOOD[:-1], "no JSON object"),
        (GOOD.replace('"', "'"), "no JSON object"),
        (GOOD.replace("true", "True"), "no JSON object"),
        (f"[{'{' * 9000}", "no JSON object"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "no JSON object|'confident'"),
        (GOOD.replace("true", '"perhaps"'), "'confident' of the JSON object is wrong"),
        (GOOD.replace('"B"', "2"), "'answer'"),
        (GOOD.replace("2.5", "NaN"), r"'period\.tuple.*|'period"),
        (GOOD.replace("2.5", "Infinity"), "'period"),
        (GOOD.replace("[1, 2.5]", "[1]"), "'period"),
        ('{"answer": "B"}', "'confident'.*required"),
        (f"<think>x</think>{GOOD}</think>", "no JSON object"),
    ],
)
def test_what_is_no_form_is_refused_with_words_for_the_model(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        filled_form(text, Verdict)


def test_reading_takes_linear_time() -> None:
    assert_linear(lambda n: _unread(QUOTED * n))
    started = time.perf_counter()
    _unread("{" * 10**6)
    assert time.perf_counter() - started < 2


def _unread(text: str) -> None:
    with pytest.raises(ValueError, match="no JSON object"):
        filled_form(text, Verdict)


class Script(Reasoner):
    """Answers one after another; remembers what it was asked."""

    def __init__(self, *answers: str) -> None:
        super().__init__()
        self.answers, self.asked = list(answers), list[list[Message]]()

    def write(self, messages: Sequence[Message]) -> Written:
        self.asked.append(list(messages))
        return Written(self.answers.pop(0), len(str(messages)), 3)

    def describe(self) -> dict[str, Any]:
        return {}


class Meter:
    def __init__(self, most: int) -> None:
        self.most, self.calls, self.tokens_out = most, 0, 0

    def objection(self, messages: Sequence[Message]) -> str:
        return "the budget is spent" if self.calls >= self.most else ""

    def after(self, written: Written, seconds: float) -> None:
        assert seconds >= 0
        self.calls += 1
        self.tokens_out += written.tokens_out or 0


QUESTION = [Message("user", "Which one?")]


def test_an_answer_that_cannot_be_used_is_told_why_and_asked_for_again() -> None:
    def not_c(form: Verdict) -> None:
        if form.answer == "C":
            raise ValueError("there is no option C")

    script, meter = Script("B, surely", GOOD.replace("B", "C"), GOOD), Meter(9)
    asked = script.ask(QUESTION, Verdict, check=not_c, correction="Wrong: {error}!", max_retries=2, meter=meter)
    assert asked.form is not None
    assert (asked.form.answer, asked.calls, asked.error) == ("B", 3, "")
    assert (meter.calls, meter.tokens_out) == (3, 9)
    assert script.asked[0] == QUESTION
    assert script.asked[1][1:] == [
        Message("assistant", "B, surely"),
        Message("user", "Wrong: there is no JSON object in the answer!"),
    ]
    assert script.asked[2][-1].text == "Wrong: there is no option C!"
    assert len(script.asked[2]) == 3  # the last attempt alone


def test_retries_are_bounded_and_the_last_answer_is_kept() -> None:
    script = Script("one", "two", "three", "four")
    asked = script.ask(QUESTION, Verdict, max_retries=2)
    assert (asked.form, asked.text, asked.calls) == (None, "three", 3)
    assert "no JSON object" in asked.error
    assert Script("one", "two").ask(QUESTION, Verdict, max_retries=0).calls == 1


def test_whoever_pays_may_end_it() -> None:
    script = Script("one", "two", "three")
    asked = script.ask(QUESTION, Verdict, max_retries=2, meter=Meter(2))
    assert (asked.form, asked.text, asked.calls, asked.error) == (None, "two", 2, "the budget is spent")
    assert len(script.asked) == 2
    assert script.ask(QUESTION, Verdict, meter=Meter(0)).calls == 0


# ---- adapters ----


@pytest.fixture
def server() -> Iterator[ChatServer]:
    running = ChatServer()
    yield running
    running.close()


def requests(count: int, num_frames: int = 2) -> list[CaptionRequest]:
    return [
        CaptionRequest(
            f"q/{n}",
            torch.full((num_frames, 3, 24, 32), 20 * n, dtype=torch.uint8),
            torch.arange(num_frames) + 60.0 * n,
            f"Describe stretch {n}.",
        )
        for n in range(count)
    ]


def test_a_served_captioner_is_asked_side_by_side_and_keeps_the_order(server: ChatServer) -> None:
    def text(body: dict[str, Any]) -> str:
        time.sleep(0.2)
        return body["messages"][-1]["content"][-1]["text"].replace("Describe", "Seen:")

    server.text = text
    server.faults = ["500", "cut", "malformed"]
    captioner = MLLMCaptioner(mllm=OpenAIChat(model="m", base_url=server.url, concurrency=3), rows_per_forward=6)
    captions = captioner.caption(requests(6))
    assert [c.text for c in captions] == [f"Seen: stretch {n}." for n in range(6)]
    assert 2 <= server.most_at_once <= 3
    cost = captions[4].cost
    assert (cost.calls, cost.frames_shown, cost.visual_tokens, cost.text_tokens_in) == (1, 2, None, 9)
    content = server.requests[-1]["messages"][-1]["content"]
    assert [c["type"] for c in content] == ["text", "image_url"] * 2 + ["text"]
    assert "calls to m were made again" in captioner.shortfalls()


def test_captioners_of_other_settings_have_other_keys(server: ChatServer, blank_vlm: Path) -> None:
    def served(model: str = "m", **more: Any) -> str:
        return MLLMCaptioner(mllm=OpenAIChat(model=model, base_url=server.url), **more).key

    assert served() == served()
    local = MLLMCaptioner(mllm=LlavaOnevision(path=str(blank_vlm)))
    keys = {served(), served("n"), served(max_new_tokens=7), local.key}
    changed = MLLMCaptioner(mllm=LlavaOnevision(path=str(blank_vlm)))
    with torch.no_grad():
        changed.mllm.model.get_output_embeddings().weight.add_(1.0)  # the language model alone
    assert len({*keys, changed.key}) == 5


def test_a_local_captioner_writes_the_same_in_a_batch_as_alone(blank_vlm: Path) -> None:
    torch.manual_seed(0)
    mllm = LlavaOnevision(path=str(blank_vlm))
    texts = [
        [c.text for c in MLLMCaptioner(mllm=mllm, max_new_tokens=6, rows_per_forward=n).caption(requests(3))]
        for n in (1, 3)
    ]
    assert texts[0] == texts[1]
    caption = MLLMCaptioner(mllm=mllm, max_new_tokens=6).caption(requests(1, num_frames=3))[0]
    assert (caption.cost.visual_tokens, caption.cost.frames_shown, caption.cost.text_tokens_out) == (13, 3, 6)


def test_a_served_reasoner_reads_one_turn_with_what_was_wrong_before(server: ChatServer) -> None:
    server.text = lambda body: GOOD if "no JSON object" in str(body) else "The answer is B."
    server.faults = ["empty"]
    reasoner = MLLMReasoner(mllm=OpenAIChat(model="r1", base_url=server.url))
    asked = reasoner.ask([Message("system", "Be brief."), *QUESTION], Verdict)
    assert asked.form is not None
    assert asked.form.answer == "B"
    system, user = server.requests[-1]["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert user["content"][0]["text"].startswith("Which one?\n\nYour answer was:\nThe answer is B.\n\nThat cannot")
    assert reasoner.write(QUESTION).tokens_in == 7
    server.faults = ["400"]
    with pytest.raises(ConnectionError, match="too many images"):
        reasoner.write(QUESTION)


def test_a_local_language_model_writes_and_counts(tmp_path: Path, sentences: list[str]) -> None:
    import transformers

    from modules.small_stack.blank_tokenizer import blank_tokenizer

    tokenizer = blank_tokenizer(sentences, {}, vocab_size=320, add_prefix_space=False)
    config = transformers.Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    transformers.Qwen2ForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    reasoner = LocalReasoner(path=str(tmp_path), max_new_tokens=5)
    written = reasoner.write([Message("user", "a red star")])
    assert written == reasoner.write([Message("user", "a red star")])
    assert written.tokens_in == len(tokenizer("a red star\n")["input_ids"])
    assert reasoner.count_tokens([Message("user", "a red star")]) == written.tokens_in
    assert reasoner.context_tokens == 123
    assert written.tokens_out is not None
    assert 1 <= written.tokens_out <= 5
    assert reasoner.ask([Message("user", "a")], Verdict, max_retries=1).calls == 2
    with pytest.raises(ValueError, match="reads at most 123 and writes 5"):
        reasoner.write([Message("user", "a red star " * 60)])

    tokenizer.chat_template = "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] }}{% endfor %}"
    tokenizer.save_pretrained(tmp_path)
    templated = LocalReasoner(path=str(tmp_path), max_new_tokens=5)
    whole = templated.tokenizer("<|im_start|>user a red star", add_special_tokens=False)["input_ids"]
    assert templated.write([Message("user", "a red star")]).tokens_in == len(whole)


# ---- a captioner that lies ----


class Numbered(Captioner):
    """Writes the same about everything."""

    key = "numbered"  # type: ignore[assignment]

    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption]:
        return [Caption("a red star and a blue ring", Cost(calls=1)) for _ in requests]


def stretches(count: int, where: str = "a.mp4") -> list[CaptionRequest]:
    frames = torch.randint(0, 256, (count, 2, 3, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return [CaptionRequest(f"{where} {n}", frames[n], torch.tensor([n, n + 1.0]), "What?", where) for n in range(count)]


COLOURS_AND_SHAPES = [["red", "blue", "green"], ["star", "ring"]]


def test_a_share_of_captions_is_made_false_in_the_words_of_their_kind() -> None:
    liar = LyingCaptioner(captioner=Numbered(), share=0.25, kinds=COLOURS_AND_SHAPES)
    texts = [caption.text for caption in liar.caption(stretches(400))]
    false = [text for text in texts if text != "a red star and a blue ring"]
    assert 70 <= len(false) <= 130  # 100 +- 3.5 standard deviations
    assert liar.num_lies == len(false)
    for words in map(str.split, false):
        assert words[1] in ("blue", "green")
        assert words[5] in ("red", "green")
        assert (words[0], words[2], words[3], words[6]) == ("a", "ring", "and", "star")
    assert "(25%)" in next(iter(liar.shortfalls()))


def test_lies_are_the_same_again_wherever_the_video_lies_and_others_with_another_seed() -> None:
    def texts(seed: int, where: str = "a.mp4", reverse: bool = False) -> list[str]:
        liar = LyingCaptioner(captioner=Numbered(), share=0.5, kinds=COLOURS_AND_SHAPES, seed=seed)
        requests = stretches(40, where)
        found = [caption.text for caption in liar.caption(requests[::-1] if reverse else requests)]
        return found[::-1] if reverse else found

    assert texts(0) == texts(0, "elsewhere/b.mp4") == texts(0, reverse=True)
    assert texts(0) != texts(1)
    keys = {
        LyingCaptioner(captioner=Numbered(), share=share, kinds=COLOURS_AND_SHAPES[:some], seed=seed).key
        for share, some, seed in itertools.product((0.1, 0.2), (1, 2), (0, 1))
    }
    assert len(keys) == 8  # what one wrote is never taken for another's


def test_what_cannot_be_made_false_is_refused_or_left() -> None:
    for settings in ({"share": 1.1}, {"kinds": []}, {"kinds": [["red"]]}, {"kinds": [["red", "red"]]}):
        with pytest.raises(ValueError, match=r"between 0 and 1|two to exchange"):
            LyingCaptioner(**{"captioner": Numbered(), "share": 0.1, "kinds": COLOURS_AND_SHAPES, **settings})
    liar = LyingCaptioner(captioner=Numbered(), share=1.0, kinds=[["dog", "cat"]])
    assert liar.caption(stretches(1))[0].text == "a red star and a blue ring"
    assert liar.num_lies == 0
    assert LyingCaptioner(captioner=Numbered(), share=0.0, kinds=COLOURS_AND_SHAPES).caption(stretches(9))[8].text
