"""Condenser, selection and language model in one stage: what reaches which of them, and what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from memory_parts import CLIP, WIDTH, condenser

from modules.methods.videostreaming.answer_nats import text_nats
from modules.methods.videostreaming.chosen_memories import ChosenMemories
from modules.methods.videostreaming.frame_tokens import MergedPatches
from modules.methods.videostreaming.memory_reader import MemoryReader
from modules.methods.videostreaming.memory_selection import MemorySelection
from modules.methods.videostreaming.reader_training import ReaderTraining
from modules.mllms.prompt import Prompt
from modules.records import VideoQuestion

pytestmark = pytest.mark.slow
N, V, B = 5, 2, 2
ALL = ("condenser", "output", "language_model", "selection")
CHOSEN = ChosenMemories(num_memories=V, kl_steps=0)


class Stage:
    """Two questions on videos of five clips.

    Args:
        path: of a blank VLM.
        output: file.
    """

    def __init__(self, path: Path, output: Path) -> None:
        self.path, self.output = path, output
        question = VideoQuestion("d", "s", "q", "v", 8.0, "What is shown?", ("red", "star"), 0)
        needed = torch.zeros(B, N, dtype=torch.bool)
        needed[0, 1] = needed[1, 3] = True
        self.batch: dict[str, Any] = {
            "questions": [question] * B,
            "answers": ["red", "star"],
            "index": torch.arange(B * N * CLIP).reshape(B, N, CLIP),
            "start_s": (torch.arange(N) * CLIP).expand(B, N).float(),
            "needed": needed,
        }

    def module(self, selection: ChosenMemories | None = CHOSEN, **settings: Any) -> ReaderTraining:
        torch.manual_seed(3)
        module = ReaderTraining(
            patches=MergedPatches(path=str(self.path)),
            condenser=condenser(self.path),
            reader=MemoryReader(
                path=str(self.path), memory_dim=WIDTH, memory_tokens=CLIP, prompt=Prompt(answer_with="words")
            ),
            output=str(self.output),
            selection=selection,
            **{"learns": ALL, **settings},
        )
        module._tokens = {"train": torch.randn(B * N * CLIP, 4, 4 * WIDTH)}
        return module

    def loss(self, module: ReaderTraining) -> torch.Tensor:
        """Of the answers alone."""
        memories, middle_s = module._memories(self.batch, "train")
        rows, _ = module._rows(self.batch, memories, middle_s, module._policy(self.batch, memories))
        return text_nats(module.reader, rows, self.batch["answers"]).mean()


@pytest.fixture
def stage(blank_vlm: Path, tmp_path: Path) -> Stage:
    return Stage(blank_vlm, tmp_path / "joint.safetensors")


PARTS = {
    "condenser": "condenser.input.",
    "output": "reader.output.",
    "language_model": "reader.model.model.language_model.layers.",
    "selection": "choosing.clip_head.",
}


@pytest.mark.parametrize("learns", [ALL, *((part,) for part in PARTS)], ids=" ".join)
def test_the_answer_reaches_whatever_learns_and_nothing_else(stage: Stage, learns: tuple[str, ...]) -> None:
    module = stage.module(learns=learns)
    stage.loss(module).backward()
    for part, prefix in PARTS.items():
        gradients = [p.grad for n, p in module.named_parameters() if n.startswith(prefix)]
        assert gradients, prefix
        moved = any(g is not None and float(g.abs().max()) > 0 for g in gradients)
        assert moved == (part in learns), part


def test_what_is_read_is_what_was_drawn_and_the_best_when_asked(stage: Stage) -> None:
    module = stage.module()
    memories, middle_s = module._memories(stage.batch, "train")
    policy = module._policy(stage.batch, memories)
    drawn = set()
    for mode in ("train", "eval"):
        getattr(module, mode)()
        for _ in range(8):
            rows, index = module._rows(stage.batch, memories, middle_s, policy)
            for b, row in enumerate(rows):
                assert index[b].tolist() == sorted(set(index[b].tolist()))
                torch.testing.assert_close(row.tokens, memories[b, index[b]])
                assert row.timestamps_s.tolist() == middle_s[b, index[b]].tolist()
            drawn.add((mode, tuple(index[0].tolist())))
    assert sum(mode == "train" for mode, _ in drawn) > 1
    best = policy.logits[0].topk(V).indices.sort().values
    assert [index for mode, index in drawn if mode == "eval"] == [tuple(best.tolist())]


def test_marked_segments_are_followed_while_they_are_shown(stage: Stage) -> None:
    """Descent on the divergence alone puts the marked clip among the chosen ones."""
    module = stage.module(ChosenMemories(num_memories=V, kl_steps=1))
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], 3e-3)
    before = None
    for _ in range(12):
        memories, _ = module._memories(stage.batch, "train")
        policy = module._policy(stage.batch, memories)
        divergence = module.selection.divergence(policy, stage.batch["needed"], 0)
        before = divergence.item() if before is None else before
        optimizer.zero_grad()
        divergence.backward()
        optimizer.step()
    assert float(divergence) < before / 2
    assert policy.logits.argmax(1).tolist() == [1, 3]
    assert float(module.selection.divergence(policy, stage.batch["needed"], 1)) == 0.0
    always = ChosenMemories(num_memories=V, kl_steps=None)
    assert float(always.divergence(policy, stage.batch["needed"], 10**6)) == pytest.approx(float(divergence))


def test_what_is_written_chooses_as_what_was_trained(stage: Stage) -> None:
    module = stage.module(learns=("condenser", "output", "selection"))
    module._trainer = type("Trainer", (), {"is_global_zero": True})()
    module.on_train_end()
    again = MemorySelection(condenser=condenser(stage.path), weights=str(stage.output))
    with torch.no_grad():
        memories, _ = module._memories(stage.batch, "train")
        expected = module._policy(stage.batch, memories).logits
        mask = torch.ones(B, N, dtype=torch.bool)
        found = again.choice(memories, mask, ["What is shown?"] * B).logits
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=2e-2)  # halves in the file
    other = MemorySelection(condenser=condenser(stage.path)).choice(memories, mask, ["What is shown?"] * B).logits
    assert float((other - expected).abs().max()) > 0.1


def test_mistakes_are_told(stage: Stage) -> None:
    with pytest.raises(ValueError, match="newest=1 says which memories are read, and so does selection"):
        stage.module(newest=1)
    with pytest.raises(ValueError, match=r"set model\.selection"):
        stage.module(selection=None)
    module = stage.module(ChosenMemories(num_memories=N + 1))
    with pytest.raises(ValueError, match=r"selection\.num_memories=6 of 5 clips cannot be chosen"):
        stage.loss(module)
