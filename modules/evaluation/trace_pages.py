"""What a system did to answer a question, step by step, as a page that can be read: Markdown, one file a question.

Everything that a model or a stranger wrote is indented, so that none of it is taken for markup, and characters that
command a terminal are replaced.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from modules.evaluation.answer_files import Answered
from modules.files.file_names import file_name
from modules.files.whole_files import write_whole
from modules.parsing import LETTERS
from modules.records import Answer, Cost, TraceStep
from modules.systems.grading import most_probable_option, named_option

FOLDER = "traces"


def write_traces(run_dir: Path, answered: Iterable[Answered]) -> int:
    """Writes ``traces/SYSTEM/QUESTION.md`` for every answer that has a trace.

    Returns:
        How many there are.
    """
    traced = [one for one in answered if one.trace]
    for one in traced:
        path = run_dir / FOLDER / file_name(one.answer.system) / f"{file_name(one.answer.sample_id)}.md"
        write_whole(path, "trace", trace_page(one))
    return len(traced)


def trace_page(answered: Answered) -> str:
    """One page."""
    answer = answered.answer
    ended = "" if answer.exit is None else f", exit: {answer.exit}"
    lines = [f"# {_plain(answer.sample_id)}, {_plain(answer.system)}{ended}", "", *_indented(_question(answer)), ""]
    if answered.cost is not None:
        lines += [f"In all: {_costs(answered.cost)}.", ""]
    for number, step in enumerate(answered.trace, 1):
        lines += _step(number, step)
    return "\n".join(lines)


def _question(answer: Answer) -> str:
    chosen = named_option(answer) if answer.option_log_probs is None else most_probable_option(answer)
    lines = [answer.video, answer.question]
    for number, (letter, option) in enumerate(zip(LETTERS, answer.options, strict=False)):
        remarks = ["chosen"] * (number == chosen) + ["right"] * (number == answer.answer_index)
        lines.append(f"{letter}. {option}" + (f"   ({', '.join(remarks)})" if remarks else ""))
    lines += [f"right is: {reference}" for reference in answer.references]
    lines += [f"evidence: {start:.1f} s - {end:.1f} s" for start, end in answer.evidence_s]
    return "\n".join([*lines, f"answer: {answer.text or ''}"])


def _step(number: int, step: TraceStep) -> list[str]:
    lines = [f"## {number}. {_plain(step.action)}", ""]
    facts = [f"by the {step.role}"]
    if step.role == "reasoner" and step.spans_s:
        facts.append("periods " + "; ".join(f"{start:.1f} s - {end:.1f} s" for start, end in step.spans_s))
    if step.reused:
        facts.append(f"{step.reused} of {len(step.spans_s)} captions written before")
    if step.cost.calls:
        facts.append(_costs(step.cost))
    lines += [", ".join(facts) + ".", ""]
    for text in (step.text, step.reason and f"Reason: {step.reason}"):
        lines += [*_indented(text), ""] if text else []
    return lines


def _costs(cost: Cost) -> str:
    def count(number: int | None, of: str) -> str:
        return f"{of} not told" if number is None else f"{number} {of}"

    parts = [
        "1 call" if cost.calls == 1 else f"{cost.calls} calls",
        count(cost.text_tokens_in, "tokens read"),
        count(cost.text_tokens_out, "written"),
    ]
    if cost.frames_shown:
        parts += [f"{cost.frames_shown} frames shown", count(cost.visual_tokens, "visual tokens")]
    return ", ".join([*parts, f"{sum(cost.seconds.values()):.1f} s"])


def _indented(text: str) -> list[str]:
    shown = ("".join(c if c.isprintable() else "\ufffd" for c in line) for line in text.splitlines())
    return [f"    {line}" for line in shown]


def _plain(text: str) -> str:
    """A name within a line of Markdown."""
    return " ".join("".join(c if c.isprintable() and c not in "`*_<>[]#\\" else " " for c in text).split())
