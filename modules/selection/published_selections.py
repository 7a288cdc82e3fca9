"""Selections as they are published: a JSON list with ``frame_idx``, as TSPO and AKS have it, and a file about it.

The lists that others publish do not say at what rate they were chosen nor of which encode the numbers are, so who uses
them has to ask. Here each row has the rate and the number of frames of its video, and the file beside the list names
the units, the list's hash and the sampler's. `modules.selection.selection_files.read_selections` reads the list again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modules.files.file_names import file_names
from modules.files.strict_json import strict_json
from modules.selection.selection_row import SelectionRow

UNITS = {
    "frame_idx": "position in the video file, the first frame is 0; in order of time",
    "timestamps_s": "seconds from the first frame, of each of frame_idx",
    "scores": "the sampler's own, of each of frame_idx; comparable within a question",
    "ranks": "order of choice of each of frame_idx, 0 first: the best n are those with ranks below n",
    "fps": "frames per second of the video file",
    "num_frames": "frames in the video file: another encode has other frame numbers",
    "num_candidates": "frames that the sampler chose from, evenly spaced",
}


def publish(rows: Sequence[SelectionRow], folder: Path) -> list[Path]:
    """Writes the list and what is to be known about it.

    Args:
        rows: of one system, one a question.
        folder: where ``SYSTEM.json`` and ``SYSTEM.about.json`` go. Videos are named by their file, without folders.

    Returns:
        The two files.

    Raises:
        ValueError: rows of several systems, or none.
    """
    systems = sorted({row.sampler for row in rows})
    if len(systems) != 1:
        raise ValueError(f"selections of one system are published at a time, here are {', '.join(systems) or 'none'}")
    name = file_names(systems)[systems[0]].replace(" ", "_")
    text = strict_json([_row(row) for row in rows], ensure_ascii=False) + "\n"
    about = {
        "file": f"{name}.json",
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "system": systems[0],
        "sampler_hash": sorted({row.sampler_hash for row in rows} - {""}),
        "questions": len(rows),
        "datasets": sorted({row.dataset for row in rows} - {""}),
        "frames_per_question": sorted({len(row.frame_ids) for row in rows}),
        "decoder": sorted({row.decoder for row in rows} - {""}),
        "units": UNITS,
    }
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.json", folder / f"{name}.about.json"]
    for file, content in zip(files, (text, strict_json(about, indent=1, ensure_ascii=False) + "\n"), strict=True):
        file.write_text(content, encoding="utf-8", newline="")
    return files


def _row(row: SelectionRow) -> dict[str, Any]:
    own: dict[str, Any] = {
        "id": row.sample_id,
        "dataset": row.dataset,
        "split": row.split,
        "video_path": Path(row.video).name,
        "fps": row.video_fps or None,
        "num_frames": row.num_video_frames or None,
        "num_candidates": row.num_candidates or None,
        "frame_idx": list(row.frame_ids),
    }
    lists = {"timestamps_s": row.timestamps_s, "scores": row.scores, "ranks": row.ranks}
    return own | {key: list(values) for key, values in lists.items() if values}
