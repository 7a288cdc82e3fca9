"""The two stages that make memories: each learns what it says it learns, and what one writes the next one reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from quiet_trainer import quiet_trainer
from transformers import LlamaForCausalLM

from datamodules.haystack.clip_examples import ClipPhase, ClipQuestions
from datamodules.haystack.pool import FramePool
from datamodules.haystack.pretraining import PoolDataModule
from datamodules.haystack.world import World
from modules.methods.videostreaming.condenser import ClipCondenser
from modules.methods.videostreaming.frame_tokens import MergedPatches
from modules.methods.videostreaming.language_layers import LanguageLayers
from modules.methods.videostreaming.language_reader import LanguageModelReader
from modules.methods.videostreaming.memories import ClipMemories, condenser_state
from modules.methods.videostreaming.memory_reader import MemoryReader
from modules.methods.videostreaming.prefix_training import PrefixTraining
from modules.methods.videostreaming.reader_training import ReaderTraining
from modules.mllms.loading import Loading, Lora
from modules.mllms.prompt import Prompt
from modules.small_stack.blank_families import write_blank_videostreaming

pytestmark = pytest.mark.slow
WIDTH = 32


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> PoolDataModule:
    pool = FramePool(
        world=World(seed=5, size_px=32), num_videos=400, cache_dir=str(tmp_path_factory.mktemp("pool")), num_workers=1
    )
    kinds = {"needle": 1.0, "before": 1.0}
    phases = [
        ClipPhase(num_batches=10**6, num_examples=8, num_clips=(1, 1), captions_frac=0.3, kinds=kinds),
        ClipPhase(num_batches=1, num_examples=8, num_clips=(1, 1), captions_frac=0.0, kinds=kinds),
    ]
    examples = ClipQuestions(phases=phases)
    return PoolDataModule(pool=pool, val_pool=pool, examples=examples, batch_size=8, num_batches=2, num_val_batches=1)


def condenser(path: Path, propagate: bool = True) -> ClipCondenser:
    torch.manual_seed(1)
    layers = LanguageLayers(path=str(path), num_layers=2)
    return ClipCondenser(layers=layers, token_dim=4 * WIDTH, summaries_per_frame=1, propagate=propagate)


def reader(path: Path, weights: str | None = None) -> MemoryReader:
    prompt = Prompt(answer_with="words", question_first=True)
    return MemoryReader(path=str(path), memory_dim=WIDTH, memory_tokens=16, weights=weights, prompt=prompt)


@pytest.mark.long
def test_a_stage_reads_what_the_one_before_wrote(data: PoolDataModule, blank_vlm: Path, tmp_path: Path) -> None:
    patches = MergedPatches(path=str(blank_vlm))
    first = PrefixTraining(
        patches=patches, condenser=condenser(blank_vlm), output=str(tmp_path / "one.safetensors"), num_steps=2
    )
    begun = {n: t.clone() for n, t in condenser_state(first.condenser).items()}
    trainer = quiet_trainer(2, limit_val_batches=1)
    trainer.fit(first, datamodule=data)
    trainer.validate(first, datamodule=data, verbose=False)
    assert {"val/accuracy", "val/accuracy_of_indicator"} <= trainer.callback_metrics.keys()
    assert any(not torch.equal(t, begun[n]) for n, t in condenser_state(first.condenser).items())

    second = ReaderTraining(
        patches=patches,
        condenser=condenser(blank_vlm),
        condenser_weights=str(tmp_path / "one.safetensors"),
        reader=reader(blank_vlm),
        output=str(tmp_path / "two.safetensors"),
        num_steps=2,
    )
    for name, tensor in condenser_state(second.condenser).items():
        torch.testing.assert_close(tensor, condenser_state(first.condenser)[name], rtol=1e-3, atol=1e-3)  # halves
    answerer = {n: p.clone() for n, p in second.reader.model.named_parameters()}
    output = second.reader.output[0].weight.clone()
    quiet_trainer(2).fit(second, datamodule=data)
    assert not torch.equal(second.reader.output[0].weight, output)
    for name, parameter in second.reader.model.named_parameters():
        assert torch.equal(parameter, answerer[name]), f"{name} was to stay as it is"

    both = str(tmp_path / "two.safetensors")
    memories = ClipMemories(patches=patches, condenser=condenser(blank_vlm), weights=both)
    for name, tensor in condenser_state(memories.condenser).items():
        torch.testing.assert_close(tensor, condenser_state(second.condenser)[name], rtol=1e-3, atol=1e-3)
    weight = reader(blank_vlm, both).output[0].weight
    torch.testing.assert_close(weight, second.reader.output[0].weight, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("lora", [pytest.param(None, marks=pytest.mark.long), Lora(r=2)])
def test_a_language_model_learns_with_condenser_and_output(
    data: PoolDataModule, blank_vlm: Path, tmp_path: Path, lora: Lora | None
) -> None:
    """In bfloat16: what learns is float32, all three parts move, and what is written answers as what was trained."""
    write_blank_videostreaming(tmp_path)
    loading = Loading(dtype="bfloat16", lora=lora)
    stage = ReaderTraining(
        patches=MergedPatches(path=str(blank_vlm)),
        condenser=condenser(blank_vlm),
        reader=LanguageModelReader(
            path=str(tmp_path / "llama"),
            memory_dim=WIDTH,
            memory_tokens=16,
            loading=loading,
            prompt=Prompt(answer_with="words"),
        ),
        learns=("condenser", "output", "language_model"),
        output=str(tmp_path / "all.safetensors"),
        num_steps=2,
    )
    begun = {n: p.detach().float().clone() for n, p in stage.named_parameters()}
    trained = {n for n, p in stage.named_parameters() if p.requires_grad}
    language = {n for n in trained if n.startswith("reader.model.")}
    assert language
    assert all(("lora_" in n) == (lora is not None) for n in language)
    quiet_trainer(2).fit(stage, datamodule=data)
    for part in ("condenser.input.", "condenser.layers.decoder.", "reader.output."):
        assert any(n.startswith(part) and not torch.equal(stage.get_parameter(n), begun[n]) for n in trained), part
    written = LlamaForCausalLM.from_pretrained(tmp_path / "all", dtype="float32").state_dict()
    moved = [n for n, w in written.items() if not torch.equal(w, begun.get(f"reader.model.{n}", w))]
    moved += [n for n in written if f"reader.model.{n}" not in begun]  # what an adapter was merged into
    assert any("q_proj" in n for n in moved)
    assert not any("lora_" in n for n in written)


@pytest.mark.parametrize("propagate", [True, pytest.param(False, marks=pytest.mark.long)])
def test_of_the_newest_memory_alone_earlier_clips_are_known_by_what_is_handed_on(
    data: PoolDataModule, blank_vlm: Path, tmp_path: Path, propagate: bool
) -> None:
    stage = ReaderTraining(
        patches=MergedPatches(path=str(blank_vlm)),
        condenser=condenser(blank_vlm, propagate=propagate),
        reader=reader(blank_vlm),
        newest=1,
        output=str(tmp_path / "x.safetensors"),
    )
    quiet_trainer(0).fit(stage, datamodule=data)
    batch = next(iter(data.train_dataloader()))
    two = {**batch, "index": batch["index"].repeat(1, 2, 1), "start_s": torch.tensor([[0.0, 16.0]]).repeat(8, 1)}
    other = {**two, "index": torch.cat([two["index"][:, :1].flip(0), two["index"][:, 1:]], 1)}
    with torch.no_grad():
        rows = [stage._rows(one, *stage._memories(one, "train"), None)[0] for one in (two, other)]
        read, changed = (torch.stack([stage.reader.clip(row).features for row in one]) for one in rows)
    assert read.shape == (8, 16 + 1, WIDTH)  # of one memory, and the newline
    assert torch.equal(read, changed) != propagate


def test_what_cannot_learn_is_refused(blank_vlm: Path) -> None:
    def stage(learns: tuple[str, ...], **settings: object) -> ReaderTraining:
        settings = {"reader": reader(blank_vlm), **settings}
        patches = MergedPatches(path=str(blank_vlm))
        return ReaderTraining(patches=patches, condenser=condenser(blank_vlm), output="x", learns=learns, **settings)

    with pytest.raises(ValueError, match="learns: selection has nothing to learn from where all"):
        stage(("condenser", "selection"))
    with pytest.raises(ValueError, match="learns: nothing would"):
        stage(())
    prompt, loading = Prompt(answer_with="words"), Loading(lora=Lora(r=2))
    adapted = MemoryReader(path=str(blank_vlm), memory_dim=WIDTH, memory_tokens=16, prompt=prompt, loading=loading)
    with pytest.raises(ValueError, match=r"reader.loading.lora adds layers .* and learns does not name it"):
        stage(("output",), reader=adapted)


def test_the_prefix_task_needs_an_output_head(blank_vlm: Path) -> None:
    layers = LanguageLayers(path=str(blank_vlm), num_layers=2, head=False)
    headless = ClipCondenser(layers=layers, token_dim=4 * WIDTH, summaries_per_frame=1)
    with pytest.raises(ValueError, match=r"layers.head has to be true here"):
        PrefixTraining(patches=MergedPatches(path=str(blank_vlm)), condenser=headless, output="x")


def test_the_loss_by_hand(data: PoolDataModule, blank_vlm: Path, tmp_path: Path) -> None:
    """The log-probability of an answer is that of its tokens one after another, over the root of their number."""
    stage = PrefixTraining(
        patches=MergedPatches(path=str(blank_vlm)),
        condenser=condenser(blank_vlm),
        output=str(tmp_path / "x.safetensors"),
    )
    quiet_trainer(0).fit(stage, datamodule=data)
    batch = next(iter(data.train_dataloader()))
    with torch.no_grad():
        found = stage._log_probs(batch, "train", batch["answers"], torch.zeros(8, dtype=torch.bool))
        alone = {name: value[:1] for name, value in batch.items() if name in ("questions", "index", "start_s")}
        single = stage._log_probs(alone, "train", batch["answers"][:1], torch.zeros(1, dtype=torch.bool))
    torch.testing.assert_close(found[:1], single, rtol=1e-4, atol=1e-4)  # padding changes nothing
    uniform = -torch.log(torch.tensor(float(len(stage.condenser.layers.tokenizer))))
    lengths = torch.tensor([len(stage.condenser.layers.tokenizer(a)["input_ids"]) + 1 for a in batch["answers"]])
    torch.testing.assert_close(found, uniform * lengths.sqrt(), rtol=0.2, atol=0.5)  # a blank model knows nothing
