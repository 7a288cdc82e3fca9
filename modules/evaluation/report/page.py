"""A page as bytes: its questions and thumbnails are as many as its size has room for."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

import jinja2

from modules.evaluation.report.contest_part import ContestPart
from modules.evaluation.report.contestants import is_yardstick
from modules.evaluation.report.frame_pictures import Frame, fitted, grouped
from modules.evaluation.report.gallery import Card, shared_out
from modules.evaluation.report.picture_source import FramesOfVideo, PictureSource
from modules.evaluation.report.wording import FILTERS, plain
from modules.evaluation.report.worlds_overview import WorldsOverview

_TEMPLATES = Path(__file__).parent / "templates"
_LONGEST_TEXT = 1500
"""Characters of a step of a trace."""
_MARGIN = 2000  # bytes


class Page:
    """All that the templates are given.

    Args:
        parts: one of each contest.
        overview: of several contests; None where there is one.
    """

    def __init__(self, parts: Sequence[ContestPart], overview: WorldsOverview | None = None) -> None:
        self.parts, self.overview = parts, overview
        self.fitting: list[str] = []
        """What did not fit, in sentences, once the content is there."""
        loader = jinja2.FileSystemLoader(_TEMPLATES)
        self.templates = jinja2.Environment(
            loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self.templates.filters |= FILTERS

    def content(self, num_questions: int, source: PictureSource | None, most_bytes: int) -> bytes:
        """The file: as many questions as there is room for, then thumbnails into what is left."""
        sizes = [len(part.contest.questions) for part in self.parts]
        while True:
            shares = shared_out(num_questions, sizes)
            shown = [card for part, share in zip(self.parts, shares, strict=True) for card in part.cards(share)]
            bare = self._render(shown, [])
            if len(bare) <= 0.8 * most_bytes or num_questions <= len(self.parts):
                break
            num_questions = min(num_questions, len(shown)) * 3 // 4
        if len(shown) < sum(sizes):
            self.fitting.append(f"{len(shown)} of {sum(sizes)} questions are shown one by one, evenly spread over all.")
        files, problems = _files(shown, source)
        budget = most_bytes - len(bare) - _MARGIN
        while True:
            pictured = fitted(files, [card.wanted for card in shown], budget)
            for q, card in enumerate(shown):
                for thumbnail in card.thumbnails:
                    thumbnail.url = pictured.urls.get((q, thumbnail.frame_id), "")
            said = [*self.fitting, *pictured.remarks, *problems]
            page = self._render(shown, said)
            if len(page) <= most_bytes or not pictured.urls:
                self.fitting = said
                return page
            budget -= len(page) - most_bytes + _MARGIN  # many rows of a question take more around their pictures

    @property
    def remarks(self) -> list[str]:
        """All that is said of what was pooled, left out or made smaller, on the page of several worlds by world."""
        if self.overview is None:
            return [*self.parts[0].contest.remarks, *self.fitting]
        of_worlds = [f"{part.world}: {remark}" for part in self.parts for remark in part.contest.remarks]
        return [*self.overview.remarks, *of_worlds, *self.fitting]

    def _render(self, shown: Sequence[Card], remarks: Sequence[str]) -> bytes:
        script, first = self._text("js"), self.parts[0]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        overview = self.overview
        own_remarks = first.contest.remarks if overview is None else overview.remarks
        text = self.templates.get_template("report.html.j2").render(
            part=first,
            worlds=self.parts if overview else [],
            overview=overview,
            headline=overview.headline if overview else first.headline,
            symbols=list(dict.fromkeys(mark for part in self.parts for mark in part.marks)),
            systems=list(dict.fromkeys(one.label for part in self.parts for one in part.rows)),
            has_seeds=any(len(one.replicates) > 1 for part in self.parts for one in part.rows),
            labels=self._labels(),
            cards=shown,
            remarks=[*own_remarks, *remarks],
            script=script,
            script_digest=digest,
            style=self._text("css"),
            is_yardstick=is_yardstick,
            longest_text=_LONGEST_TEXT,
        )
        return plain(text).encode("utf-8", errors="replace")

    def _text(self, kind: str) -> str:
        """The style or the script, with what only a page of several worlds needs."""
        names = ["report", *(["worlds"] if self.overview else [])]
        return "".join((_TEMPLATES / f"{name}.{kind}").read_text(encoding="utf-8") for name in names)

    def _labels(self) -> dict[str, list[str]]:
        """Labels of each group of any contest."""
        found: dict[str, dict[str, None]] = {}
        for part in self.parts:
            for group, labels in part.labels.items():
                found.setdefault(group, {}).update(dict.fromkeys(labels))
        return {group: list(labels) for group, labels in found.items()}


def _files(shown: Sequence[Card], source: PictureSource | None) -> tuple[dict[Frame, bytes], list[str]]:
    """Thumbnails that were found, and what is said of those that were not."""
    if source is None:
        return {}, ["The report was made without thumbnails."]
    by_video: dict[tuple[str, str], list[int]] = {}
    for q, card in enumerate(shown):
        if card.frames is not None:
            by_video.setdefault((card.world, card.frames.video), []).append(q)
    wanted = [_together([shown[q] for q in questions]) for questions in by_video.values()]
    files: dict[Frame, bytes] = {}
    problems = []
    for questions, of_video in zip(by_video.values(), source.pictures(wanted), strict=True):
        if isinstance(of_video, ValueError):
            problems.append(str(of_video))
            continue
        files |= {(q, frame): of_video[frame] for q in questions for frame in shown[q].wanted}
    if not problems:
        return files, []
    what = "There are no thumbnails" if not files else f"{len(problems)} videos have no thumbnails"
    return files, [f"{what}: {'; '.join(grouped(problems))}."]


def _together(of_video: Sequence[Card]) -> FramesOfVideo:
    frames = [card.frames for card in of_video if card.frames is not None]
    ids = sorted({frame for one in frames for frame in one.frame_ids})
    return FramesOfVideo(frames[0].video, frames[0].places, tuple(ids), frames[0].num_video_frames)
