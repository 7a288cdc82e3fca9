"""Trains a SwinBERT end to end on captioned clips, and tests it: one LightningModule for both of its losses.

One update, for B clips: T evenly spaced frames of each are decoded and cut to squares; the objective gives its loss,
hidden words (`masked_word_loss`) or rewards (`rewarded_captions`); the sparsity loss, the mean of the mask's links
times its weight, is added; one AdamW step on named groups with rates of their own. Several ranks take the step that one
process would take on all of their clips, whoever has more words of them; under ZeRO the whole network is scattered.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse.typing import NonNegativeFloat
from torch import Tensor

from modules.checkpoints.checkpoint_files import plain_files, read
from modules.distributed.ranks import gather_lists
from modules.encoders.base import FrameEncoder
from modules.encoders.frame_demand import FrameDemand
from modules.files.paths import ModelPath
from modules.methods.swinbert.caption_encoder import EncoderSize
from modules.methods.swinbert.caption_objective import CaptionObjective, Dice, Holding, ObjectiveLoss
from modules.methods.swinbert.caption_rates import CaptionRates
from modules.methods.swinbert.captioning_system import CaptionDecoding, CommonCaption, SwinBERTSystem
from modules.methods.swinbert.clip_reading import blank_clips, read_clips
from modules.methods.swinbert.kept_network import kept_tokenizer, network_state, take_network
from modules.methods.swinbert.masked_word_loss import MaskedWordLoss
from modules.methods.swinbert.swinbert_folder import save_network
from modules.methods.swinbert.swinbert_network import SwinBERT
from modules.methods.swinbert.token_grid import TokenGrid
from modules.methods.swinbert.video_masks import VideoMask
from modules.methods.swinbert.video_swin import VideoSwin
from modules.methods.swinbert.word_vocabulary import load_tokenizer, word_tokenizer
from modules.records import Answer, QuestionBatch
from modules.rewards.caption_metrics import caption_metrics
from modules.rewards.exact_match import exact_match
from modules.rl.optimization import Optimization
from modules.rl.optimizer_step import OptimizerStep, optimizer_step_for
from modules.rl.update_metrics import UpdateMetrics, log_means
from modules.systems.base import Reply, VideoSystem, answer_all, described
from modules.systems.stage_data import data_of


@dataclass(frozen=True, kw_only=True)
class ClipFrames:
    """What is read of a clip.

    Args:
        num_frames: T, evenly spaced (paper: 32 to 64).
        size_px: side of the square that they are cut to (paper: 224).
        random_crop: the square lies anywhere in training, and in the middle otherwise (paper).
    """

    num_frames: int = 32
    size_px: int = 224
    random_crop: bool = True

    def __post_init__(self) -> None:
        if min(self.num_frames, self.size_px) < 1:
            raise ValueError(f"num_frames={self.num_frames}, size_px={self.size_px}: at least 1")


class CaptionTraining(L.LightningModule, FrameDemand):
    """Trains and tests a captioner.

    Args:
        backbone: of the frames.
        encoder: size of the multimodal encoder.
        mask: which video tokens may attend to which.
        frames: of a clip.
        tokenizer: folder or hub id of one with BERT's special tokens; None makes one of the words of the training
            captions.
        objective: what is learnt from.
        sparsity_weight: of the mean of the mask's links beside it (official code: 0.5; 0.1 for TVC).
        optimizer: AdamW and its schedule.
        rates: of the parts, as shares of its learning rate.
        decoding: how captions are written in validation and test.
        init_from: checkpoint of an earlier run to start from, whose vocabulary is taken; its mask is carried to this
            run's number of frames.
        output: folder that the trained model is written to; None writes none.
        seed: of everything that is drawn.
    """

    def __init__(
        self,
        *,
        backbone: VideoSwin,
        encoder: EncoderSize | None = None,
        mask: VideoMask,
        frames: ClipFrames | None = None,
        tokenizer: ModelPath | None = None,
        objective: CaptionObjective | None = None,
        sparsity_weight: NonNegativeFloat = 0.5,
        optimizer: Optimization | None = None,
        rates: CaptionRates | None = None,
        decoding: CaptionDecoding | None = None,
        init_from: str | None = None,
        output: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.parts = (backbone, encoder or EncoderSize(), mask)
        self.frames, self.tokenizer, self.objective = frames or ClipFrames(), tokenizer, objective or MaskedWordLoss()
        self.sparsity_weight, self.optimization = sparsity_weight, optimizer or Optimization()
        self.rates, self.decoding = rates or CaptionRates(), decoding or CaptionDecoding()
        self.init_from, self.output, self.seed = init_from, output, seed
        self.network: SwinBERT | None = None
        self.metrics = UpdateMetrics()
        self.gradient_step: OptimizerStep
        self.systems: dict[str, VideoSystem] = {}
        self._validated: list[Answer] = []
        self._batches = 0

    def configure_model(self) -> None:
        if self.network is not None:
            return
        start = None if self.init_from is None else read(self.init_from)
        backbone, encoder, mask = self.parts
        if start is not None:
            tokenizer = kept_tokenizer(start, str(self.init_from))
        elif self.tokenizer is not None:
            tokenizer = load_tokenizer(self.tokenizer)
        else:
            questions = data_of(self.trainer).questions("train")
            tokenizer = word_tokenizer(caption for question in questions for caption in question.references)
        self.network = SwinBERT(
            backbone=backbone,
            encoder=encoder,
            mask=mask,
            tokenizer=tokenizer,
            num_frames=self.frames.num_frames,
            size_px=self.frames.size_px,
        )
        if start is not None:
            take_network(self.network, start, str(self.init_from))
        if self.rates.backbone_lr_share == 0:
            backbone.requires_grad_(False)
        if self.rates.mask_lr_share == 0:
            mask.requires_grad_(False)

    def setup(self, stage: str) -> None:
        strategy: Any = self.trainer.strategy
        limits = (self.optimization.max_grad_norm, self.optimization.max_nonfinite_steps)
        self.gradient_step = optimizer_step_for(strategy, *limits)
        precision = str(strategy.precision_plugin.precision)
        if precision not in ("32-true", "bf16-mixed"):
            raise ValueError(
                f"trainer.precision: {precision}; 32-true or bf16-mixed. What is trained is float32: steps of the "
                "mask's logits are lost in less, and float16 would need its loss scaled"
            )
        strategy.checkpoint_io = plain_files(strategy.checkpoint_io)

    # ---- training ----

    @property
    def _network(self) -> SwinBERT:
        assert self.network is not None  # configure_model
        return self.network

    def on_fit_start(self) -> None:
        self.objective.training_begins(data_of(self.trainer).questions("train"))

    def training_step(self, batch: QuestionBatch, batch_idx: int) -> dict[str, Any]:
        network, source = self._network, data_of(self.trainer)
        dice = Dice(self.seed, self._batches)
        squares = [dice.of(question, "square") for question in batch.questions] if self.frames.random_crop else None
        clips = read_clips(batch, source, self.frames.num_frames, self.frames.size_px, squares)
        self.metrics.add({"train/undecoded_frac": 1 - (0 if clips is None else len(clips.places)) / len(batch)})
        holding = Holding(self.gradient_step.shards, partial(self.gradient_step.gathered, self))
        with self._computing():
            read = clips or blank_clips(batch, self.frames.num_frames, self.frames.size_px)
            found = self.objective.loss(network, read, dice, holding)
            sparsity = network.mask.sparsity().to(found.loss.device)
        share = self._share(found if clips is not None else None)
        if share is None:  # no rank has a clip: the sparsity loss alone would go on closing links
            loss = (found.loss + sparsity) * 0.0
        else:
            loss = found.loss * share + float(self.sparsity_weight) * sparsity
            self.metrics.add({"mask/mean": sparsity.detach(), "train/loss": loss.detach()})
        if clips is not None:
            self.metrics.add(found.metrics)
        self._batches += 1
        last = self._batches % self.optimization.accumulate == 0
        self.gradient_step.backward(self, loss / self.optimization.accumulate, last)
        source.count_batch()
        if last:
            norms = self.gradient_step.step(self, loss)
            self.metrics.add({f"grad_norm/{name}": norm for name, norm in norms.items()})
            log_means(self, self.metrics.reduced(), self.trainer.log_every_n_steps)  # type: ignore[attr-defined]
        return {"loss": loss.detach()}

    def _share(self, found: ObjectiveLoss | None) -> float | None:
        """What this rank's mean is multiplied by, so that the ranks' mean is that of all words (or captions) of all
        ranks; None where there are none."""
        counted = torch.tensor([0.0 if found is None else float(found.counted)], device=self.device)
        total = float(self.trainer.strategy.reduce(counted.clone(), reduce_op="sum"))
        return float(counted) * self.trainer.world_size / total if total else None

    def _computing(self) -> AbstractContextManager[Any]:
        """DeepSpeed's engine leaves the autocast that Lightning has begun."""
        half = self.gradient_step.shards and str(self.trainer.precision) == "bf16-mixed"
        return torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext()

    @property
    def scattered(self) -> SwinBERT:
        """What ZeRO holds in shares."""
        return self._network

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Named groups of the one optimizer."""
        return self.rates.groups(self._network, self.optimization)

    def configure_optimizers(self) -> dict[str, Any]:
        max_steps = self.trainer.max_steps if self.trainer.max_steps > 0 else None
        groups = self.parameter_groups()
        optimizer = torch.optim.AdamW(groups)
        schedules = [self.optimization.schedule(max_steps)] * len(groups)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, schedules)}

    # ---- validation and test ----

    def _captioner(self) -> SwinBERTSystem:
        system = SwinBERTSystem(self._network, self.frames.num_frames, self.decoding)
        system.name = "swinbert"
        return system

    def on_validation_epoch_start(self) -> None:
        self._validated = []

    @torch.no_grad()
    def validation_step(self, batch: QuestionBatch, batch_idx: int) -> None:
        with self.gradient_step.gathered(self):  # ranks have unlike numbers of words to write
            self._validated += [reply.answer for reply in self._captioner().answer(batch, data_of(self.trainer))]

    def on_validation_epoch_end(self) -> None:
        answers = gather_lists(self._validated, key=lambda answer: answer.sample_id)
        answers = list({answer.sample_id: answer for answer in answers if answer.references}.values())
        log_means(self, _validation_means(answers))

    def on_test_epoch_start(self) -> None:
        self.systems = {
            "most frequent caption": CommonCaption(data_of(self.trainer).questions("train")),
            "swinbert": self._captioner(),
        }
        for name, system in self.systems.items():
            system.name = name

    @torch.no_grad()
    def test_step(self, batch: QuestionBatch, batch_idx: int) -> list[Reply]:
        """A reply to each question of each system that is compared."""
        with self.gradient_step.gathered(self):
            return answer_all(self.systems, batch, data_of(self.trainer))

    def describe(self) -> dict[str, Any]:
        """For the evaluation card."""
        return {"num_frames": self.frames.num_frames, "systems": described(self.systems)}

    def mask_links(self) -> tuple[Tensor, TokenGrid]:
        """The mask as it is now, float32 (M, M) on the host, and where its tokens lie; for pictures."""
        grid = self._network.grid(self.frames.num_frames)
        with self.gradient_step.gathered(self):
            return self._network.mask.links(grid).detach().cpu(), grid

    # ---- Lightning ----

    @contextmanager
    def stored_encoders(self) -> Iterator[list[FrameEncoder]]:
        yield []

    @property
    def frames_per_question(self) -> int:
        return self.frames.num_frames

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["captioner"] = network_state(self._network) | {"batches": self._batches}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        kept_tokenizer(checkpoint, "this checkpoint", same_as=self._network.tokenizer)
        self._batches = checkpoint["captioner"]["batches"]

    def on_train_end(self) -> None:
        if self.output is None:
            return
        with self.gradient_step.gathered(self):
            if self.trainer.is_global_zero:
                recipe = Path(self.output).parent / "recipe.yaml"
                text = recipe.read_text(encoding="utf-8") if recipe.is_file() else ""
                save_network(self._network, Path(self.output), updates=self.global_step, recipe=text)


def _validation_means(answers: list[Answer]) -> dict[str, float]:
    """CIDEr-D, ROUGE-L and BLEU, and the share of captions that are a reference, of all and of each kind."""
    if not answers:
        return {}
    texts = [answer.text or "" for answer in answers]
    found = caption_metrics(texts, [answer.references for answer in answers])
    exact = [exact_match(text, answer.references) for text, answer in zip(texts, answers, strict=True)]
    means = {"val/cider_d": found["cider_d"], "val/exact": sum(exact) / len(exact)}
    means |= {f"val/{name}": value for name, value in found.items()}
    kinds = [str(answer.groups.get("kind", "")) for answer in answers]
    for kind in sorted(set(kinds) - {""}):
        right = [e for e, k in zip(exact, kinds, strict=True) if k == kind]
        means[f"val/exact_{kind}"] = sum(right) / len(right)
    return means
