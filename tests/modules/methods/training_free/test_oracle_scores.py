"""A rule over perfect scores finds all the evidence, as the oracle does: what a rule loses then is its own fault.

Perfect scores are those that the oracle's choice follows: the middle of each evidence event first, its other frames
after that, and nothing else. Three rules have limits of their own, which are held here too: bin-max takes one frame of
each eighth of the video, and FOCUS and DIG ask about some of the frames only, so that they may never see the evidence.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from datamodules.haystack.questions import ask
from datamodules.haystack.world import VideoPlan, World
from datamodules.haystack.world_difficulty import Difficulty
from modules.methods.training_free.aks import AKS
from modules.methods.training_free.bin_max import BinMax
from modules.methods.training_free.bolt import BOLT
from modules.methods.training_free.dig import DIG
from modules.methods.training_free.dpp import DPP
from modules.methods.training_free.focus import FOCUS
from modules.methods.training_free.mdp3 import MDP3
from modules.methods.training_free.mmr import MMR
from modules.methods.training_free.q_frame import QFrame
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.rule import Rule
from modules.methods.training_free.wfs_sb import WFSSB
from modules.records import VideoQuestion
from modules.selection.evidence import coverage

KINDS = {"needle": 1, "begin": 1, "end": 1, "before": 1, "after": 1, "order": 1, "count": 1}
WORLDS = {
    "default": World(),
    "hard": World(event_duration_s=(1.5, 5.0), gap_s=(15.0, 45.0), difficulty=Difficulty(edges_frac=0.15)),
}
TIMES = np.arange(600.0)


@cache
def asked(world: str) -> list[tuple[VideoPlan, VideoQuestion]]:
    plans = [WORLDS[world].plan("test", n) for n in range(3)]
    return [(p, q) for n, p in enumerate(plans) for q in ask(p, "test", "", KINDS, np.random.default_rng(n))]


def perfect_scores(question: VideoQuestion) -> torch.Tensor:
    """(T,), 1 in the middle of each event, 0.8 beside it and so on; 0 where there is no evidence."""
    scores = np.zeros(len(TIMES))
    for start, end in question.evidence_s:
        inside = np.flatnonzero((start <= TIMES) & (end > TIMES))
        for place, frame in enumerate(sorted(inside, key=lambda t: abs(t - (start + end) / 2))):
            scores[frame] = 0.8**place
    return torch.from_numpy(scores)


def features_of(plan: VideoPlan) -> torch.Tensor:
    """(T, 32): frames of an event are alike, and so are those of a scene; all differ a little."""
    generator = torch.Generator().manual_seed(plan.seed)
    scene = torch.from_numpy(TIMES // plan.scene_s).long()
    features = torch.randn(int(scene.max()) + 1, 32, generator=generator)[scene]
    for event in plan.events:
        inside = torch.from_numpy((event.start_s <= TIMES) & (event.end_s > TIMES))
        features[inside] = torch.randn(32, generator=generator)
    return torch.nn.functional.normalize(features + 0.1 * torch.randn(600, 32, generator=generator), dim=-1)


def found(rule: Rule, world: str, sign: float = 1.0) -> np.ndarray:
    """Of each question, the share of the evidence events that the rule shows in 8 frames."""
    shares = []
    for plan, question in asked(world):
        chosen = rule.select(RatedFrames.of(sign * perfect_scores(question), features_of(plan)), 8)
        assert len(set(chosen.tolist())) == 8
        shares.append(coverage(question.evidence_s, TIMES[chosen].tolist())[0])
    return np.array(shares)


RULES: dict[str, Rule] = {
    "aks": AKS(),
    "bolt": BOLT(),
    "q_frame": QFrame(scale=200.0),
    "wfs_sb": WFSSB(),
    "mmr": MMR(),
    "dpp": DPP(),
    "mdp3": MDP3(),
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", RULES)
def test_over_perfect_scores_a_rule_finds_all_evidence(name: str, world: str) -> None:
    assert found(RULES[name], world).tolist() == [1.0] * len(asked(world))


@pytest.mark.parametrize("world", WORLDS)
def test_so_do_the_best_eight_and_not_the_worst(world: str) -> None:
    def top(sign: float) -> list[float]:
        shares = []
        for _, question in asked(world):
            order = np.argsort(-sign * perfect_scores(question).numpy(), kind="stable")[:8]
            shares.append(coverage(question.evidence_s, TIMES[order].tolist())[0])
        return shares

    assert top(1.0) == [1.0] * len(asked(world))
    assert np.mean(top(-1.0)) < 0.2


def test_scores_of_the_wrong_sign_are_seen_to_fail() -> None:
    for name in ("aks", "mmr", "q_frame"):
        assert found(RULES[name], "default", sign=-1.0).mean() < 0.3, name


@pytest.mark.parametrize("rule", [BinMax(), FOCUS(), DIG()], ids=["bin_max", "focus", "dig"])
def test_rules_with_a_limit_of_their_own_fall_short_of_it(rule: Rule) -> None:
    shares = found(rule, "default")
    assert 0.15 < shares.mean() < 1.0, shares.mean()


def test_bin_max_finds_what_lies_in_bins_of_its_own() -> None:
    shares = found(BinMax(), "default")
    for share, (_, question) in zip(shares, asked("default"), strict=True):
        nearest = {round(7 * (start + end) / 2 / 599) for start, end in question.evidence_s}
        if len(nearest) == len(question.evidence_s):
            assert share == 1.0, question
