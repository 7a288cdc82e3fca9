"""Which frames were chosen for which question: the artefact that a result can be reproduced from, without a sampler.

One row a question. Written as Parquet or JSON lines, read back as a sampler
(`modules.methods.training_free.precomputed`), exported for other harnesses (`datamodules.questions.exports`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import pyarrow
import pyarrow.parquet
from pydantic import Field, PlainValidator

from modules.files.row_files import rows_of
from modules.files.rows import (
    Fields,
    FileError,
    Label,
    LabelIfAny,
    Row,
    RowError,
    Said,
    Seconds,
    TextIfAny,
    Whole,
    as_number,
    as_whole,
    read,
)
from modules.files.strict_json import strict_json
from modules.selection.selection_row import SelectionRow

VERSION = "1"


def write_selections(path: str | Path, rows: Iterable[SelectionRow]) -> None:
    """Writes ``.parquet`` or ``.jsonl``, by the name's suffix."""
    path, records = Path(path), [asdict(row) for row in rows]
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records, schema=_SCHEMA), path, compression="zstd")
    elif path.suffix == ".jsonl":
        path.write_text("".join(strict_json(r, ensure_ascii=False) + "\n" for r in records))
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
    """Rows of a ``.parquet`` or ``.jsonl`` file, or of a published ``*_frameIdx.json``; of one system if it is named.

    Raises:
        ValueError: no such file, another format, a row that is no selection or a question's second one, or several
            systems and none named.
    """
    rows = read_all_selections(path)
    if sampler is not None:
        rows = [r for r in rows if r.sampler == sampler]
    systems = sorted({r.sampler for r in rows})
    if len(systems) > 1:
        raise ValueError(f"selections {path} holds several systems ({', '.join(systems)}); name one")
    if not rows:
        raise ValueError(f"selections {path} holds no row" + (f" of sampler {sampler!r}" if sampler else ""))
    return rows


def read_all_selections(path: str | Path) -> list[SelectionRow]:
    """Rows of all systems of such a file, perhaps none.

    Raises:
        ValueError: no such file, another format, a row that is no selection or a question's second one.
    """
    path = Path(path)
    if path.suffix not in _READERS:
        raise FileError(f"selections {path}: one of {', '.join(_READERS)} was expected")
    rows, seen = [], set[tuple[str, str]]()
    for found in rows_of(path, "selections"):
        row = _READERS[path.suffix](found)
        if (row.sampler, row.sample_id) in seen:
            raise RowError(found, "sample_id", row.sample_id, "one selection a question and sampler")
        seen.add((row.sampler, row.sample_id))
        rows.append(row)
    return rows


def _frame_ids(value: Any) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError("a list of frame numbers")
    found = tuple(map(as_whole, value))
    if any(later <= earlier for earlier, later in pairwise(found)):
        raise ValueError("frame numbers that increase, each once")
    return found


def _numbers(value: Any) -> tuple[float, ...]:
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise ValueError("a list of numbers")
    return tuple(map(as_number, value))


def _ranks(value: Any) -> tuple[int, ...]:
    found = tuple(map(as_whole, _numbers(value)))
    if min(found, default=0) != 0:  # frames of one clip share its rank; one that brought no new frame leaves a gap
        raise ValueError("ranks from 0")
    return found


_FrameIds = Annotated[tuple[int, ...], PlainValidator(_frame_ids)]
_Numbers = Annotated[tuple[float, ...], PlainValidator(_numbers)]


class _Own(Fields):
    """A `SelectionRow` as it is written here."""

    dataset: Said
    split: Said
    sample_id: Label
    video: Said
    sampler: Said
    frame_ids: _FrameIds
    timestamps_s: _Numbers = ()
    scores: _Numbers = ()
    ranks: Annotated[tuple[int, ...], PlainValidator(_ranks)] = ()
    video_fps: Seconds = 0.0
    num_video_frames: Whole = 0
    num_candidates: Whole = 0
    decoder: Said = ""
    sampler_hash: Said = ""


class _Published(Fields):
    """TSPO's and AKS's form: the benchmark's own row plus ``frame_idx``, positions in the file (floats or ints), by
    time, without scores or ranks."""

    frame_idx: _FrameIds
    id: LabelIfAny = None
    question_id: LabelIfAny = None
    uid: LabelIfAny = None
    video_path: TextIfAny = None
    video_id_of_youtube: TextIfAny = Field(None, alias="videoID")
    video_name: TextIfAny = None
    video_id: TextIfAny = None


def _row(row: Row) -> SelectionRow:
    fields_of = dict(read(_Own, row))
    with row.reading("", None):
        return SelectionRow(**fields_of)


def _published(row: Row) -> SelectionRow:
    told = read(_Published, row)
    sample_id = told.id or told.question_id or told.uid or str(row.number)
    video = told.video_path or told.video_id_of_youtube or told.video_name or told.video_id or ""
    return SelectionRow("", "", sample_id, video, row.file.stem, told.frame_idx)


_READERS = {".parquet": _row, ".jsonl": _row, ".json": _published}
