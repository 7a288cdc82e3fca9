"""Every rule: exactly min(K, T) frames, whatever the scores are like, and the evidence where scores say where it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from modules.methods.training_free.aks import AKS
from modules.methods.training_free.bin_max import BinMax
from modules.methods.training_free.bolt import BOLT
from modules.methods.training_free.dig import DIG, scenes_that_matter
from modules.methods.training_free.dpp import DPP
from modules.methods.training_free.facility_location import FacilityLocation
from modules.methods.training_free.farthest_first import FarthestFirst
from modules.methods.training_free.focus import FOCUS
from modules.methods.training_free.greedy import lazy_greedy
from modules.methods.training_free.ktv import KTV
from modules.methods.training_free.max_info import MaxInfo
from modules.methods.training_free.mdp3 import MDP3
from modules.methods.training_free.mmr import MMR
from modules.methods.training_free.q_frame import QFrame
from modules.methods.training_free.random import Random
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.router import Router
from modules.methods.training_free.rule import Rule
from modules.methods.training_free.top_k import TopK
from modules.methods.training_free.uniform import Uniform
from modules.methods.training_free.wfs_sb import WFSSB
from modules.records import QuestionBatch, VideoQuestion
from modules.selection.base import FrameSampler

RULES: list[Callable[[], Rule]] = [AKS, BOLT, BinMax, DIG, DPP, FOCUS, FacilityLocation, FarthestFirst, KTV, MDP3, MMR]
RULES += [MaxInfo, QFrame, WFSSB]
SAMPLERS: list[Callable[[], FrameSampler]] = [*RULES, Random, Router, TopK, Uniform]
SCORED = [rule for rule in RULES if rule.uses_scores]  # type: ignore[attr-defined]
LENGTHS = (47, 200, 1, 8)


def names(kind: Callable[[], FrameSampler]) -> str:
    return kind.__name__  # type: ignore[attr-defined]


def batch_of(kind: str, dtype: torch.dtype = torch.float32) -> QuestionBatch:
    """Four questions of LENGTHS candidates, padded; scenes of 10 frames, or frames that are hard to tell apart."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]
    scenes = torch.randn(len(LENGTHS), 20, 8, generator=generator)
    noise = 0.3 * torch.randn(len(LENGTHS), 200, 8, generator=generator)
    features = {
        "scenes": scenes.repeat_interleave(10, 1) + noise,
        "ties": scenes.repeat_interleave(10, 1),
        "constant": torch.ones(len(LENGTHS), 200, 8),
        "nothing": torch.zeros(len(LENGTHS), 200, 8),
    }[kind]
    questions = [VideoQuestion("d", "s", f"q{n}", "v", 200.0, "Which comes first?") for n in range(len(LENGTHS))]
    times = torch.arange(200.0).expand(mask.shape)
    queries = torch.randn(len(LENGTHS), 1, 8, generator=generator)
    return QuestionBatch(questions, [], (features * mask[..., None]).to(dtype), mask, times, queries.to(dtype))


def chosen(sampler: FrameSampler, batch: QuestionBatch, num_frames: int) -> list[list[int]]:
    index = sampler.policies(batch).mode(num_frames).candidate_index[:, 0]
    return [row[row >= 0].tolist() for row in index]


@pytest.mark.parametrize("kind", ["scenes", "ties", "constant", "nothing"])
@pytest.mark.parametrize("sampler", SAMPLERS, ids=names)
def test_exactly_so_many_distinct_frames_of_the_video(sampler: Callable[[], FrameSampler], kind: str) -> None:
    batch = batch_of(kind)
    for num_frames in (1, 2, 8, 40):
        rows = chosen(sampler(), batch, num_frames)
        for row, length in zip(rows, LENGTHS, strict=True):
            assert len(row) == len(set(row)) == min(num_frames, length)
            assert 0 <= min(row) <= max(row) < length
        selection = sampler().policies(batch).mode(num_frames)
        ordered = selection.in_time_order()[0, 0].tolist()
        assert ordered == sorted(rows[0]) + [-1] * (num_frames - len(rows[0]))


