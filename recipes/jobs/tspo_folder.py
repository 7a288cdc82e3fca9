"""Saves a trained sampler with its CLIP in the layout of the published TSPO-0.4B."""

from __future__ import annotations

from pathlib import Path

from modules.checkpoints.checkpoint_files import PATH_KEY, read
from modules.console import PlainConsole
from modules.encoders.transformers_clip import TransformersCLIP
from modules.evaluation.trained_sampler import load_sampler
from modules.methods.tspo.agent import TSPOSampler
from modules.methods.tspo.published_folder import write_tspo_folder
from recipes.jobs.base import Job
from recipes.launcher.runs import resolve_checkpoint


class SaveTSPOFolder(Job):
    """Writes a trained sampler in the layout of the published TSPO folder.

    Args:
        encoder: that the sampler was trained with.
        sampler: of the checkpoint's width.
        checkpoint: of a run, in any way that a recipe's is named; None saves the sampler as it is.
        out: folder to write.
    """

    def __init__(
        self, *, encoder: TransformersCLIP, sampler: TSPOSampler, out: str, checkpoint: str | None = None
    ) -> None:
        self.encoder, self.sampler, self.checkpoint, self.out = encoder, sampler, checkpoint, Path(out)

    def run(self, run_dir: Path) -> None:
        if self.checkpoint is not None:
            path = str(resolve_checkpoint(self.checkpoint))
            load_sampler(self.sampler, {**read(path), PATH_KEY: path})
        write_tspo_folder(self.encoder.model, self.encoder.name, self.sampler.official_state_dict(), self.out)
        PlainConsole().print(f"written     {self.out}")
