"""A video file as a stream: condensed as it plays, and asked while it plays.

What is held grows by one memory a clip. Frames come from a decoding process a few pieces ahead and are forgotten once
their clip is condensed, so an hour and nine hours have the same peak but for their memories.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch
from jsonargparse.typing import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from datamodules.questions.ask import question_about, texts_of
from datamodules.questions.items import collate
from datamodules.video.decode_pool import Finished, Piece, ReadRequest, stream_many
from datamodules.video.extraction import candidates_of
from datamodules.video.feature_store import Entry
from datamodules.video.placement import device_of, own_precision
from datamodules.video.video_file import BadVideoError
from modules.checkpoints.checkpoint_files import PATH_KEY, read
from modules.console import PlainConsole
from modules.evaluation.evaluation_module import EvaluationModule
from modules.files.paths import InputPath
from modules.methods.videostreaming.memories import ClipMemories
from modules.records import Candidates, VideoQuestion
from modules.systems.base import answer_all
from modules.systems.frame_source import FrameSource
from modules.systems.reply_text import answer_text, moments_text
from recipes.jobs.base import Job
from recipes.launcher.runs import resolve_checkpoint


class PlayVideo(Job):
    """Plays a file into memories, prints what is held, and answers a question at given times.

    Args:
        video: path of the file.
        question: that is asked.
        options: to choose between, as a list or separated by commas; none for a free answer.
        at_s: seconds of the video at which it is asked, as a list or separated by commas.
        encoder: makes memories of clips.
        model: the systems that answer.
        checkpoint: of a run whose sampler, and MLLM where that was trained, answer; as they are built by default.
        pace: seconds of video played a second, at most; 0 plays as fast as the file can be read and condensed.
        candidate_fps, max_candidates, feature_short_side_px, short_side_px: see `VideoQuestionData`.
        timeout_s: a file that gives no frame for so long has broken off.
    """

    def __init__(
        self,
        *,
        video: InputPath,
        question: str,
        at_s: list[float] | str | float,
        encoder: ClipMemories,
        model: EvaluationModule,
        options: list[str] | str | None = None,
        checkpoint: str | None = None,
        pace: NonNegativeFloat = 0.0,
        candidate_fps: PositiveFloat = 1.0,
        max_candidates: PositiveInt | None = None,
        feature_short_side_px: PositiveInt | None = None,
        short_side_px: PositiveInt | None = None,
        timeout_s: PositiveFloat = 60.0,
    ) -> None:
        self.video, self.question, self.options = video, question, texts_of(options)
        self.at_s, self.encoder, self.model = seconds_of(at_s), encoder, model
        self.pace, self.timeout_s = pace, timeout_s
        if not model.answering.mllm.reads_features:
            raise ValueError(
                f"{type(model.mllm).__name__} reads frames, and those of a stream are forgotten once they are "
                "condensed; model.mllm has to read memories, as MemoryReader does"
            )
        self.request = ReadRequest(video, None, candidate_fps, max_candidates, feature_short_side_px or short_side_px)
        if checkpoint is not None:
            path = resolve_checkpoint(checkpoint)
            model.take({**read(path), PATH_KEY: str(path)})
        self._systems = model.named_systems()
        self.device = device_of(None)
        self._console = PlainConsole(soft_wrap=True)

    def run(self, run_dir: Path) -> None:
        try:
            question = question_about(self.video, self.question, self.options, split="predict")
        except BadVideoError as error:
            raise ValueError(f"--video: {error}") from error
        self.encoder.to(self.device)
        self.model.eval().to(self.device)
        with own_precision(self.device):
            self._play(question)

    def _play(self, question: VideoQuestion) -> None:
        """Everything that happens, in the video's order of time."""
        stream, due, started = Stream(self.encoder), list(self.at_s), time.monotonic()
        with closing(stream_many([self.request], 1, self.timeout_s)) as messages:
            for message in messages:
                if isinstance(message, Finished):
                    self._end(stream, message.error)
                    break
                for frames in stream.parts(message, due):
                    self._wait(stream.clock_s(len(frames)), started)
                    self._say(stream.add(frames))
                    while due and due[0] < stream.clock_s():
                        self._ask(question, stream, due.pop(0))
        for at_s in due:
            self._ask(question, stream, at_s)

    def _wait(self, time_s: float, started: float) -> None:
        """Until that second of the video is due."""
        if self.pace:
            time.sleep(max(0.0, started + time_s / self.pace - time.monotonic()))

    def _end(self, stream: Stream, error: BadVideoError | None) -> None:
        """The last clip, which may be a short one, and why there is no more where there should be.

        Raises:
            BadVideoError: it broke off before its first frame.
        """
        if error is not None and not stream.num_frames:
            raise error
        self._say(stream.end())
        if error is not None:
            self._console.print(
                f"broken off  after {stream.clock_s():.1f} of {stream.duration_s:.1f} s: {error.reason}; what is asked "
                f"from here on is answered from the {stream.num_memories} memories that are held"
            )
        self._console.print(f"end         {stream.held()}; {stream.seconds:.1f} s of work")

    def _ask(self, question: VideoQuestion, stream: Stream, at_s: float) -> None:
        """The answer at a time, from clips that are over by then; or why there is none."""
        started = time.perf_counter()
        self._console.print(f"asked       at {at_s:.1f} s: {question.question}")
        try:
            entry = stream.until(at_s)
        except ValueError as error:  # before the first clip has ended
            self._console.print(f"no answer   {error}")
            return
        batch = collate([(replace(question, until_s=at_s), entry, torch.empty(0, 0))]).to(self.device)
        for reply in answer_all(self._systems, batch, _NO_FRAMES):
            name = f"{reply.answer.system}: " if len(self._systems) > 1 else ""
            self._console.print(f"answer      {name}{answer_text(reply.answer)}", style="bold")
            self._console.print(f"read        {name}{moments_text(reply.selection)}")
        seconds = time.perf_counter() - started
        self._console.print(f"took        {seconds:.2f} s, with {len(entry.candidates)} memories to choose from")

    def _say(self, line: str | None) -> None:
        if line is not None:
            self._console.print(line)


