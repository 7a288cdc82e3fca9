"""Long-video questions in one JSON, with pass rates: our form of MSJoE's training data, which is not public.

A list of ``{id, video, duration, question, options, answer, type, pass_rate, evidence}``: ``duration`` and the spans of
``evidence`` in seconds, ``options`` without letters, ``answer`` a letter or an option's text, ``pass_rate`` 0..1. Only
video, question, options and answer have to be there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datamodules.annotations.base import Manifest, TrainingSource
from datamodules.annotations.choices import find_answer
from datamodules.annotations.tables import read_rows
from modules.records import VideoQuestion

_LETTERS = "ABCDEFGHIJ"


class LongVideoQA(TrainingSource):
    """Args: see `AnnotationSource`."""

    dataset = "long_video_qa"

    def read(self, manifest: Manifest) -> Iterator[VideoQuestion]:
        rows = read_rows(self.annotations)
        self.note_file(manifest, self.annotations, len(rows))
        for n, row in enumerate(rows):
            row_id = str(row.get("id", n))
            missing = [key for key in ("video", "question", "options", "answer") if not row.get(key)]
            if missing:
                manifest.drop(f"without {', '.join(missing)}", row_id)
                continue
            options = [str(option) for option in row["options"]]
            answer = find_answer(row["answer"], options, manifest.repairs)
            if answer is None:
                manifest.drop("no answer", row_id)
                continue
            rate = row.get("pass_rate")
            if rate is not None and not 0 <= float(rate) <= 1:
                manifest.drop("pass_rate outside of 0 to 1", row_id)
                continue
            kind = row.get("type")
            question = self.question(
                row_id, manifest, options, video=self.locate(str(row["video"])), question=str(row["question"]),
                answer_index=answer, duration_s=float(row.get("duration") or 0.0),
                evidence_s=tuple((float(a), float(b)) for a, b in row.get("evidence") or ()),
                groups={"type": str(kind)} if kind else {}, pass_rate=None if rate is None else float(rate),
            )  # fmt: skip
            if question is not None:
                yield question


def write_long_video_qa(
    path: Path, questions: list[VideoQuestion], durations_s: dict[str, float | None], root: Path
) -> None:
    """Writes questions in this form, videos relative to ``root`` where they lie below it."""
    rows: list[dict[str, Any]] = []
    for q in questions:
        assert q.answer_index is not None
        video = Path(q.video).resolve()
        rows.append({
            "id": q.sample_id,
            "video": str(video.relative_to(root) if video.is_relative_to(root) else video),
            "duration": durations_s.get(q.video) or q.duration_s,
            "question": q.question,
            "options": list(q.options),
            "answer": _LETTERS[q.answer_index],
            "type": q.groups.get("type", q.groups.get("kind", "")),
            "pass_rate": q.pass_rate,
            "evidence": [list(span) for span in q.evidence_s],
        })  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
