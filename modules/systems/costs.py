"""What a batch of answers costs, question by question: tokens and calls as models count them, seconds shared out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Set
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from modules.mllms.usage import Usage
from modules.records import Cost, QuestionBatch
from modules.systems.answering import Answering


class BatchCost:
    """Costs of B questions that are answered together.

    Args:
        sample_ids: of those questions, in order.
    """

    def __init__(self, sample_ids: list[str]) -> None:
        self.sample_ids = sample_ids
        self.seconds: dict[str, float] = defaultdict(float)
        """By part, of all questions together."""
        self.usages: list[Usage] = []

    def each(self) -> list[Cost]:
        """The cost of each question."""
        share = {part: seconds / len(self.sample_ids) for part, seconds in self.seconds.items()}
        costs = []
        for sample_id in self.sample_ids:
            cost = Cost(seconds=share)
            for usage in self.usages:
                cost += usage.costs.get(sample_id, Cost())
            costs.append(replace(cost, seconds=share))
        return costs


@contextmanager
def costs_of(batch: QuestionBatch, answerings: Set[Answering]) -> Iterator[BatchCost]:
    """Counts what is asked of the given models inside the context."""
    costs = BatchCost([question.sample_id for question in batch.questions])
    models = {id(answering.mllm): answering.mllm for answering in answerings}
    before = {id(answering): dict(answering.stopwatch.seconds) for answering in answerings}
    with ExitStack() as counted:
        costs.usages = [counted.enter_context(model.counted()) for model in models.values()]
        yield costs
    for answering in answerings:
        for part, seconds in answering.stopwatch.seconds.items():
            costs.seconds[part] += seconds - before[id(answering)].get(part, 0.0)
