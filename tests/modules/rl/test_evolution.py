"""The evolution module on real files with a blank stack: equivalences, bad input, what is saved."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import pytest
import torch
from evolution_parts import Parts
from evolution_settings import terms
from torch import Tensor

from callbacks.evaluation_report import EvaluationReport
from callbacks.requeue import Requeue
from datamodules.video.decoding_settings import DecodingSettings
from modules.records import Rollouts
from modules.rewards.base import Reward
from modules.rl.evolution import EvolutionModule
from modules.rl.grpo import GRPO
from modules.rl.policy_update import PolicyUpdate
from modules.selection.selection_files import read_selections

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def parts(tmp_path_factory, short_world, blank_clip, blank_vlm) -> Parts:
    return Parts(tmp_path_factory.mktemp("evolution"), short_world, blank_clip, blank_vlm)


def weights(module: EvolutionModule) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.sampler.parameters()])


def train(parts: Parts, max_steps: int = 2, data: dict | None = None, **kwargs: Any) -> EvolutionModule:
    module = parts.module(**kwargs)
    parts.trainer(max_steps).fit(module, datamodule=parts.data(**(data or {})))
    return module


def test_training_moves_the_sampler_and_nothing_else(parts: Parts) -> None:
    fresh = parts.module()
    trained = train(parts)
    assert not torch.equal(weights(fresh), weights(trained))
    for (name, a), b in zip(fresh.mllm.named_parameters(), trained.mllm.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_the_same_seed_gives_the_same_run(parts: Parts) -> None:
    assert torch.equal(weights(train(parts)), weights(train(parts)))
    other = GRPO(num_generations=4, loss_type="grpo", seed=1)
    assert not torch.equal(weights(train(parts)), weights(train(parts, grpo=other)))


def test_stored_frame_tokens_equal_fresh_ones(parts: Parts) -> None:
    # the store keeps halves, so equal to half precision
    stored, fresh = train(parts), train(parts, store_frame_tokens=False)
    torch.testing.assert_close(weights(stored), weights(fresh), atol=2e-2, rtol=0)


def test_batch_two_is_accumulated_one_and_one(parts: Parts) -> None:
    whole = train(parts, max_steps=1, data={"batch_size": 4})
    halves = train(parts, max_steps=1, data={"batch_size": 2}, accumulate=2)
    # Adam's first step is lr (1e-2) times the sign of the gradient, so rounding shows where a gradient is about zero
    difference = (weights(whole) - weights(halves)).abs()
    assert difference.max() < 1e-3
    assert difference.mean() < 1e-6


def test_several_iterations_of_a_window_use_all_its_batches(parts: Parts) -> None:
    config = GRPO(num_generations=4, loss_type="grpo", num_iterations=2)
    module = train(parts, max_steps=2, data={"batch_size": 2}, accumulate=2, grpo=config)
    assert module.trainer.datamodule.state_dict()["batches_used"] == 2
    whole = train(parts, max_steps=2, data={"batch_size": 4}, grpo=config)
    assert (weights(module) - weights(whole)).abs().mean() < 1e-5


class _SaveAfter(L.Callback):
    """Writes a checkpoint after a batch, wherever in an update that is."""

    def __init__(self, batch: int, path: Path) -> None:
        self.batch, self.path = batch, path

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx + 1 == self.batch:
            trainer.save_checkpoint(self.path)


def test_a_checkpoint_in_the_middle_of_an_update_begins_it_again(parts: Parts, tmp_path: Path) -> None:
    whole, resumed = (parts.module(accumulate=2) for _ in range(2))
    saving = _SaveAfter(3, tmp_path / "c.ckpt")
    parts.trainer(2, callbacks=[saving]).fit(whole, datamodule=parts.data(batch_size=2))
    parts.trainer(2).fit(resumed, datamodule=parts.data(batch_size=2), ckpt_path=tmp_path / "c.ckpt", weights_only=True)
    assert torch.equal(weights(whole), weights(resumed))


class _Warn(L.Callback):
    """The cluster's warning, in the first batch of the third update of two."""

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 4:
            os.kill(os.getpid(), signal.SIGUSR1)


