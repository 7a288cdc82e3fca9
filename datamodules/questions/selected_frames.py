"""Frames that somebody has selected already, in the place of a candidate grid."""

from __future__ import annotations

from dataclasses import dataclass

from modules.files.paths import InputPath


@dataclass(frozen=True, kw_only=True)
class SelectedFrames:
    """A file of selections whose frames are the candidates, exactly.

    Args:
        path: ``.parquet``, ``.jsonl`` or published ``*_frameIdx.json``.
        system: which system's of them, where the file holds several.
    """

    path: InputPath
    system: str | None = None

    def by_question(self) -> dict[str, tuple[int, ...]]:
        """The frame ids of each selection, by the sample_id of its question.

        Raises:
            ValueError: the file is something else, or holds several systems and none is named.
        """
        from modules.selection.selection_files import read_selections  # brings pyarrow; most runs name no file

        return {row.sample_id: tuple(row.frame_ids) for row in read_selections(self.path, self.system)}
