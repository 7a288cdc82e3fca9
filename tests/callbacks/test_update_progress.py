"""What a training says of itself: updates of ``max_steps``, whatever its epochs, and where its checkpoint is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from callbacks.update_progress import UpdateProgress

pytestmark = pytest.mark.filterwarnings("ignore")


class Line(L.LightningModule):
    """Fits a line, in epochs of four batches."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self.layer(batch).pow(2).mean()
        self.log("reward/total", 0.5, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        for name in ("val/accuracy", "val/evidence_found", "val/more"):
            self.log(name, 0.25, prog_bar=name == "val/accuracy")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(torch.ones(4, 1))

    val_dataloader = test_dataloader = train_dataloader


def trainer(folder: Path) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        max_steps=6,
        max_epochs=-1,
        val_check_interval=3,
        check_val_every_n_epoch=None,
        logger=False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[UpdateProgress(), L.pytorch.callbacks.ModelCheckpoint(folder, save_last=True)],
    )


def test_lines_of_a_training_and_a_test(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("modules.part_progress.WORTH_A_LINE_S", 0.0)
    runs = trainer(tmp_path)
    runs.fit(Line())
    runs.test(verbose=False)
    said = capsys.readouterr().out
    assert "Training: 1/6 updates, reward/total 0.500" in said
    assert "Training: 6/6 updates, reward/total 0.500, val/accuracy 0.250" in said
    assert said.count("validated   after update 3: val/accuracy 0.250, val/evidence_found 0.250\n") == 1
    assert "trained     6 updates in " in said
    assert f"checkpoint  {tmp_path / 'last.ckpt'}\n" in said
    assert "Testing: 4/4 batches" in said
    assert "Epoch" not in said
    assert "\r" not in said


def test_a_training_that_raises_says_nothing_of_an_end(tmp_path: Path, capsys, monkeypatch) -> None:
    module = Line()
    monkeypatch.setattr(module, "validation_step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer(tmp_path).fit(module)
    assert "trained" not in capsys.readouterr().out
