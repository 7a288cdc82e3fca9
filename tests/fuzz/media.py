"""Fuzzes the reading of videos: clips of numbered pictures, harmed in many ways, beside PyAV in sequence.

    python tests/fuzz/media.py --seed 0 --count 3000 [--keep FOLDER]
    make fuzz

Each file is read by a decoding process as a run reads it, at a rate drawn for it, and then decoded in sequence by a
process that knows nothing of packet tables. A file is *refused* by a `BadVideoError` that names file and reason, or
accepted, and then every frame has to be the one that is shown at its time. Exit status 1 where one is not, where an
error is of another kind, or where a decoder hung or crashed. The seed and the number of a file make it again.

*altered* counts frames of the right time in whose damaged parts something else shows: where a decoder gives up a
picture without a word, the rest is whatever its memory held, which depends on what it decoded before.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for those who call it as a command
from fuzz.clips import CLIPS, RARER, number, write
from fuzz.media_mutations import FORMATS, MUTATIONS, name_of
from fuzz.truth import Digest, Shown, digest, in_sequence, judge

from datamodules.video.decode_pool import DecodeWorker, ReadRequest
from datamodules.video.video_info import BadVideoError, VideoInfo

SEEDS = CLIPS | RARER
_TIMEOUT_S = 20.0
_RATES = (1.0, 2.0, 5.0, 1000.0)
"""Candidates a second; the last takes every frame."""


@dataclasses.dataclass
class Row:
    """What became of the files of one kind."""

    unmade: int = 0
    """FFmpeg's muxer died while it wrote the file."""
    tried: int = 0
    accepted: int = 0
    refused: int = 0
    frames: int = 0
    phantom: int = 0
    shifted: int = 0
    doubled: int = 0
    altered: int = 0
    hung: int = 0
    crashed: int = 0
    """The decoder's process died; the file was named."""
    errors: int = 0
    """Neither frames nor a `BadVideoError` that names the file."""
    unknown: int = 0
    """Accepted, and PyAV in sequence dies or hangs."""
    seconds: float = 0.0
    peak_mib: int = 0
    """Most memory that the decoding process had."""

    def add(self, other: Row) -> None:
        for name in (f.name for f in dataclasses.fields(self)):
            both = getattr(self, name), getattr(other, name)
            setattr(self, name, max(both) if name == "peak_mib" else sum(both))

    @property
    def wrong_place(self) -> int:
        """Frames that are not of the time that they were asked for."""
        return self.phantom + self.shifted + self.doubled

    @property
    def failed(self) -> bool:
        """Whether anything is wrong but damaged pictures whose rest differs."""
        return bool(self.wrong_place or self.hung or self.crashed or self.errors)


T = TypeVar("T")


class OtherProcess:
    """A process that writes files and decodes them in sequence, and is replaced when a file ends or holds it."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def shown(self, info: VideoInfo) -> Shown | None:
        """What a file shows; None where decoding it ends the process or does not end."""
        return self.call(in_sequence, info.path, info.stream_index, info.width, info.height, info.rotation_deg)

    def call(self, do: Callable[..., T], *arguments: Any) -> T | None:
        """What a function gives; None where it ends the process or does not end."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            return self._pool.submit(do, *arguments).result(2 * _TIMEOUT_S)
        except (BrokenProcessPool, TimeoutError, MemoryError):
            self.stop()
            return None

    def stop(self) -> None:
        if self._pool is not None:
            for process in list((self._pool._processes or {}).values()):
                process.kill()
            self._pool.shutdown(cancel_futures=True)
        self._pool = None


@dataclasses.dataclass(frozen=True)
class Case:
    """One file, made again by seed and number alone."""

    seed: int
    number: int
    clip: str
    kind: str
    fps: float

    @classmethod
    def of(cls, seed: int, number: int, clips: Sequence[str]) -> Case:
        """Kinds take turns; clip and rate are drawn."""
        rng = np.random.default_rng((seed, number))
        kinds = list(MUTATIONS)
        return cls(seed, number, str(rng.choice(clips)), kinds[number % len(kinds)], float(rng.choice(_RATES)))

    def write(self, seeds: Path, folder: Path) -> Path:
        """The file, from an intact one that is written where it is not yet."""
        intact = seeds / self.clip
        if not intact.exists():
            write(intact, SEEDS[self.clip])
        rng = np.random.default_rng((self.seed, self.number, 1))
        content = MUTATIONS[self.kind](intact.read_bytes(), FORMATS[intact.suffix], rng)
        path = name_of(folder / f"{self.number:05d}_{self.kind}_{self.clip}", self.kind, rng)
        path.write_bytes(content)
        return path


