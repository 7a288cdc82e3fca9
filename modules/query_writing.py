"""Turn 1 of MSJoE (arXiv 2602.22932): a glance at the video, a thought, and up to four captions to search it for.

The MLLM sees a few evenly spaced previews at few tokens each, thinks, and writes queries in a format that is parsed
here; each query becomes a vector of the frozen encoder, and the sampler works on the similarities of all of them with
every candidate. What cannot be parsed leaves the question itself as the only query, and earns no format reward.

# paper: "up to four" queries, previews of 32 tokens, half as many as frames; the prompt and the format are not public.
# here: the form of `recipes/prompts/msjoe/queries.txt`, a JSON list inside tags.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from modules.answering import Answering, FrameSource
from modules.joint import Spoken
from modules.mllms.base import FrameTokens, Row
from modules.mllms.kept import KeptFrames
from modules.records import QuestionBatch
from modules.seeds import seed_of

_BEGIN, _END = "<think>", "</queries>"
_BETWEEN = re.compile(r"</think>\s*<queries>")


def parse_queries(text: str, max_queries: int) -> list[str]:
    """The queries of a turn's text; empty where it is not of the form, or has none, too many, or one twice.

    >>> parse_queries('<think>the dog</think><queries>["a dog", "a red ball"]</queries>', 4)
    ['a dog', 'a red ball']
    """
    whole = text.strip()
    between = _BETWEEN.search(whole)
    if between is None or not whole.startswith(_BEGIN) or not whole.endswith(_END):
        return []
    try:
        found = json.loads(whole[between.end() : -len(_END)])
    except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, lists in lists in lists
        return []
    if not isinstance(found, list) or not all(isinstance(q, str) and q.strip() for q in found):
        return []
    if any("\ud800" <= character <= "\udfff" for q in found for character in q):  # halves of characters are no text
        return []
    queries = [q.strip() for q in found]
    distinct = {q.lower() for q in queries}
    return queries if 1 <= len(queries) <= max_queries and len(distinct) == len(queries) else []


@dataclass(frozen=True, kw_only=True)
class QueryWriting:
    """How queries are written.

    Args:
        template: file of the prompt (see `modules.mllms.prompt.Prompt`).
        max_queries: more than this is a breach of the format.
        num_previews: frames of the glance; None is half of ``num_frames`` (paper).
        preview_tokens: of a preview frame, at most (paper: 32).
        max_new_tokens: of thought and queries together.
        temperature: queries are drawn at, in training; evaluation takes the most probable ones.
        kept_previews_mib: host memory (a rank) for previews of videos that will be asked about again; 32 previews of 32
            tokens take 14 MiB at a width of 3584.
    """

    template: str
    max_queries: int = 4
    num_previews: int | None = None
    preview_tokens: int = 32
    max_new_tokens: int = 256
    temperature: float = 1.0
    kept_previews_mib: int = 2048

    def __post_init__(self) -> None:
        if self.kept_previews_mib < 0:
            raise ValueError(f"kept_previews_mib={self.kept_previews_mib}: 0 or more")
        if min(self.max_queries, self.preview_tokens, self.max_new_tokens) < 1 or self.temperature <= 0:
            raise ValueError("max_queries, preview_tokens and max_new_tokens are 1 or more, temperature above 0")
        if self.num_previews is not None and self.num_previews < 1:
            raise ValueError(f"num_previews={self.num_previews}: at least 1")


@dataclass(frozen=True)
class Written:
    """Queries of G trajectories of each of B questions."""

    spoken: Spoken
    """B x G texts with their tokens."""
    queries: list[list[list[str]]]
    """B lists of G lists; empty where a text could not be parsed."""
    features: Tensor
    """float32 (B, G, Q, D), zero where a query is absent; the question's own where there is none."""

    def batch(self, batch: QuestionBatch) -> QuestionBatch:
        """The B x G trajectories as questions of a batch, each with its own queries."""
        size = self.features.shape[1]

        def repeated(tensor: Tensor) -> Tensor:
            return tensor.repeat_interleave(size, 0)

        return QuestionBatch(
            [q for q in batch.questions for _ in range(size)],
            [c for c in batch.candidates for _ in range(size)],
            repeated(batch.features), repeated(batch.mask), repeated(batch.timestamps_s), self.features.flatten(0, 1),
        )  # fmt: skip


