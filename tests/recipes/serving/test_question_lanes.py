"""Questions wait in bounded lanes: prepared side by side, answered together, dropped when nobody waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from datamodules.video.video_file import BadVideoError
from modules.giving_up import look
from modules.records import VideoQuestion
from recipes.serving.question_lanes import QuestionLanes
from recipes.serving.question_work import Kind, QuestionWork
from recipes.serving.request_errors import RequestError
from recipes.serving.serving_metrics import ServingMetrics
from recipes.serving.serving_settings import ServingLimits

LIMITS = ServingLimits(queue=6, together=3, preparing=2)


class FakeSystems:
    """Prepares and answers when it is told to; what it answers is how many were asked together."""

    def __init__(self) -> None:
        self.prepared: list[str] = []
        self.preparing, self.batches = set[str](), list[list[str]]()
        self.hold_videos, self.hold_answers = set[str](), False
        self.bad: dict[str, Exception] = {}
        self.given_up: list[str] = []
        self.one_by_one = set[str]()

    def most_together(self, name: str, limits: ServingLimits) -> int:
        return 1 if name in self.one_by_one else limits.together

    def prepare(self, video: str, limits: ServingLimits) -> None:
        self.preparing.add(video)
        try:
            while video in self.hold_videos:
                time.sleep(0.002)
                look()
        except BaseException:
            self.given_up.append(video)
            raise
        finally:
            self.preparing.discard(video)
        if video in self.bad:
            raise self.bad[video]
        self.prepared.append(video)

    def outcomes(self, works: Sequence[QuestionWork]) -> list[Any]:
        self.batches.append([work.question.question for work in works])
        while self.hold_answers:
            time.sleep(0.002)
            look()
        return [len(works)] * len(works)


@pytest.fixture
def systems() -> FakeSystems:
    return FakeSystems()


@pytest.fixture
def lanes(systems: FakeSystems) -> Iterator[QuestionLanes]:
    fake: Any = systems
    made = QuestionLanes(fake, LIMITS, ServingMetrics())
    yield made
    systems.hold_videos, systems.hold_answers = set(), False
    made.close()


@pytest.fixture
def ask(lanes: QuestionLanes, tmp_path: Path) -> Callable[..., QuestionWork]:
    def asked(video: str = "a", question: str = "?", kind: Kind = "answer", within_s: float = 30.0) -> QuestionWork:
        path = tmp_path / video
        if not path.exists():
            path.touch()
        work = QuestionWork(
            kind=kind,
            system="sampler",
            question=VideoQuestion("serve", "predict", "x", str(path), 0.0, question),
            video_name=video,
            num_frames=8,
            max_new_tokens=None,
            pictures=None,
            deadline=time.monotonic() + within_s,
        )
        lanes.submit(work)
        return work

    return asked


def eventually(true: Callable[[], object]) -> None:
    for _ in range(5000):
        if true():
            return
        time.sleep(0.002)
    raise AssertionError("it never came to that")


def error_of(work: QuestionWork) -> RequestError:
    error = work.outcome.exception(10)
    assert isinstance(error, RequestError)
    return error


def test_questions_on_one_video_wait_for_it_once_and_are_answered_together(
    systems: FakeSystems, ask: Callable[..., QuestionWork], tmp_path: Path
) -> None:
    systems.hold_videos = {str(tmp_path / "a")}
    works = [ask(question=name) for name in "1234"]
    eventually(lambda: systems.preparing)
    systems.hold_videos = set()
    assert [work.outcome.result(10) for work in works] == [3, 3, 3, 1]  # at most three
    assert systems.batches == [["1", "2", "3"], ["4"]]
    assert systems.prepared == [str(tmp_path / "a")]


def test_a_system_that_goes_through_questions_one_by_one_is_asked_them_so(
    systems: FakeSystems, ask: Callable[..., QuestionWork], tmp_path: Path
) -> None:
    systems.one_by_one, systems.hold_videos = {"sampler"}, {str(tmp_path / "a")}
    works = [ask(question=name) for name in "12"]
    eventually(lambda: systems.preparing)
    systems.hold_videos, systems.hold_answers = set(), True
    eventually(lambda: systems.batches)
    works[0].gone.set()  # sets free what works for it, though another one waits
    eventually(lambda: len(systems.batches) == 2)
    systems.hold_answers = False
    assert works[1].outcome.result(10) == 1
    assert systems.batches == [["1"], ["2"]]
    assert error_of(works[0]).code == "gone"


def test_other_videos_and_other_kinds_are_batches_of_their_own(
    systems: FakeSystems, ask: Callable[..., QuestionWork]
) -> None:
    for video in "ab":
        ask(video).outcome.result(10)
    systems.hold_answers, systems.batches = True, []
    works = [ask("a", "0")]
    eventually(lambda: systems.batches)
    works += [ask("a", "1"), ask("b", "2"), ask("a", "3"), ask("a", "4", kind="select")]
    systems.hold_answers = False
    for work in works:
        work.outcome.result(10)
    assert systems.batches == [["0"], ["1", "3"], ["2"], ["4"]]


def test_a_long_video_keeps_nobody_waiting_who_asks_about_another(
    systems: FakeSystems, ask: Callable[..., QuestionWork], tmp_path: Path
) -> None:
    ask("known").outcome.result(10)
    systems.hold_videos = {str(tmp_path / "long")}
    long = ask("long")
    eventually(lambda: systems.preparing)
    assert ask("known").outcome.result(10) == 1
    assert ask("new").outcome.result(10) == 1  # two are prepared at a time
    assert not long.outcome.done()
    systems.hold_videos = set()
    assert long.outcome.result(10) == 1


def test_a_file_that_was_changed_is_prepared_again(
    systems: FakeSystems, ask: Callable[..., QuestionWork], tmp_path: Path
) -> None:
    ask("a").outcome.result(10)
    ask("a").outcome.result(10)
    assert len(systems.prepared) == 1
    (tmp_path / "a").write_text("another")
    ask("a").outcome.result(10)
    assert len(systems.prepared) == 2


def test_a_full_queue_says_when_to_come_again(
    systems: FakeSystems, lanes: QuestionLanes, ask: Callable[..., QuestionWork], tmp_path: Path
) -> None:
    systems.hold_videos = {str(tmp_path / "a")}
    works = [ask() for _ in range(6)]
    with pytest.raises(RequestError, match="6 questions are waiting") as refused:
        ask()
    assert refused.value.status == 429
    assert int(refused.value.headers["Retry-After"]) >= 1
    systems.hold_videos = set()
    for work in works:
        work.outcome.result(10)
    eventually(lambda: lanes.num_open == 0)
    assert ask().outcome.result(10) == 1


def test_a_video_is_given_up_when_the_last_who_asked_has_gone(
    systems: FakeSystems, lanes: QuestionLanes, ask: Callable[..., QuestionWork], tmp_path: Path
) -> None:
    video = str(tmp_path / "a")
    systems.hold_videos = {video}
    first, second = ask(), ask()
    eventually(lambda: systems.preparing)
    first.gone.set()
    time.sleep(0.05)
    assert systems.given_up == []  # the other one still waits
    second.gone.set()
    assert error_of(second).code == "gone"
    assert systems.given_up == [video]
    eventually(lambda: lanes.num_open == 0)
    assert systems.batches == []


def test_a_question_that_waits_leaves_the_queue_when_its_client_does(
    systems: FakeSystems, lanes: QuestionLanes, ask: Callable[..., QuestionWork]
) -> None:
    ask().outcome.result(10)
    systems.hold_answers, systems.batches = True, []
    first = ask(question="1")
    eventually(lambda: systems.batches)
    second = ask(question="2")
    second.gone.set()
    lanes.look()
    assert error_of(second).code == "gone"
    assert lanes.num_open == 1
    first.gone.set()
    assert error_of(first).code == "gone"  # also what is being answered
    assert systems.batches == [["1"]]


def test_what_takes_too_long_is_given_up_by_itself(
    systems: FakeSystems, ask: Callable[..., QuestionWork], tmp_path: Path
) -> None:
    systems.hold_videos = {str(tmp_path / "a")}
    late = ask(within_s=0.05)
    assert error_of(late).status == 504
    assert systems.given_up == [str(tmp_path / "a")]


def test_who_comes_while_others_leave_is_answered(
    systems: FakeSystems, ask: Callable[..., QuestionWork], tmp_path: Path
) -> None:
    for _ in range(20):
        systems.hold_videos = {str(tmp_path / "a")}
        (tmp_path / "a").write_text(str(time.monotonic_ns()))
        leaving = ask()
        eventually(lambda: systems.preparing)
        threading.Timer(0.001, leaving.gone.set).start()
        time.sleep(0.001)
        staying = ask()
        systems.hold_videos = set()
        assert staying.outcome.result(10) >= 1


def test_a_bad_video_fails_its_questions_and_no_others(
    systems: FakeSystems, ask: Callable[..., QuestionWork], tmp_path: Path
) -> None:
    bad = str(tmp_path / "bad")
    systems.bad[bad] = BadVideoError(bad, "no packets")
    error = error_of(ask("bad"))
    assert (error.status, error.code) == (400, "unreadable_video")
    assert str(tmp_path) not in error.message
    systems.bad[bad] = ValueError(f"asked at 1 s, when no frame of {bad} is over")
    assert str(tmp_path) not in error_of(ask("bad")).message
    systems.bad[bad] = RuntimeError("inside")
    assert error_of(ask("bad")).status == 500
    assert ask("good").outcome.result(10) == 1


def test_a_server_that_stops_takes_nothing_more(systems: FakeSystems, tmp_path: Path) -> None:
    fake: Any = systems
    lanes = QuestionLanes(fake, LIMITS, ServingMetrics())
    lanes.close()
    with pytest.raises(RequestError, match="stopping"):
        lanes.submit(
            QuestionWork(
                kind="select",
                system="sampler",
                question=VideoQuestion("serve", "predict", "x", str(tmp_path), 0.0, "?"),
                video_name="a",
                num_frames=8,
                max_new_tokens=None,
                pictures=None,
                deadline=time.monotonic() + 9,
            )
        )