class Fuzzer:
    """Harms intact clips and compares what is read of them with what they show.

    Args:
        seeds: folder for intact clips.
        folder: for the files that are tried; each is removed when it was.
        keep: folder for files that failed.
    """

    def __init__(self, seeds: Path, folder: Path, keep: Path | None = None) -> None:
        self.seeds, self.folder, self.keep = seeds, folder, keep
        self.worker, self.other = DecodeWorker(_TIMEOUT_S), OtherProcess()

    def __enter__(self) -> Fuzzer:
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.stop()
        self.other.stop()

    def try_out(self, case: Case) -> tuple[Row, str]:
        """What became of a file, and a sentence where it failed."""
        started, path = time.perf_counter(), self.other.call(case.write, self.seeds, self.folder)
        if path is None:
            return Row(unmade=1), "a muxer died of it"
        row, said = Row(tried=1), ""
        patience = threading.Timer(6 * _TIMEOUT_S, self._kill)
        patience.start()
        try:
            said = self._read(case, path, row)
        except BadVideoError as error:
            said = self._refusal(path, error, row)
        except Exception as error:
            row.errors, said = 1, f"{type(error).__name__}: {error}"
        finally:
            patience.cancel()
        row.peak_mib, row.seconds = self._peak_mib(), time.perf_counter() - started
        if (row.failed or row.altered) and self.keep is not None:
            shutil.copy(path, self.keep)
        path.unlink()
        return row, said

    def _read(self, case: Case, path: Path, row: Row) -> str:
        """All candidates, and then a few of the file's frames by the table that is known now."""
        info, frame_ids, digests, numbers = self._frames(ReadRequest(str(path), None, case.fps))
        count = min(info.num_frames, 1 + case.number % 9)
        some = np.random.default_rng(case.number).choice(info.num_frames, count, replace=False)
        again = self._frames(ReadRequest(str(path), tuple(np.sort(some).tolist()), info=info))
        row.accepted = 1
        shown = self.other.shown(info)
        if shown is None:
            row.unknown = 1
            return "PyAV in sequence ends or holds its process"
        verdicts = [judge(info, frame_ids, digests, shown), judge(info, *again[1:3], shown)]
        for name in ("frames", "phantom", "shifted", "doubled", "altered"):
            setattr(row, name, sum(getattr(v, name) for v in verdicts))
        if case.kind in ("intact", "rename"):
            first = SEEDS[case.clip].cut_frames
            of_another = sum(
                n != int(i) + first for n, i in zip(numbers + again[3], [*frame_ids, *again[1]], strict=True)
            )
            row.shifted = max(row.shifted, int(of_another))
        return " and ".join(str(v) for v in verdicts if v.wrong)

    def _frames(self, request: ReadRequest) -> tuple[VideoInfo, np.ndarray, list[Digest], list[int]]:
        """Probe, frame ids, and of each frame a digest and the number that it shows."""
        digests: list[Digest] = []
        numbers: list[int] = []
        for info, frame_ids, frames in self.worker.run(request):  # noqa: B007
            digests += [digest(frame) for frame in frames]
            numbers += [number(frame) for frame in frames]
        if len(digests) != len(frame_ids):
            raise AssertionError(f"{len(digests)} frames came of {len(frame_ids)}")
        return info, frame_ids, digests, numbers

    def _refusal(self, path: Path, error: BadVideoError, row: Row) -> str:
        row.hung = int("no sign of life" in error.reason)
        row.crashed = int("crashed" in error.reason)
        row.errors = int(str(path) not in str(error) or not error.reason.strip())
        row.refused = 1
        return str(error) if row.failed else ""

    def _kill(self) -> None:
        if self.worker._process is not None:
            self.worker._process.kill()

    def _peak_mib(self) -> int:
        """Most memory that the decoding process has had since it was asked last."""
        if self.worker._process is None:
            return 0
        of_process = Path(f"/proc/{self.worker._process.pid}")
        try:
            told = (of_process / "status").read_text()
            (of_process / "clear_refs").write_text("5")  # begin again
        except OSError:
            return 0
        return next((int(line.split()[1]) >> 10 for line in told.splitlines() if line.startswith("VmHWM")), 0)


def fuzz(
    seed: int, numbers: Sequence[int], clips: Sequence[str], keep: Path | None = None
) -> Iterator[tuple[Case, Row, str]]:
    """Each file of some numbers, what became of it, and a sentence where it failed."""
    with tempfile.TemporaryDirectory() as folder:
        seeds, tried = Path(folder) / "seeds", Path(folder) / "tried"
        seeds.mkdir()
        tried.mkdir()
        with Fuzzer(seeds, tried, keep) as fuzzer:
            for n in numbers:
                case = Case.of(seed, n, clips)
                yield case, *fuzzer.try_out(case)


def table(rows: dict[str, Row]) -> str:
    """One line a kind, and their sum."""
    names = [f.name for f in dataclasses.fields(Row)]
    every = Row()
    for row in rows.values():
        every.add(row)
    lines = [["kind", *names]]
    for kind, row in [*rows.items(), ("all", every)]:
        lines.append([kind, *(f"{v:.0f}" for v in dataclasses.astuple(row))])
    widths = [max(len(line[n]) for line in lines) for n in range(len(names) + 1)]
    return "\n".join(" | ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=3000, help="files")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of files, in the place of all")
    parser.add_argument("--clips", nargs="*", default=list(SEEDS), choices=list(SEEDS), metavar="CLIP")
    parser.add_argument("--keep", type=Path, help="folder for files that failed")
    options = parser.parse_args(arguments)
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    numbers = options.only if options.only is not None else range(options.count)
    rows: dict[str, Row] = {kind: Row() for kind in MUTATIONS}
    results = fuzz(options.seed, numbers, options.clips, options.keep)
    for case, row, said in tqdm(results, total=len(numbers), unit="file", disable=None):
        rows[case.kind].add(row)
        if row.failed or row.altered or row.unknown:
            tqdm.write(f"{case}: {said or row}", file=sys.stderr)
    print(f"seed {options.seed}, {len(numbers)} files")
    print(table(rows))
    return int(any(row.failed for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
