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
from dataclasses import replace

import torch
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from modules.files.paths import InputPath
from modules.mllms.base import MLLM, FrameTokens, Row
from modules.mllms.kept_frames import KeptFrames
from modules.records import Candidates, QuestionBatch
from modules.seeds import seed_of
from modules.selection.even_spacing import evenly_spaced
from modules.systems.answering import Answering
from modules.systems.frame_source import FrameSource
from modules.systems.queries import QueryWriter, WrittenQueries

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


class PreviewQueries(QueryWriter):
    """The MLLM glances at previews and writes queries.

    Args:
        template: file of the prompt (see `modules.mllms.prompt.Prompt`).
        max_queries: more than this is a breach of the format.
        num_previews: frames of the glance; None is half of the sampler's (paper).
        preview_tokens: of a preview frame, at most (paper: 32).
        max_new_tokens: of thought and queries together.
        temperature: queries are drawn at, in training; evaluation takes the most probable ones.
        kept_previews_mib: host memory (a rank) for previews of videos that will be asked about again; 32 previews of 32
            tokens take 14 MiB at a width of 3584.
    """

    def __init__(
        self,
        *,
        template: InputPath,
        max_queries: PositiveInt = 4,
        num_previews: PositiveInt | None = None,
        preview_tokens: PositiveInt = 32,
        max_new_tokens: PositiveInt = 256,
        temperature: PositiveFloat = 1.0,
        kept_previews_mib: NonNegativeInt = 2048,
    ) -> None:
        self.template, self.max_queries, self.num_previews = template, max_queries, num_previews
        self.preview_tokens, self.max_new_tokens, self.temperature = preview_tokens, max_new_tokens, float(temperature)
        self._previews = KeptFrames(kept_previews_mib)

    @torch.no_grad()
    def write(
        self,
        answering: Answering,
        source: FrameSource,
        batch: QuestionBatch,
        num_frames: int,
        num_rollouts: int,
        seed: str | None = None,
    ) -> WrittenQueries:
        rows, seeds = [], []
        prompt = replace(answering.mllm.prompt, template=self.template, answer_prefix="")
        num_previews = self.num_previews or max(1, num_frames // 2)
        with answering.stopwatch.timed("preview"):
            previews = [
                self._glance(answering.mllm, source, candidates, num_previews) for candidates in batch.candidates
            ]
        for question, frames in zip(batch.questions, previews, strict=True):
            every = torch.arange(len(frames.timestamps_s))
            rows += [Row(question, frames, every, prompt)] * num_rollouts
            seeds += [seed_of(f"{seed}/{question.sample_id}/{g}") for g in range(num_rollouts)]
        with answering.stopwatch.timed("write"):
            temperature = 0.0 if seed is None else self.temperature
            completions = answering.generate(rows, seeds, temperature, self.max_new_tokens)
        flat = [parse_queries(text, self.max_queries) for text in completions.generation.texts]
        return WrittenQueries(
            completions,
            [flat[b * num_rollouts : (b + 1) * num_rollouts] for b in range(len(batch))],
            _embed(source, batch, flat, num_rollouts),
        )

    def _glance(self, mllm: MLLM, source: FrameSource, candidates: Candidates, num_previews: int) -> FrameTokens:
        """Evenly spaced previews of a video, encoded once while the video is remembered."""
        own_video = candidates.source_index is None  # a needle's video is another one in every batch
        count = min(num_previews, len(candidates))
        kept = self._previews.get((candidates.video, count)) if own_video else None
        if kept is not None:
            return kept
        index = evenly_spaced(len(candidates), count)
        pixels = source.decode(candidates, index)
        if pixels is None:  # no answer will count; the queries are written blind
            return FrameTokens(torch.empty(0), torch.empty(0))
        tokens = mllm.encode_previews(pixels, self.preview_tokens)
        frames = FrameTokens(tokens, candidates.timestamps_s[index].float())
        return self._previews.put((candidates.video, count), frames) if own_video else frames


def _embed(source: FrameSource, batch: QuestionBatch, flat: list[list[str]], size: int) -> Tensor:
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
