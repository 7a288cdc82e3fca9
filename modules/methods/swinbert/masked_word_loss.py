"""Learning captions by guessing hidden words of them, which is all that the published models were trained by."""

from __future__ import annotations

import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from modules.methods.swinbert.caption_objective import CaptionObjective, Dice, Holding, ObjectiveLoss
from modules.methods.swinbert.clip_reading import ReadClips
from modules.methods.swinbert.masked_words import IGNORED, mask_words
from modules.methods.swinbert.swinbert_network import SwinBERT


class MaskedWordLoss(CaptionObjective):
    """Mean cross-entropy (nats) of the hidden words; see `mask_words`.

    Args:
        share: of a caption's tokens that are hidden (paper: 0.5).
        at_most: so many of a caption (official code: 45).
        max_tokens: longest caption, with start and end (official code: 50).
        captions_per_video: how many references of a clip are read at a visit, drawn anew each time; they share the work
            of the backbone (official code: 1).
    """

    def __init__(
        self, *, share: float = 0.5, at_most: int = 45, max_tokens: int = 50, captions_per_video: int = 1
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share={share}: above 0, and 1 at most")
        if min(at_most, captions_per_video) < 1 or max_tokens < 3:
            raise ValueError(
                f"at_most={at_most}, captions_per_video={captions_per_video}: at least 1; max_tokens={max_tokens}: at "
                "least 3, for start, a word and end"
            )
        self.share, self.at_most, self.max_tokens, self.captions_per_video = (
            share,
            at_most,
            max_tokens,
            captions_per_video,
        )

    def loss(self, network: SwinBERT, clips: ReadClips, dice: Dice, holding: Holding) -> ObjectiveLoss:
        network.train()
        seen, targets, word_ids = [], [], network.word_ids
        for question in clips.batch.questions:
            generator = dice.of(question, "words")
            order = torch.randperm(len(question.references), generator=generator)
            which = order[torch.arange(self.captions_per_video) % len(order)]
            captions = [question.references[n] for n in which.tolist()]
            read, wanted = mask_words(
                *network.tokenize(captions, self.max_tokens),
                mask_id=network.mask_id,
                word_ids=word_ids,
                share=self.share,
                at_most=self.at_most,
                generator=generator,
            )
            seen += list(read)
            targets += list(wanted)
        ids = pad_sequence(seen, batch_first=True, padding_value=network.pad_id)
        wanted = pad_sequence(targets, batch_first=True, padding_value=IGNORED)
        keys = network.read(clips.frames).repeated(self.captions_per_video)
        chosen = wanted != IGNORED
        logits = network.word_logits(ids, keys, chosen)
        right = wanted[chosen].to(logits.device)
        loss = functional.cross_entropy(logits, right)
        return ObjectiveLoss(
            loss,
            len(right),
            {"train/masked_word_nats": loss, "train/masked_word_accuracy": (logits.argmax(-1) == right).float().mean()},
        )
