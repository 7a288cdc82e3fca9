"""A reply in words: the answer, the options' probabilities, where the system looked, and what that cost."""

from __future__ import annotations

import math
import textwrap
from itertools import groupby
from operator import itemgetter

from modules.records import Answer, TraceStep
from modules.selection.selection_row import SelectionRow
from modules.systems.base import Reply
from modules.systems.grading import most_probable_option
from modules.systems.option_shares import shares_of

_MOST_SPANS, _LONGEST = 3, 100


def answer_text(answer: Answer) -> str:
    """The option that was found most probable, or the model's own words where there are no options."""
    if answer.option_log_probs is None:
        return answer.text or ""
    best = most_probable_option(answer)
    return "none of the options" if best is None else answer.options[best]


def option_probabilities(answer: Answer) -> dict[str, float]:
    """Each option with its probability; empty where none were taken."""
    return dict(zip(answer.options, map(math.exp, answer.option_log_probs or ()), strict=False))


def moments_text(row: SelectionRow | None) -> str:
    """Where somebody looked: the seconds of frames, and the stretches of clips, whose frames share a rank."""
    if row is None or not row.timestamps_s:
        return "nothing"
    ranks = row.ranks or range(len(row.timestamps_s))
    clips = groupby(zip(ranks, row.timestamps_s, strict=True), key=itemgetter(0))
    spans = [[time_s for _, time_s in clip] for _, clip in clips]
    return ", ".join(f"{s[0]:.1f} s" if len(s) == 1 else f"{s[0]:.1f}-{s[-1]:.1f} s" for s in spans)


def step_text(step: TraceStep) -> str:
    """One step on one line: what, about which stretches, and how its text and its reason begin."""
    shown = step.spans_s if len(step.spans_s) <= _MOST_SPANS else step.spans_s[:1]
    spans = ", ".join(f"{start:.1f}-{end:.1f} s" for start, end in shown)
    more = f" and {len(step.spans_s) - 1} more" if len(shown) < len(step.spans_s) else ""
    texts = [textwrap.shorten(text, _LONGEST, placeholder=" ...") for text in (step.text, step.reason) if text]
    return ": ".join([f"{step.action} {spans}{more}".strip(), *texts])


def reply_lines(reply: Reply, duration_s: float) -> list[tuple[str, str]]:
    """Lines to print, each with its name: question, answer, options, the right one where it is known, the steps that
    led to the answer where there were some, looked at, cost.

    Args:
        reply: to one question.
        duration_s: of the video.
    """
    answer, cost = reply.answer, reply.cost
    own_words = f"   (in its own words: {answer.text})" if answer.option_log_probs and answer.text else ""
    lines = [("question", answer.question), ("answer", answer_text(answer) + own_words)]
    if shares := shares_of(answer):
        lines.append(("options", ", ".join(map(str, shares))))
    right = answer.references[:1] if answer.answer_index is None else (answer.options[answer.answer_index],)
    lines += [("right is", text) for text in right]
    lines += [(f"step {number}", step_text(step)) for number, step in enumerate(reply.trace, 1)]
    tokens = "tokens not told" if cost.visual_tokens is None else f"{cost.visual_tokens} tokens"
    return [
        *lines,
        ("looked at", f"{moments_text(reply.selection)}  of {duration_s:.1f} s"),
        (
            "cost",
            f"{cost.frames_decoded} frames decoded, {cost.frames_shown} shown in {cost.calls} "
            f"call{'s' * (cost.calls != 1)} ({tokens}), {sum(cost.seconds.values()):.1f} s",
        ),
    ]