def test_a_job_is_not_queued_again_in_the_middle_of_an_update(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    before, requeue = signal.getsignal(signal.SIGUSR1), Requeue(run_dir=str(tmp_path))
    try:
        last = L.pytorch.callbacks.ModelCheckpoint(
            dirpath=tmp_path / "checkpoints", every_n_train_steps=2, save_top_k=1, save_last="link"
        )  # renews its link when the epoch ends
        trainer = parts.trainer(4, callbacks=[_Warn(), requeue, last], enable_checkpointing=True)
        trainer.fit(parts.module(accumulate=2), datamodule=parts.data(batch_size=2))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert requeue.stopped
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert (saved["global_step"], saved["HaystackData"]["batches_used"]) == (3, 6)


def test_metrics_are_logged_once_an_update_under_its_number(parts: Parts, tmp_path: Path) -> None:
    from callbacks.learning_curve import LearningCurve

    curve = LearningCurve(run_dir=str(tmp_path))
    logger = L.pytorch.loggers.CSVLogger(tmp_path)
    trainer = parts.trainer(2, callbacks=[curve], logger=logger, log_every_n_steps=1)
    trainer.fit(parts.module(accumulate=2), datamodule=parts.data(batch_size=2))
    import pandas as pd

    rows = pd.read_csv(Path(logger.log_dir) / "metrics.csv")
    assert rows["step"].tolist() == [1, 2]
    assert rows["reward/total"].notna().all()
    assert [step for step, name, _ in curve.points if name == "reward/total"] == [1, 2]


def test_observers_change_no_gradient(parts: Parts, tmp_path: Path) -> None:
    from callbacks.learning_curve import LearningCurve
    from callbacks.rollout_table import RolloutTable
    from callbacks.timeline import TimelineImages

    alone, watched = parts.module(), parts.module()
    parts.trainer().fit(alone, datamodule=parts.data())
    curve = LearningCurve(run_dir=str(tmp_path), at_start=True)
    observers = [
        TimelineImages(run_dir=str(tmp_path), every_n_steps=1),
        RolloutTable(run_dir=str(tmp_path), every_n_steps=1),
        curve,
    ]
    parts.trainer(callbacks=observers, limit_val_batches=1).fit(watched, datamodule=parts.data())
    assert torch.equal(weights(alone), weights(watched))
    assert len(list((tmp_path / "images").glob("*.png"))) == 2
    assert (tmp_path / "learning_curve.png").stat().st_size > 10_000
    first = {name for step, name, _ in curve.points if step == 0}
    assert {"val/accuracy", "val/uniform", "val/oracle"} <= first
    assert not [name for step, name, _ in curve.points if step > 0 and name in ("val/uniform", "val/oracle")]
    lines = (tmp_path / "rollouts.jsonl").read_text().splitlines()
    assert len([json.loads(line, parse_constant=pytest.fail) for line in lines]) == 2 * 2 * 4


def test_several_updates_per_rollout_move_the_ratio(parts: Parts) -> None:
    once = train(parts, max_steps=1)
    thrice = train(
        parts, max_steps=3, grpo=GRPO(num_generations=4, loss_type="grpo", num_iterations=3), learning_rate=5e-2
    )
    assert not torch.equal(weights(once), weights(thrice))
    assert thrice.trainer.global_step == 3
    assert thrice.trainer.datamodule.state_dict()["batches_used"] == 1


def test_kl_keeps_the_policy_near_its_start(parts: Parts) -> None:
    def divergence(beta: float) -> float:
        config = GRPO(num_generations=4, loss_type="grpo", beta=beta)
        module = train(parts, max_steps=6, grpo=config, lr_scheduler_type="constant")
        return float(module.trainer.callback_metrics["policy/kl_nats"])

    assert 0 <= divergence(20.0) < 0.5 * divergence(1e-6)


def test_a_checkpoint_holds_the_sampler_only_and_loads_without_pickle(parts: Parts, tmp_path: Path) -> None:
    module = parts.module()
    trainer = parts.trainer(1, enable_checkpointing=True, default_root_dir=tmp_path)
    trainer.fit(module, datamodule=parts.data())
    trainer.save_checkpoint(tmp_path / "c.ckpt")
    content = torch.load(tmp_path / "c.ckpt", weights_only=True)
    assert content["state_dict"].keys() == {f"sampler.{n}" for n, _ in module.sampler.named_parameters()}
    assert (tmp_path / "c.ckpt").stat().st_size < 200_000
    torch.manual_seed(9)
    other = parts.module()
    torch.nn.init.zeros_(other.sampler.query.weight)
    parts.trainer().test(
        other, datamodule=parts.data(), ckpt_path=tmp_path / "c.ckpt", weights_only=True, verbose=False
    )
    assert torch.equal(weights(other), weights(module))


def test_weights_that_are_no_longer_finite_do_not_take_the_place_of_good_ones(parts: Parts, tmp_path: Path) -> None:
    module, path = train(parts), tmp_path / "last.ckpt"
    module.trainer.save_checkpoint(path)
    before = path.read_bytes()
    name, weight = next(iter(module.sampler.named_parameters()))
    with torch.no_grad():
        weight.view(-1)[0] = float("nan")
    with pytest.raises(ValueError, match=rf"sampler\.{name}: no longer finite.*no checkpoint is written"):
        module.trainer.save_checkpoint(path)
    assert path.read_bytes() == before


def test_another_sampler_s_checkpoint_is_refused(parts: Parts) -> None:
    module = parts.module()
    with pytest.raises(ValueError, match="another sampler"):
        module.on_load_checkpoint({"state_dict": {"sampler.query.weight": torch.zeros(3, 3)}})


def test_the_report_covers_every_system(parts: Parts) -> None:
    run_dir = parts.root / "run"
    report = EvaluationReport(run_dir=str(run_dir))
    parts.trainer(callbacks=[report]).test(parts.module(), datamodule=parts.data(), verbose=False)
    rows = pd.read_csv(run_dir / "test_rows.csv")
    assert set(rows["system"]) == {"blind", "uniform", "clip_topk", "before", "after", "oracle"}
    assert (rows.groupby("system")["sample_id"].nunique() == 20).all()
    # four frames hold every evidence event of every question (count has up to four)
    assert (rows[rows["system"] == "oracle"]["evidence_found"] == 1).all()
    names = {line["name"] for line in json.loads((run_dir / "test_summary.json").read_text())}
    kinds = {"needle", "begin", "end", "before", "after", "order", "count"}
    assert names >= {"micro", "gap closed", *(f"{part}kind={k}" for k in kinds for part in ("", "gap closed, "))}
    costs = json.loads((run_dir / "costs.json").read_text())
    assert costs["blind"]["frames_shown"] == costs["blind"]["visual_tokens"] == costs["blind"]["frames_decoded"] == 0
    assert costs["oracle"]["frames_shown"] == costs["oracle"]["frames_decoded"] == 4
    assert costs["uniform"]["frames_decoded"] == 4 < costs["after"]["frames_decoded"]  # it looks at all candidates
    assert costs["after"]["visual_tokens"] == costs["oracle"]["visual_tokens"] > 4
    assert all(cost["calls"] == 1 and cost["seconds"] > 0 and cost["text_tokens_in"] > 5 for cost in costs.values())
    assert len(read_selections(run_dir / "selections.parquet", "after")) == 20


# ---- bad input ----


class Raising(Reward):
    def __call__(self, rollouts: Rollouts) -> Tensor:
        raise ZeroDivisionError("oh")


class Infinite(Reward):
    def __call__(self, rollouts: Rollouts) -> Tensor:
        return torch.full(rollouts.selection.candidate_index.shape[:2], torch.inf)


def test_a_reward_that_raises_is_named_with_its_question(parts: Parts) -> None:
    with pytest.raises(RuntimeError, match=r"reward 'raising' raised ZeroDivisionError.*sample_id"):
        train(parts, rewards=terms(Raising()))


def test_an_infinite_reward_is_named(parts: Parts) -> None:
    with pytest.raises(ValueError, match="reward 'infinite' is infinite"):
        train(parts, rewards=terms(Infinite()))


def test_steps_that_are_not_finite_are_skipped_then_stop_the_run(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    real = PolicyUpdate.policy_loss
    monkeypatch.setattr(PolicyUpdate, "policy_loss", lambda *a: real(*a) * torch.inf)
    skipped = train(parts, max_nonfinite_steps=3)
    assert torch.equal(weights(skipped), weights(parts.module()))
    assert skipped.trainer.callback_metrics["train/nonfinite_step"] == 1.0
    with pytest.raises(RuntimeError, match="2 steps in a row"):
        train(parts, max_steps=4, max_nonfinite_steps=2)


def test_all_rollouts_alike_change_nothing_and_are_counted(parts: Parts) -> None:
    class Same(Reward):
        def __call__(self, rollouts: Rollouts) -> Tensor:
            return torch.ones(rollouts.selection.candidate_index.shape[:2])

    module = train(parts, rewards=terms(Same()))
    assert torch.equal(weights(module), weights(parts.module()))
    assert module.trainer.callback_metrics["reward/zero_std_frac"] == 1.0


def test_fewer_candidates_than_frames(parts: Parts) -> None:
    module = train(parts, data={"max_candidates": 3}, num_frames=5)
    assert module.trainer.callback_metrics["policy/shrunk_frac"] == 1.0


@pytest.mark.parametrize("policy", ["skip", "raise"])
def test_bad_videos(parts: Parts, tmp_path: Path, policy: str, caplog: pytest.LogCaptureFixture) -> None:
    from datamodules.haystack.video_writing import video_path, write_videos

    root = str(tmp_path / "videos")
    write_videos(root, parts.world, {"train": 3}, 1)
    video_path(root, parts.world, "train", 1).write_bytes(b"broken")
    decoding = DecodingSettings(on_bad_video=policy, num_workers=1)  # type: ignore[arg-type]
    data = parts.data(root=root, decoding=decoding, feature_dir=str(tmp_path / "features"))
    if policy == "raise":
        with pytest.raises(ValueError, match=r"cannot read video .*train-00001"):
            parts.trainer().fit(parts.module(), datamodule=data)
        return
    parts.trainer().fit(parts.module(), datamodule=data)
    assert list(data.bad_videos) == [str(video_path(root, parts.world, "train", 1))]
    assert not any("train-00001" in q.video for q in data._items["train"].questions)
    assert "1 of 4 videos cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("kwargs", "word"),
    [
        ({"rewards": {}}, "at least one"),
        ({"rewards": {"probability": None}}, "at least one"),
    ],
)
def test_settings_that_cannot_be(parts: Parts, kwargs: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parts.module(**kwargs)
