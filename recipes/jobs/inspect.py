"""What is in a data set: counts, what was left out and why, what is missing on disk, and some questions to read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
from jsonargparse.typing import NonNegativeInt
from rich.table import Table

from datamodules.annotations.base import Annotations
from datamodules.questions.annotated import AnnotatedVideos
from modules.console import PlainConsole
from modules.files.strict_json import strict_json
from modules.records import VideoQuestion
from recipes.jobs.base import Job

_MOST_REFERENCES = 3
"""Of a question that are printed."""


class Inspect(Job):
    """Prints what a data set holds, what was left out of it and why, and some of its questions.

    Args:
        data: with a source for each split to look at.
        num_examples: questions to print of each split.
        seed: of their choice.
    """

    def __init__(self, *, data: AnnotatedVideos, num_examples: NonNegativeInt = 10, seed: int = 0) -> None:
        self.data, self.num_examples, self.seed = data, num_examples, seed

    def run(self, run_dir: Path) -> None:
        console = PlainConsole()
        if not self.data.named_splits():
            raise ValueError("data: name a source under train, val or test")
        manifests = {}
        for split in self.data.named_splits():
            annotations = self.data.annotations(split)
            missing = sorted({q.video for q in annotations.questions if not Path(q.video).is_file()})
            console.print(manifest_table(annotations, missing))
            self._examples(console, annotations.questions)
            manifests[split] = {**asdict(annotations.manifest), "missing_videos": missing}
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "manifest.json").write_text(strict_json(manifests, indent=2) + "\n")
        console.print(f"manifest    {run_dir / 'manifest.json'}")

    def _examples(self, console: PlainConsole, questions: list[VideoQuestion]) -> None:
        rng = np.random.default_rng(self.seed)
        for i in sorted(rng.permutation(len(questions))[: self.num_examples]):
            q = questions[i]
            where = ", ".join(f"{a:.0f}-{b:.0f} s" for a, b in q.evidence_s)
            groups = ", ".join(f"{k}={v if isinstance(v, str) else '+'.join(v)}" for k, v in q.groups.items())
            console.print(q.sample_id, style="bold", end="")
            console.print(
                f"  {Path(q.video).name}  {q.duration_s:.0f} s  {groups}"
                f"{'  evidence ' + where if where else ''}{f'  {len(q.subtitles)} subtitles' if q.subtitles else ''}"
            )
            console.print(f"  {q.question}")
            for o, option in enumerate(q.options):
                console.print(f"  {'*' if o == q.answer_index else ' '} {option}")
            for reference in q.references[:_MOST_REFERENCES]:
                console.print(f"  = {reference}")
            if len(q.references) > _MOST_REFERENCES:
                console.print(f"  = and {len(q.references) - _MOST_REFERENCES} more")


def manifest_table(annotations: Annotations, missing: list[str]) -> Table:
    """A manifest, a line a fact."""
    manifest = annotations.manifest
    table = Table(title=f"{manifest.dataset} / {manifest.split}", show_header=False, title_justify="left")
    for file, digest in manifest.files.items():
        table.add_row("file", f"{file}  sha256 {digest[:12]}")
    joined = f", {manifest.num_joined} of them on videos or stretches that others are on" if manifest.num_joined else ""
    table.add_row("rows", f"{manifest.num_rows}{joined}")
    table.add_row("questions", f"{manifest.num_questions} on {manifest.num_videos} videos")
    if manifest.num_unanswered:
        table.add_row("without answer", str(manifest.num_unanswered))
    for warning in manifest.unexpected:
        table.add_row("unexpected", warning, style="red")
    for note in manifest.notes:
        table.add_row("note", note)
    for reason, rows in manifest.dropped.items():
        table.add_row("left out", f"{len(rows)}: {reason}, e.g. {', '.join(rows[:3])}")
    for reason, count in manifest.repairs.items():
        table.add_row("put right", f"{count}: {reason}")
    for group, labels in manifest.groups.items():
        table.add_row(group, ", ".join(f"{label} {count}" for label, count in sorted(labels.items())))
    found = manifest.num_videos - len(missing)
    table.add_row(
        "videos on disk", f"{found} of {manifest.num_videos}" + (f"; missing e.g. {missing[0]}" if missing else "")
    )
    return table
