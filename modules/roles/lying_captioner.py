"""A captioner that lies now and then: a control for whoever trusts what captions say.

The paper names false captions among the ways in which its agent fails, and does not measure them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import torch

from modules.roles.captioner import Caption, Captioner, CaptionRequest
from modules.seeds import seed_of


class LyingCaptioner(Captioner):
    """Another captioner's texts, some of them made false: each word of a kind becomes another of its kind.

    Which texts, and what they become, is a function of the seed, the frames and the text, wherever the video lies. A
    text without any of the words cannot be made false and stays as it is; `num_lies` counts those that were.

    Args:
        captioner: that looks and writes.
        share: of texts that are false.
        kinds: lists of words that can stand for each other, e.g. the colours.
        seed: another one makes others false.
    """

    def __init__(self, *, captioner: Captioner, share: float, kinds: list[list[str]], seed: int = 0) -> None:
        super().__init__()
        if not 0 <= share <= 1:
            raise ValueError(f"share={share}: between 0 and 1")
        if not kinds or any(len(set(words)) < 2 for words in kinds):
            raise ValueError(f"kinds={kinds}: at least one list of words, and in each two to exchange")
        self.captioner, self.share, self.kinds, self.seed = captioner, share, kinds, seed
        self.num_lies = 0
        self._kind_of = {word: words for words in kinds for word in words}

    @property
    def key(self) -> str:
        kinds = seed_of(repr(self.kinds))
        return f"lying-{self.share:g}-{self.seed}-{kinds:014x}-{self.captioner.key}"

    def shortfalls(self) -> dict[str, int]:
        return self.captioner.shortfalls() | {f"captions were made false, on purpose ({self.share:.0%})": self.num_lies}

    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption]:
        captions = self.captioner.caption(requests)
        return [self._told(request, caption) for request, caption in zip(requests, captions, strict=True)]

    def _told(self, request: CaptionRequest, caption: Caption) -> Caption:
        frames = (*request.frames.shape, int(request.frames.long().sum()), request.timestamps_s.tolist())
        generator = torch.Generator().manual_seed(seed_of(f"{self.seed}/{frames}/{caption.text}"))
        if float(torch.rand((), generator=generator)) >= self.share:
            return caption
        text = re.sub(r"\w+", lambda found: self._another(found[0], generator), caption.text)
        self.num_lies += text != caption.text
        return replace(caption, text=text)

    def _another(self, word: str, generator: torch.Generator) -> str:
        others = [other for other in self._kind_of.get(word, ()) if other != word]
        return others[int(torch.randint(len(others), (), generator=generator))] if others else word
