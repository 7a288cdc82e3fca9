"""NExT-GQA: ``{val,test,train}.csv`` with ``gsub_{val,test}.json`` (evidence) and ``map_vid_vidorID.json`` beside.

Options are a0..a4, the answer is the text of one; questions are lower case without a question mark and stay so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from datamodules.annotations.base import AnnotationSource, Manifest
from datamodules.annotations.choices import find_answer
from datamodules.annotations.tables import read_rows
from modules.records import VideoQuestion

_TYPES = {
    "CW": "causal why",
    "CH": "causal how",
    "TN": "temporal next",
    "TC": "temporal current",
    "TP": "temporal previous",
}


class NExTGQA(AnnotationSource):
    """Args: see `AnnotationSource`; ``annotations`` is the CSV file, or the folder of all files (then by ``split``)."""

    dataset = "nextgqa"
    published = {"val": (3358, 567), "test": (5553, 990)}

    def read(self, manifest: Manifest) -> Iterator[VideoQuestion]:
        file = self.annotations / f"{self.split}.csv" if self.annotations.is_dir() else self.annotations
        rows = read_rows(file)
        self.note_file(manifest, file, len(rows))
        spans = self._json(file.with_name(f"gsub_{file.stem}.json"), manifest)
        files = self._json(file.with_name("map_vid_vidorID.json"), manifest)
        for row in rows:
            video_id, qid = str(row["video_id"]), str(row["qid"])
            options = [str(row[f"a{o}"]) for o in range(5) if row.get(f"a{o}")]
            about = spans.get(video_id, {})
            evidence = tuple((float(a), float(b)) for a, b in about.get("location", {}).get(qid, []))
            if not evidence:
                manifest.repairs["no evidence interval is given; left empty"] += 1
            question = self.question(
                f"{video_id}_{qid}", manifest, options, video=self.locate(files.get(video_id, video_id), video_id),
                question=str(row["question"]), duration_s=float(about.get("duration", 0.0)), evidence_s=evidence,
                answer_index=find_answer(row["answer"], options, manifest.repairs),
                groups={"type": _TYPES.get(str(row["type"]), str(row["type"]))},
            )  # fmt: skip
            if question is not None:
                yield question

    def _json(self, path: Any, manifest: Manifest) -> dict[str, Any]:
        if not path.is_file():
            manifest.repairs[f"{path.name} is not there"] += 1
            return {}
        self.note_file(manifest, path, 0)
        return json.loads(path.read_text())
