"""Kairos from Python: choose frames of a video for a question, look at them, and have the model answer.

    import kairos

    run = kairos.load("last:tspo")                       # a run, a checkpoint, a published folder or a recipe
    chosen = run.select("video.mp4", "What colour is the last shape?", k=8)
    chosen.show()                                        # a contact sheet in a notebook, a timeline in a terminal
    answer = run.ask("video.mp4", "What colour is the last shape?", options=["red", "green", "blue"])
    answer.text, answer.options                          # "blue", {"red": 0.20, "green": 0.21, "blue": 0.59}
    run.system("uniform").ask("video.mp4", "What colour is the last shape?")

The answers are those of ``lightning run recipes/ask.yaml --checkpoint FILE``. What can go wrong is a `ValueError` in
whole sentences. Importing this takes no time: torch and the models are imported by `load` and what comes after it.
"""

from __future__ import annotations

import base64
import html
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

    from modules.records import Cost, QuestionBatch, TraceStep
    from modules.selection.selection_row import SelectionRow
    from modules.systems.base import Reply
    from recipes.launcher.loaded_systems import LoadedSystems

__all__ = ["Answer", "Loaded", "Selection", "load"]


def load(
    source: str | Path,
    *,
    device: str = "auto",
    dtype: str | None = None,
    settings: Mapping[str, Any] | None = None,
    user_dir: str | Path | None = None,
) -> Loaded:
    """Loads whatever chooses frames and answers: its sampler, its encoder and, with the first answer, its MLLM.

    Examples::

        kairos.load("last:tspo")                                 # the newest run of recipes/tspo.yaml
        kairos.load("outputs/tspo/20261201-120000")              # a run's folder, or a .ckpt file in it
        kairos.load("build/msjoe")                               # what `lightning consolidate` wrote
        kairos.load("TSPO-0.4B", settings={"model.mllm": {...}}) # a published TSPO folder, and who answers
        kairos.load("recipes/eval/haystack.yaml")                # the systems of a recipe
        kairos.load("last:tspo", device="cpu", dtype="bfloat16", settings={"num_frames": 16})

    Args:
        source: a run's folder, a checkpoint (``.ckpt``, ``sampler.safetensors``), a folder that `lightning consolidate`
            wrote, a published TSPO folder, ``last:NAME`` for the newest run of a recipe, or a recipe.
        device: of torch, e.g. ``cuda`` or ``cpu``; ``auto`` takes the accelerator that is there, or else the CPU.
        dtype: of the MLLM, ``bfloat16`` or ``float32``; by default as its recipe loads it.
        settings: values by the recipe's dotted keys or short names, as one would give them on the command line.
        user_dir: folder with classes of your own that the recipe names; a recipe's own folder is looked in anyway.

    Raises:
        ValueError: there is no such thing (says what is there instead), its recipe has mistakes, or its weights do not
            fit.
    """
    from recipes.launcher.guard import shadowed

    if foreign := shadowed():
        raise ValueError(f"{'; '.join(foreign)}: start Python from another folder, or take that one off its path")
    from recipes.launcher.answering_recipe import answering_recipe
    from recipes.launcher.class_paths import folders_of
    from recipes.launcher.library_imports import import_torchmetrics

    import_torchmetrics()
    from recipes.launcher.loaded_systems import LoadedSystems

    folders = folders_of([] if user_dir is None else [str(user_dir)], _own_recipe(str(source)))
    recipe = answering_recipe(str(source), settings or {}, folders)
    parts = LoadedSystems(recipe, device=None if device == "auto" else device, dtype=dtype, folders=folders)
    return Loaded(parts, str(source), next(iter(parts.systems)))


def _own_recipe(source: str) -> list[str]:
    return [source] if source.endswith((".yaml", ".yml")) else []


