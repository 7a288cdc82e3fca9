"""What went otherwise than it should have and did not end the run, said once at the end of a stage."""

from __future__ import annotations

from collections import Counter
from typing import Any

import lightning as L
import torch

from modules.console import PlainConsole
from modules.distributed.ranks import exchange
from modules.systems.stage_data import data_of


class Shortfalls(L.Callback):
    """Prints how many videos were left out, rewards are missing, and calls or answers of the model fell short, over all
    ranks; nothing where nothing did. Every run has it."""

    def __init__(self) -> None:
        self._num_rewards, self._missing = 0, torch.zeros(())
        self._said: Counter[str] = Counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if isinstance(outputs, dict) and "reward" in outputs:
            reward = outputs["reward"]
            self._num_rewards += reward.numel()
            self._missing = self._missing.to(reward.device) + reward.isnan().sum()  # stays there until the end

    def _say(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        mllm: Any = getattr(pl_module, "mllm", None)
        own = Counter({} if mllm is None else mllm.shortfalls())
        for system in getattr(pl_module, "systems", {}).values():
            own.update(system.shortfalls())
        ranks = exchange(
            {
                "bad": sorted(getattr(data_of(trainer), "bad_videos", {})),
                "rewards": self._num_rewards,
                "missing": int(self._missing),
                "models": dict(own),
            }
        )
        if not trainer.is_global_zero:
            return
        found = Counter({"videos cannot be read and were left out": len({v for rank in ranks for v in rank["bad"]})})
        num_rewards = sum(rank["rewards"] for rank in ranks)
        found[f"of {num_rewards} rewards are missing"] = sum(rank["missing"] for rank in ranks)
        for rank in ranks:
            found.update(rank["models"])
        for what, count in found.items():
            if count and self._said[what] != count:
                PlainConsole().print(f"note        {count} {what}", soft_wrap=True)
        self._said = found

    on_fit_end = on_test_end = on_predict_end = _say
