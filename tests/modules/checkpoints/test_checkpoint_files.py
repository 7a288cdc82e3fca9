"""Checkpoints on disk: plain, whole or not at all, and never all of them in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from modules.checkpoints.checkpoint_files import Gathered, PlainFiles, plain_files, read, write
from recipes.launcher.guard import ROOT
from recipes.launcher.runs import begun, last_checkpoint


def test_what_was_gathered_is_read_back_as_if_it_had_been_written_whole(tmp_path: Path) -> None:
    first, second = torch.randn(7, 5), torch.randn(3)
    rest = {
        "part": torch.arange(9)[2:5],
        "half": torch.ones(2, dtype=torch.bfloat16),
        "count": torch.tensor(3.0),
        "numbers": (1, 2.5, None, "text"),
        "empty": torch.empty(0),
    }
    order: list[str] = []

    def gather(name: str, whole: torch.Tensor) -> Gathered:
        return Gathered(whole.shape, lambda: order.append(name) or whole)  # type: ignore[func-returns-value]

    pieces = {"state": {"b": gather("b", first.T), "a": gather("a", second)}, "rest": rest}
    write(pieces, tmp_path / "new" / "pieces.ckpt")
    write({"state": {"b": first.T, "a": second}, "rest": rest}, tmp_path / "whole.ckpt")
    assert order == ["b", "a"]  # all ranks give their shares in the order of the checkpoint
    for path in ("new/pieces.ckpt", "whole.ckpt"):
        saved = torch.load(tmp_path / path, weights_only=True)
        assert torch.equal(saved["state"]["b"], first.T)
        assert torch.equal(saved["state"]["a"], second)
        assert saved["rest"]["numbers"] == rest["numbers"]
        for name in ("part", "half", "count", "empty"):
            assert torch.equal(saved["rest"][name], rest[name])
            assert saved["rest"][name].dtype == rest[name].dtype
    write(pieces, tmp_path / "other_rank.ckpt", writer=False)  # gives its shares, writes nothing
    assert not (tmp_path / "other_rank.ckpt").exists()
    assert order == ["b", "a"] * 2


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def fails() -> torch.Tensor:
        raise OSError("no space left on device")

    path = tmp_path / "last.ckpt"
    write({"a": torch.ones(2)}, path)
    for broken in ({"a": Gathered(torch.Size([2]), fails)}, {"a": (line for line in "no data")}):
        with pytest.raises((OSError, TypeError)):
            write(broken, path)
        assert torch.equal(read(path)["a"], torch.ones(2))
        assert os.listdir(tmp_path) == ["last.ckpt"]


MEMORY = """
import json, sys, torch
sys.path.insert(0, "tests/benchmarks")
from checkpoint import Peak
from lightning.fabric.plugins import TorchCheckpointIO
from modules.checkpoints.checkpoint_files import Gathered, write
size = 10 * 2**20  # 40 MiB: glibc keeps smaller ones
pieces = {n: Gathered(torch.Size([size]), lambda: torch.ones(size)) for n in range(4)}
tensors = {n: torch.zeros(size) for n in range(4)}
write({"a": Gathered(torch.Size([1]), lambda: torch.ones(1))}, sys.argv[1])  # torch loads parts of itself at first
peaks = {}
for name, save in {"gathered": lambda: write(pieces, sys.argv[1]), "plain": lambda: write(tensors, sys.argv[1]),
                   "lightning": lambda: TorchCheckpointIO().save_checkpoint(tensors, sys.argv[1])}.items():
    with Peak() as peak:
        save()
    peaks[name] = peak.mib
print(json.dumps(peaks))
"""


@pytest.mark.long
def test_a_save_takes_the_memory_of_its_largest_tensor(tmp_path: Path) -> None:
    """Of 160 MiB in tensors of 40, beside Lightning's own way."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "a.ckpt")],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    peaks = json.loads(done.stdout.splitlines()[-1])
    assert peaks["lightning"] > 150  # the yardstick sees what it has to see
    assert peaks["gathered"] < 90
    assert peaks["plain"] < 30


class Line(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(4, 1)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        return self.line(batch[0]).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters())


def fit(run_dir: Path, max_steps: int, resume: Path | None = None) -> L.Trainer:
    """As the recipes save, every two steps."""
    callback = L.pytorch.callbacks.ModelCheckpoint(
        dirpath=run_dir / "checkpoints",
        filename="{step}",
        every_n_train_steps=2,
        save_last="link",
        save_top_k=1,
        enable_version_counter=False,
    )
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=max_steps,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback],
        plugins=[PlainFiles()],
    )
    data = DataLoader(TensorDataset(torch.randn(64, 4)), 2)
    trainer.fit(Line(), data, ckpt_path=resume, weights_only=True)
    return trainer


def files(run_dir: Path) -> dict[str, str | None]:
    """Names below ``checkpoints``, each with where it links to."""
    return {p.name: os.readlink(p) if p.is_symlink() else None for p in (run_dir / "checkpoints").iterdir()}


@pytest.mark.filterwarnings("ignore")
def test_the_last_checkpoint_is_a_link_that_resume_requeue_and_a_moved_folder_follow(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    fit(run_dir, 3)
    assert files(run_dir) == {"step=2.ckpt": None, "last.ckpt": "step=2.ckpt"}
    moved = run_dir.rename(tmp_path / "moved")
    trainer = fit(moved, 5, resume=last_checkpoint(moved))
    assert trainer.global_step == 5
    assert files(moved)["last.ckpt"] == "step=4.ckpt"  # not a last-v1.ckpt beside it
    before = (moved / "checkpoints/step=4.ckpt").read_bytes()
    trainer.save_checkpoint(moved / "checkpoints/last.ckpt")  # as a requeue does: a file of its own in the link's place
    assert files(moved)["last.ckpt"] is None
    assert (moved / "checkpoints/step=4.ckpt").read_bytes() == before
    assert fit(moved, 7, resume=last_checkpoint(moved)).global_step == 7
    assert files(moved) == {
        "step=2.ckpt": None,
        "step=6.ckpt": None,
        "last.ckpt": "step=6.ckpt",
    }


@pytest.mark.parametrize("left", ["dangling", "nothing"])
def test_a_run_killed_between_two_links_goes_on_from_the_newest_file(tmp_path: Path, left: str) -> None:
    folder = tmp_path / "checkpoints"
    write({"step": 4}, folder / "step=4.ckpt")
    if left == "dangling":
        (folder / "last.ckpt").symlink_to("step=2.ckpt")
    assert begun(str(tmp_path))
    assert last_checkpoint(tmp_path).name == "step=4.ckpt"


def test_a_checkpoint_io_that_somebody_chose_stays() -> None:
    from lightning.fabric.plugins import TorchCheckpointIO

    class Chosen(TorchCheckpointIO):
        pass

    chosen = Chosen()
    assert plain_files(chosen) is chosen
    assert isinstance(plain_files(TorchCheckpointIO()), PlainFiles)