class Loaded:
    """What `load` gives: systems that choose frames and answer. Close it, or use it in a ``with`` statement, when done.

    A video is decoded and encoded with the first question about it; what the encoder made of it is kept in the feature
    store (``data/features`` below the working folder), for later questions and later sessions.
    """

    def __init__(self, parts: LoadedSystems, source: str, name: str) -> None:
        self._parts, self._source, self._name = parts, source, name

    def __repr__(self) -> str:
        return f"<kairos {self._source!r}, system {self._name!r} of {', '.join(self.systems())}>"

    def systems(self) -> list[str]:
        """The names of the systems, the trained one first.

        Example::

            kairos.load("last:tspo").systems()      # ["sampler", "uniform", "clip_topk", "blind"]
        """
        return list(self._parts.systems)

    def system(self, name: str) -> Loaded:
        """The same with another of its `systems`; nothing is loaded again.

        Raises:
            ValueError: there is none of that name.
        """
        return Loaded(self._parts, self._source, self._known(name))

    def select(self, video: str | Path, question: str, k: int | None = None, *, system: str | None = None) -> Selection:
        """Chooses K frames of a video for a question.

        Example::

            chosen = run.select("video.mp4", "When does the dog jump?", k=8)
            chosen.timestamps_s, chosen.scores, chosen.frames.shape        # (12.0, ...), (0.31, ...), (8, 360, 640, 3)

        Args:
            video: path of the file.
            question: about it.
            k: how many; by default as many as the recipe says. A video of fewer candidates gives them all.
            system: one of `systems`; by default the one that was loaded.

        Raises:
            ValueError: no such video, or it cannot be read; the question is empty; no such system, or one that chooses
                no frames.
        """
        name, batch = self._known(system), self._parts.batch(_existing(video), question)
        row, scores = self._parts.select(name, batch, self._number(k))
        return Selection(self._parts, batch, row, None if scores is None else scores.numpy())

    def ask(
        self,
        video: str | Path,
        question: str,
        options: Sequence[str] | str | None = None,
        k: int | None = None,
        *,
        system: str | None = None,
    ) -> Answer:
        """Has the MLLM answer a question on the frames that are chosen for it.

        Example::

            answer = run.ask("video.mp4", "What colour is the last shape?", options=["red", "green", "blue"])
            print(answer)                                                  # answer, probabilities, moments, cost
            answer.text, answer.options["blue"], answer.cost.calls

        Args:
            video: path of the file.
            question: about it.
            options: to choose between, as a list or separated by commas; without any it answers in its own words.
            k: how many frames it is shown; by default as many as the recipe says.
            system: one of `systems`; by default the one that was loaded.

        Raises:
            ValueError: as of `select`, or the frames that were chosen cannot be decoded.
        """
        name, batch = self._known(system), self._parts.batch(_existing(video), question, options)
        reply, scores = self._parts.reply(name, batch, self._number(k))
        selection = None
        if reply.selection is not None:
            selection = Selection(self._parts, batch, reply.selection, None if scores is None else scores.numpy())
        return Answer(reply, selection, batch.candidates[0].duration_s)

    def close(self) -> None:
        """Ends the processes that decode videos; they start again when they are needed."""
        self._parts.close()

    def __enter__(self) -> Loaded:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _known(self, name: str | None) -> str:
        if name is not None and name not in self._parts.systems:
            raise ValueError(f"there is no system {name!r} here; there are {', '.join(self.systems())}")
        return name or self._name

    def _number(self, k: int | None) -> int:
        if k is not None and (not isinstance(k, int) or isinstance(k, bool) or k < 1):
            raise ValueError(f"k={k!r}: the number of frames is a whole number from 1 on")
        return k or self._parts.num_frames


def _existing(video: str | Path) -> str:
    path = Path(video)
    if not path.is_file():
        from recipes.launcher.runs import content_of_folder

        folder = path if path.is_dir() else next(parent for parent in path.absolute().parents if parent.is_dir())
        what = "is a folder, and not a video" if path.is_dir() else "is not there"
        raise ValueError(f"the video {path} {what}; {content_of_folder(folder)}")
    return str(path)


