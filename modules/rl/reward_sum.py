"""The reward of a rollout: terms with their weights beside them, scored one by one and summed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from modules.records import Rollouts, VideoQuestion
from modules.rewards.base import Reward


@dataclass(frozen=True, kw_only=True)
class RewardTerm:
    """A reward and what it is worth; where a weight is 0, the term is logged and nothing is learnt from it.

    Args:
        reward: the term.
        weight: in the sum that the sampler learns from.
        mllm_weight: in the sum that the MLLM learns from, under ``evolve: joint``; ``weight`` by default.
    """

    reward: Reward
    weight: float = 1.0
    mllm_weight: float | None = None

    @property
    def weight_for_mllm(self) -> float:
        """``mllm_weight``, or its default."""
        return self.weight if self.mllm_weight is None else self.mllm_weight


@dataclass(frozen=True)
class Rewards:
    """What B x G rollouts earned."""

    terms: dict[str, Tensor]
    """Each term by name, float32 (B, G); NaN where it does not apply."""
    sampler: Tensor
    """float32 (B, G), the sum that the sampler learns from; NaN where no term applies."""
    mllm: Tensor
    """The same with the MLLM's weights."""


class RewardSum:
    """Scores every term of a reward and adds them up.

    Args:
        terms: by the name that each is logged under; None leaves one out.
        joint: the MLLM learns too, so that every rollout has an answer in text.

    Raises:
        ValueError: there is no term, or under ``joint`` none that reads what the MLLM has written.
    """

    def __init__(self, terms: Mapping[str, RewardTerm | None], *, joint: bool) -> None:
        self.terms = {name: term for name, term in terms.items() if term is not None}
        self.joint = joint
        if not self.terms:
            raise ValueError("rewards: name at least one term")
        if not joint:
            return
        for term in self.terms.values():
            term.reward.answers_are_drawn()
        if not any(term.reward.needs_text and term.weight_for_mllm for term in self.terms.values()):
            raise ValueError(
                "evolve: joint trains the MLLM on its own words, so a reward with an mllm_weight has to read them, "
                "e.g. modules.rewards.accuracy.Accuracy; the same term's weight, for the sampler, may be another"
            )

    @property
    def needs_options(self) -> bool:
        """Whether a term reads the probabilities of the options."""
        return any(term.reward.needs_options for term in self.terms.values())

    @property
    def needs_text(self) -> bool:
        """Whether a term reads answers in text."""
        return any(term.reward.needs_text for term in self.terms.values())

    def __str__(self) -> str:
        """The weights that are in effect, in one line."""
        return ", ".join(f"{name} {self._worth(term)}" for name, term in self.terms.items())

    def weights(self) -> dict[str, float]:
        """The same as metrics: ``reward_weight/NAME``, and under ``joint`` ``reward_weight/NAME_mllm``."""
        found = {}
        for name, term in self.terms.items():
            found[f"reward_weight/{name}"] = float(term.weight)
            if self.joint:
                found[f"reward_weight/{name}_mllm"] = float(term.weight_for_mllm)
        return found

    def _worth(self, term: RewardTerm) -> str:
        sampler, mllm = (f"{w:g}" if w else "logged only" for w in (term.weight, term.weight_for_mllm))
        return f"{sampler} (MLLM: {mllm})" if self.joint else sampler

    def training_begins(self, questions: Sequence[VideoQuestion]) -> None:
        """Tells every term which questions are trained on."""
        for term in self.terms.values():
            term.reward.training_begins(questions)

    def score(self, rollouts: Rollouts, device: torch.device) -> Rewards:
        """Scores B x G rollouts; where the frames of a question could not be decoded, no term applies.

        Args:
            rollouts: answered.
            device: of the results.

        Raises:
            RuntimeError: a term raised; names the term, the question and the answer.
            ValueError: a term is infinite or has another shape.
        """
        terms = {name: self._scored(name, term.reward, rollouts, device) for name, term in self.terms.items()}
        infinite = torch.stack([term.isinf().any() for term in terms.values()]).tolist()  # one copy from the device
        if any(infinite):
            name = list(terms)[infinite.index(True)]
            raise ValueError(f"reward {name!r} is infinite; NaN is how a term says that it does not apply")
        return Rewards(
            terms,
            weighted_sum(terms, {name: term.weight for name, term in self.terms.items()}),
            weighted_sum(terms, {name: term.weight_for_mllm for name, term in self.terms.items()}),
        )

    @staticmethod
    def _scored(name: str, reward: Reward, rollouts: Rollouts, device: torch.device) -> Tensor:
        try:
            scores = reward(rollouts)
        except Exception as error:
            raise RuntimeError(f"reward {name!r} raised {error!r} on {_where(reward, rollouts)}") from error
        expected = tuple(rollouts.selection.candidate_index.shape[:2])
        if tuple(scores.shape) != expected:
            raise ValueError(f"reward {name!r} returned {tuple(scores.shape)}, expected (B, G) = {expected}")
        scores = scores.to(device, torch.float32)
        for b in (*rollouts.undecoded, *rollouts.unanswered):  # nobody saw these frames, or nobody answered
            scores[b] = torch.nan
        return scores


def _where(reward: Reward, rollouts: Rollouts) -> str:
    """The first question, and the first of its answers, at which a reward raises alone; all of them where none does."""
    for b in range(len(rollouts.batch)):
        if _raises(reward, rollouts.only(b, slice(None))):
            texts = None if rollouts.texts is None else rollouts.texts[b]
            num_rollouts = rollouts.selection.candidate_index.shape[1]
            g = next((g for g in range(num_rollouts) if _raises(reward, rollouts.only(b, slice(g, g + 1)))), None)
            one = f"answer {texts[g]!r}" if texts and g is not None else f"answers {texts}"
            return f"question {rollouts.metadata(b)}, {one}"
    return f"questions {[rollouts.metadata(b) for b in range(len(rollouts.batch))]}, answers {rollouts.texts}"


def _raises(reward: Reward, rollouts: Rollouts) -> bool:
    try:
        reward(rollouts)
    except Exception:
        return True
    return False


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """sum_i w_i r_i of the terms that are not NaN, (B, G); a rollout of nothing but NaN stays NaN."""
    stacked = torch.stack([weights[name] * term for name, term in terms.items()])
    return stacked.nansum(0).masked_fill(stacked.isnan().all(0), torch.nan)