class QueryWriter:
    """Has an MLLM write queries.

    Args:
        answering: whose MLLM writes.
        settings: how.
        num_frames: K of the sampler.
    """

    def __init__(self, answering: Answering, settings: QueryWriting, num_frames: int) -> None:
        self.answering, self.settings = answering, settings
        self.num_previews = settings.num_previews or max(1, num_frames // 2)
        self._previews = KeptFrames(settings.kept_previews_mib)

    @torch.no_grad()
    def write(self, source: FrameSource, batch: QuestionBatch, num_rollouts: int, seed: str | None = None) -> Written:
        """Queries of G trajectories of each question.

        Args:
            source: of frames and of text features.
            batch: B questions.
            num_rollouts: G.
            seed: a draw is a function of it, sample_id and number of the trajectory; None takes the most probable text.
        """
        rows, seeds = [], []
        prompt = replace(self.answering.mllm.prompt, template=self.settings.template, answer_prefix="")
        with self.answering.timed("preview"):
            previews = [self._glance(source, batch, b) for b in range(len(batch))]
        for question, frames in zip(batch.questions, previews, strict=True):
            every = torch.arange(len(frames.timestamps_s))
            rows += [Row(question, frames, every, prompt)] * num_rollouts
            seeds += [seed_of(f"{seed}/{question.sample_id}/{g}") for g in range(num_rollouts)]
        with self.answering.timed("write"):
            temperature = 0.0 if seed is None else self.settings.temperature
            spoken = self.answering.generate(rows, seeds, temperature, self.settings.max_new_tokens)
        flat = [parse_queries(text, self.settings.max_queries) for text in spoken.generation.texts]
        return Written(
            spoken,
            [flat[b * num_rollouts : (b + 1) * num_rollouts] for b in range(len(batch))],
            self._embed(source, batch, flat, num_rollouts),
        )

    def _embed(self, source: FrameSource, batch: QuestionBatch, flat: list[list[str]], size: int) -> Tensor:
        """(B, G, Q, D): each distinct query goes through the encoder once."""
        distinct = list(dict.fromkeys(q for queries in flat for q in queries))
        vectors = source.embed_texts(distinct).to(batch.queries) if distinct else batch.queries.new_zeros(0)
        where = {q: i for i, q in enumerate(distinct)}
        most = max(1, *(len(queries) for queries in flat))
        out = batch.queries.new_zeros(len(flat), most, batch.queries.shape[-1])
        for n, queries in enumerate(flat):
            if queries:
                out[n, : len(queries)] = vectors[[where[q] for q in queries]]
            else:
                out[n, :1] = batch.queries[n // size, :1]
        return out.unflatten(0, (-1, size))

    def _glance(self, source: FrameSource, batch: QuestionBatch, b: int) -> FrameTokens:
        """Evenly spaced previews of a question's video, encoded once while the video is remembered."""
        candidates = batch.candidates[b]
        own_video = candidates.source_index is None  # a needle's video is another one in every batch
        kept = self._previews.get(candidates.video) if own_video else None
        if kept is not None:
            return kept
        count = min(self.num_previews, len(candidates))
        index = ((torch.arange(count) + 0.5) * len(candidates) / count).long()
        pixels = source.decode(candidates, index)
        if pixels is None:  # no answer will count; the queries are written blind
            return FrameTokens(torch.empty(0), torch.empty(0))
        tokens = self.answering.mllm.encode_previews(pixels, self.settings.preview_tokens)
        frames = FrameTokens(tokens, candidates.timestamps_s[index].float())
        return self._previews.put(candidates.video, frames) if own_video else frames