class _Shown:
    """Something to look at: in a notebook as a picture, in a terminal as text."""

    def show(self) -> None:
        """Shows it here: in a notebook as a contact sheet with the timeline, in a terminal as a timeline in letters."""
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        if shell is not None and getattr(shell, "kernel", None) is not None:
            sys.modules["IPython"].display.display(self)
            return
        from modules.console import PlainConsole

        console = PlainConsole(soft_wrap=True)
        for line in self._lines():
            console.print(line)

    def save(self, path: str | Path) -> None:
        """Writes the contact sheet as a picture, in the format that the file's name says (``.png``, ``.jpg``)."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.picture().convert("RGB").save(path)

    def picture(self) -> PIL.Image.Image:
        """The contact sheet: the chosen frames over the timeline with the score of every candidate."""
        raise NotImplementedError

    def _lines(self) -> list[str]:
        raise NotImplementedError

    def _html(self, lines: Sequence[tuple[str, str]], picture: bool) -> str:
        rows = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(words)}</td></tr>" for name, words in lines)
        sheet = ""
        if picture:
            content = io.BytesIO()
            self.picture().save(content, format="PNG")
            data = base64.b64encode(content.getvalue()).decode()
            sheet = f'<img style="max-width:100%" src="data:image/png;base64,{data}">'
        return f'<div>{sheet}<table style="text-align:left">{rows}</table></div>'


@dataclass(frozen=True, eq=False, repr=False)
class Selection(_Shown):
    """Frames of a video that were chosen for a question, in order of time."""

    _parts: LoadedSystems
    _batch: QuestionBatch
    row: SelectionRow
    """As in a selection file."""
    candidate_scores: np.ndarray | None
    """float32 (T,), the system's score of every candidate; None where it has none."""

    @property
    def question(self) -> str:
        """That the frames were chosen for."""
        return self._batch.questions[0].question

    @property
    def video(self) -> str:
        """Path of the file."""
        return self.row.video

    @property
    def system(self) -> str:
        """Name of the system that chose them."""
        return self.row.sampler

    @property
    def timestamps_s(self) -> tuple[float, ...]:
        """Of the K frames, increasing."""
        return self.row.timestamps_s

    @property
    def scores(self) -> tuple[float, ...]:
        """Of the K frames; empty where the system has none."""
        return self.row.scores

    @property
    def candidate_timestamps_s(self) -> np.ndarray:
        """float64 (T,), of every candidate."""
        return self._batch.candidates[0].timestamps_s.numpy()

    @property
    def duration_s(self) -> float:
        """Of the video."""
        return self._batch.candidates[0].duration_s

    @cached_property
    def frames(self) -> np.ndarray:
        """uint8 (K, H, W, 3), decoded when they are first looked at; where clips are chosen, the middle one of each."""
        return self._parts.frames(self._batch, self._candidate_index)

    @property
    def _candidate_index(self) -> np.ndarray:
        import torch

        return self._batch.candidates[0].holding(torch.tensor(self.row.frame_ids, dtype=torch.int64)).numpy()

    def __len__(self) -> int:
        return len(self.row.frame_ids)

    def __repr__(self) -> str:
        return f"<{len(self)} frames of {self.video} by {self.system!r}: {self._moments}>"

    @property
    def _moments(self) -> str:
        from modules.systems.reply_text import moments_text

        return moments_text(self.row)

    def picture(self, title: str | None = None) -> PIL.Image.Image:
        """The contact sheet: the chosen frames over the timeline with the score of every candidate.

        Args:
            title: over it; the question by default.
        """
        import PIL.Image

        from callbacks.timeline_picture import timeline_figure

        figure = timeline_figure(
            title=title or self.question,
            timestamps_s=self.candidate_timestamps_s,
            scores=self.candidate_scores,
            chosen=self._candidate_index,
            thumbnails=self.frames,
        )
        content = io.BytesIO()
        figure.savefig(content, format="png")
        return PIL.Image.open(content)

    def timeline(self) -> list[str]:
        """Lines for a terminal: the score of every candidate as bars, and marks where it looked."""
        from modules.systems.text_timeline import text_timeline

        lines = text_timeline(self.candidate_timestamps_s, self.candidate_scores, self.timestamps_s, _COLUMNS)
        return [f"{'':<12}{line}" for line in lines]

    def _lines(self) -> list[str]:
        return [f"{name:<12}{words}" for name, words in self._words()] + self.timeline()

    def _words(self) -> list[tuple[str, str]]:
        return [
            ("question", self.question),
            ("system", self.system),
            ("looked at", f"{self._moments}  of {self.duration_s:.1f} s"),
        ]

    def _repr_html_(self) -> str:
        return self._html(self._words(), picture=len(self) > 0)


_COLUMNS = 80


@dataclass(frozen=True, eq=False, repr=False)
class Answer(_Shown):
    """What a system said to a question, where it looked, and what that cost."""

    reply: Reply
    """As the command line and an evaluation have it."""
    selection: Selection | None
    """Where it looked; None where it looked nowhere, or nobody knows."""
    duration_s: float = field(default=0.0)
    """Of the video."""

    @property
    def text(self) -> str:
        """The option that it found most probable, or its own words where there were no options."""
        from modules.systems.reply_text import answer_text

        return answer_text(self.reply.answer)

    @property
    def own_words(self) -> str | None:
        """What it wrote; None where it wrote nothing."""
        return self.reply.answer.text

    @property
    def options(self) -> dict[str, float]:
        """The probability of each option; empty where there were none."""
        from modules.systems.reply_text import option_probabilities

        return option_probabilities(self.reply.answer)

    @property
    def timestamps_s(self) -> tuple[float, ...]:
        """Of the frames that it was shown, increasing."""
        return self.reply.answer.timestamps_s

    @property
    def cost(self) -> Cost:
        """Frames decoded and shown, tokens, calls, seconds."""
        return self.reply.cost

    @property
    def trace(self) -> tuple[TraceStep, ...]:
        """What it did, step by step, where it reasons in steps."""
        return self.reply.trace

    def picture(self) -> PIL.Image.Image:
        """The contact sheet, with question and answer over it.

        Raises:
            ValueError: it looked at nothing.
        """
        if not self.selection:
            raise ValueError(f"the system {self.reply.answer.system!r} looked at no frames, so there is no picture")
        return self.selection.picture(f"{self.reply.answer.question}   {self.text}")

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        return f"<{self.text!r} by {self.reply.answer.system!r}, {self.cost.frames_shown} frames shown>"

    def _lines(self) -> list[str]:
        from modules.systems.reply_text import reply_lines

        lines = [f"{name:<12}{words}" for name, words in reply_lines(self.reply, self.duration_s)]
        return lines + (self.selection.timeline() if self.selection else [])

    def _repr_html_(self) -> str:
        from modules.systems.reply_text import reply_lines

        return self._html(reply_lines(self.reply, self.duration_s), picture=bool(self.selection))
