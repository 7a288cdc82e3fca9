"""Thousands of annotation files with something wrong in them: each is read rightly, refused by name, or counted.

    python tests/fuzz/annotations.py --count 10000 --seed 0

Prints what became of them by layout and by kind of mutation; the exit status is 1 where anything was silently wrong,
refused without file and row, a traceback, or slower than a second.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyarrow
from fuzz.layouts import LAYOUTS, Layout
from fuzz.row_mutations import KINDS, Mutant, Valid
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import track
from rich.table import Table

VERDICTS = (
    "accepted rightly",
    "refused by name",
    "left out, counted",
    "refused without need",
    "silently wrong",
    "lost, not counted",
    "error without file or row",
    "traceback",
    "over 1 s",
)
GOOD = VERDICTS[:3]
_LIMIT_S, _GIVEN_UP_S = 1.0, 10.0
_FIELDS = ("question", "options", "video", "duration_s", "evidence_s", "groups", "pass_rate", "subtitles")
_SECRET = "a secret"


@dataclass
class Verdict:
    """What became of a mutant, and what speaks for it."""

    name: str
    why: str = ""


def draw_mutant(layout: Layout, draw: Random) -> Mutant:
    """A mutant that this layout's format can hold."""
    valid = Valid(layout)
    while True:
        try:
            mutant = draw.choice(KINDS)(valid, draw)
        except (ValueError, TypeError, OverflowError, AttributeError, RecursionError, pyarrow.ArrowException):
            continue  # the format cannot say it
        if mutant is not None:
            return mutant


