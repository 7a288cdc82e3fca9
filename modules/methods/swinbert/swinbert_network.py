"""SwinBERT (Lin et al., arXiv 2111.13196): frames become video tokens, and words are written on these.

One network for training, decoding and rewards. Written captions and the probabilities of captions agree: `log_probs` of
what was drawn is what it was drawn with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from modules.methods.swinbert.caption_encoder import CaptionEncoder, EncoderSize
from modules.methods.swinbert.caption_search import (
    NextWords,
    WrittenCaptions,
    drawn,
    greedy,
    search_beams,
    write_captions,
)
from modules.methods.swinbert.layer_keys import GrowingKeys, VideoKeys
from modules.methods.swinbert.text_sight import causal, words_and_masks
from modules.methods.swinbert.token_grid import TokenGrid
from modules.methods.swinbert.video_masks import VideoMask
from modules.methods.swinbert.video_swin import VideoSwin


class SwinBERT(nn.Module):
    """Writes captions of clips.

    Args:
        backbone: of the frames.
        encoder: size of the multimodal encoder.
        mask: which video tokens may attend to which.
        tokenizer: of the captions.
        num_frames: T; another number of frames can be read all the same.
        size_px: side of the square that frames are cut to.
    """

    def __init__(
        self,
        *,
        backbone: VideoSwin,
        encoder: EncoderSize,
        mask: VideoMask,
        tokenizer: PreTrainedTokenizerBase,
        num_frames: int,
        size_px: int,
    ) -> None:
        super().__init__()
        self.backbone, self.size, self.mask = backbone, encoder, mask
        self.tokenizer, self.num_frames, self.size_px = tokenizer, num_frames, size_px
        self.start_id, self.end_id, self.mask_id, self.pad_id = map(
            self._id, ("cls_token_id", "sep_token_id", "mask_token_id", "pad_token_id")
        )
        self.encoder = CaptionEncoder(encoder, backbone.width, len(tokenizer), self.pad_id)
        mask.settle(self.grid(num_frames))

    def _id(self, name: str) -> int:
        number: Any = getattr(self.tokenizer, name)
        assert isinstance(number, int)  # load_tokenizer
        return number

    def grid(self, num_frames: int) -> TokenGrid:
        """Of the video tokens of so many frames."""
        return self.backbone.grid(num_frames, self.size_px, self.size_px)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.encoder.video_in.weight.device

    # ---- what it reads ----

    def read(self, frames: Tensor) -> VideoKeys:
        """What text attends to of B clips, uint8 (B, T, 3, S, S)."""
        grid = self.backbone.grid(frames.shape[1], *frames.shape[-2:])
        bias = self.mask.bias(grid)  # before the backbone: it refuses frames of another size
        return self.encoder.read_video(self.backbone(frames.to(self.device)), bias, grid)

    def tokenize(self, captions: Sequence[str], max_tokens: int) -> tuple[Tensor, Tensor]:
        """Start, words, end and padding of each caption, int64 (B, N), and their lengths with start and end, (B,).

        Args:
            captions: B of them.
            max_tokens: longest; words behind are cut off, the end token stays.
        """
        texts = [self.tokenizer(text, add_special_tokens=False)["input_ids"][: max_tokens - 2] for text in captions]
        rows = [torch.tensor([self.start_id, *ids, self.end_id]) for ids in texts]
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.pad_id)
        return padded, torch.tensor([len(row) for row in rows])

    def text_of(self, ids: Tensor) -> str:
        """A caption of token ids, without start and end."""
        text: Any = self.tokenizer.decode(ids.tolist(), skip_special_tokens=True)
        return text.strip()

    @property
    def word_ids(self) -> Tensor:
        """int64, every token that is no special one."""
        special = set(self.tokenizer.all_special_ids)
        return torch.tensor([n for n in range(len(self.tokenizer)) if n not in special])

    # ---- what it says ----

    def word_logits(self, ids: Tensor, keys: VideoKeys, chosen: Tensor) -> Tensor:
        """float32 (n, V) at the n chosen places (bool (B, N)) of texts int64 (B, N), read on the video."""
        ids, places = ids.to(self.device), torch.arange(ids.shape[1], device=self.device)
        states = self.encoder.read_text(ids, places, keys, causal(ids.shape[1]), keys.num_tokens)
        return self.encoder.logits(states[chosen.to(states.device)])

    def log_probs(self, keys: VideoKeys, token_ids: Sequence[Tensor], temperature: float = 1.0) -> Tensor:
        """float32 (R, L) with graph: of each token of R captions (`WrittenCaptions.ids`), 0 behind their ends.

        Args:
            keys: of R videos.
            token_ids: R captions.
            temperature: logits are divided by it.
        """
        targets = nn.utils.rnn.pad_sequence(list(token_ids), batch_first=True, padding_value=-1).to(self.device)
        real, length = targets >= 0, targets.shape[1]
        targets = targets.clamp(min=0)
        words = torch.cat([torch.full_like(targets[:, :1], self.start_id), targets], 1)
        masks = torch.full_like(words, self.mask_id)
        places = torch.arange(length + 1, device=self.device)
        sees = words_and_masks(length + 1)
        states = self.encoder.read_text(torch.cat([words, masks], 1), places.repeat(2), keys, sees, keys.num_tokens)
        logits = self.encoder.logits(states[:, length + 2 :]) / temperature  # behind the words and the first mask
        found = logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
        return found.masked_fill(~real, 0.0)

    def next_words(self, keys: VideoKeys, max_words: int, temperature: float = 1.0) -> NextWords:
        """Says what may come next in a caption of each of R videos."""
        return CachedNextWords(self, keys, max_words, temperature)

    @torch.no_grad()
    def write(
        self, keys: VideoKeys, *, max_words: int, num_beams: int = 1, length_penalty: float = 1.0
    ) -> list[Tensor]:
        """The caption of each video that is found most probable: greedily, or by beams; int64 (L,) each."""
        ends = {"start_id": self.start_id, "end_id": self.end_id, "max_words": max_words}
        if num_beams == 1:
            return write_captions(self.next_words(keys, max_words), keys.num_videos, pick=greedy, **ends).ids
        rows = self.next_words(keys.repeated(num_beams), max_words)
        return search_beams(rows, keys.num_videos, num_beams=num_beams, length_penalty=length_penalty, **ends)

    @torch.no_grad()
    def draw(
        self, keys: VideoKeys, *, max_words: int, generators: Sequence[torch.Generator], temperature: float = 1.0
    ) -> WrittenCaptions:
        """A caption of each of R videos, drawn word by word at a temperature, each with a generator of its own."""
        ends = {"start_id": self.start_id, "end_id": self.end_id, "max_words": max_words}
        rows = self.next_words(keys, max_words, temperature)
        return write_captions(rows, keys.num_videos, pick=drawn(generators), **ends)


class CachedNextWords(NextWords):
    """Reads the newest word and a mask token behind it, on the keys and values of all that came before."""

    def __init__(self, network: SwinBERT, keys: VideoKeys, max_words: int, temperature: float) -> None:
        self.network, self.temperature = network, temperature
        self.keys = GrowingKeys(keys, max_words + 1)

    @torch.no_grad()
    def log_probs(self, words: Tensor) -> Tensor:
        network, place = self.network, words.shape[1] - 1
        ids = torch.stack([words[:, -1], torch.full_like(words[:, -1], network.mask_id)], 1).to(network.device)
        places = torch.tensor([place, place + 1], device=network.device)
        before = self.keys.num_video_tokens + self.keys.num_words
        states = network.encoder.read_text(ids, places, self.keys, causal(2), before)
        self.keys.keep_word()
        return (network.encoder.logits(states[:, 1]) / self.temperature).log_softmax(-1)

    def reorder(self, rows: Tensor) -> None:
        self.keys.reorder(rows)
