"""Pictures of what a policy does in training: the candidates of one video with score curve, evidence, chosen frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse.typing import PositiveInt

from callbacks.after_update import AfterUpdate
from callbacks.timeline_picture import save_figure, timeline_figure
from callbacks.tracking.run_logger import run_loggers
from modules.records import QuestionBatch, Rollouts
from modules.systems.option_shares import OptionShare, option_shares
from modules.systems.stage_data import data_of


class TimelineImages(AfterUpdate):
    """Draws the first question of a batch every ``every_n_steps`` updates, and logs the picture.

    Args:
        every_n_steps: how often.
        run_dir: pictures go to ``images/`` below it.
    """

    def __init__(self, *, run_dir: str, every_n_steps: PositiveInt = 50) -> None:
        self.folder, self.every_n_steps = Path(run_dir) / "images", every_n_steps

    def on_update_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any) -> None:
        if not trainer.is_global_zero or trainer.global_step % self.every_n_steps not in (0, 1):
            return
        if trainer.global_step % self.every_n_steps == 1 and trainer.global_step != 1:
            return
        path = self.folder / f"step_{trainer.global_step:06d}.png"
        self._draw(path, trainer, pl_module, outputs["rollouts"], outputs["rewards"].terms)
        for logger in run_loggers(trainer) if path.is_file() else ():
            logger.log_picture(path, "timeline", trainer.global_step)

    @torch.no_grad()
    def _draw(
        self, path: Path, trainer: L.Trainer, pl_module: Any, rollouts: Rollouts, terms: Mapping[str, torch.Tensor]
    ) -> None:
        batch = rollouts.batch
        question, candidates = batch.questions[0], batch.candidates[0]
        queries, written = batch.queries[:1], ""
        if rollouts.queries is not None and rollouts.query_features is not None:
            shown = pictured_rollout(rollouts.queries[0])
            queries = rollouts.query_features[0, shown : shown + 1]
            written = f"\nqueries of rollout {shown}: {', '.join(rollouts.queries[0][shown]) or 'none'}"
        inputs = (batch.features[:1], batch.mask[:1], batch.timestamps_s[:1], queries)
        policy = pl_module.sampler.policies(QuestionBatch(batch.questions[:1], batch.candidates[:1], *inputs))
        best = policy.mode(pl_module.num_frames).in_time_order()[0, 0].cpu()
        best = best[best >= 0]
        scores = pl_module.sampler.scores_behind(policy, *inputs)
        drawn = rollouts.selection.candidate_index[0].flatten()
        counts = torch.bincount(drawn[drawn >= 0].cpu(), minlength=len(candidates)).numpy()
        pixels = data_of(trainer).decode(candidates, best)
        if pixels is None:  # the data module has said why
            return
        right = terms.get("accuracy", terms.get("probability"))
        mean = "" if right is None else f"   rollouts right: {float(right[0].nanmean()):.0%}"
        figure = timeline_figure(
            title=f"step {trainer.global_step}   {question.question}{mean}{written}",
            timestamps_s=candidates.timestamps_s.numpy(),
            scores=None if scores is None else scores[0, : len(candidates)].cpu().numpy(),
            chosen=best.numpy(),
            thumbnails=pixels.permute(0, 2, 3, 1).numpy(),
            evidence_s=question.evidence_s,
            drawn=counts,
            options=_mean_options(rollouts),
        )
        save_figure(figure, path)


def pictured_rollout(queries: Sequence[Sequence[str]]) -> int:
    """The first rollout of a question that wrote queries, by its number in ``rollouts.jsonl``; 0 where none did."""
    return next((number for number, written in enumerate(queries) if written), 0)


def _mean_options(rollouts: Rollouts) -> list[OptionShare]:
    """The options of the first question with their probabilities, on average over its rollouts."""
    question = rollouts.batch.questions[0]
    if rollouts.option_log_probs is None:
        return []
    shares = rollouts.option_log_probs[0, :, : len(question.options)].exp().mean(0).tolist()
    best = max(range(len(shares)), key=shares.__getitem__, default=None)
    return option_shares(question.options, shares, best, question.answer_index)
