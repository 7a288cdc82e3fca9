"""What a sampler is: frame features and queries in, a distribution over selections out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from modules.records import QuestionBatch
from modules.selection.policies import FramePolicy


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn at one rate."""

    parameters: list[nn.Parameter]
    lr_share: float = 1.0
    """Of the sampler's learning rate."""


def check_comparable(features: Tensor, queries: Tensor) -> None:
    """Samplers that compare frames with texts call it, so that nothing is ranked by nothing.

    Args:
        features: (B, T, D) of frames; D is 0 where the data module has no encoder.
        queries: (B, Q, D) of texts; Q is 0 where it has none that reads texts.

    Raises:
        ValueError: one of them is missing.
    """
    if not (features.shape[-1] and queries.shape[1]):
        raise ValueError(
            f"this sampler compares frames with texts, and here are features {tuple(features.shape)} and queries "
            f"{tuple(queries.shape)}: data.encoder has to be one of images and texts"
        )


class FrameSampler(ABC, nn.Module):
    """Maps candidates and queries to a `FramePolicy`. No trainer, no logging, no I/O.

    Its parameters stay float32 and its forward runs without autocast, whatever the modules around it are cast to: what
    tells neighbouring frames of a long video apart is finer than bfloat16.
    """

    reads_features: ClassVar[bool] = True
    """Whether the choice depends on what is in the frames, so that all candidates have to be decoded for it."""
    scores_frames_alone: ClassVar[bool] = False
    """Whether a frame's score is a matter of that frame alone, so that some can be scored without the rest."""

    def __call__(self, features: Tensor, *others: Any, **named: Any) -> Any:
        with torch.autocast(features.device.type, enabled=False):
            return super().__call__(features, *others, **named)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FrameSampler:
        """Moves to another device, but to no smaller precision than float32."""

        def moved(tensor: Tensor) -> Tensor:
            out = fn(tensor)
            return tensor.to(out.device) if out.dtype in (torch.bfloat16, torch.float16) else out

        return super()._apply(moved, recurse)

    @abstractmethod
    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> FramePolicy:
        """Builds the policy of each question.

        Args:
            features: (B, T, D) frozen frame features, zero at padding.
            mask: bool (B, T), True at real candidates.
            timestamps_s: (B, T) seconds.
            queries: (B, Q, D) features of the texts to look for.
        """

    def policies(self, batch: QuestionBatch) -> FramePolicy:
        """The policy of each question of a batch; for samplers that need to know more than its tensors."""
        return self(batch.features, batch.mask, batch.timestamps_s, batch.queries)

    def scores(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> Tensor | None:
        """Float32 (B, T) score of each candidate, for pictures; None where a sampler has no such thing."""
        return None

    def scores_behind(
        self, policy: FramePolicy, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor
    ) -> Tensor | None:
        """`scores`, without asking again where a policy of the same tensors remembers what it was made of."""
        return self.scores(features, mask, timestamps_s, queries) if policy.scores is None else policy.scores

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """What the optimizer gets, by a short name; "" is the sampler's own."""
        return {"": ParameterGroup(list(self.parameters()))}
