"""Evaluates samplers with an MLLM: choose, show, keep what it said. Nothing is trained and nothing is judged here.

Each question gets one `Answer` (raw text and option log-probabilities) and one `SelectionRow` for each sampler, which
`callbacks.evaluation_report.EvaluationReport` writes; scorers read them then, or a year later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from jsonargparse.typing import PositiveInt

from modules.checkpoints.weights import refuse_unknown
from modules.distributed.precision import settle_precision
from modules.encoders.base import FrameEncoder
from modules.encoders.frame_demand import FrameDemand
from modules.mllms.base import MLLM
from modules.records import Answer, QuestionBatch, Rollouts, Selection
from modules.selection.base import FrameSampler
from modules.selection.evidence import oracle_selection
from modules.selection.selection_files import SelectionRow
from modules.systems.answering import Answering
from modules.systems.frame_source import FrameSource
from modules.systems.readouts import Decoding

_ARM = "arms.sampler."


class EvaluationModule(L.LightningModule, FrameDemand):
    """Args:
    mllm: what answers.
    samplers: arms by name; the one called ``sampler`` takes the weights of the recipe's ``checkpoint``.
        Null leaves out an arm, in an overlay.
    decodings: more arms: other ways to take frames from the one called ``sampler``, whose own are the most probable.
    num_frames: K.
    score_options: take option log-probabilities, one forward.
    generate: take an answer in text.
    max_new_tokens: of it.
    blind: an arm without any frame, to see what the questions give away.
    oracle: an arm that is shown the evidence, where it is known.
    store_frame_tokens, rows_per_forward, canary: see `modules.systems.answering.Answering`.
    """

    def __init__(
        self,
        *,
        mllm: MLLM,
        samplers: dict[str, FrameSampler | None],
        decodings: dict[str, Decoding] | None = None,
        num_frames: PositiveInt = 64,
        score_options: bool = True,
        generate: bool = False,
        max_new_tokens: PositiveInt = 16,
        blind: bool = False,
        oracle: bool = False,
        store_frame_tokens: bool = False,
        rows_per_forward: PositiveInt = 8,
        canary: bool = True,
    ) -> None:
        super().__init__()
        arms = {name: sampler for name, sampler in samplers.items() if sampler is not None}
        if not arms:
            raise ValueError("samplers: name at least one arm")
        if not (score_options or generate):
            raise ValueError("nothing to evaluate: score_options or generate has to be true")
        if decodings and ("sampler" not in arms or arms.keys() & decodings.keys()):
            raise ValueError(f"decodings {sorted(decodings)} need names of their own and an arm 'sampler' to decode")
        self.mllm = mllm.requires_grad_(False)
        self.arms, self.decodings = torch.nn.ModuleDict(arms), torch.nn.ModuleDict(decodings or {})
        self.num_frames, self.score_options, self.generate = num_frames, score_options, generate
        self.blind, self.oracle = blind, oracle
        self.strict_loading = False
        self.answering = Answering(
            mllm, store_frame_tokens=store_frame_tokens, rows_per_forward=rows_per_forward,
            max_new_tokens=max_new_tokens, canary=canary,
        )  # fmt: skip
        self._trained_mllm = "none"
        self._hashes: dict[str, str] = {}

    @property
    def _source(self) -> FrameSource:
        return self.trainer.datamodule

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes what a run has trained: its sampler, with its temperature, into the arm called ``sampler``, and its
        MLLM, which answers for every arm then."""
        if "sampler" not in self.arms:
            raise ValueError("a checkpoint holds a trained sampler; name the arm that it belongs to 'sampler'")
        saved = {_in_arm(name): tensor for name, tensor in checkpoint["state_dict"].items()}
        refuse_unknown(saved, self)
        expected = {f"{_ARM}{n}" for n, p in self.arms["sampler"].named_parameters() if p.requires_grad}
        missing = expected - saved.keys()
        if missing:
            raise ValueError(f"this checkpoint is of another sampler: {sorted(missing)[:5]} are not in it")
        if checkpoint.get("temperature") is not None:
            self.arms["sampler"].temperature = checkpoint["temperature"]
        trained = [tensor for name, tensor in saved.items() if name.startswith("mllm.")]
        self._trained_mllm = f"{sum(t.numel() for t in trained):,} parameters of the checkpoint" if trained else "none"
        checkpoint["state_dict"] = saved

    @contextmanager
    def stored_encoders(self) -> Iterator[list[FrameEncoder]]:
        yield [self.mllm] if self.answering.store_frame_tokens else []

    @property
    def frames_per_question(self) -> int:
        return 0 if self.answering.store_frame_tokens else self.num_frames

    def setup(self, stage: str) -> None:
        settle_precision(self.trainer.strategy, self.mllm)

    def describe(self) -> dict[str, Any]:
        """For the evaluation card."""
        return {
            "num_frames": self.num_frames, **self.mllm.describe(), "trained in the mllm": self._trained_mllm,
            "decoding of texts": self.mllm.decoding(0.0) if self.generate else "none generated",
            "samplers": {name: self._hash(name) for name in (*self.arms, *self.decodings)},
        }  # fmt: skip

    def _hash(self, arm: str) -> str:
        """Class, plain settings and weights of an arm's sampler, as a short hash with the class's name."""
        if arm in self._hashes:
            return self._hashes[arm]
        if arm in self.decodings:
            self._hashes[arm] = f"{self._hash('sampler')}, {type(self.decodings[arm]).__name__}"
            return self._hashes[arm]
        sampler = self.arms[arm]
        plain = {k: v for k, v in vars(sampler).items() if isinstance(v, (int, float, str, bool)) and k[0] != "_"}
        digest = hashlib.sha256(repr((type(sampler).__qualname__, sorted(plain.items()))).encode())
        for name, tensor in sampler.state_dict().items():
            digest.update(name.encode() + tensor.detach().cpu().float().numpy().tobytes())
        self._hashes[arm] = f"{type(sampler).__name__}-{digest.hexdigest()[:10]}"
        return self._hashes[arm]

    @torch.no_grad()
    def test_step(self, batch: QuestionBatch, batch_idx: int) -> list[tuple[Answer, SelectionRow | None]]:
        """An answer and a selection for each question and arm."""
        out: list[tuple[Answer, SelectionRow | None]] = []
        for arm, sampler in self.arms.items():
            policy = sampler.policies(batch)  # type: ignore[operator]
            scores = sampler.scores(batch.features, batch.mask, batch.timestamps_s, batch.queries)  # type: ignore[operator]
            chosen = {arm: policy.mode(self.num_frames)}
            for name, decoding in self.decodings.items() if arm == "sampler" else ():
                chosen[name] = decoding.choose(policy, self._source, batch, self.answering, self.num_frames)  # type: ignore[operator]
            for name, selection in chosen.items():
                rollouts = self._ask(batch, selection)
                for b in range(len(batch)):
                    row = self._selection_row(batch, b, name, selection, scores)
                    out.append((self._answer(rollouts, b, name, row.timestamps_s), row))
        for name, index in self._yardsticks(batch).items():
            rollouts = self._ask(batch, Selection(index, torch.zeros(index.shape, device=self.device)))
            out += [(self._answer(rollouts, b, name, ()), None) for b in range(len(batch))]
        return out

    def _ask(self, batch: QuestionBatch, selection: Selection) -> Rollouts:
        return self.answering.answer(self._source, batch, selection, options=self.score_options, text=self.generate)

    def _yardsticks(self, batch: QuestionBatch) -> dict[str, torch.Tensor]:
        arms = {}
        if self.blind:
            arms["blind"] = torch.full((len(batch), 1, self.num_frames), -1, device=self.device)
        if self.oracle:
            arms["oracle"] = oracle_selection(batch, self.num_frames).to(self.device)
        return arms

    def _answer(self, rollouts: Rollouts, b: int, arm: str, timestamps_s: tuple[float, ...]) -> Answer:
        question, scores = rollouts.batch.questions[b], rollouts.option_log_probs
        return Answer(
            dataset=question.dataset, split=question.split, sample_id=question.sample_id, video=question.video, arm=arm,
            question=question.question, options=question.options, answer_index=question.answer_index,
            text=None if rollouts.texts is None else rollouts.texts[b][0],
            option_log_probs=None if scores is None else tuple(scores[b, 0, : len(question.options)].tolist()),
            timestamps_s=timestamps_s, evidence_s=question.evidence_s, groups=question.groups,
        )  # fmt: skip

    def _selection_row(
        self, batch: QuestionBatch, b: int, arm: str, selection: Selection, scores: torch.Tensor | None
    ) -> SelectionRow:
        question, candidates = batch.questions[b], batch.candidates[b]
        drawn = selection.candidate_index[b, 0].cpu()
        drawn = drawn[drawn >= 0]
        order = drawn.argsort()
        chosen = drawn[order]
        return SelectionRow(
            dataset=question.dataset, split=question.split, sample_id=question.sample_id, video=candidates.video,
            sampler=arm, frame_ids=tuple(candidates.frame_ids[chosen].tolist()),
            timestamps_s=tuple(round(t, 6) for t in candidates.timestamps_s[chosen].tolist()),
            scores=() if scores is None else tuple(scores[b].cpu()[chosen].tolist()), ranks=tuple(order.tolist()),
            video_fps=candidates.video_fps, num_video_frames=candidates.num_video_frames,
            num_candidates=len(candidates), decoder=candidates.decoder, sampler_hash=self._hash(arm),
        )  # fmt: skip


def _in_arm(name: str) -> str:
    """Where a parameter of a training checkpoint belongs here."""
    return f"{_ARM}{name.removeprefix('sampler.')}" if name.startswith("sampler.") else name