class Stream:
    """What has been seen of a video, and what is held of it.

    Args:
        encoder: makes memories.
    """

    def __init__(self, encoder: ClipMemories) -> None:
        self.reading, self.clip_frames = encoder.reading(), encoder.condenser.clip_frames
        self.num_frames = 0
        """That have been seen."""
        self.seconds = 0.0
        """Of work on them."""
        self._seconds_said = 0.0
        self._frames: Candidates | None = None

    @property
    def frames(self) -> Candidates:
        """All that the file says it has; once the stream is over, those that it had."""
        assert self._frames is not None, "nothing has been seen"
        return self._frames

    @property
    def duration_s(self) -> float:
        return self.frames.duration_s

    @property
    def num_memories(self) -> int:
        return len(self.reading.features)

    def clock_s(self, num_more: int = 0) -> float:
        """When the newest frame was taken, or the one that will be the newest after so many more."""
        return float(self.frames.timestamps_s[self.num_frames + num_more - 1])

    def held(self) -> str:
        """In words."""
        kib = sum(memory.nbytes for memory in self.reading.features[:1]) * self.num_memories / 1024
        memories = "1 memory" if self.num_memories == 1 else f"{self.num_memories} memories"
        return f"{memories} held, {kib:,.1f} KiB"

    def parts(self, piece: Piece, due_s: Sequence[float]) -> list[Tensor]:
        """The frames of a piece, uint8 (n, 3, H, W), cut behind every frame with which a clip is known to be over, or
        by which a question is due."""
        if self._frames is None:
            self._frames = candidates_of(piece)
        first, times_s = self.num_frames, self.frames.timestamps_s
        last = first + len(piece.frames)
        ends = {n for n in range(first, last) if n and n % self.clip_frames == 0}
        ends |= {int(torch.searchsorted(times_s, at_s, right=True)) for at_s in due_s}
        cuts = [n - first + 1 for n in sorted(ends) if first <= n < last - 1]
        return list(torch.from_numpy(piece.frames).permute(0, 3, 1, 2).tensor_split(cuts))

    def add(self, frames: Tensor) -> str | None:
        """Takes the next frames; a line about the clip that ends with them, if one does.

        Args:
            frames: uint8 (n, 3, H, W).
        """
        times_s = self.frames.timestamps_s[self.num_frames : self.num_frames + len(frames)]
        before, started = self.num_memories, time.perf_counter()
        self.reading.add(frames, times_s)
        self.seconds += time.perf_counter() - started
        self.num_frames += len(frames)
        return self._line() if self.num_memories > before else None

    def end(self) -> str | None:
        """There are no more frames; a line about the last clip."""
        self._frames = self.frames.first(self.num_frames)
        before, started = self.num_memories, time.perf_counter()
        self.reading.end(self.frames)
        self.seconds += time.perf_counter() - started
        return self._line() if self.num_memories > before else None

    def until(self, at_s: float) -> Entry:
        """The clips that are over at a second, with their memories.

        Raises:
            ValueError: none is.
        """
        clips = self.frames.in_clips(self.clip_frames).until(at_s)
        return Entry(clips, torch.stack(self.reading.features[: len(clips)]))

    def _line(self) -> str:
        first = (self.num_memories - 1) * self.clip_frames
        last = min(first + self.clip_frames, self.num_frames) - 1
        start_s, end_s = self.frames.timestamps_s[[first, last]].tolist()
        missing = first + self.clip_frames - 1 - last
        short = f", of {self.clip_frames - missing} frames, the last of which is held" if missing else ""
        took, self._seconds_said = self.seconds - self._seconds_said, self.seconds
        return f"clip {self.num_memories:<6} {start_s:.1f}-{end_s:.1f} s{short}: {self.held()}; it took {took:.2f} s"


class _NoFrames:
    """A source of frames that has none: they are forgotten as soon as their clip is condensed."""

    def frames_key(self, candidates: Candidates) -> str:
        raise ValueError("memories are named by the condenser that made them, and no frames are kept to be named")

    def stored_frames(self, candidates: Candidates, candidate_index: Tensor, encoder_key: str) -> Tensor | None:
        return None

    def decode(self, candidates: Candidates, candidate_index: Tensor) -> Tensor | None:
        return None

    def decode_many(self, asked: Sequence[tuple[Candidates, Tensor]]) -> Iterator[Tensor | None]:
        return iter([None] * len(asked))

    def embed_texts(self, texts: list[str]) -> Tensor:
        raise ValueError("texts are read by whoever chooses memories, and not by the encoder that made them")

    def count_batch(self) -> None:
        pass


_NO_FRAMES: FrameSource = _NoFrames()


def seconds_of(at_s: list[float] | str | float) -> list[float]:
    """Seconds in their order, of a list or of numbers separated by commas.

    Raises:
        ValueError: one is no number of seconds, or there is none.
    """
    texts = [str(at) for at in at_s] if isinstance(at_s, list) else str(at_s).split(",")
    try:
        seconds = sorted(float(text) for text in texts if text.strip())
    except ValueError:
        seconds = []
    if not seconds or not (seconds[0] >= 0 and math.isfinite(sum(seconds))):
        raise ValueError(f"--at {at_s!r}: seconds of the video, separated by commas, as in 60,120,600")
    return seconds
