"""Deep memory backtracking, Algorithm 1 of VideoLucy (arXiv 2510.12422).

# paper: the last answer is given from the memory as it is; official code: from all coarse texts and the finer ones.
# paper: three relevant periods with their neighbours; official code: two. here: a recipe's number, the paper's three.
# official code: an answer that cannot be read ends everything. here: the model is told, and asked again, before that.
# here: where there are no more coarse texts than would be kept, nobody is asked which.
"""

from __future__ import annotations

from dataclasses import dataclass

from modules.methods.videolucy.inquiry import Inquiry, NoUsableAnswerError
from modules.methods.videolucy.localizers import Localizer
from modules.methods.videolucy.scopes import level_name

FORCED = "forced"


@dataclass(frozen=True)
class Finding:
    """How a question ended."""

    answer: str
    """As the reasoner gave it."""
    exit: str
    """The depth at which it was certain, `FORCED`, or whatever else a control calls it."""
    period: tuple[float, float] | None = None
    """Where the answer is to be found, in seconds, as the reasoner says."""


def backtrack(inquiry: Inquiry, localizer: Localizer, *, num_relevant: int, max_rounds: int) -> Finding:
    """Answers a question: reads coarse memories, and looks back into the video until it is certain.

    Args:
        inquiry: of the question, nothing described yet or the coarse memory alone.
        localizer: chooses where to look.
        num_relevant: coarse periods that are kept at the start, each with its neighbours.
        max_rounds: how often it looks back; 0 reads coarse memories alone.
    """
    tree = inquiry.tree
    if not len(tree):
        inquiry.describe_all()
    try:
        if len(tree) > num_relevant:
            relevant = localizer.relevant(inquiry, num_relevant)
            if relevant is not None:
                tree.keep(tree.with_neighbours(relevant))
        verdict = inquiry.answer()
        for _ in range(max_rounds):
            if verdict.confident or not inquiry.open:
                break
            look = localizer.look(inquiry)
            instruction = look.instruction or inquiry.instruct(look.entry)
            inquiry.look_again(look.entry, instruction)
            verdict = inquiry.answer()
        if verdict.confident:
            return Finding(verdict.answer, level_name(tree.deepest), inquiry.seconds_of(verdict.period))
        why = f"not certain after looking back {len(inquiry.searched)} times"
    except NoUsableAnswerError as error:
        why = str(error)
    answer, form = inquiry.force(why)
    return Finding(answer, FORCED, None if form is None else inquiry.seconds_of(form.period))
