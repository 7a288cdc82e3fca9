"""A question that has been answered, as the reply that every system gives."""

from __future__ import annotations

from dataclasses import replace

import torch

from modules.methods.videolucy.backtracking import Finding
from modules.methods.videolucy.inquiry import Inquiry
from modules.methods.videolucy.memory_tree import Entry
from modules.parsing import parse_option
from modules.records import Answer, Cost, QuestionBatch
from modules.systems.base import Reply, Setting, answer_to, selection_of


def reply_of(
    inquiry: Inquiry, finding: Finding, batch: QuestionBatch, b: int, system: str, setting: Setting, digest: str
) -> Reply:
    """The reply to question b of a batch.

    Args:
        inquiry: that has ended.
        finding: how.
        batch: B questions.
        b: which.
        system: name of the system.
        setting: in which form answers are wanted.
        digest: of the system, for the selection.
    """
    looked = frames_looked_at(inquiry, finding)
    row = None
    if looked:
        row = selection_of(batch, b, system, torch.tensor(list(looked)), None, digest)
        row = replace(row, ranks=tuple(looked[frame] for frame in sorted(looked)))
    times_s = () if row is None else row.timestamps_s
    answer = _answer(inquiry, finding.answer, system, setting, times_s, finding.exit)
    return Reply(answer, row, cost_of(inquiry), tuple(inquiry.steps))


def withheld(inquiry: Inquiry, system: str, setting: Setting) -> Reply:
    """The reply where the video could not be decoded: what is said without having seen it is no answer."""
    return Reply(_answer(inquiry, "", system, setting, (), None), None, cost_of(inquiry), tuple(inquiry.steps))


def frames_looked_at(inquiry: Inquiry, finding: Finding) -> dict[int, int]:
    """Frames that were shown when it looked again, by candidate index, with the number of the look that showed each.

    Where it never did: those of the coarse memory that holds the answer, as the reasoner says.
    """
    if not inquiry.searched:
        said = inquiry.entry_of(finding.period, inquiry.tree.at(0))
        return {} if said is None else dict.fromkeys(said.shown, 0)
    found: dict[int, int] = {}
    for look, searched in enumerate(inquiry.searched):
        for entry in (e for e in inquiry.captions if e.span in searched.span):
            for frame in entry.shown:
                found.setdefault(frame, look)
    return found


def cost_of(inquiry: Inquiry) -> Cost:
    """All captions, those that were written before as well, and all calls of the reasoner."""
    captions: list[Entry] = inquiry.captions
    total = sum((entry.cost for entry in captions), inquiry.spending.cost)
    return replace(total, frames_decoded=len({frame for entry in captions for frame in entry.shown}))


def _answer(
    inquiry: Inquiry, text: str, system: str, setting: Setting, times_s: tuple[float, ...], exit_name: str | None
) -> Answer:
    options = inquiry.question.options
    return answer_to(
        inquiry.question,
        system,
        text=text,
        option_log_probs=certainty(text, options) if setting.score_options and options else None,
        timestamps_s=times_s,
        exit_name=exit_name,
    )


def certainty(text: str, options: tuple[str, ...]) -> tuple[float, ...]:
    """0 for the option that a text names and minus infinity for the others; for all where it names none."""
    chosen = parse_option(text, options)
    return tuple(0.0 if option == chosen else float("-inf") for option in range(len(options)))
