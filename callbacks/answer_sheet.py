"""Prints the answer to one question with the moments it rests on, and draws them as a contact sheet."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import torch

from callbacks.timeline import draw_timeline
from modules.console import PlainConsole
from modules.records import QuestionBatch, Rollouts


class AnswerSheet(L.Callback):
    """For ``ask``: answer, probabilities of the options, chosen times, ``contact_sheet.png``.

    Args:
        run_dir: where the picture goes.
    """

    def __init__(self, *, run_dir: str) -> None:
        self.run_dir = Path(run_dir)

    @torch.no_grad()
    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Rollouts,
        batch: QuestionBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not trainer.is_global_zero:
            return
        scores = pl_module.sampler.scores(batch.features, batch.mask, batch.timestamps_s, batch.queries)
        for b, (question, candidates) in enumerate(zip(batch.questions, batch.candidates, strict=True)):
            if b in outputs.undecoded:
                raise ValueError(
                    f"{question.video}: the frames that were chosen cannot be decoded, so nothing was asked"
                )
            picks = outputs.selection.in_time_order()[b, 0].cpu()
            picks = picks[picks >= 0]
            assert outputs.texts is not None
            text = outputs.texts[b][0]
            answer = text
            console = PlainConsole(soft_wrap=True)
            console.print(f"question    {question.question}")
            if outputs.option_log_probs is not None:
                probabilities = outputs.option_log_probs[b, 0].exp()
                best = int(outputs.chosen_option[b, 0])
                answer = question.options[best] if best >= 0 else "none of the options"
                console.print("answer      ", end="")
                console.print(answer, style="bold", end="")
                console.print(f"   (in its own words: {text})")
                shares = ", ".join(
                    f"{o} {p:.0%}" for o, p in zip(question.options, probabilities.tolist(), strict=False)
                )
                console.print(f"options     {shares}")
            else:
                console.print("answer      ", end="")
                console.print(text, style="bold")
            times = candidates.timestamps_s[picks]
            console.print(
                f"looked at   {', '.join(f'{t:.1f} s' for t in times.tolist())}  of {candidates.duration_s:.1f} s"
            )
            path = self.run_dir / "contact_sheet.png"
            draw_timeline(
                path,
                title=f"{question.question}   {answer}",
                timestamps_s=candidates.timestamps_s.numpy(),
                scores=None if scores is None else scores[b, : len(candidates)].cpu().numpy(),
                chosen=picks.numpy(),
                thumbnails=trainer.datamodule.decode(candidates, picks).permute(0, 2, 3, 1).numpy(),
            )
            console.print(f"picture     {path}")
