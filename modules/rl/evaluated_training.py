"""The half of a training that looks: its systems answer the questions of a validation and of the test.

It changes no weight, and knows nothing of how they are trained.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, ExitStack

import lightning as L
import torch

from modules.records import QuestionBatch
from modules.rl.comparison import TRAINED
from modules.rl.update_metrics import log_means
from modules.rl.validation import Validation
from modules.systems.base import Reply, Setting, VideoSystem, answer_all, prepared
from modules.systems.stage_data import StageData, data_of

YARDSTICKS = ("uniform", "oracle")
"""Systems that no training changes: floor and ceiling of its curve, ``val/uniform`` and ``val/oracle``."""


class EvaluatedTraining(L.LightningModule, ABC):
    """A training that compares `systems` under `setting`: each question of a validation is answered by the one that is
    trained, before the first update also by uniform frames and the oracle; each of the test by all of them."""

    systems: dict[str, VideoSystem]
    setting: Setting
    validation: Validation

    def __init__(self) -> None:
        super().__init__()
        self._gathered_for_evaluation = ExitStack()
        self._yardsticks: dict[str, Validation] = {}

    @abstractmethod
    def gathered(self) -> AbstractContextManager[None]:
        """Inside, every rank has every parameter, however the strategy holds them."""

    @property
    def source(self) -> StageData:
        """The questions and frames of the stage."""
        return data_of(self.trainer)

    def _begin_evaluation(self) -> None:
        """Gathers once for a whole evaluation: ranks may have different numbers of batches, and it takes all ranks."""
        prepared(self.systems, self.setting)
        self._gathered_for_evaluation.enter_context(self.gathered())

    def _end_evaluation(self) -> None:
        self._gathered_for_evaluation.close()

    on_test_epoch_start = _begin_evaluation
    on_test_epoch_end = _end_evaluation

    def on_validation_epoch_start(self) -> None:
        self._begin_evaluation()
        self.validation.begin()
        asked = [name for name in YARDSTICKS if name in self.systems and self.trainer.global_step == 0]
        self._yardsticks = {name: Validation(self.validation.chosen_option) for name in asked}

    @torch.no_grad()
    def validation_step(self, batch: QuestionBatch, batch_idx: int) -> None:
        self.validation.add(batch.questions, self.systems[TRAINED].answer(batch, self.source))
        for name, validation in self._yardsticks.items():
            validation.add(batch.questions, self.systems[name].answer(batch, self.source))

    def on_validation_epoch_end(self) -> None:
        self._end_evaluation()
        yardsticks = {
            f"val/{name}": validation.means()["val/accuracy"] for name, validation in self._yardsticks.items()
        }
        log_means(self, self.validation.means() | yardsticks)

    @torch.no_grad()
    def test_step(self, batch: QuestionBatch, batch_idx: int) -> list[Reply]:
        """A reply to each question of each system that is compared."""
        return answer_all(self.systems, batch, self.source)