@pytest.mark.parametrize("sampler", SAMPLERS, ids=names)
def test_neither_neighbours_in_the_batch_nor_half_precision_nor_another_run_change_a_choice(
    sampler: Callable[[], FrameSampler],
) -> None:
    batch = batch_of("scenes")
    rows = chosen(sampler(), batch, 8)
    for b, length in enumerate(LENGTHS):
        alone = QuestionBatch(
            batch.questions[b : b + 1],
            [],
            batch.features[b : b + 1, :length],
            batch.mask[b : b + 1, :length],
            batch.timestamps_s[b : b + 1, :length],
            batch.queries[b : b + 1],
        )
        assert chosen(sampler(), alone, 8) == [rows[b]]
    for dtype in (torch.bfloat16, torch.float16):
        coarse = batch_of("scenes", dtype)
        same = QuestionBatch(
            coarse.questions,
            [],
            coarse.features.float(),
            coarse.mask,
            coarse.timestamps_s,
            coarse.queries.float(),
        )
        assert chosen(sampler().to(dtype), coarse, 8) == chosen(sampler(), same, 8)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in (FOCUS, QFrame)], ids=names)
def test_as_a_sampler_a_rule_sees_its_questions_scores_and_features(rule: Callable[[], Rule]) -> None:
    batch = batch_of("scenes")
    scores = TopK().scores(batch.features, batch.mask, batch.timestamps_s, batch.queries)
    sampler = rule() if rule.uses_scores else rule(scorer=TopK())  # type: ignore[attr-defined, call-arg]
    rows = chosen(sampler, batch, 8)
    for b, length in enumerate(LENGTHS):
        seen = RatedFrames.of(scores[b, :length], batch.features[b, :length], batch.timestamps_s[b, :length])
        assert rows[b] == rule().select(seen, 8).tolist()


@pytest.mark.parametrize("rule", RULES, ids=names)
def test_what_is_no_number_is_refused(rule: Callable[[], Rule]) -> None:
    features, scores = torch.randn(30, 4), torch.rand(30)
    features[11, 2] = torch.nan
    with pytest.raises(ValueError, match=r"1 of 120 features .* not finite"):
        RatedFrames.of(scores, features)
    if rule.uses_scores:  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match=r"scores .* not finite"):
            rule().select(RatedFrames.of(torch.full((30,), torch.nan), torch.randn(30, 4)), 4)


@pytest.mark.parametrize("rule", [AKS, BinMax, DPP, FacilityLocation, FarthestFirst, MDP3, MMR, MaxInfo], ids=names)
def test_of_equal_frames_the_earlier_is_taken(rule: Callable[[], Rule]) -> None:
    """Every frame comes twice, one right after the other."""
    generator = torch.Generator().manual_seed(3)
    scores = torch.rand(16, generator=generator).repeat_interleave(2)
    features = torch.randn(16, 8, generator=generator).repeat_interleave(2, 0)
    chosen = rule().select(RatedFrames.of(scores, features), 4).tolist()
    assert all(t % 2 == 0 or t - 1 in chosen for t in chosen)


@pytest.mark.parametrize("rule", [AKS, BOLT, BinMax, KTV, MDP3, MaxInfo, WFSSB], ids=names)
def test_frames_come_best_first(rule: Callable[[], Rule]) -> None:
    generator = torch.Generator().manual_seed(6)
    scores = (10 * torch.rand(60, generator=generator)).round() / 10
    chosen = rule().select(RatedFrames.of(scores, torch.randn(60, 8, generator=generator)), 12)
    assert chosen.tolist() == sorted(chosen.tolist(), key=lambda t: (-scores[t].item(), t))


