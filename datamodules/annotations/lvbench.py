"""LVBench: the original ``video_info.meta.jsonl`` (one video a line, questions inside), the repacked table, or TSV.

A question has several types. ``time_reference`` is the evidence, "MM:SS-MM:SS" with minutes of up to three digits; two
say None and in thirteen the end comes first, which is turned round and counted. Four ``uid`` are numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datamodules.annotations.base import AnnotationSource, Manifest
from datamodules.annotations.choices import find_answer, split_question, without_letters
from datamodules.annotations.subtitles import seconds
from datamodules.annotations.tables import read_list, read_rows
from datamodules.annotations.vlmevalkit import is_vlmevalkit, question_of
from modules.records import VideoQuestion


class LVBench(AnnotationSource):
    """Args: see `AnnotationSource`."""

    dataset = "lvbench"
    published = {"test": (1549, 103)}

    def read(self, manifest: Manifest) -> Iterator[VideoQuestion]:
        rows = read_rows(self.annotations)
        pairs = [(row, qa) for row in rows for qa in row.get("qa", [row])]
        self.note_file(manifest, self.annotations, len(pairs))
        for n, (row, qa) in enumerate(pairs):
            question = self._question(row, qa, n, manifest)
            if question is not None:
                yield question

    def _question(self, row: dict[str, Any], qa: dict[str, Any], n: int, manifest: Manifest) -> VideoQuestion | None:
        if is_vlmevalkit(qa):
            text, options, answer_index = question_of(qa, manifest.repairs)
            row_id, name, types = str(qa["index"]), str(qa["video_name"]), [str(qa["task_name"])]
        else:
            text, options = split_question(str(qa["question"]))
            if qa.get("options"):
                options = without_letters(read_list(qa["options"]))
            answer_index = find_answer(qa.get("answer"), options, manifest.repairs)
            name, types = str(row.get("key") or row["video_path"]), qa.get("question_type") or []
            row_id = str(qa["uid"]) if "uid" in qa else f"{Path(name).stem}-{n}"
        labels = (types,) if isinstance(types, str) else tuple(map(str, types))
        groups: dict[str, str | tuple[str, ...]] = {"type": labels} if labels else {}
        if row.get("type"):
            groups["category"] = str(row["type"])
        minutes = (row.get("video_info") or {}).get("duration_minutes")
        return self.question(
            row_id, manifest, options, video=self.locate(name, Path(name).stem), question=text,
            answer_index=answer_index, groups=groups, evidence_s=self._evidence(qa.get("time_reference"), manifest),
            duration_s=60.0 * float(minutes) if minutes else 0.0,
        )  # fmt: skip

    def _evidence(self, reference: str | None, manifest: Manifest) -> tuple[tuple[float, float], ...]:
        found = re.findall(r"\d+(?::\d+)+", reference or "")
        if len(found) != 2:
            if reference is not None:
                manifest.repairs["no evidence interval is given; left empty"] += 1
            return ()
        start, end = seconds(found[0]), seconds(found[1])
        if end < start:
            manifest.repairs["the evidence ends before it starts; turned round"] += 1
            start, end = end, start
        return ((start, end),)
