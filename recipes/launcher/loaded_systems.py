"""The systems of a recipe outside of a trainer: built once, then asked any number of questions.

They are what `lightning run recipes/ask.yaml` asks: the same recipe, the same evaluation module that takes the
checkpoint's weights, the same data module with its feature store. The MLLM is loaded with the first answer; choosing
frames alone seldom needs it.
"""

from __future__ import annotations

import argparse
import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import ArgumentParser
from torch import Tensor

from datamodules.questions.ask import question_about
from datamodules.questions.given import GivenQuestions
from datamodules.video.placement import device_of
from datamodules.video.progress import hidden_progress
from modules.checkpoints.checkpoint_files import PATH_KEY, read
from modules.evaluation.evaluation_module import EvaluationModule
from modules.evaluation.trained_sampler import load_sampler
from modules.mllms.base import MLLM
from modules.records import QuestionBatch, VideoQuestion
from modules.selection.selection_row import SelectionRow
from modules.systems.answering_settings import AnsweringSettings
from modules.systems.base import Reply, Setting, VideoSystem
from modules.systems.sampler_system import SamplerSystem
from recipes.launcher.answering_recipe import AnsweringRecipe
from recipes.launcher.class_paths import admit
from recipes.launcher.mistakes import reason_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Of the MLLM. The sampler and the encoder compute in float32 whatever it is."""


class LoadedSystems:
    """Systems, their data module and, once one of them answers, the MLLM.

    Args:
        recipe: checked.
        device: name of a torch device; None takes the accelerator that is there, or else the CPU.
        dtype: of the MLLM, one of `DTYPES`; None as its recipe loads it.
        folders: that may hold classes of the person's own.

    Raises:
        ValueError: no such device or precision, weights that do not fit, or what building a part says.
    """

    def __init__(
        self, recipe: AnsweringRecipe, *, device: str | None, dtype: str | None, folders: Sequence[Path]
    ) -> None:
        if dtype is not None and dtype not in DTYPES:
            raise ValueError(f"dtype={dtype!r} is none of {', '.join(DTYPES)}")
        self.recipe, self.device, self.dtype = recipe, _device(device), dtype
        admit([recipe.systems, recipe.data, recipe.model], folders)
        with quiet():
            self.systems: dict[str, VideoSystem] = _built(dict[str, VideoSystem], recipe.systems)
            self.data: GivenQuestions = _built(GivenQuestions, recipe.data)
            self.checkpoint: dict[str, Any] | None = None
            self._setting: Setting | None = None
            if recipe.checkpoint is not None:
                self.checkpoint = {**read(recipe.checkpoint), PATH_KEY: str(recipe.checkpoint)}
                load_sampler(self._trained_sampler, self.checkpoint)
        self.data.device = self.device
        for name, system in self.systems.items():
            system.name = name
        for part in (*self.systems.values(), self.data.encoder):
            if part is not None:
                part.eval().to(self.device)

    @property
    def trained(self) -> str:
        """Name of the system that a checkpoint is of."""
        return str(self.recipe.model.get("trained", "sampler"))

    @property
    def num_frames(self) -> int:
        """K, as the recipe says."""
        return int(self.recipe.model["num_frames"])

    @property
    def _trained_sampler(self) -> Any:
        system = self.systems.get(self.trained)
        if system is None or system.sampler_place is None:
            raise ValueError(f"the checkpoint is of the system {self.trained!r}, which has no sampler of its own here")
        return system.get_submodule(system.sampler_place)

    @cached_property
    def module(self) -> EvaluationModule:
        """What answers, as the command line has it; loads the MLLM."""
        with quiet():
            arguments = {key: value for key, value in self.recipe.model.items() if key not in ("mllm", "answering")}
            arguments["answering"] = AnsweringSettings(**self.recipe.model["answering"])
            mllm = _built(MLLM, self.recipe.model["mllm"])
            module = EvaluationModule(mllm=mllm, systems={**self.systems}, **arguments)
            if self.dtype is not None:
                mllm.to(DTYPES[self.dtype])
            if self.checkpoint is not None:
                module.take(self.checkpoint)
            return module.eval().to(self.device)

    def batch(self, video: str, question: str, options: Sequence[str] | str | None = None) -> QuestionBatch:
        """One question, with what the encoder makes of its video: from the feature store, or made now.

        Raises:
            ValueError: the question is empty, the video cannot be read, or features cannot be written.
        """
        with quiet():
            return self.batch_of([question_about(video, question, options)])

    def batch_of(self, questions: list[VideoQuestion]) -> QuestionBatch:
        """As `batch`, of B questions, each of an id of its own.

        Raises:
            ValueError: a video cannot be read, or features cannot be written.
        """
        try:
            with quiet():
                return self.data.batch_of(questions).to(self.device)
        except OSError as error:
            raise ValueError(f"{reason_of(error)}; settings={{'data.feature_dir': FOLDER}} names another") from error

    def select(self, name: str, batch: QuestionBatch, num_frames: int) -> tuple[SelectionRow, Tensor | None]:
        """Where a system looks to answer one question, and its score (T,) of every candidate where it has some.

        Raises:
            ValueError: it looks nowhere.
        """
        return self.selections(name, batch, num_frames)[0]

    def selections(self, name: str, batch: QuestionBatch, num_frames: int) -> list[tuple[SelectionRow, Tensor | None]]:
        """As `select`, of each of B questions.

        Raises:
            ValueError: the system looks nowhere.
        """
        system = self.systems[name]
        with quiet():
            if isinstance(system, SamplerSystem):
                if system.asks_to_choose or system.like is not None:
                    self._prepare(num_frames)
                rows: list[SelectionRow | None] = [*system.select(batch, self.data, num_frames)]
            else:
                rows = [reply.selection for reply, _ in self.replies(name, batch, num_frames)]
        found = [row for row in rows if row is not None]
        if len(found) < len(rows):
            raise ValueError(f"the system {name!r} chooses no frames")
        return list(zip(found, self._scores(system, batch), strict=True))

    def reply(self, name: str, batch: QuestionBatch, num_frames: int) -> tuple[Reply, Tensor | None]:
        """What a system says to one question, and its score (T,) of every candidate where it has some.

        Raises:
            ValueError: the frames that it chose cannot be decoded.
        """
        return self.replies(name, batch, num_frames)[0]

    def replies(
        self, name: str, batch: QuestionBatch, num_frames: int, max_new_tokens: int | None = None
    ) -> list[tuple[Reply, Tensor | None]]:
        """As `reply`, to each of B questions, which all have options or all have none.

        Args:
            name: of the system.
            batch: B questions.
            num_frames: K.
            max_new_tokens: of an answer in text; as the recipe says by default.
        """
        with quiet():
            self._prepare(num_frames, text=not batch.questions[0].options)
            answering = self.module.setting.answering
            usual = self.recipe.model["answering"].get("max_new_tokens", AnsweringSettings.max_new_tokens)
            answering.max_new_tokens = max_new_tokens or usual
            replies = self.systems[name].answer(batch, self.data)
        return list(zip(replies, self._scores(self.systems[name], batch), strict=True))

    def _prepare(self, num_frames: int, text: bool = False) -> None:
        """Has all systems choose so many frames, and answer in text where there are no options."""
        setting = self.module.setting
        setting = dataclasses.replace(setting, num_frames=num_frames, write_text=setting.write_text or text)
        if setting != self._setting:
            for name, system in self.systems.items():
                system.prepare(name, setting, self.systems)
            self._setting = setting

    @staticmethod
    def _scores(system: VideoSystem, batch: QuestionBatch) -> list[Tensor | None]:
        """Of each question."""
        scores = system.choice.scores if isinstance(system, SamplerSystem) and system.choice is not None else None
        if scores is None:
            return [None] * len(batch)
        return [own[: len(c)].float().cpu() for own, c in zip(scores, batch.candidates, strict=True)]

    def frames(self, batch: QuestionBatch, candidate_index: np.ndarray) -> np.ndarray:
        """Pictures uint8 (K, H, W, 3) of increasing candidate indices (K,)."""
        pixels = self.data.decode(batch.candidates[0], torch.as_tensor(candidate_index))
        assert pixels is not None, "a video that cannot be read is an error here"
        return pixels.permute(0, 2, 3, 1).cpu().numpy()

    def close(self) -> None:
        """Ends the processes that decode."""
        self.data.teardown("predict")


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, no library shows progress or says what nobody can act on; afterwards each is as it was."""
    from transformers.utils import logging as transformers_logging

    verbosity, shown = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with hidden_progress(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if shown:
            transformers_logging.enable_progress_bar()


def _device(name: str | None) -> torch.device:
    if name is None:
        return device_of(None)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device={name!r} cannot be used here: {reason}; auto takes what is there") from error
    return device


def _built(kind: Any, node: Any) -> Any:
    """An object, or several by name, as a checked recipe says.

    Raises:
        ValueError: in the words of the part that could not be built.
    """
    parser = ArgumentParser(parser_mode="omegaconf+", exit_on_error=False)
    parser.add_argument("--part", type=kind)
    try:
        return parser.instantiate(parser.parse_object({"part": node})).part
    except (argparse.ArgumentError, OSError) as error:  # a hub that is not there is an OSError
        reason = " ".join(reason_of(error).split())
        raise ValueError(f"{_named(node)} could not be built: {reason}") from error


def _named(node: Any) -> str:
    """What a part of a recipe is, for a message."""
    if not isinstance(node, dict) or "class_path" not in node:
        return "the systems of the recipe" if isinstance(node, dict) else str(node)
    path = (node.get("init_args") or {}).get("path")
    return f"{node['class_path']}{f' of {path}' if path else ''}"
