"""A world in which a policy can learn where to look: what leads to the evidence has to be learnt, nothing is told.

A video has eight coarse stretches, in each of which something else happens; a question asks about one of eight things.
What leads to a thing is a word that has nothing in common with the question, so that only answers teach it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from evolution_settings import evolution
from scripted_roles import COLOURS, SECRET, Fact, Frames, ScriptedCaptioner, ScriptedReasoner, batch_of, question
from torch import Tensor
from torch.utils.data import DataLoader

from modules.methods.tspo.agent import TSPOSampler
from modules.methods.videolucy.lucy_settings import LucySettings
from modules.methods.videolucy.scopes import Level, Scopes
from modules.methods.videolucy.videolucy import VideoLucy
from modules.mllms.openai import OpenAIChat
from modules.records import Candidates, QuestionBatch, VideoQuestion
from modules.rewards.accuracy import Accuracy
from modules.rewards.call_cost import CallCost
from modules.rl.evolution import EvolutionModule
from modules.rl.grpo import GRPO
from modules.rl.reward_sum import RewardTerm
from modules.seeds import seed_of

THINGS = {
    **{"star": "twinkling", "lamp": "humming", "door": "creaking", "river": "splashing"},
    **{"clock": "ticking", "kettle": "steaming", "bell": "ringing", "flag": "waving"},
}
"""What is asked about, and the word that leads to it."""
WIDTH, SPANS, COARSE_S = 16, 8, 100
SCOPES = [Scopes(levels=[Level(scope_s=COARSE_S, fps=0.1), Level(scope_s=50, fps=0.1)])]


class Source(Frames):
    """Grey frames, and features of texts in which every telling word has a direction of its own."""

    def embed_texts(self, texts: list[str]) -> Tensor:
        return torch.stack([self._embed(text) for text in texts])

    @staticmethod
    def _embed(text: str) -> Tensor:
        telling = {*THINGS, *THINGS.values()}
        words = [word for word in text.lower().replace("?", "").split() if word in telling]
        drawn = [torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed_of(word))) for word in words]
        return torch.stack(drawn).mean(0)

    def decode(self, candidates: Candidates, candidate_index: Tensor) -> Tensor | None:
        return next(self.decode_many([(candidates, candidate_index)]))

    def count_batch(self) -> None:
        pass


class SearchWorld(Source, L.LightningDataModule):
    """Videos with one question each, and everything that a training on them is made of.

    Args:
        folder: of memories.
        num_videos: in train and in test.
        batch_size: questions a step.
        visible_s: the answer is told of stretches of at most so many seconds.
    """

    def __init__(self, folder: Path, num_videos: int = 40, batch_size: int = 8, visible_s: float = 50.0) -> None:
        L.LightningDataModule.__init__(self)
        Source.__init__(self)
        self.folder, self.batch_size = folder, batch_size
        self.facts: dict[str, list[Fact]] = {}
        self.evidence: dict[str, int] = {}
        self.split = {
            split: [self._plan(split, n, visible_s) for n in range(num_videos)] for split in ("train", "test")
        }

    def _plan(self, split: str, n: int, visible_s: float) -> VideoQuestion:
        generator = torch.Generator().manual_seed(seed_of(f"{split}/{n}"))

        def drawn(high: int) -> int:
            return int(torch.randint(high, (), generator=generator))

        video, colour, right = f"{split}{n}", COLOURS[drawn(4)], drawn(SPANS)
        thing = list(THINGS)[n % len(THINGS)]
        others = [word for asked, word in THINGS.items() if asked != thing]
        words = [others[place] for place in torch.randperm(len(others), generator=generator).tolist()]
        words.insert(right, THINGS[thing])
        second = right * COARSE_S + 10 * drawn(9) + 5.0
        self.facts[video] = [Fact(COARSE_S * span + 45.0, word, 1e9) for span, word in enumerate(words)]
        self.facts[video].append(Fact(second, f"{SECRET} {colour}", visible_s))
        self.evidence[f"q{video}"] = right
        text = f"Which colour is the {thing}?"
        asked = question(n, video, colour, text, evidence_s=((second - 5, second + 5),))
        return VideoQuestion(**{**vars(asked), "sample_id": f"q{video}"})

    def questions(self, split: str) -> list[VideoQuestion]:
        return self.split[split]

    def batch(self, questions: list[VideoQuestion]) -> QuestionBatch:
        batch = batch_of(questions, SPANS * COARSE_S, fps=0.1)
        generator = torch.Generator().manual_seed(len(questions))
        batch.features = torch.randn(*batch.mask.shape, WIDTH, generator=generator)
        batch.queries = self.embed_texts([q.question for q in questions])[:, None]
        return batch

    def batches(self, split: str) -> Iterator[QuestionBatch]:
        questions, size = self.split[split], self.batch_size
        yield from (self.batch(questions[start : start + size]) for start in range(0, len(questions), size))

    def train_dataloader(self) -> DataLoader:
        return DataLoader(list(self.batches("train")), batch_size=None)  # type: ignore[arg-type]

    def agent(self, max_rounds: int = 3, **more: Any) -> VideoLucy:
        settings = LucySettings(memories=str(self.folder / "memories"), max_retries=0, entry_features="texts")
        captioner, reasoner = ScriptedCaptioner(self.facts), ScriptedReasoner()
        named: dict[str, Any] = {"reasoner": reasoner, "captioner": captioner, "scopes": SCOPES, "settings": settings}
        return VideoLucy(**named | {"max_rounds": max_rounds} | more)

    def module(self, seed: int = 0, **more: Any) -> EvolutionModule:
        torch.manual_seed(seed)
        settings: dict[str, Any] = {
            "sampler": TSPOSampler(dim=WIDTH, num_heads=4, window=1, temperature=0.3),
            "mllm": OpenAIChat(model="nobody", base_url="http://127.0.0.1:1/v1"),
            "agent": self.agent(),
            "rewards": {
                "accuracy": RewardTerm(reward=Accuracy()),
                "calls": RewardTerm(reward=CallCost(), weight=0.02),
            },
            "grpo": GRPO(num_generations=8, loss_type="dr_grpo", seed=seed),
            "num_frames": 3,
            "learning_rate": 5e-2,
            "canary": False,
        }
        return evolution(**settings | more)
