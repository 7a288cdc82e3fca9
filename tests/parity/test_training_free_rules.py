"""Selections of rules equal those that their official functions make of the same scores and features.

`training_free_rules.json` holds what the official functions returned; none of their lines are here. How it was made:
for each case, `inputs` below gave scores, features and a query, and these functions were run on them, with stand-ins
for what they load (videos, models, files) and nothing of the function itself changed:

- bolt: ``inverse_transform_sampling`` of sming256/BOLT @ 8a9ba45.
- aks: ``main`` of ncTimTang/AKS @ 4667501 ``frame_select.py``, on a file of scores.
- wfs_sb, mmr, wavelet: ``WFS.select_keyframes`` with the configuration of its three benchmarks,
  ``WFSFrameSelector.select_from_segment`` on the whole video and 2 s - 1, and ``WFSEventDetector`` (twelve values of
  the detail) of MAC-AutoML/WFS-SB @ a424fc4, PyWavelets 1.9.0.
- max_info: ``svd_reduce_dim`` with r = min(8, K), lipengyi0829's notebook @ 82b1f55, and ``py_rect_maxvol`` of maxvolpy
  0.3.8 with minK = maxK = K.
- mdp3: ``MDP3._select_frames_fast`` of open-compass/VLMEvalKit @ e8e78f0 in float64, parts of 32 (-1: the whole video).
- dpp: ``DppTimeSelector.__call__`` of Time-Search/TimeSearch-R @ 8d51dbc.
- q_frame: ``TextImageMatching`` of xiaomi-research/q-frame @ 1b08494, tau 0.8, three times the query as text, and
  ``default_rng(1000 + seed).random(T)`` for its uniform numbers.
- focus: ``FOCUS.select_keyframes`` of NUS-HPC-AI-Lab/FOCUS @ e28a555, a video of T frames at 1 fps, the gap that its
  script computes, ``default_rng(42 + seed)``; ``scored`` is its ``budget_used``.
- ktv: ``video_frame_clustering`` of hktk07/KTV @ d77f844, scikit-learn 1.9.1.
- farthest_first: ``kCenterGreedy.select_batch`` of lmms-eval's ``tools/lite`` (q-frame's copy), on vectors of length 1.
- dig: ``get_r_frames`` at 1 fps, rewards ``round(100 score)`` at its frames, ``video_refinement`` and
  ``select_k_indices`` of Jialuo-Li/DIG @ ffe6d25.

Official selections with a repetition, or with fewer than K frames, are not equalled but contained.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modules.methods.training_free.aks import AKS
from modules.methods.training_free.bolt import BOLT
from modules.methods.training_free.dig import DIG
from modules.methods.training_free.dpp import DPP
from modules.methods.training_free.farthest_first import FarthestFirst
from modules.methods.training_free.focus import FOCUS
from modules.methods.training_free.ktv import KTV
from modules.methods.training_free.max_info import MaxInfo
from modules.methods.training_free.mdp3 import MDP3
from modules.methods.training_free.mmr import MMR
from modules.methods.training_free.q_frame import QFrame
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.rule import Rule
from modules.methods.training_free.wavelet import coarsest_detail, num_levels
from modules.methods.training_free.wfs_sb import WFSSB

FIGURES: dict[str, list[dict[str, Any]]] = json.loads(Path(__file__).with_name("training_free_rules.json").read_text())


def inputs(seed: int, total: int, width: int = 16) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores (T,) in 0..1 and features (T, D) of scenes of 20 frames, and a query (D,) of length 1."""
    rng = np.random.default_rng(seed)
    scene = np.arange(total) // 20
    centres, worth = rng.normal(size=(total // 20 + 1, width)), rng.normal(size=total // 20 + 1)
    features = (centres[scene] + 0.3 * rng.normal(size=(total, width))).astype(np.float32)
    scores = 1 / (1 + np.exp(-(1.5 * worth[scene] + 0.5 * rng.normal(size=total))))
    query = rng.normal(size=width).astype(np.float32)
    return scores, features, query / np.linalg.norm(query)


def seen(case: dict[str, Any], scores: np.ndarray | None = None, seed: int = 0) -> RatedFrames:
    own, features, _ = inputs(case["seed"], case["T"])
    return RatedFrames.of(torch.from_numpy(own if scores is None else scores), torch.from_numpy(features), seed=seed)


def cosines(case: dict[str, Any]) -> np.ndarray:
    _, features, query = inputs(case["seed"], case["T"])
    return features @ query / np.linalg.norm(features, axis=1)


def cases(name: str) -> list[Any]:
    return [pytest.param(name, case, id=f"{name}-{n}") for n, case in enumerate(FIGURES[name])]


RULES: dict[str, Callable[[dict[str, Any]], Rule]] = {
    "bolt": lambda c: BOLT(power=c["power"]),
    "aks": lambda c: AKS(threshold=c["threshold"], depth=c["depth"], compat="official"),
    "wfs_sb": lambda c: WFSSB(compat="official"),
    "mmr": lambda c: MMR(compat="official"),
    "max_info": lambda c: MaxInfo(),
    "ktv": lambda c: KTV(compat="official"),
    "farthest_first": lambda c: FarthestFirst(),
}


@pytest.mark.parametrize(("name", "case"), [case for name in RULES for case in cases(name)])
def test_selections_equal_the_official_ones(name: str, case: dict[str, Any]) -> None:
    theirs = set(case["chosen"])
    ours = RULES[name](case).choose(seen(case), case["K"]).tolist()
    assert len(set(ours)) == len(ours)
    if len(theirs) == len(case["chosen"]):
        assert set(ours) == theirs
    else:  # a repetition
        assert theirs < set(ours)
        assert len(ours) == case["K"]


@pytest.mark.parametrize(("name", "case"), cases("aks"))
def test_where_aks_gives_fewer_the_best_of_the_rest_fill_up(name: str, case: dict[str, Any]) -> None:
    ours = AKS(threshold=case["threshold"], depth=case["depth"]).choose(seen(case), case["K"])
    assert set(case["chosen"]) <= set(ours.tolist())
    assert len(set(ours.tolist())) == case["K"]


@pytest.mark.parametrize(("name", "case"), cases("wavelet"))
def test_the_coarsest_detail_is_that_of_pywavelets(name: str, case: dict[str, Any]) -> None:
    scores, _, _ = inputs(case["seed"], case["T"])
    assert num_levels(case["T"]) == case["level"]
    np.testing.assert_allclose(coarsest_detail(scores, case["level"])[case["at"]], case["detail"], atol=1e-10)


@pytest.mark.parametrize(("name", "case"), cases("mdp3"))
def test_lists_equal_mdp3s(name: str, case: dict[str, Any]) -> None:
    part = case["T"] if case["part"] < 0 else case["part"]
    chosen = MDP3(part=part, compat="official").choose(seen(case, cosines(case)), case["K"])
    assert sorted(chosen.tolist()) == sorted(case["chosen"])


@pytest.mark.parametrize(("name", "case"), cases("dpp"))
def test_sets_equal_timesearchs(name: str, case: dict[str, Any]) -> None:
    assert sorted(DPP(theta=case["theta"]).choose(seen(case, cosines(case)), case["K"])) == case["chosen"]


@pytest.mark.parametrize(("name", "case"), cases("q_frame"))
def test_draws_equal_q_frames_on_the_same_uniform_numbers(name: str, case: dict[str, Any]) -> None:
    _, features, query = inputs(case["seed"], case["T"])
    uniform = np.random.default_rng(1000 + case["seed"]).random(case["T"])
    drawn = QFrame(scale=1.0).drawn(features.astype(np.float64) @ (3 * query), uniform, case["K"])
    assert drawn.tolist() == case["chosen"]  # in order


@pytest.mark.parametrize(("name", "case"), cases("focus"))
def test_focus_asks_about_as_many_frames_and_chooses_the_same(name: str, case: dict[str, Any]) -> None:
    frames = seen(case, seed=42 + case["seed"])
    chosen = FOCUS(compat="official").choose(frames, case["K"])
    assert sorted(chosen.tolist()) == case["chosen"]
    assert len(frames.asked) == case["scored"]


@pytest.mark.parametrize(("name", "case"), cases("dig"))
def test_scenes_and_frames_equal_digs(name: str, case: dict[str, Any]) -> None:
    scores, _, _ = inputs(case["seed"], case["T"])
    frames, rule = seen(case, np.round(100 * scores)), DIG(compat="official")
    assert rule.edges(frames).tolist() == case["boundaries"]
    chosen = rule.choose(frames, case["K"])
    assert frames.asked.tolist() == sorted(set(case["r_frames"]))
    theirs = set(case["chosen"])
    assert theirs <= set(chosen.tolist())
    assert len(theirs) < case["K"] or set(chosen.tolist()) == theirs