def write(folder: Path, files: dict[str, bytes]) -> None:
    """A mutant's files, a folder of videos, and secrets beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "videos").mkdir(parents=True)
    for suffix, content in (
        (".mp4", ""),
        (".srt", f"1\n00:00:01,000 --> 00:00:02,000\n{_SECRET}\n\n"),
        (".json", f'[{{"timestamp": [2, 3], "text": "{_SECRET}"}}]'),
    ):
        (folder / f"secret{suffix}").write_text(content)
        (folder.parent / f"secret{suffix}").write_text(content)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for blank, value in (("{outside}", folder.parent), ("{videos}", folder / "videos")):
            if not name.endswith("parquet"):
                content = content.replace(blank.encode(), str(value).encode())
        path.write_bytes(content)


def truth(layout: Layout, folder: Path) -> list[Any]:
    """What the valid file says."""
    valid = Valid(layout)
    write(folder, valid.files(valid.rows()))
    found = layout.source(folder).load().questions
    for asked, question in zip(valid.asked, found, strict=True):
        assert question.answer == asked.options[asked.answer_index], (layout.name, asked, question)
        assert question.question == asked.question
        assert list(question.options) == [o for o in asked.options if o != "N/A"]
    return found


def judge(layout: Layout, mutant: Mutant, before: list[Any], folder: Path) -> Verdict:
    """Reads a mutant twice, stopping at bad rows and leaving them out, and holds what comes out against the oracle."""
    write(folder, mutant.files)
    started = time.process_time()
    try:
        with _at_most(_GIVEN_UP_S):
            verdict = _read(layout, mutant, before, folder, {})
            if verdict.name in GOOD and _knows_skip(layout):
                skipped = _read(layout, mutant, before, folder, {"on_bad_row": "skip"})
                verdict = skipped if skipped.name not in GOOD else verdict
    except _TooLong:
        return Verdict("over 1 s", f"given up after {_GIVEN_UP_S} s")
    if time.process_time() - started > _LIMIT_S:
        return Verdict("over 1 s", f"{time.process_time() - started:.1f} s")
    return verdict


class _TooLong(BaseException):
    """No error of the reader's."""


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Ends what computes longer, regular expressions included; others may be busy meanwhile."""

    def end(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _knows_skip(layout: Layout) -> bool:
    return "on_bad_row" in layout.source(Path()).load.__code__.co_varnames


def _read(layout: Layout, mutant: Mutant, before: list[Any], folder: Path, how: dict[str, str]) -> Verdict:
    try:
        loaded = layout.source(folder).load(**how)
    except ValueError as error:
        said = str(error)
        if type(error) in (UnicodeDecodeError, UnicodeEncodeError):
            return Verdict("traceback", repr(error)[:200])
        file = any(Path(name).name in said for name in mutant.files) or str(folder) in said
        placed = any(word in said for word in ("row ", "line ", "video '", "cannot be read", "column", "no JSON files"))
        if mutant.harmless:
            return Verdict("refused without need", said[:200])
        return Verdict("refused by name") if file and placed else Verdict("error without file or row", said[:200])
    except Exception as error:
        return Verdict("traceback", repr(error)[:200])
    return _accepted(layout, mutant, before, loaded, folder)


def _accepted(layout: Layout, mutant: Mutant, before: list[Any], loaded: Any, folder: Path) -> Verdict:
    found, manifest = loaded.questions, loaded.manifest
    if len(found) + manifest.num_dropped != manifest.num_rows and "gone" not in mutant.free:
        return Verdict(
            "silently wrong", f"{len(found)} questions and {manifest.num_dropped} left out of {manifest.num_rows}"
        )
    unanswered = sum(q.answer_index is None for q in found)
    counted = getattr(manifest, "num_unanswered", None)
    if counted is None:
        counted = sum(n for reason, n in manifest.repairs.items() if "without an answer" in reason)
    if unanswered > counted:
        return Verdict("lost, not counted", f"{unanswered} unanswered, {counted} counted")
    for question in found:
        wrong = _never(question, folder)
        if wrong:
            return Verdict("silently wrong", wrong)
    others = {q.sample_id: q for n, q in enumerate(before) if n != mutant.row}
    strangers = [q for q in found if q.sample_id not in others]
    for question in found:
        if question.sample_id in others and mutant.row is not None:
            wrong = _difference(others[question.sample_id], question, frozenset(), None)
            if wrong:
                return Verdict("silently wrong", f"another row: {wrong}")
        elif question.sample_id in others:
            wrong = _difference(others[question.sample_id], question, mutant.free, mutant.meaning)
            if wrong:
                return Verdict("silently wrong", wrong)
    if mutant.harmless and (len(found) != len(before) or (mutant.row is None and strangers)):
        return Verdict("refused without need", f"{len(found)} of {len(before)}: {manifest.dropped}")
    if mutant.refused and (strangers if mutant.row is not None else found):
        return Verdict("silently wrong", f"accepted: {(strangers or found)[0]}")
    if mutant.row is not None and strangers:
        wrong = _difference(before[mutant.row], strangers[0], mutant.free, mutant.meaning)
        return Verdict("silently wrong", wrong) if wrong else Verdict("accepted rightly")
    return Verdict("left out, counted" if manifest.num_dropped else "accepted rightly")


def _never(question: Any, folder: Path) -> str:
    """What is wrong whatever the mutation was."""
    video = os.path.normpath(question.video)
    if not video.startswith(str(folder / "videos") + os.sep):
        return f"reads {question.video}"
    if any(_SECRET in said for *_, said in question.subtitles):
        return "reads subtitles outside of the folder"
    numbers = [question.duration_s, *(t for span in question.evidence_s for t in span)]
    numbers += [] if question.pass_rate is None else [question.pass_rate]
    if not all(math.isfinite(n) and n >= 0 for n in numbers) or not all(
        math.isfinite(t) for s in question.subtitles for t in s[:2]
    ):
        return f"numbers {numbers}"
    if any(start > end for start, end, *_ in [*question.evidence_s, *question.subtitles]):
        return f"a span that ends before it starts: {question.evidence_s} {question.subtitles}"
    if question.duration_s and any(end > question.duration_s + 61 for _, end in question.evidence_s):
        return f"evidence {question.evidence_s} in {question.duration_s} s"
    if not 2 <= len(question.options) <= 10:
        return f"{len(question.options)} options"
    texts = [question.question, question.sample_id, question.video, *question.options]
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for text in texts for c in text):
        return "a text that cannot be written"
    return ""


def _difference(before: Any, after: Any, free: frozenset[str], told: frozenset[str] | None) -> str:
    """What came out otherwise and may not; empty where all is well."""
    if "cell" in free:  # another byte in a cell that still reads as text
        return ""
    for name in _FIELDS:
        if name not in free and "everything" not in free and getattr(before, name) != getattr(after, name):
            return f"{name}: {getattr(before, name)!r:.120} became {getattr(after, name)!r:.120}"
    answer = after.answer
    if answer is not None and "lettered" in free:
        answer = answer.partition(". ")[2] or answer.partition(") ")[2] or answer
    allowed = {before.answer} if told is None else told
    if answer is not None and answer not in allowed:
        return f"answer {before.answer!r} became {after.answer!r}; allowed: {sorted(allowed)} of {after.options}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="mutations, shared out over the layouts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=20, help="failures to print")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    counts: Counter[tuple[str, str, str]] = Counter()
    failures: list[str] = []
    console = Console(width=160)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "data"
        known = [truth(layout, folder) for layout in LAYOUTS]
        bar = Console(stderr=True)
        for n in track(range(options.count), "Reading files with something wrong in them", console=bar):
            layout, before = LAYOUTS[n % len(LAYOUTS)], known[n % len(LAYOUTS)]
            mutant = draw_mutant(layout, Random(f"{options.seed}/{n}"))
            verdict = judge(layout, mutant, before, folder)
            counts[layout.name, mutant.kind, verdict.name] += 1
            if verdict.name not in GOOD:
                failures.append(f"#{n} {layout.name}; {mutant.kind}; {mutant.what}: {verdict.name}: {verdict.why}")
    for title, column in (("layout", 0), ("mutation", 1)):
        console.print(_table(title, column, counts))
    for failure in failures[: options.show]:
        console.print(failure, markup=False, highlight=False, soft_wrap=True)
    console.print(f"{options.count} files, seed {options.seed}: {len(failures)} of them not as they should be")
    return 1 if failures else 0


def _table(title: str, column: int, counts: Counter[tuple[str, str, str]]) -> Table:
    table = Table(title=f"By {title}", title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    for name in (title, "tried", *VERDICTS):
        table.add_column(name, justify="left" if name == title else "right", no_wrap=name == title)
    for row in [*dict.fromkeys(key[column] for key in counts), "all"]:
        of = {v: sum(n for k, n in counts.items() if row in (k[column], "all") and k[2] == v) for v in VERDICTS}
        table.add_row(row, str(sum(of.values())), *(str(of[v]) for v in VERDICTS), end_section=False)
    return table


if __name__ == "__main__":
    sys.exit(main())
