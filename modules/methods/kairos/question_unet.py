"""Our own sampler: a U-Net over time that reads the question and the frames, and not their similarity alone.

MSJoE's U-Net sees how alike each frame and the question are. What a question about *right after*, *first* or *last*
asks for is like nothing that it says: the evidence is another thing, found by its place beside what is named. So here
the net gets, beside the similarity, a few learnt channels of what is in a frame, of how that agrees with the question,
and the frame's place in the video; and the question scales and shifts the channels of every level (FiLM, arXiv
1709.07871), so that *after* and *before* can look to different sides.
"""

from __future__ import annotations

import torch
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from modules.selection.base import check_comparable
from modules.selection.temporal_unet import TemporalUNet, standardised


class QuestionUNet(TemporalUNet):
    """The trainable U-Net.

    Args:
        dim: D, width of the encoder's features.
        content_channels: learnt channels of a frame's features, and as many of its agreement with the question; 0: the
            similarity and the place alone.
        channels: of the levels, from fine to coarse; multiples of 8.
        temperature: logits are scores / temperature.
        similarity_init: where the net starts: scores are the net's output plus a learnt multiple, at first this, of the
            standardised cosine.
    """

    def __init__(
        self,
        *,
        dim: PositiveInt,
        content_channels: NonNegativeInt = 16,
        channels: tuple[int, ...] = (32, 64, 64),
        temperature: PositiveFloat = 1.0,
        similarity_init: float = 0.0,
    ) -> None:
        super().__init__(
            inputs=3 + 2 * content_channels,
            channels=channels,
            temperature=temperature,
            similarity_init=similarity_init,
            condition_dim=dim,
        )
        self.content = nn.Linear(dim, content_channels, bias=False)
        self.agreement = nn.Linear(dim, content_channels, bias=False)

    def scores(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> Tensor:
        """(B, T); of several queries the first, which is the question."""
        check_comparable(features, queries)
        with torch.autocast(features.device.type, enabled=False):
            frames = nn.functional.normalize(features.float(), dim=-1)
            question = nn.functional.normalize(queries[:, 0].float(), dim=-1)
            agreement = frames * question[:, None]
            cosine = agreement.sum(-1)[:, None]
            learnt = torch.cat([self.content(frames), self.agreement(agreement)], dim=-1).transpose(1, 2)
            standard = standardised(torch.cat([cosine, learnt], dim=1), mask)
            inside = mask.float()
            place = (timestamps_s * inside) / (timestamps_s * inside).amax(1, keepdim=True).clamp(min=1e-3)
            others = torch.stack([cosine[:, 0], 2 * place - 1], dim=1) * inside[:, None]
            return self.net(torch.cat([standard, others], dim=1), mask, question) + self.similarity * standard[:, 0]
