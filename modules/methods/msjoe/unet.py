"""MSJoE's sampler (arXiv 2602.22932): a 1-D U-Net over the similarities of up to four queries with every frame.

No code of the paper is public. What it says: the similarity matrix is a signal over time with queries as channels, a
light U-Net of about 2 M parameters turns it into one probability a frame, and K frames are drawn without replacement.
What it leaves open, and what is done here:

- a frame's logit, softmax and Gumbel top-K: the shared Plackett-Luce policy;
- each query gives two channels, its cosine and its cosine standardised over the video (CLIP ViT-L/14's lie in 0.05 to
  0.30, so that raw values alone are nearly constant);
- queries are a set: rows are put in the order of their peaks, highest first, so that their order cannot matter (instead
  of shuffling them in training);
- absent queries get the mean of those that are there, and a channel that says so;
- a level is two convolutions of width 5 with GroupNorm and SiLU; 64, 128, 256 channels, a bottleneck of 256.
"""

from __future__ import annotations

import torch
from jsonargparse.typing import PositiveFloat, PositiveInt
from torch import Tensor, nn

from modules.selection.base import check_comparable
from modules.selection.temporal_unet import TemporalUNet, standardised


class UNetSampler(TemporalUNet):
    """The trainable U-Net.

    Args:
        max_queries: rows of the similarity matrix (paper: up to four queries).
        channels: of the levels, from fine to coarse; multiples of 8.
        temperature: logits are scores / temperature.
        similarity_init: where the net starts: scores are the net's output plus a learnt multiple, at first this, of the
            highest standardised cosine. # paper: silent; here: 0, a uniform start, or more, which saves it from
            having to find by chance what the similarities show.
    """

    def __init__(
        self,
        *,
        max_queries: PositiveInt = 4,
        channels: tuple[int, ...] = (64, 128, 256),
        temperature: PositiveFloat = 1.0,
        similarity_init: float = 0.0,
    ) -> None:
        super().__init__(
            inputs=3 * max_queries, channels=channels, temperature=temperature, similarity_init=similarity_init
        )
        self.max_queries = max_queries

    def scores(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            channels = self.channels(features.float(), mask, queries.float())
            standard = channels[:, self.max_queries : 2 * self.max_queries]
            return self.net(channels, mask) + self.similarity * standard.amax(1)

    def channels(self, features: Tensor, mask: Tensor, queries: Tensor) -> Tensor:
        """(B, 3 * max_queries, T): cosines, standardised cosines, presence; zero at padding.

        A query whose vector is zero is absent.

        Raises:
            ValueError: more queries than ``max_queries``, or no features to compare.
        """
        check_comparable(features, queries)
        if queries.shape[1] > self.max_queries:
            raise ValueError(f"{queries.shape[1]} queries, the sampler was built for max_queries={self.max_queries}")
        frames, texts = (nn.functional.normalize(x, dim=-1) for x in (features, queries))
        cosine = torch.einsum("bqd,btd->bqt", texts, frames)
        inside = mask[:, None].float()
        standard = standardised(cosine, mask)
        present = queries.abs().sum(-1) > 0  # (B, Q)
        peak = standard.masked_fill(~mask[:, None], -torch.inf).amax(-1).masked_fill(~present, -torch.inf)
        order = peak.argsort(dim=1, descending=True, stable=True)[..., None]
        rows = [(x * inside).gather(1, order.expand_as(x)) for x in (cosine, standard)]
        there = present.gather(1, order[..., 0])[..., None].float()
        missing = self.max_queries - queries.shape[1]
        there = nn.functional.pad(there, (0, 0, 0, missing))
        filled = []
        for x in rows:
            x = nn.functional.pad(x, (0, 0, 0, missing)) * there
            average = x.sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp(min=1)
            filled.append(x + (1 - there) * average)
        return torch.cat([*filled, there * inside], dim=1)
