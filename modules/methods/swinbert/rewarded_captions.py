"""Learning from rewards of one's own captions, e.g. their CIDEr-D, by the GRPO step that all methods share.

G captions of each clip are drawn word by word at a temperature; each is compared with the others of its clip. (Official
code: self-critical training is a leftover of the code that it grew out of, and no published model used it.) No dropout
and no stochastic depth, so that the probabilities that are learnt from are those that were drawn from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from modules.methods.swinbert.caption_objective import CaptionObjective, Dice, Holding, ObjectiveLoss
from modules.methods.swinbert.clip_reading import ReadClips
from modules.methods.swinbert.layer_keys import VideoKeys
from modules.methods.swinbert.swinbert_network import SwinBERT
from modules.records import Rollouts, Selection, VideoQuestion
from modules.rl.advantages import zero_std
from modules.rl.grpo import GRPO, grpo_loss
from modules.rl.reductions import BY_LENGTH, BY_SEQUENCE
from modules.rl.reward_sum import RewardSum, RewardTerm


class RewardedCaptions(CaptionObjective):
    """The GRPO loss of the words of drawn captions.

    Args:
        rewards: terms that read text, by the name that each is logged under; None leaves one out.
        grpo: G, what a caption is compared with, and the loss.
        temperature: captions are drawn at.
        max_words: longest caption, with the end token.
    """

    def __init__(
        self,
        *,
        rewards: Mapping[str, RewardTerm | None],
        grpo: GRPO | None = None,
        temperature: float = 1.0,
        max_words: int = 20,
    ) -> None:
        self.grpo, self.temperature, self.max_words = grpo or GRPO(), temperature, max_words
        self.reward_sum = RewardSum(rewards, joint=False)
        if self.reward_sum.needs_options:
            raise ValueError("rewards: a caption has no options to score; take rewards that read text alone")
        if temperature <= 0 or max_words < 1:
            raise ValueError(f"temperature={temperature}: above 0; max_words={max_words}: at least 1")
        if self.grpo.num_iterations > 1 or self.grpo.beta > 0 or self.grpo.entropy_coef > 0:
            raise ValueError(
                "grpo: captions are drawn anew for each update and compared with no reference: num_iterations is 1, "
                "beta and entropy_coef are 0"
            )

    def training_begins(self, questions: Sequence[VideoQuestion]) -> None:
        for term in self.reward_sum.terms.values():
            term.reward.training_begins(questions)

    def loss(self, network: SwinBERT, clips: ReadClips, dice: Dice, holding: Holding) -> ObjectiveLoss:
        network.eval()
        group = self.grpo.num_generations
        questions = clips.batch.questions
        keys = None if holding.scattered else network.read(clips.frames).repeated(group)
        with holding.gathered():  # captions of unlike lengths are unlike numbers of forwards
            written = network.draw(
                _without_graph(network, clips, group) if keys is None else keys,
                max_words=self.max_words,
                generators=[dice.of(q, "caption", g) for q in questions for g in range(group)],
                temperature=self.temperature,
            )
        keys = network.read(clips.frames).repeated(group) if keys is None else keys
        texts = [network.text_of(ids) for ids in written.ids]
        rollouts = _rollouts(clips, texts, group)
        rewards = self.reward_sum.score(rollouts, network.device)
        advantages = self.grpo.advantage_of(rollouts, rewards.mllm).flatten()
        log_probs = network.log_probs(keys, written.ids, self.temperature)
        lengths = torch.tensor([len(ids) for ids in written.ids], device=log_probs.device)
        real = torch.arange(log_probs.shape[1], device=log_probs.device)[None] < lengths[:, None]
        old = torch.nn.utils.rnn.pad_sequence(written.log_probs, batch_first=True).to(log_probs)
        found = grpo_loss(self.grpo, log_probs, old, advantages.to(log_probs), real, max_length=self.max_words)
        metrics: dict[str, Tensor | float] = {
            "reward/total": rewards.mllm.nanmean(),
            **{f"reward/{name}": term.nanmean() for name, term in rewards.terms.items()},
            "reward/zero_std_frac": zero_std(rewards.mllm).float().mean(),
            "tokens/ratio_clipped_frac": found.clipped_frac,
            "tokens/surprise_nats": -(log_probs.detach() * real).sum() / real.sum(),
            "tokens/ended_frac": sum(int(ids[-1]) == network.end_id for ids in written.ids) / len(texts),
        }
        by_caption = self.grpo.reduction in (BY_SEQUENCE, BY_LENGTH)
        return ObjectiveLoss(found.loss, len(texts) if by_caption else int(lengths.sum()), metrics)


@torch.no_grad()
def _without_graph(network: SwinBERT, clips: ReadClips, group: int) -> VideoKeys:
    return network.read(clips.frames).repeated(group)


def _rollouts(clips: ReadClips, texts: list[str], group: int) -> Rollouts:
    """The captions as rewards read them: B lists of G."""
    index = clips.selection.candidate_index.expand(-1, group, -1)
    grouped = [texts[n : n + group] for n in range(0, len(texts), group)]
    return Rollouts(clips.batch, Selection(index, torch.zeros(index.shape)), None, grouped)
