"""How a sampler comes to its frames: who writes its queries, and its policy. Systems that agree in them share work."""

from __future__ import annotations

import hashlib
import sys
import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn

from modules.records import QuestionBatch
from modules.selection.base import FrameSampler
from modules.selection.policies import FramePolicy
from modules.systems.answering import Answering
from modules.systems.frame_source import FrameSource
from modules.systems.queries import QueryWriter


class FrameChoice(nn.Module):
    """A sampler with what it is asked to look for.

    The policy of the batch that came last is kept, so that several systems can take frames from it, each in its way, or
    show the same frames to several models.

    Args:
        sampler: chooses.
        query_writer: writes queries first; None: the question is the only query.
    """

    def __init__(self, sampler: FrameSampler, query_writer: QueryWriter | None = None) -> None:
        super().__init__()
        self.sampler, self.query_writer = sampler, query_writer
        self._batch: weakref.ref[QuestionBatch] | None = None
        self._policy: FramePolicy | None = None
        self._scores: Tensor | None = None
        self._digest: str | None = None

    def policy(
        self, source: FrameSource, batch: QuestionBatch, query_answering: Answering | None, num_frames: int
    ) -> tuple[FramePolicy, Tensor | None]:
        """Policies of B questions, without graph, and scores (B, T) where the sampler has some.

        Args:
            source: of frames and text features.
            batch: B questions.
            query_answering: whose MLLM writes the queries, the most probable ones; None where none are written.
            num_frames: K.
        """
        if self._batch is None or self._batch() is not batch:
            searched = batch
            if self.query_writer is not None:
                assert query_answering is not None, "queries are written by an MLLM"
                searched = self.query_writer.write(query_answering, source, batch, num_frames, 1).batch(batch)
            self._policy = self.sampler.policies(searched)
            self._scores = self.sampler.scores_behind(
                self._policy, searched.features, searched.mask, searched.timestamps_s, searched.queries
            )
            self._batch = weakref.ref(batch, lambda _: self._forget())
        assert self._policy is not None
        return self._policy, self._scores

    @property
    def scores(self) -> Tensor | None:
        """float (B, T), of the batch that came last; None where the sampler has no such thing."""
        return self._scores

    def _forget(self, python_ends: Callable[[], bool] = sys.is_finalizing) -> None:
        """Lets go of a batch's policy when the batch is gone: it may hold much memory of the device.

        When Python ends, a batch may go after torch has, and names of modules with it; then there is nothing to do.
        """
        if not python_ends():
            self._batch = self._policy = self._scores = None

    def begin(self) -> None:
        """An evaluation begins: the weights may have changed since the last one."""
        self._digest = None
        self._forget()

    def digest(self) -> str:
        """Class, plain settings and weights of the sampler, as a short hash with the class's name.

        Weights are read once an evaluation (see `begin`), when this is first asked.
        """
        if self._digest is None:
            self._digest = self._hash()
        return self._digest

    def _hash(self) -> str:
        sampler = self.sampler
        plain = {k: v for k, v in vars(sampler).items() if isinstance(v, (int, float, str, bool)) and k[0] != "_"}
        digest = hashlib.sha256(repr((type(sampler).__qualname__, sorted(plain.items()))).encode())
        for name, tensor in sampler.state_dict().items():
            digest.update(name.encode() + tensor.detach().cpu().to(torch.float32).numpy().tobytes())
        return f"{type(sampler).__name__}-{digest.hexdigest()[:10]}"
