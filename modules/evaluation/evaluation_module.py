"""Evaluates systems: each answers every question, and what it said is kept. Nothing is trained or graded here.

Each question gets one `modules.systems.base.Reply` of each system, which `callbacks.evaluation_report.EvaluationReport`
writes down; scorers read the answers then, or a year later.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch
from jsonargparse.typing import PositiveInt

from modules.checkpoints.checkpoint_files import PATH_KEY, plain_files, read
from modules.checkpoints.weights import SAMPLER
from modules.distributed.precision import settle_precision
from modules.encoders.base import FrameEncoder
from modules.encoders.frame_demand import FrameDemand
from modules.evaluation.trained_sampler import load_sampler, prepare_sampler
from modules.mllms.base import MLLM
from modules.records import QuestionBatch
from modules.systems.answering import Answering
from modules.systems.answering_settings import AnsweringSettings
from modules.systems.base import Reply, Setting, VideoSystem, answer_all, described, prepared
from modules.systems.frame_source import FrameSource
from modules.systems.stage_data import data_of


class EvaluationModule(L.LightningModule, FrameDemand):
    """Asks every system every question.

    Args:
        mllm: what answers.
        systems: by name; null leaves one out, in an overlay.
        trained: name of the system that takes the weights of the recipe's ``checkpoint``.
        weights: checkpoints of other trained samplers, by the name of their system; the launcher gives that its class
            and settings from the checkpoint's own recipe. null leaves one out.
        num_frames: K.
        score_options: take option log-probabilities, one forward.
        generate: take an answer in text.
        answering: how frames are shown to the MLLM and its answers taken; 8 rows in one forward where it is left out.
    """

    former_keys: ClassVar[dict[str, str]] = {
        field.name: f"it is now answering.{field.name}" for field in dataclasses.fields(AnsweringSettings)
    }
    """Keys that recipes had once, and what to write in their place."""

    def __init__(
        self,
        *,
        mllm: MLLM,
        systems: dict[str, VideoSystem | None],
        trained: str = "sampler",
        weights: dict[str, str | None] | None = None,
        num_frames: PositiveInt = 64,
        score_options: bool = True,
        generate: bool = False,
        answering: AnsweringSettings | None = None,
    ) -> None:
        super().__init__()
        named = {name: system for name, system in systems.items() if system is not None}
        if not named:
            raise ValueError("systems: name at least one")
        self.strict_loading = False
        self.mllm, self.trained = mllm.requires_grad_(False), trained
        self.answering = Answering.of(mllm, answering or AnsweringSettings(rows_per_forward=8))
        self.setting = Setting(
            answering=self.answering, num_frames=num_frames, score_options=score_options, write_text=generate
        )
        self.systems = torch.nn.ModuleDict(prepared(named, self.setting))
        self._trained_mllm = "none"
        self._weights = {name: path for name, path in (weights or {}).items() if path is not None}
        for name, path in self._weights.items():
            self._take_sampler(name, path)

    def _take_sampler(self, name: str, path: str) -> None:
        """Gives a system the sampler's weights of a checkpoint."""
        system = self.named_systems().get(name)
        if system is None or system.sampler_place is None:
            raise ValueError(f"weights.{name}: there is no system {name!r} with a sampler of its own")
        checkpoint = {**read(Path(path)), PATH_KEY: path}
        if any(key.startswith("mllm.") for key in checkpoint["state_dict"]):
            raise ValueError(
                f"weights.{name}: {path} has trained its MLLM too, and one MLLM answers for all systems here; give it "
                "as --checkpoint, in a run of its own"
            )
        load_sampler(system.get_submodule(system.sampler_place), checkpoint)  # type: ignore[arg-type]

    @property
    def num_frames(self) -> int:
        """K."""
        return self.setting.num_frames

    @property
    def _source(self) -> FrameSource:
        return data_of(self.trainer)

    def named_systems(self) -> dict[str, VideoSystem]:
        """Who is asked, by name."""
        return dict(self.systems.items())  # type: ignore[arg-type]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes what a run has trained: its sampler, with its temperature, into the system ``trained``, and its MLLM,
        which answers for every system then."""
        system = self.named_systems().get(self.trained)
        if system is None or system.sampler_place is None:
            raise ValueError(
                f"a checkpoint holds a trained sampler; `trained` names the system that it belongs to, and there is no "
                f"{self.trained!r} with a sampler of its own"
            )
        mllm = dict(self.mllm.named_parameters(remove_duplicate=False))
        prepare_sampler(system.get_submodule(system.sampler_place), checkpoint, mllm)  # type: ignore[arg-type]
        prefix = f"systems.{self.trained}.{system.sampler_place}."
        saved = {_moved(name, prefix): tensor for name, tensor in checkpoint["state_dict"].items()}
        weights = [tensor for name, tensor in saved.items() if name.startswith("mllm.")]
        self._trained_mllm = f"{sum(t.numel() for t in weights):,} parameters of the checkpoint" if weights else "none"
        checkpoint["state_dict"] = saved

    @torch.no_grad()
    def take(self, checkpoint: dict[str, Any]) -> None:
        """Takes the weights of a checkpoint that was read, without a trainer.

        Raises:
            ValueError: they do not fit.
        """
        checkpoint = dict(checkpoint)
        self.on_load_checkpoint(checkpoint)
        self.load_state_dict(checkpoint["state_dict"], strict=False)

    @contextmanager
    def stored_encoders(self) -> Iterator[list[FrameEncoder]]:
        yield [self.mllm] if self.answering.store_frame_tokens else []

    @property
    def frames_per_question(self) -> int:
        return max(system.frames_per_question for system in self.named_systems().values())

    def setup(self, stage: str) -> None:
        settle_precision(self.trainer.strategy, self.mllm)
        self.trainer.strategy.checkpoint_io = plain_files(self.trainer.strategy.checkpoint_io)

    def describe(self) -> dict[str, Any]:
        """For the evaluation card."""
        return {
            "num_frames": self.num_frames,
            **self.mllm.describe(),
            "trained in the mllm": self._trained_mllm,
            **({"weights": self._weights} if self._weights else {}),
            "decoding of texts": self.mllm.decoding(0.0) if self.setting.write_text else "none generated",
            "systems": described(self.named_systems()),
        }

    @torch.no_grad()
    def test_step(self, batch: QuestionBatch, batch_idx: int) -> list[Reply]:
        """A reply to each question of each system."""
        return answer_all(self.named_systems(), batch, self._source)

    predict_step = test_step


def _moved(name: str, prefix: str) -> str:
    """Where a parameter of a training's checkpoint belongs here."""
    return f"{prefix}{name.removeprefix(SAMPLER)}" if name.startswith(SAMPLER) else name
