"""One training of a small SwinBERT under a strategy, in one process or two; writes what came of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import lightning as L
import torch
from coloured_clips import ColouredClips, caption_training
from torch import Tensor
from torch.utils.data import DataLoader

from modules.distributed.sharding import ShardedStrategy
from modules.methods.swinbert.caption_rates import CaptionRates
from modules.methods.swinbert.masked_word_loss import MaskedWordLoss
from modules.methods.swinbert.rewarded_captions import RewardedCaptions
from modules.methods.swinbert.video_masks import BinaryMask, LogMask
from modules.records import Rollouts, VideoQuestion
from modules.rewards.base import Reward
from modules.rl.grpo import GRPO
from modules.rl.optimization import Optimization
from modules.rl.reward_sum import RewardTerm

DEFAULTS: dict[str, Any] = {
    "ranks": 1,
    "strategy": "auto",
    "objective": "words",
    "mask": "log",
    "precision": "32-true",
    "bad": [],
    "max_steps": 3,
    "resume": None,
    "frozen_backbone": False,
}


class UnequalClips(ColouredClips):
    """Six clips a step; of two ranks the first has four, with longer captions, and the second two."""

    def __init__(self, bad: list[str]) -> None:
        super().__init__(bad)
        for n, question in enumerate(self._questions[:4]):
            longer = " ".join(["slowly"] * n)
            object.__setattr__(question, "references", (f"{longer} {question.references[0]}".strip(),))

    def _mine(self) -> list[VideoQuestion]:
        assert self.trainer is not None
        if self.trainer.world_size == 1:
            return self._questions
        return self._questions[:4] if self.trainer.global_rank == 0 else self._questions[4:]

    def train_dataloader(self) -> DataLoader:
        mine: Any = self._mine()
        return DataLoader(mine * 20, batch_size=len(mine), collate_fn=self.batch_of)

    def val_dataloader(self) -> DataLoader:
        mine: Any = self._mine()
        return DataLoader(mine, batch_size=1, collate_fn=self.batch_of)


class Longer(Reward):
    """The number of words."""

    needs_text, needs_options = True, False

    def __call__(self, rollouts: Rollouts) -> Tensor:
        assert rollouts.texts is not None
        return torch.tensor([[float(len(text.split())) for text in texts] for texts in rollouts.texts])


class Losses(L.Callback):
    """Keeps the loss of each update, of all ranks."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.seen.append(float(trainer.callback_metrics.get("train/loss", torch.nan)))


def main(folder: Path, settings: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    rewards = {"longer": RewardTerm(reward=Longer())}
    objectives = {
        "words": MaskedWordLoss(),
        "rewards": RewardedCaptions(rewards=rewards, grpo=GRPO(num_generations=4), max_words=6),
    }
    module = caption_training(
        LogMask() if settings["mask"] == "log" else BinaryMask(budget_frac=0.5),
        objective=objectives[settings["objective"]],
        optimizer=Optimization(learning_rate=1e-3, lr_scheduler_type="constant", max_grad_norm=1e6),
        rates=CaptionRates(backbone_lr_share=0.0 if settings["frozen_backbone"] else 1.0),
        output=str(folder / "model"),
    )
    losses = Losses()
    strategy: Any = settings["strategy"]
    trainer = L.Trainer(
        accelerator="cpu",
        devices=settings["ranks"],
        strategy=ShardedStrategy(stage=int(strategy[4])) if strategy.startswith("zero") else strategy,
        precision=settings["precision"],
        callbacks=[losses],
        max_steps=settings["max_steps"],
        max_epochs=-1,
        logger=False,
        num_sanity_val_steps=0,
        limit_val_batches=2,
        val_check_interval=settings["max_steps"],
        check_val_every_n_epoch=None,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module, datamodule=UnequalClips(settings["bad"]), ckpt_path=settings["resume"], weights_only=True)
    trainer.save_checkpoint(folder / f"step={settings['max_steps']}.ckpt")
    if trainer.is_global_zero:
        exact = float(trainer.callback_metrics["val/exact"])
        (folder / "done.json").write_text(json.dumps({"losses": losses.seen, "exact": exact}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), DEFAULTS | json.loads(sys.argv[2]))
