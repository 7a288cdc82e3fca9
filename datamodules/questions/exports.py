"""Selections in the forms that other harnesses read.

- ``tspo``, ``tspo-float``: the benchmark's own JSON with ``frame_idx`` added to every row, as TSPO (floats) and AKS
  (ints) publish them.
- ``json``: ``{sample_id: {frame_ids, timestamps_s, scores, video_fps}}``.
- ``vlmevalkit``: frames as JPEGs named ``frame-i-of-k.jpg``, a folder a *question*: VLMEvalKit keeps frames by video
  and would read one question's for another's, so its ``frame_root`` has to be this folder. An id that can be no name
  of a folder (``../x``) gets one of its own (`modules.files.file_names`), which is said.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from datamodules.annotations.tables import read_rows
from datamodules.video.decode_pool import DecodeWorker, ReadRequest
from modules.files.file_names import file_names
from modules.files.strict_json import strict_json
from modules.part_progress import tracked
from modules.selection.selection_row import SelectionRow

FORMATS = ("tspo", "tspo-float", "json", "vlmevalkit")
_log = logging.getLogger(__name__)
_ID_COLUMNS = ("id", "question_id", "uid", "index")


def export(
    rows: Sequence[SelectionRow], form: str, out: Path, *, num_frames: int | None = None, annotations: str | None = None
) -> int:
    """Writes selections in another form; how many questions it wrote.

    Args:
        rows: one a question.
        form: one of `FORMATS`.
        out: file, or folder for ``vlmevalkit``.
        num_frames: the best so many; None keeps all.
        annotations: the benchmark's own file, for ``tspo``.

    Raises:
        ValueError: an unknown form, no annotations where they are needed, or rows of them without a selection; two
            selections of one id, or two ids that would share a folder.
    """
    twice = [sample_id for sample_id, count in Counter(r.sample_id for r in rows).items() if count > 1]
    if twice:
        raise ValueError(
            f"{len(twice)} ids have more than one selection, e.g. {twice[0]!r:.100}; export one data set at a time"
        )
    chosen = {r.sample_id: (r, r.frame_ids if num_frames is None else r.best(num_frames)) for r in rows}
    if form in ("tspo", "tspo-float"):
        if annotations is None:
            raise ValueError(f"{form} adds frame_idx to the benchmark's own rows: --annotations FILE names them")
        number = float if form == "tspo-float" else int
        content: object = [
            {**row, "frame_idx": [number(i) for i in chosen[_id(row, chosen)][1]]} for row in read_rows(annotations)
        ]
        out.write_text(strict_json(content))
    elif form == "json":
        by_question: dict[str, object] = {}
        for sample_id, (row, frame_ids) in chosen.items():
            at = [row.frame_ids.index(i) for i in frame_ids]
            by_question[sample_id] = {
                "video": row.video,
                "frame_ids": list(frame_ids),
                "video_fps": row.video_fps,
                "timestamps_s": [row.timestamps_s[i] for i in at] if row.timestamps_s else None,
                "scores": [row.scores[i] for i in at] if row.scores else None,
            }
        out.write_text(strict_json(by_question, indent=1) + "\n")
    elif form == "vlmevalkit":
        _frames(list(chosen.values()), out)
    else:
        raise ValueError(f"--format {form!r} is none of {', '.join(FORMATS)}")
    return len(chosen)


def _id(row: dict, chosen: dict) -> str:
    for column in _ID_COLUMNS:
        if str(row.get(column)) in chosen:
            return str(row[column])
    raise ValueError(f"a row of the annotations has no selection: {str(row)[:120]}")


def _frames(chosen: list[tuple[SelectionRow, tuple[int, ...]]], out: Path) -> None:
    names = file_names(row.sample_id for row, _ in chosen)
    if others := [f"{own!r:.100} as {name}" for own, name in names.items() if own != name]:
        _log.warning("%d ids can be no names of folders; written are %s", len(others), ", ".join(others[:5]))
    worker = DecodeWorker()
    try:
        for row, frame_ids in tracked(chosen, "Writing frames", len(chosen), "questions"):
            folder = out / names[row.sample_id]
            folder.mkdir(parents=True, exist_ok=True)
            frames = worker.read(ReadRequest(row.video, tuple(frame_ids)))[2]
            for n, frame in enumerate(torch.from_numpy(frames), 1):
                Image.fromarray(frame.numpy()).save(folder / f"frame-{n}-of-{len(frame_ids)}.jpg")
    finally:
        worker.stop()
