"""Captions a folder of videos with any captioner; `datamodules.annotations.own_captions` reads the file back."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from datamodules.annotations.annotation_files import name_below
from datamodules.annotations.caption_source import DESCRIBE
from datamodules.video.decode_pool import DecodePool, ReadRequest
from datamodules.video.placement import device_of
from datamodules.video.video_info import BadVideoError
from modules.console import PlainConsole
from modules.files.paths import InputPath
from modules.files.strict_json import strict_json
from modules.part_progress import PartProgress
from modules.roles.captioner import Captioner, CaptionRequest
from modules.selection.even_spacing import evenly_spaced
from recipes.jobs.asking import videos_below
from recipes.jobs.base import Job
from recipes.jobs.question_files import append_line, resume_lines

_NEXT = (
    "lightning run recipes/data/inspect.yaml --source datamodules.annotations.own_captions.OwnCaptions "
    "--annotations {out} --videos {videos}"
)
Decoded = tuple[Tensor, Tensor] | BadVideoError
"""Frames uint8 (K, 3, H, W) and their seconds (K,); or why a file cannot be read."""


class CaptionVideos(Job):
    """Writes a caption for each video of a folder.

    A line is on disk as soon as its video is captioned, so a run that was cut off goes on where it stopped. A video
    that cannot be read is named and left out, and tried again by the next run.

    Args:
        videos: folder, searched below too.
        captioner: what looks and writes: an MLLM (`modules.roles.mllm_captioner.MLLMCaptioner`), or a model of its own
            kind.
        out: JSON lines: ``video``, relative to the folder, ``caption``, and ``captioner``, by whom and how.
        prompt: the whole text that the model reads; a captioner that reads none leaves it aside.
        num_frames: evenly spaced, of each video; all of a shorter one.
        short_side_px: frames are shrunk to this; None keeps them.
        videos_together: handed to the captioner in one call.
        num_workers: processes that decode meanwhile.
    """

    def __init__(
        self,
        *,
        videos: InputPath,
        captioner: Captioner,
        out: str,
        prompt: str = DESCRIBE,
        num_frames: PositiveInt = 16,
        short_side_px: PositiveInt | None = None,
        videos_together: PositiveInt = 8,
        num_workers: PositiveInt = 2,
    ) -> None:
        if not prompt.strip():
            raise ValueError("prompt: may not be empty")
        self.videos, self.captioner, self.out, self.prompt = Path(videos), captioner, Path(out), prompt
        self.num_frames, self.short_side_px = num_frames, short_side_px
        self.videos_together, self.num_workers = videos_together, num_workers

    @torch.no_grad()
    def run(self, run_dir: Path) -> None:
        files = videos_below(self.videos)
        if not files:
            raise ValueError(f"{self.videos} holds no video, and none is below it")
        signature = self._signature()
        known = self._captioned_before(signature) if self.out.is_file() else set()
        waiting = [file for file in files if name_below(self.videos, file) not in known]
        failures: dict[str, str] = {}
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.captioner.eval().to(device_of(None))
        with PartProgress("Captioning videos", len(files), "videos", completed=len(files) - len(waiting)) as progress:
            together: list[tuple[str, Decoded]] = []
            for number, decoded in enumerate(self._decoded(waiting), 1):
                together.append(decoded)
                if len(together) == self.videos_together or number == len(waiting):
                    failures |= self._caption(together, signature)
                    progress.advance(len(together))
                    together = []
        self._report(run_dir, len(files), len(known), failures)

    def _signature(self) -> str:
        """By whom and how: captions of one signature are alike."""
        how = strict_json([self.prompt, self.num_frames, self.short_side_px])
        return f"{self.captioner.key}/{hashlib.sha256(how.encode()).hexdigest()[:8]}"

    def _captioned_before(self, signature: str) -> set[str]:
        """Names of the videos that an earlier run has captioned.

        Raises:
            ValueError: with another captioner or other settings, or the file is something else.
        """
        with self.out.open(encoding="utf-8", errors="replace") as file:
            first = file.readline()
        if first and '"captioner"' not in first:
            raise ValueError(f"{self.out} is there and holds something else than captions; name another file (out)")
        lines = resume_lines(self.out)
        found = Counter(line["captioner"] for line in lines)
        if others := [other for other in found if other != signature]:
            raise ValueError(
                f"{self.out} has {found[others[0]]} captions by {others[0]}, and these would be by {signature}: "
                "another model, prompt, or number or size of frames. Name another file (out), or remove this one"
            )
        return {line["video"] for line in lines}

    def _decoded(self, files: Sequence[str]) -> Iterator[tuple[str, Decoded]]:
        """What there is of each file, a few files ahead of whoever takes them."""
        pool, left = DecodePool(self.num_workers), iter(files)
        ahead: deque[tuple[str, Future[tuple[Tensor, Tensor]]]] = deque()
        with ThreadPoolExecutor(self.num_workers) as threads:
            try:
                while True:
                    for file in left:
                        ahead.append((file, threads.submit(self._frames_of, pool, file)))
                        if len(ahead) > self.videos_together + self.num_workers:
                            break
                    if not ahead:
                        return
                    file, future = ahead.popleft()
                    try:
                        yield file, future.result()
                    except BadVideoError as error:
                        yield file, error
            finally:
                for _, future in ahead:
                    future.cancel()
                pool.stop()

    def _frames_of(self, pool: DecodePool, file: str) -> tuple[Tensor, Tensor]:
        info = pool.probe(file)
        frame_ids = evenly_spaced(info.num_frames, min(self.num_frames, info.num_frames)).numpy()
        frames = pool.read(ReadRequest(file, tuple(frame_ids.tolist()), short_side_px=self.short_side_px))[2]
        return torch.from_numpy(frames).permute(0, 3, 1, 2), torch.from_numpy(info.timestamps_s[frame_ids]).float()

    def _caption(self, together: Sequence[tuple[str, Decoded]], signature: str) -> dict[str, str]:
        """Writes the captions of some videos down; those that have none, with the reason."""
        failures = {file: found.reason for file, found in together if isinstance(found, BadVideoError)}
        shown = [(file, found) for file, found in together if not isinstance(found, BadVideoError)]
        requests = [
            CaptionRequest(name=file, frames=frames, timestamps_s=times_s, prompt=self.prompt, video=file)
            for file, (frames, times_s) in shown
        ]
        captions = self.captioner.caption(requests) if requests else []
        for (file, _), caption in zip(shown, captions, strict=True):
            if text := " ".join(caption.text.split()):
                name = name_below(self.videos, file)
                append_line(self.out, {"video": name, "caption": text, "captioner": signature})
            else:
                failures[file] = "the captioner wrote nothing"
        return failures

    def _report(self, run_dir: Path, num_videos: int, num_before: int, failures: dict[str, str]) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "failures.json").write_text(strict_json(failures, indent=2) + "\n")
        console, num_now = PlainConsole(), num_videos - num_before - len(failures)
        console.print(f"videos      {num_videos} below {self.videos}", soft_wrap=True)
        before = f", and {num_before} by an earlier run" if num_before else ""
        console.print(f"captioned   {num_now}{before}")
        for file, reason in list(failures.items())[:10]:
            console.print(f"left out    {name_below(self.videos, file)}: {reason}", soft_wrap=True)
        if len(failures) > 10:
            console.print(f"left out    and {len(failures) - 10} more: {run_dir / 'failures.json'}", soft_wrap=True)
        for words, count in self.captioner.shortfalls().items():
            console.print(f"note        {count} {words}", soft_wrap=True)
        if not num_now + num_before:
            console.print("next        none: no video has a caption, and the lines above say why", soft_wrap=True)
            return
        console.print(f"written     {self.out}", soft_wrap=True)
        console.print(f"next        {_NEXT.format(out=self.out, videos=self.videos)}", soft_wrap=True)