def planted(spans: list[tuple[int, int]], total: int = 1200) -> tuple[Tensor, Tensor]:
    """Scores 1 in the evidence and 0 elsewhere, and features of scenes of 20 frames, the evidence being others."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(total // 20, 32, generator=generator).repeat_interleave(20, 0)
    scores = torch.zeros(total)
    for start, stop in spans:
        scores[start:stop] = 1
        features[start:stop] = torch.randn(32, generator=generator)
    return scores, features + 0.01 * torch.randn(total, 32, generator=generator)


@pytest.mark.parametrize("rule", SCORED, ids=names)
def test_over_an_oracles_scores_every_rule_finds_all_evidence(rule: Callable[[], Rule]) -> None:
    # DIG spreads its frames over neighbouring scenes as well; FOCUS sees what lies in the middle of 16 s for certain
    width, num_frames = {DIG: (4, 96), FOCUS: (32, 48)}.get(rule, (4, 24))  # type: ignore[call-overload]
    spans = [(start, start + width) for start in (160, 541, 1001)]
    scores, features = planted(spans)
    chosen = rule().select(RatedFrames.of(scores, features), num_frames).tolist()
    assert all(any(start <= t < stop for t in chosen) for start, stop in spans)
    against = rule().select(RatedFrames.of(-scores, features), num_frames).tolist()
    assert sum(scores[chosen]) > sum(scores[against])  # and not because there are so many frames


@pytest.mark.parametrize("rule", [DIG, DPP, FOCUS, FacilityLocation, FarthestFirst, KTV, MDP3, MMR, MaxInfo, WFSSB])
def test_without_features_or_scores_that_it_needs_none_are_asked_for(rule: type[Rule]) -> None:
    _, features = planted([], 240)
    scores = torch.rand(240, generator=torch.Generator().manual_seed(4))
    if rule.uses_features:
        changed = features.clone()
        changed[:120] = torch.randn(120, 32, generator=torch.Generator().manual_seed(5))
        ours, theirs = (set(rule().select(RatedFrames.of(scores, f), 24).tolist()) for f in (features, changed))
        assert ours != theirs
    if not rule.uses_scores:
        assert rule().scorer is None


def test_focus_asks_about_few_frames_and_the_others_do_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(600, generator=generator)
    frames = RatedFrames.of(scores, seed=7)
    chosen = FOCUS().select(frames, 8)
    assert 38 * 3 <= len(frames.asked) <= 300
    blurred = torch.full_like(scores, 5.0)  # better than all, if only it asked
    blurred[frames.asked] = scores[frames.asked]
    assert FOCUS().select(RatedFrames.of(blurred, seed=7), 8).tolist() == chosen.tolist()
    assert FOCUS().select(RatedFrames.of(scores, seed=8), 8).tolist() != chosen.tolist()


def test_focus_draws_where_the_second_round_found_something() -> None:
    """An event that the first round mostly misses: only who hears of the second round draws around it."""
    scores = torch.full((320,), 0.1)
    scores[160:176] = 0.3
    scores[170:174] = 0.9
    found = []
    for rule in (FOCUS(top_share=0.0), FOCUS(top_share=0.0, compat="official")):
        rows = [rule.choose(RatedFrames.of(scores, seed=seed), 10) for seed in range(20)]
        found.append(sum(((row >= 170) & (row < 174)).sum() for row in rows))
    assert found[0] > 1.3 * found[1]


def test_counts_of_what_was_looked_at() -> None:
    batch = batch_of("scenes")
    looked = {kind: kind().policies(batch).mode(4).looked_at for kind in (TopK, BOLT, FOCUS, DIG, FarthestFirst)}
    assert looked[TopK] is None
    for kind in (BOLT, DIG, FarthestFirst):
        assert [len(row) for row in looked[kind]] == list(LENGTHS)  # type: ignore[union-attr]
    assert len(looked[FOCUS][1]) < 120  # type: ignore[index]
    over_all = FOCUS(scorer=Context()).policies(batch).mode(4).looked_at
    assert [len(row) for row in over_all or ()] == list(LENGTHS)  # its scorer reads every frame to score one


class Context(TopK):
    """A scorer that needs the whole video."""

    scores_frames_alone = False


def test_by_hand() -> None:
    """Two scenes of one frame each that matter, beside one that is like the first."""
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]])
    scores = torch.tensor([0.9, 1.0, 0.5, 0.4, 0.0])
    frames = RatedFrames.of(scores, features)
    # r = 0.8, 1, 0, -0.2, -1; cos to frame 1: 0.995, 1, 0.0995, 0.677, -0.995; halves: -0.098, -, -0.05, -0.438, -0.002
    assert MMR().choose(frames, 2).tolist() == [1, 4]
    assert MMR(relevance=0.9).choose(frames, 2).tolist() == [1, 0]
    # cos to frame 0: 1, .995, 0, .6, -1 -> 4; then the greatest of both: 0: 1, 1: .995, 2: 0, 3: .6
    assert FarthestFirst().choose(frames, 3).tolist() == [0, 4, 2]
    # weights 0.9^3, 1, 0.125, 0.064, 0, sum 1.918: up to 0.380, 0.901, 0.967, 1, 1; quantiles 0.5, 0.5 -> frame 1 twice
    assert BOLT().choose(frames, 2).tolist() == [1, 0]
    # quantiles 1/3, 1/2, 2/3 -> 0, 1, 1; the best of the rest stands in
    assert BOLT().choose(frames, 3).tolist() == [0, 1, 2]
    # r^2 = 0.81, 1, 0.25, 0.16, 0: frame 1 first; left: 0.81 (1 - 0.990) = 0.008, 0.25 (1 - 0.0099) = 0.248, 0.087, 0
    assert DPP().choose(frames, 2).tolist() == [1, 2]
    # cover max(0, cos): sums 2.595, 2.772, 1.9, 2.873, 1: frame 3; then gains .4, .323+.05, .2, -, 1: frame 4
    assert FacilityLocation().choose(frames, 2).tolist() == [3, 4]


def test_scenes_that_matter_by_hand() -> None:
    assert scenes_that_matter(np.array([50.0, 50.0])).tolist() == []
    assert scenes_that_matter(np.array([0.0, 10.0, 0.0])).tolist() == [1]
    assert scenes_that_matter(np.array([0.0, 10.0, 10.0, 0.0])).tolist() == [1, 2]
    assert scenes_that_matter(np.array([0.0, 10.0, 10.0, 0.0]), official=True).tolist() == []
    # 0, .1, .2, 1, .9; less the mean .55 of the positive: 0, 0, .45, .35; less .2: two are left, as above half
    assert scenes_that_matter(np.array([0.0, 10.0, 20.0, 100.0, 90.0])).tolist() == [3, 4]


def test_dig_shows_as_much_before_a_scene_as_behind_it_and_reaches_the_last() -> None:
    rule, edges = DIG(), np.array([0, *range(19, 239, 20), 239])
    rewards = np.zeros(12)
    rewards[11] = 1
    assert np.flatnonzero(rule.shown(rewards, edges))[[0, -1]].tolist() == [179, 239]
    rewards[11], rewards[5] = 0, 1
    assert np.flatnonzero(rule.shown(rewards, edges))[[0, -1]].tolist() == [59, 159]
    assert np.flatnonzero(DIG(compat="official").shown(rewards, edges))[[0, -1]].tolist() == [59, 139]


def test_lazy_updates_change_nothing() -> None:
    weights = torch.rand(40, 30, generator=torch.Generator().manual_seed(2)).numpy()
    reached = np.zeros(30)

    def take(t: int) -> None:
        np.maximum(reached, weights[t], out=reached)

    lazy = lazy_greedy(weights.sum(1), lambda t: float(np.maximum(weights[t] - reached, 0).sum()), take, 12).tolist()
    reached, plain = np.zeros(30), []
    for _ in range(12):
        gains = np.maximum(weights - reached, 0).sum(1)
        gains[plain] = -1
        plain.append(int(gains.argmax()))
        reached = np.maximum(reached, weights[plain[-1]])
    assert lazy == plain


def test_a_router_reads_the_question() -> None:
    batch = batch_of("scenes")
    words = ("What is the video mainly about?", "Which colour has the ball?", "Which of these never happens?", "Where?")
    asked = [
        VideoQuestion("d", "s", f"q{n}", "v", 200.0, text, groups={"kind": "count" if n == 3 else "needle"})
        for n, text in enumerate(words)
    ]
    routed = QuestionBatch(asked, [], batch.features, batch.mask, batch.timestamps_s, batch.queries)
    even, top = chosen(Uniform(), routed, 8), chosen(TopK(), routed, 8)
    assert chosen(Router(), routed, 8) == [even[0], top[1], even[2], top[3]]
    by_label = Router(groups={"kind": ["count"]})
    assert [by_label.about_all(question) for question in asked] == [True, False, True, True]
    looked = Router(sampler=FOCUS()).policies(routed).mode(4).looked_at
    assert [len(row) for row in looked or ()][:1] == [0]
    with pytest.raises(ValueError, match="is no regular expression"):
        Router(patterns=["("])
