"""Which frames were chosen for which question: the artefact that a result can be reproduced from, without a sampler.

One row a question. Written as Parquet or JSON lines, read back as a sampler (`modules.samplers.precomputed`), exported
for other harnesses (`datamodules.exports`). Frames carry position, time, score and *rank* (0 was chosen first), so that
fewer frames can be taken from a selection as the best of it; lists ordered by time alone lose the latest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

VERSION = "1"


@dataclass(frozen=True)
class SelectionRow:
    """The frames chosen for one question, in order of time."""

    dataset: str
    split: str
    sample_id: str
    video: str
    sampler: str
    """Name of the arm."""
    frame_ids: tuple[int, ...]
    """Positions in the file."""
    timestamps_s: tuple[float, ...] = ()
    """Empty where a published file does not tell."""
    scores: tuple[float, ...] = ()
    """The sampler's score of each frame; empty where it has none."""
    ranks: tuple[int, ...] = ()
    """Order in which they were chosen, 0 first; empty where a published file does not tell."""
    video_fps: float = 0.0
    num_video_frames: int = 0
    num_candidates: int = 0
    decoder: str = ""
    sampler_hash: str = ""
    """Of the sampler's class, settings and weights."""

    def __post_init__(self) -> None:
        for name in ("timestamps_s", "scores", "ranks"):
            values = getattr(self, name)
            if values and len(values) != len(self.frame_ids):
                raise ValueError(
                    f"selection of {self.sample_id}: {len(values)} {name} for {len(self.frame_ids)} frames"
                )

    def best(self, num_frames: int) -> tuple[int, ...]:
        """Frame ids of the best so many, in order of time: by rank, else by score, else spread evenly over the list."""
        if len(self.frame_ids) <= num_frames:
            return self.frame_ids
        if self.ranks or self.scores:
            goodness = [-r for r in self.ranks] if self.ranks else list(self.scores)
            order = sorted(range(len(goodness)), key=lambda i: -goodness[i])[:num_frames]
        else:
            last = len(self.frame_ids) - 1
            order = [round(n * last / (num_frames - 1)) if num_frames > 1 else last // 2 for n in range(num_frames)]
        return tuple(self.frame_ids[i] for i in sorted(order))


def write_selections(path: str | Path, rows: Iterable[SelectionRow]) -> None:
    """Writes ``.parquet`` or ``.jsonl``, by the name's suffix."""
    path, records = Path(path), [asdict(row) for row in rows]
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records, schema=_SCHEMA), path, compression="zstd")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
    else:
        raise ValueError(f"{path}: selections are .parquet or .jsonl")


_LISTS = {
    "frame_ids": pyarrow.int64(),
    "timestamps_s": pyarrow.float64(),
    "scores": pyarrow.float64(),
    "ranks": pyarrow.int64(),
}
_PLAIN = {"str": pyarrow.string(), "float": pyarrow.float64(), "int": pyarrow.int64()}
_SCHEMA = pyarrow.schema(
    [
        (f.name, pyarrow.list_(_LISTS[f.name]) if f.name in _LISTS else _PLAIN[str(f.type)])
        for f in fields(SelectionRow)
    ],
    metadata={"kairos_selections": VERSION},
)


def read_selections(path: str | Path, sampler: str | None = None) -> list[SelectionRow]:
    """Rows of a ``.parquet`` or ``.jsonl`` file, or of a published ``*_frameIdx.json``; of one arm where one is named.

    Raises:
        ValueError: no such file, another format, or several arms and none named.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"selections {path}: no such file")
    try:
        if path.suffix == ".parquet":
            rows = [_row(r) for r in pyarrow.parquet.read_table(path).to_pylist()]
        elif path.suffix == ".jsonl":
            rows = [_row(json.loads(line)) for line in path.read_text().splitlines() if line.strip()]
        elif path.suffix == ".json":
            rows = [_published(r, n, path.stem) for n, r in enumerate(json.loads(path.read_text()))]
        else:
            raise ValueError("one of .parquet, .jsonl, .json was expected")
    except (KeyError, TypeError, ValueError, pyarrow.ArrowException) as error:
        raise ValueError(f"selections {path} cannot be read: {error!r}") from error
    if sampler is not None:
        rows = [r for r in rows if r.sampler == sampler]
    arms = sorted({r.sampler for r in rows})
    if len(arms) > 1:
        raise ValueError(f"selections {path} holds several samplers ({', '.join(arms)}); name one")
    if not rows:
        raise ValueError(f"selections {path} holds no row" + (f" of sampler {sampler!r}" if sampler else ""))
    return rows


def _row(record: dict[str, Any]) -> SelectionRow:
    fields_of: dict[str, Any] = {k: tuple(v) if k in _LISTS else v for k, v in record.items()}
    return SelectionRow(**fields_of)


def _published(record: dict[str, Any], n: int, name: str) -> SelectionRow:
    """TSPO's and AKS's form: the benchmark's own row plus ``frame_idx``, positions in the file (floats or ints), by
    time, without scores or ranks."""
    sample_id = record.get("id") or record.get("question_id") or record.get("uid") or n
    video = (
        record.get("video_path") or record.get("videoID") or record.get("video_name") or record.get("video_id") or ""
    )
    frames = tuple(int(i) for i in record["frame_idx"])
    return SelectionRow("", "", str(sample_id), str(video), name, frames)
