"""One question while it is being answered: its memory, what has been looked at, what that has cost, and the trace.

The methods are what an agent can do: describe, ask where the question leads, look again, answer, and answer whatever is
known. `modules.methods.videolucy.backtracking` says in which order.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from modules.giving_up import look
from modules.methods.videolucy.captioning import Captioning, Wanted
from modules.methods.videolucy.forms import Instruction, Location, Period, Relevant, Verdict
from modules.methods.videolucy.frame_clock import FrameClock, Span
from modules.methods.videolucy.memory_tree import Entry, MemoryTree, nearest
from modules.methods.videolucy.notation import Notation
from modules.methods.videolucy.role_prompts import RolePrompts
from modules.methods.videolucy.scopes import Level
from modules.methods.videolucy.spending import Spending, thinned
from modules.parsing import LETTERS, parse_option
from modules.records import Candidates, Cost, QuestionBatch, TraceStep, VideoQuestion
from modules.roles.checked_json import FormType
from modules.roles.reasoner import Asked, Message, Reasoner
from modules.systems.frame_source import FrameSource

_KEPT_FRAC = 0.8
"""Of a memory that is too long, at a time, until it fits."""


class NoUsableAnswerError(Exception):
    """The reasoner gives none: it was told what was wrong as often as it may be, or the budget is spent."""


@dataclass(frozen=True)
class Roles:
    """Who does the work, and how each is asked."""

    captioning: Captioning
    reasoner: Reasoner
    prompts: RolePrompts
    max_retries: int
    """Of an answer that cannot be used."""
    notation: Notation = field(default_factory=Notation)
    """How memories are written for the reasoner."""


class Inquiry:
    """The state of one question.

    Args:
        question: that is to be answered.
        candidates: T frames of its video.
        source: of their pixels.
        levels: of the memory.
        roles: who does the work.
        spending: pays for the reasoner.
        asked: the batch of this question alone, with what an encoder makes of frames and question, for localizers that
            compare them.
    """

    def __init__(
        self,
        question: VideoQuestion,
        candidates: Candidates,
        source: FrameSource,
        levels: Sequence[Level],
        roles: Roles,
        spending: Spending,
        asked: QuestionBatch | None = None,
    ) -> None:
        self.question, self.candidates, self.source, self.asked = question, candidates, source, asked
        self.levels, self.roles, self.spending = levels, roles, spending
        self.clock = FrameClock(candidates)
        self.tree = MemoryTree(self.clock, len(levels), roles.notation)
        self.searched: list[Entry] = []
        """Entries that were looked at again, as they were then, in order."""
        self.steps: list[TraceStep] = []
        self.captions: list[Entry] = []
        """Everything that was described, in order."""

    def fork(self, spending: Spending) -> Inquiry:
        """The same state, to go on from in a way of its own.

        Args:
            spending: pays for the reasoner; nothing has been spent.
        """
        other = copy.copy(self)
        other.spending = spending
        other.tree = MemoryTree(self.clock, len(self.levels), self.roles.notation)
        other.tree.put(self.tree.entries)
        other.searched, other.steps, other.captions = [*self.searched], [*self.steps], [*self.captions]
        return other

    @property
    def coarse_frames(self) -> int:
        """Candidate frames of a coarse span; the last one has what is left."""
        return self.clock.num_frames(self.levels[0].scope_s)

    # ---- the captioner ----

    def describe_all(self, level: int = 0) -> list[Entry]:
        """Describes the whole video at one level, without knowing the question."""
        pieces = self.clock.whole.pieces(self.clock.num_frames(self.levels[level].scope_s))
        return self._describe("describe", [self._wanted("describe", span, level) for span in pieces])

    def look_again(self, entry: Entry, instruction: str) -> list[Entry]:
        """Describes an entry's span anew and each of its parts for the first time, paying attention to something."""
        self.searched.append(entry)
        below = entry.level + 1
        parts = entry.span.pieces(self.clock.num_frames(self.levels[below].scope_s))
        wanted = [(entry.span, entry.level), *((part, below) for part in parts)]
        requests = [self._wanted("describe_again", span, level, instruction) for span, level in wanted]
        return self._describe("describe again", requests)

    def _wanted(self, prompt: str, span: Span, level: int, instruction: str = "") -> Wanted:
        period = self.tree.period_text(span)
        return Wanted(span, level, self.roles.prompts.text(prompt, instruction=instruction, period=period))

    def _describe(self, action: str, wanted: list[Wanted]) -> list[Entry]:
        entries = list(self.roles.captioning.entries(self.source, self.candidates, self.levels, wanted))
        entries.sort(key=lambda e: (e.level, e.span))
        self.captions += entries
        self.tree.put(entries)
        self.steps.append(
            TraceStep(
                action=action,
                role="captioner",
                spans_s=tuple(self.clock.seconds(e.span) for e in entries),
                text=self._traced(entries),
                reused=sum(e.reused for e in entries),
                cost=sum((e.cost for e in entries if not e.reused), Cost()),
            )
        )
        return entries

    # ---- the reasoner ----

    @property
    def open(self) -> list[Entry]:
        """Entries that can be looked at again and have not been."""
        return self.tree.open((e.level, e.span) for e in self.searched)

    def relevant(self, num_periods: int) -> list[Entry] | None:
        """Coarse entries that the question is about; None where that is the whole video."""
        coarse = self.tree.at(0)

        def check(form: Relevant) -> None:
            if not form.whole_video and not form.periods:
                raise ValueError("periods is empty, and whole_video is not true")
            for period in form.periods:
                self._entry_of(period, coarse)

        form = self._ask("relevant", Relevant, check, num_periods=str(num_periods))
        if form.whole_video:
            return None
        found = [self._entry_of(period, coarse) for period in form.periods]
        return list({entry.span: entry for entry in found}.values())[:num_periods]

    def locate(self) -> tuple[Entry, str]:
        """The entry to look at again, and for what."""
        entries = self.open

        def check(form: Location) -> None:
            self._entry_of(form.period, entries)
            _not_empty(form.instruction)

        form = self._ask("locate", Location, check, open=self._periods(entries), searched=self._periods(self.searched))
        return self._entry_of(form.period, entries), form.instruction

    def instruct(self, entry: Entry) -> str:
        """For what to look in an entry that somebody else has chosen."""

        def check(form: Instruction) -> None:
            _not_empty(form.instruction)

        return self._ask("instruct", Instruction, check, period=self.tree.name(entry)).instruction

    def answer(self) -> Verdict:
        """An answer from the memory as it is, and whether it is certain."""

        def check(form: Verdict) -> None:
            if form.confident:
                self._check_answer(form)

        return self._ask("answer", Verdict, check)

    def force(self, why: str, memory: Sequence[str] | None = None) -> tuple[str, Verdict | None]:
        """The likeliest answer from what is known, whatever that is.

        Args:
            why: there is no better one.
            memory: lines to answer from; those of the tree by default, or as many of them as the budget allows.

        Returns:
            The answer; and the form that it stood in, None where that could not be read and the answer is all that was
            written.
        """
        lines = self._memory().splitlines() if memory is None else list(memory)
        self.spending.spend_reserve()
        while any(lines) and not self.spending.fits(self._messages("forced", memory="\n".join(lines))):
            lines = thinned(lines, int(_KEPT_FRAC * sum(map(len, lines))))
        asked, mark = self._asked("forced", Verdict, self._check_answer, memory="\n".join(lines))
        self._note("forced answer", asked, mark, reason=why)
        return (asked.text if asked.form is None else asked.form.answer), asked.form

    def _ask(self, prompt: str, form: type[FormType], check: Callable[[FormType], None], **blanks: str) -> FormType:
        asked, mark = self._asked(prompt, form, check, **blanks)
        self._note(prompt, asked, mark)
        if asked.form is None:
            raise NoUsableAnswerError(f"{prompt}: {asked.error}, after {asked.calls} calls")
        return asked.form

    def _asked(
        self, prompt: str, form: type[FormType], check: Callable[[FormType], None], **blanks: str
    ) -> tuple[Asked[FormType], int]:
        """What came of asking, and how many calls there were before."""
        look()
        mark = len(self.spending.calls)
        asked = self.roles.reasoner.ask(
            self._messages(prompt, **blanks),
            form,
            check=check,
            correction=self.roles.prompts.text("correction"),
            max_retries=self.roles.max_retries,
            meter=self.spending,
        )
        return asked, mark

    def _messages(self, prompt: str, **blanks: str) -> list[Message]:
        return [Message("user", self.roles.prompts.text(prompt, **self._blanks(**blanks)))]

    def _blanks(self, **blanks: str) -> dict[str, str]:
        options = self.question.options
        listed = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
        form = f"the letter of one option, {LETTERS[0]} to {LETTERS[len(options) - 1]}" if options else "your answer"
        own = "\n".join([self.question.wording or self.question.question, *([] if self.question.wording else listed)])
        return {"memory": self._memory(), "question": own, "answer_form": form, **blanks}

    def _check_answer(self, form: Verdict) -> None:
        if self.question.options and parse_option(form.answer, self.question.options) is None:
            last = LETTERS[len(self.question.options) - 1]
            raise ValueError(f"answer has to be the letter of one option, A to {last}, and not {form.answer!r:.80}")
        if not form.answer.strip():
            raise ValueError("answer is empty")

    def seconds_of(self, period: Period | None) -> tuple[float, float] | None:
        """When a period is that a model has written; None where it wrote none, or the number of no entry."""
        if period is None or self.roles.notation.times != "numbers":
            return period
        entry = self.tree.of_number(round(period[0]))
        return None if entry is None else self.clock.seconds(entry.span)

    def entry_of(self, seconds: tuple[float, float] | None, entries: Sequence[Entry]) -> Entry | None:
        """The entry that lies nearest to some seconds; None where none does."""
        try:
            return None if seconds is None else nearest(self.clock.span(*seconds), entries)
        except ValueError:
            return None

    def _entry_of(self, period: Period, entries: Sequence[Entry]) -> Entry:
        by_number = self.roles.notation.times == "numbers"
        if by_number:
            named = self.tree.of_number(round(period[0]))
            found = named if named in entries else None
        else:
            found = nearest(self.clock.span(*period), entries)
        if found is None:
            said = f"#{period[0]:.0f}" if by_number else self.roles.notation.period_text(period)
            raise ValueError(f"{said} is none of the periods to choose from, which are {self._periods(entries)}")
        return found

    def _periods(self, entries: Sequence[Entry]) -> str:
        return "; ".join(map(self.tree.name, entries)) or "none"

    def _memory(self) -> str:
        return self.tree.text(self.searched)

    def _traced(self, entries: Sequence[Entry]) -> str:
        """Entries by themselves, for people, so with times."""
        notation = self.roles.notation
        times = "starts" if notation.times == "numbers" else notation.times
        alone = MemoryTree(self.clock, len(self.levels), replace(notation, times=times, marks=False, behind=False))
        alone.put(entries)
        return alone.text()

    # ---- the trace ----

    def _note(self, action: str, asked: Asked[FormType], mark: int, reason: str = "") -> None:
        form = asked.form
        periods = map(self.seconds_of, [*getattr(form, "periods", ()), getattr(form, "period", None)])
        whole = isinstance(form, Relevant) and form.whole_video
        words = (
            getattr(form, "instruction", None) or getattr(form, "answer", None) or ("the whole video" if whole else "")
        )
        sure = ", confident" if isinstance(form, Verdict) and form.confident else ""
        why = [reason, asked.error, getattr(form, "reason", "")]
        self.steps.append(
            TraceStep(
                action=action,
                role="reasoner",
                spans_s=tuple(period for period in periods if period is not None),
                text=asked.text if form is None else f"{words}{sure}",
                reason="; ".join(part for part in why if part),
                cost=sum(self.spending.calls[mark:], Cost()),
            )
        )


def _not_empty(instruction: str) -> None:
    if not instruction.strip():
        raise ValueError("instruction is empty")
