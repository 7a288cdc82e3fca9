"""How a caption is written: the most probable word again and again, the best of several beams, or drawn.

A mask token is put behind the words so far and the word in its place predicted, which then takes its place (official
code). Who gives the probabilities is a `NextWords`; the one of a trained network keeps the keys and values of the video
and of the words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class NextWords(ABC):
    """Says what may come next in R captions that are written side by side."""

    @abstractmethod
    def log_probs(self, words: Tensor) -> Tensor:
        """float32 (R, V) of what follows words int64 (R, n) on the host; each call has one more than the last."""

    @abstractmethod
    def reorder(self, rows: Tensor) -> None:
        """Row r goes on from what row ``rows[r]`` has written; int64 (R,)."""


@dataclass(frozen=True)
class WrittenCaptions:
    """R captions."""

    ids: list[Tensor]
    """int64 (L,) each: the words and the end token, if it came; without the start."""
    log_probs: list[Tensor]
    """float32 (L,) each, in nats, of every one of them at the temperature that they were drawn at."""


def write_captions(
    next_words: NextWords,
    num_rows: int,
    *,
    start_id: int,
    end_id: int,
    max_words: int,
    pick: Callable[[Tensor], Tensor],
) -> WrittenCaptions:
    """Writes R captions word by word, until all have ended.

    Args:
        next_words: says what may come next.
        num_rows: R.
        start_id, end_id: tokens before and behind a caption.
        max_words: longest, with the end token.
        pick: takes log-probabilities (R, V) and gives the words (R,).
    """
    written: list[Tensor] = []
    spent: list[Tensor] = []
    words = torch.full((num_rows, 1), start_id)
    ended = torch.zeros(num_rows, dtype=torch.bool)
    while len(written) < max_words and not bool(ended.all()):
        log_probs = next_words.log_probs(words)
        chosen = pick(log_probs)
        written.append(chosen.cpu())
        spent.append(log_probs.gather(1, chosen[:, None])[:, 0].cpu())
        words = torch.cat([words, written[-1][:, None]], 1)
        ended = ended | (written[-1] == end_id)
    ids, nats = torch.stack(written, 1), torch.stack(spent, 1)
    lengths = [_length(row, end_id) for row in ids.tolist()]
    return WrittenCaptions(
        [row[:n] for row, n in zip(ids, lengths, strict=True)], [row[:n] for row, n in zip(nats, lengths, strict=True)]
    )


def _length(ids: Sequence[int], end_id: int) -> int:
    """Of a caption with its end token."""
    return list(ids).index(end_id) + 1 if end_id in ids else len(ids)


def greedy(log_probs: Tensor) -> Tensor:
    """The most probable word of each row."""
    return log_probs.argmax(-1)


def drawn(generators: Sequence[torch.Generator]) -> Callable[[Tensor], Tensor]:
    """Draws a word of each row; each row has a generator of its own on the host, so that neither a device nor what is
    drawn beside it changes a caption."""

    def pick(log_probs: Tensor) -> Tensor:
        below = log_probs.double().exp().cumsum(-1).cpu()
        height = torch.stack([torch.rand((), generator=g, dtype=torch.float64) for g in generators])
        chosen = torch.searchsorted(below, (height * below[:, -1])[:, None], right=True)[:, 0]
        return chosen.clamp(max=log_probs.shape[-1] - 1).to(log_probs.device)

    return pick


@dataclass(frozen=True)
class _Finished:
    score: float
    ids: Tensor


def search_beams(
    next_words: NextWords,
    num_videos: int,
    *,
    num_beams: int,
    start_id: int,
    end_id: int,
    max_words: int,
    length_penalty: float = 1.0,
) -> list[Tensor]:
    """The best caption of each video that ``num_beams`` side by side find.

    A caption's score is the sum of its log-probabilities divided by its length (with the end token) to the power of
    ``length_penalty``. A video is done when no beam that goes on can become better than its best ended one, even if all
    its further words were certain.

    Args:
        next_words: for ``num_videos * num_beams`` rows, the beams of a video in a row.
        num_videos, num_beams: at least one each.
        start_id, end_id, max_words: see `write_captions`.
        length_penalty: 0 compares sums.

    Returns:
        int64 (L,) on the host for each video, as `WrittenCaptions.ids`.
    """
    words = torch.full((num_videos * num_beams, 1), start_id)
    sums = torch.full((num_videos, num_beams), -torch.inf)
    sums[:, 0] = 0.0  # all beams are alike at the start, so one of them counts
    best: list[_Finished | None] = [None] * num_videos
    for number in range(1, max_words + 1):
        log_probs = next_words.log_probs(words)
        vocabulary = log_probs.shape[-1]
        totals = sums[..., None] + log_probs.float().cpu().view(num_videos, num_beams, vocabulary)
        # twice as many as there are beams: at most one of each beam's ends
        top = totals.flatten(1).topk(min(2 * num_beams, num_beams * vocabulary), dim=1)
        rows, live = [], []
        for video in range(num_videos):
            going: list[tuple[float, int, int]] = []
            for total, flat in zip(top.values[video].tolist(), top.indices[video].tolist(), strict=True):
                if total == -float("inf"):
                    continue
                beam, word = divmod(flat, vocabulary)
                if word == end_id or number == max_words:
                    ids = torch.cat([words[video * num_beams + beam, 1:], torch.tensor([word])])
                    ended = _Finished(total / number**length_penalty, ids)
                    kept = best[video]
                    if kept is None or ended.score > kept.score:
                        best[video] = ended
                elif len(going) < num_beams:
                    going.append((total, beam, word))
            going += [(-float("inf"), 0, end_id)] * (num_beams - len(going))
            live.append(going)
            rows += [video * num_beams + beam for _, beam, _ in going]
        sums = torch.tensor([[total for total, _, _ in going] for going in live])
        chosen = torch.tensor([word for going in live for _, _, word in going])
        order = torch.tensor(rows)
        words = torch.cat([words[order], chosen[:, None]], 1)
        longest = max_words**length_penalty if length_penalty > 0 else 1.0
        if all(b is not None and b.score >= float(s.max()) / longest for b, s in zip(best, sums, strict=True)):
            break
        next_words.reorder(order)
    return [found.ids for found in best if found is not None]
