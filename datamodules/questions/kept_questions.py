"""Which questions to train on: a file of sample ids, as a filter left them."""

from __future__ import annotations

from pathlib import Path

from modules.files.row_files import rows_of
from modules.files.rows import Fields, Label, read
from modules.records import VideoQuestion


class _Kept(Fields):
    id: Label


def only_kept(questions: list[VideoQuestion], path: str) -> list[VideoQuestion]:
    """The questions whose sample_id a file of JSON lines names as ``{"id": ...}``, in their own order.

    Raises:
        ValueError: there is no such file, a line of it is something else, or it names none of these questions.
    """
    if not Path(path).is_file():
        raise ValueError(f"train_ids: there is no {path}; recipes/data/margin_variance.yaml makes one")
    kept = {read(_Kept, row).id for row in rows_of(Path(path), "train_ids")}
    left = [q for q in questions if q.sample_id in kept]
    if not left:
        raise ValueError(f"train_ids: none of the {len(kept)} ids of {path} is one of these {len(questions)} questions")
    return left
