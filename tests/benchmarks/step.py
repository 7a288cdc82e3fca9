"""Time of one training step, part by part: this design beside the straightforward one, in one process.

    python tests/benchmarks/step.py

The straightforward design does what the official code does (its shape, not its lines): 16 forwards of an agent with
dense T x T attention and a Python loop for the window mask (8 to sample, 8 for log-probs), vision encoding of every
rollout on its own, and G generations one after another without a key-value cache. Both choose the same frames.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from modules.methods.tspo.agent import TSPOSampler, time_code
from modules.mllms.base import FrameTokens, Row
from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.prompt import Prompt
from modules.records import VideoQuestion


def dense_scores(agent: TSPOSampler, features: Tensor, query: Tensor) -> Tensor:
    """The agent with dense attention; equal to `TSPOSampler.scores` for one question."""
    length = features.shape[1]
    mask = torch.zeros(length, length)
    for j in range(length):
        for k in range(max(0, j - agent.window // 2), min(length, j - agent.window // 2 + agent.window)):
            mask[j, k] = 1.0
    coded = features + time_code(torch.tensor([length]), 0, length, agent.dim)
    q, k, v = (
        p(coded).unflatten(-1, (agent.num_heads, -1)).transpose(1, 2) for p in (agent.query, agent.key, agent.value)
    )
    logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    windowed = logits.masked_fill(mask == 0, -1e6).softmax(-1) @ v
    unused = logits.softmax(-1) @ v  # the global branch, multiplied by zero
    event = agent.mlp((windowed + 0.0 * unused).transpose(1, 2).flatten(-2)) + features
    return sum(torch.nn.functional.cosine_similarity(x, query, dim=-1) for x in (event, features))


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Median wall time after one warm-up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vlm", default="recipes/haystack/weights/vlm")
    parser.add_argument("--candidates", type=int, default=600)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    T, D, G, K = options.candidates, options.dim, options.rollouts, options.frames  # noqa: N806

    agent = TSPOSampler(dim=D)
    features, query = torch.randn(1, T, D), torch.randn(1, 1, D)
    valid, times = torch.ones(1, T, dtype=torch.bool), torch.arange(float(T))[None]
    ours, theirs = agent.scores(features, valid, times, query), dense_scores(agent, features, query)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    index = agent(features, valid, times, query).sample(K, G, torch.Generator().manual_seed(0)).candidate_index
    advantages = torch.randn(G)

    def ours_agent() -> None:
        policy = agent(features, valid, times, query)
        policy.sample(K, G)
        (policy.log_prob(index)[0].mean(-1) * advantages).sum().backward()

    def straightforward_agent() -> None:
        for _ in range(G):
            (dense_scores(agent, features, query) / agent.temperature).softmax(-1)
        rows = [
            (dense_scores(agent, features, query) / agent.temperature).softmax(-1).log()[0, index[0, g]]
            for g in range(G)
        ]
        (torch.stack(rows).mean(-1) * advantages).sum().backward()

    mllm = LlavaOnevision(path=options.vlm, prompt=Prompt(answer_with="words", question_first=True))
    frames = torch.randint(0, 255, (T, 3, 64, 64), dtype=torch.uint8)
    union, inverse = index[0].sort(-1).values.unique(return_inverse=True)

    def ours_encode() -> Tensor:
        return mllm.encode_frames(frames[union])

    def straightforward_encode() -> list[Tensor]:
        return [mllm.encode_frames(frames[index[0, g]]) for g in range(G)]

    question = VideoQuestion(
        "b", "b", "b", "", float(T), "What colour is the star?", ("red", "green", "blue", "white"), 0
    )
    tokens = FrameTokens(mllm.encode_frames(frames[union]), union.float())

    def ours_answer() -> Tensor:
        return mllm.score_options([question], [tokens], inverse[None])

    def straightforward_answer() -> None:
        for g in range(G):
            inputs = mllm.inputs([Row(question, tokens, inverse[g])])
            mllm.model.generate(
                **inputs,
                max_new_tokens=2,
                min_new_tokens=2,
                do_sample=False,
                use_cache=False,
                pad_token_id=mllm.tokenizer.pad_token_id,
            )

    parts = {
        "agent (sample, log-prob, gradient)": (ours_agent, straightforward_agent),
        "vision encoding": (ours_encode, straightforward_encode),
        "answers": (ours_answer, straightforward_answer),
    }
    print(f"T={T} D={D} G={G} K={K} union={len(union)} frames, {options.threads} threads, median of {options.repeats}")
    print(f"{'part':<36}{'this design':>14}{'straightforward':>18}{'ratio':>8}")
    totals = [0.0, 0.0]
    for name, (ours, theirs) in parts.items():
        a, b = seconds(ours, options.repeats), seconds(theirs, options.repeats)
        totals = [totals[0] + a, totals[1] + b]
        print(f"{name:<36}{a * 1e3:>11.1f} ms{b * 1e3:>15.1f} ms{b / a:>8.1f}")
    print(f"{'step':<36}{totals[0] * 1e3:>11.1f} ms{totals[1] * 1e3:>15.1f} ms{totals[1] / totals[0]:>8.1f}")


if __name__ == "__main__":
    main()
