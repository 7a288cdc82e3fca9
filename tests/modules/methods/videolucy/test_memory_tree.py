"""Spans in whole frames, levels, and the tree of texts: cases by hand, and what models say that fits no grid."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from modules.methods.videolucy.forms import Location
from modules.methods.videolucy.frame_clock import FrameClock, Span
from modules.methods.videolucy.memory_tree import Entry, MemoryTree, nearest
from modules.methods.videolucy.notation import Notation
from modules.methods.videolucy.scopes import Level, Scopes, level_name, levels_of
from modules.records import Candidates, Cost


def clock_of(num_frames: int, fps: float = 1.0, duration_s: float | None = None) -> FrameClock:
    times_s = torch.arange(num_frames).double() / fps
    length_s = num_frames / fps if duration_s is None else duration_s
    return FrameClock(Candidates("v", torch.arange(num_frames) * 25, times_s, length_s))


def entry(first: int, end: int, level: int = 0, text: str = "x") -> Entry:
    span = Span(first, end)
    return Entry(span=span, level=level, text=text, prompt="p", model="m", shown=(first,), cost=Cost(calls=1))


def test_pieces_cover_a_span_and_the_tail_is_shorter() -> None:
    assert Span(0, 130).pieces(60) == [Span(0, 60), Span(60, 120), Span(120, 130)]
    assert Span(120, 130).pieces(60) == [Span(120, 130)]
    for length in range(1, 40):
        for size in range(1, 12):
            pieces = Span(3, 3 + length).pieces(size)
            assert [frame for p in pieces for frame in range(p.first, p.end)] == list(range(3, 3 + length))
            assert all(len(p) == size for p in pieces[:-1])


def test_overlap_by_hand() -> None:
    assert Span(0, 10).overlap(Span(5, 20)) == Fraction(5, 20)
    assert Span(0, 10).overlap(Span(10, 20)) == 0
    assert Span(4, 6).overlap(Span(0, 8)) == Fraction(1, 4)
    assert Span(0, 10).overlap(Span(0, 10)) == 1


def test_what_is_said_in_seconds_becomes_whole_frames() -> None:
    clock = clock_of(600)
    assert clock.span(0.0, 59.9) == Span(0, 60)
    assert clock.span(59.6, 120.4) == Span(60, 120)
    assert clock.span(-5.0, 3.0) == Span(0, 3)
    assert clock.span(595.0, 10_000.0) == Span(595, 600)
    assert clock.span(599.9, 600.0) == Span(599, 600)  # never empty
    assert clock.span(10.2, 10.3) == Span(10, 11)
    assert clock.seconds(Span(60, 120)) == (60.0, 120.0)
    assert clock.seconds(clock.whole) == (0.0, 600.0)
    for start_s, end_s in ((60.0, 60.0), (70.0, 60.0), (math.nan, 5.0), (600.0, 700.0), (-9.0, 0.0)):
        with pytest.raises(ValueError, match=r"has to end after|outside of the video"):
            clock.span(start_s, end_s)


def test_rates_that_no_float_hits_give_whole_scopes() -> None:
    ntsc = clock_of(3000, fps=30000 / 1001)
    assert ntsc.num_frames(10.0) == 300
    assert clock_of(600, duration_s=599.6).num_frames(60) == 60  # the last frame ends early
    assert clock_of(4, duration_s=3.4).num_frames(2.0) == 2
    assert clock_of(1, duration_s=0.0).num_frames(5.0) == 5
    assert clock_of(1, duration_s=2.0).whole == Span(0, 1)
    assert clock_of(600).num_frames(0.2) == 1


def test_what_a_level_shows_of_a_span() -> None:
    clock = clock_of(600, fps=2.0)
    assert len(Level(scope_s=60, fps=1).shown(Span(0, 120), clock)) == 60
    assert Level(scope_s=10, fps=2).shown(Span(40, 60), clock) == list(range(40, 60))
    assert Level(scope_s=10, fps=99).shown(Span(40, 60), clock) == list(range(40, 60))
    assert Level(scope_s=60, fps=1, max_frames=3).shown(Span(0, 120), clock) == [20, 60, 100]
    assert Level(scope_s=60, fps=0.01).shown(Span(7, 8), clock) == [7]
    assert Level(scope_s=1, fps=1, max_pixels=100).size(40, 10) == (20, 5)
    assert Level(scope_s=1, fps=1, max_pixels=400).size(40, 10) == (40, 10)


def test_scopes_go_by_the_length_of_the_video() -> None:
    def scopes(coarse_s: float, up_to_s: float | None = None) -> Scopes:
        return Scopes(levels=[Level(scope_s=coarse_s, fps=1), Level(scope_s=1, fps=2)], up_to_s=up_to_s)

    lvbench = [scopes(100, 3600), scopes(150, 5400), scopes(200)]
    lengths_s = (1800, 3600, 3601, 5400, 9000)
    assert [levels_of(lvbench, s)[0].scope_s for s in lengths_s] == [100, 100, 150, 150, 200]
    with pytest.raises(ValueError, match="none is for a video of 4000 s"):
        levels_of([scopes(100, 3600)], 4000)
    with pytest.raises(ValueError, match="has to increase"):
        levels_of([scopes(100, 3600), scopes(50, 1800)], 10)
    with pytest.raises(ValueError, match="each finer"):
        Scopes(levels=[Level(scope_s=10, fps=1), Level(scope_s=10, fps=2)])
    with pytest.raises(ValueError, match="at least one level"):
        Scopes(levels=[])
    with pytest.raises(ValueError, match="above 0"):
        Level(scope_s=0, fps=1)
    assert [level_name(n) for n in range(4)] == ["coarse", "fine", "ultra-fine", "depth 4"]


def tree_of(*entries: Entry, num_frames: int = 130, num_levels: int = 3) -> MemoryTree:
    tree = MemoryTree(clock_of(num_frames), num_levels)
    tree.put(entries)
    return tree


def test_looking_again_replaces_a_text_and_adds_finer_ones_below_it() -> None:
    tree = tree_of(entry(0, 60, text="a man"), entry(60, 120, text="a dog"), entry(120, 130, text="the end"))
    tree.put([entry(60, 120, text="a brown\n dog"), entry(70, 80, 1, "it barks"), entry(60, 70, 1, "it sleeps")])
    tree.put([entry(60, 61, 2, "a flash")])
    assert tree.text().splitlines() == [
        "[0.0 s - 60.0 s] a man",
        "[60.0 s - 120.0 s] a brown dog",
        "  [60.0 s - 70.0 s] it sleeps",
        "    [60.0 s - 61.0 s] a flash",
        "  [70.0 s - 80.0 s] it barks",
        "[120.0 s - 130.0 s] the end",
    ]
    assert (len(tree), tree.deepest) == (6, 2)
    tree.keep([tree.at(0)[1]])
    assert len(tree) == 4


def test_neighbours_at_the_ends_and_of_neighbours() -> None:
    coarse = [entry(first, first + 10) for first in range(0, 60, 10)]
    tree = tree_of(*coarse, num_frames=60)

    def kept(*places: int) -> list[int]:
        return [e.span.first // 10 for e in tree.with_neighbours([coarse[p] for p in places])]

    assert kept(0) == [0, 1]
    assert kept(5) == [4, 5]
    assert kept(2, 3) == [1, 2, 3, 4]
    assert kept(0, 5) == [0, 1, 4, 5]
    assert kept() == []


def test_only_what_was_not_looked_at_and_is_not_the_finest_is_open() -> None:
    tree = tree_of(entry(0, 60), entry(60, 120), entry(0, 10, 1), entry(0, 1, 2))
    assert [(e.level, e.span.first) for e in tree.open([])] == [(0, 0), (1, 0), (0, 60)]
    assert [(e.level, e.span.first) for e in tree.open([(0, Span(0, 60))])] == [(1, 0), (0, 60)]
    assert tree_of(entry(0, 130), num_levels=1).open([]) == []


def test_a_period_off_the_grid_is_snapped_to_the_entry_that_it_means() -> None:
    tree = tree_of(entry(0, 60), entry(60, 120), entry(120, 130), entry(0, 10, 1), entry(10, 20, 1))
    entries, clock = tree.open([]), tree.clock

    def snapped(start_s: float, end_s: float) -> tuple[int, int]:
        found = nearest(clock.span(start_s, end_s), entries)
        assert found is not None
        return found.level, found.span.first

    assert snapped(0, 59.9) == (0, 0)
    assert snapped(61, 118) == (0, 60)
    assert snapped(10.4, 19.7) == (1, 10)
    assert snapped(12, 13) == (1, 10)  # the finer one, where both hold it
    assert snapped(121, 125) == (0, 120)  # the tail
    assert snapped(0, 130) == (0, 0)  # as much of each; the earlier one
    assert nearest(Span(0, 10), []) is None
    assert nearest(Span(0, 10), [entry(60, 120)]) is None


def test_a_memory_in_a_short_notation() -> None:
    notation = Notation(times="starts", leave_out=["nothing"], repeats=False)
    tree = MemoryTree(clock_of(60), 3, notation)
    silent = entry(20, 40, text="nothing nothing")
    tree.put([entry(0, 20, text="nothing red star red star\nblue  ring"), silent, entry(10, 20, 1, "blue ring")])
    assert tree.text() == "0 red star blue ring\n  10 blue ring"
    assert silent in tree.open([])  # not read, but there to be looked at
    assert tree.period_text(Span(20, 40)) == "20"


def test_a_memory_in_numbers_has_no_times_and_marks_gaps_and_what_was_searched() -> None:
    notation = Notation(times="numbers", marks=True, leave_out=["nothing"], repeats=False)
    clock = clock_of(200)
    tree = MemoryTree(clock, 3, notation)
    first, silent, last = entry(0, 20, text="red star"), entry(20, 40, text="nothing"), entry(40, 60, text="blue ring")
    finer = [entry(40, 50, 1, text="nothing"), entry(50, 60, 1, text="blue ring")]
    tree.put([first, silent, last, entry(60, 80, text="red moon"), *finer])
    assert tree.text([last, finer[0]]) == "#1 red star\n...\n#2* blue ring\n  #3 blue ring\n#4 red moon"
    assert [tree.name(one) for one in (first, last, finer[1])] == ["#1", "#2", "#3"]
    assert tree.of_number(3) == finer[1]
    assert tree.of_number(5) is None
    assert tree.name(silent) == "20"  # not read, so it has no number
    # the same things much later, with longer gaps, are the same memory
    later = MemoryTree(clock_of(3600), 3, notation)
    spans = {0: 100, 40: 3000, 50: 3010, 60: 3020}
    later.put(
        [
            entry(spans[e.span.first], spans[e.span.first] + len(e.span), e.level, e.text)
            for e in tree.entries
            if e.span.first in spans and e.text != "nothing"
        ]
    )
    assert later.text() == tree.text()


def test_a_name_behind_the_words_it_names() -> None:
    notation = Notation(times="numbers", marks=True, behind=True, leave_out=["nothing"], repeats=False)
    tree = MemoryTree(clock_of(60), 3, notation)
    looked = entry(0, 20, text="red star")
    tree.put([looked, entry(0, 10, 1, text="red star"), entry(40, 60, text="blue ring")])
    assert tree.text([looked]) == "-* red star #1\n  - red star #2\n...\n- blue ring #3"


def test_nothing_is_left_out_unless_somebody_says_so() -> None:
    tree = MemoryTree(clock_of(60), 3)
    tree.put([entry(0, 20, text="no no  no"), entry(20, 40, text="")])
    assert tree.text() == "[0.0 s - 20.0 s] no no no\n[20.0 s - 40.0 s] "


def test_phrases_that_follow_upon_themselves_are_written_once() -> None:
    once = Notation(repeats=False)
    assert once.words("a a a") == "a"
    assert once.words("red dots 4 red dots 4 red ring") == "red dots 4 red ring"
    assert once.words("red star blue star red star") == "red star blue star red star"
    assert Notation().words("a a\n a") == "a a a"


def test_a_moment_names_the_one_open_entry_that_it_lies_in() -> None:
    clock = clock_of(1200, fps=2.0)
    tree = MemoryTree(clock, 3)
    coarse = [entry(40 * n, 40 * n + 40) for n in range(30)]
    parts = [entry(80, 100, 1), entry(100, 120, 1)]
    tree.put([*coarse, *parts])
    choice = tree.open([(0, coarse[2].span)])

    def chosen(period: object) -> Entry | None:
        return nearest(clock.span(*Location.model_validate({"period": period, "instruction": "x"}).period), choice)

    assert chosen(40) == parts[0]
    assert chosen(50.0) == parts[1]
    assert chosen(60) == coarse[3]
    assert chosen([60, 80]) == coarse[3]
    for wrong in (True, "x", [1], None):
        with pytest.raises(ValueError, match="period"):
            Location.model_validate({"period": wrong, "instruction": "x"})
