"""``check --memory`` beside what CPU processes really hold.

The same recipe runs with a model of some 40 million parameters and with a tiny one; what the large one holds more is
compared with what the formulas give it more, so that Python, its libraries and the data fall out.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from recipes.launcher.cost.memory import gradients, held, phases
from recipes.launcher.cost.workload import Workload, workload_of
from recipes.launcher.guard import ROOT

WITHIN = 0.15
# large blocks go back to the system as soon as they are freed, so that what is resident is what is held
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
FRAME_PX = 56


def write_model(folder: Path, hidden: int, mlp: int, layers: int) -> None:
    """A random Qwen2.5-VL whose language model is of that size."""
    import transformers

    from modules.small_stack.blank_families import qwen25_vl

    torch.manual_seed(0)
    blank, processor = qwen25_vl()
    config = blank.config
    config.text_config.hidden_size = config.vision_config.out_hidden_size = hidden
    config.text_config.intermediate_size, config.text_config.num_hidden_layers = mlp, layers
    config.text_config.layer_types = ["full_attention"] * layers
    rotated = hidden // config.text_config.num_attention_heads // 2
    sections = [rotated // 4, 3 * rotated // 8, rotated - rotated // 4 - 3 * rotated // 8]
    config.text_config.rope_parameters = {**config.text_config.rope_parameters, "mrope_section": sections}
    model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = blank.generation_config
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def recipe_of(root: Path, name: str, **more: Any) -> dict[str, Any]:
    """MSJoE's second stage without its first turn: U-Net and language model trained on their own answers."""
    frames = {"path": str(root / name), "frames_per_grid": 1, "frame_pixels": [FRAME_PX**2, FRAME_PX**2]}
    accuracy = {"class_path": "modules.rewards.accuracy.Accuracy", "init_args": {"by": "text"}}
    return {
        "name": name,
        "run_dir": str(root / name),
        "seed_everything": 0,
        "data": {
            "class_path": "datamodules.haystack.datamodule.HaystackData",
            "init_args": {
                "world": {"seed": 0, "duration_s": 100, "fps": 2, "size_px": 64, "event_duration_s": [2.0, 2.5]},
                "num_train_videos": 2,
                "num_val_videos": 1,
                "num_test_videos": 1,
                "batch_size": 2,
                "root": str(root / "videos"),
                "feature_dir": str(root / "features"),
                "encoder": {
                    "class_path": "modules.encoders.open_clip.OpenCLIPEncoder",
                    "init_args": {"model": f"local-dir:{ROOT}/recipes/haystack/weights/msjoe/clip"},
                },
            },
        },
        "model": {
            "class_path": "modules.rl.evolution.EvolutionModule",
            "init_args": {
                "evolve": "joint",
                "num_frames": 8,
                "answering": {"max_new_tokens": 16, "canary": False, "rows_per_forward": 8},
                "sampler": {"class_path": "modules.methods.msjoe.unet.UNetSampler", "init_args": {"channels": [8, 16]}},
                "mllm": {"class_path": "modules.mllms.qwen_vl.Qwen25VL", "init_args": frames},
                "rewards": {"accuracy": {"reward": accuracy}},
                "grpo": {"num_generations": 4},
                "joint": {"loss_type": "grpo", **more},
                "optimizer": {"lr_scheduler_type": "constant"},
            },
        },
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "max_steps": 2,
            "max_epochs": -1,
            "limit_val_batches": 0,
            "num_sanity_val_steps": 0,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "use_distributed_sampler": False,
        },
    }


def write_streaming_models(folder: Path, hidden: int, mlp: int, layers: int) -> None:
    """A random CLIP, and a Phi and a Llama of that size."""
    import transformers

    from modules.small_stack.blank_families import write_blank_videostreaming

    write_blank_videostreaming(folder)
    torch.manual_seed(0)
    for name, loader in (("phi", transformers.PhiForCausalLM), ("llama", transformers.LlamaForCausalLM)):
        config = transformers.AutoConfig.from_pretrained(folder / name)
        config.hidden_size, config.intermediate_size, config.num_hidden_layers = hidden, mlp, layers
        config.head_dim = hidden // config.num_attention_heads
        loader(config).save_pretrained(folder / name)


def streaming_recipe_of(root: Path, name: str, **more: Any) -> dict[str, Any]:
    """VideoStreaming as in recipes/paper: a Phi's layers condense and choose, and a Llama that learns answers."""
    recipe, models = recipe_of(root, name, **more), root / name
    width = int(json.loads((models / "phi/config.json").read_text())["hidden_size"])
    condenser = {
        "class_path": "modules.methods.videostreaming.condenser.ClipCondenser",
        "init_args": {
            "layers": {
                "class_path": "modules.methods.videostreaming.language_layers.LanguageLayers",
                "init_args": {"path": str(models / "phi"), "num_layers": 2 if width < 100 else 4, "head": False},
            },
            "token_dim": 128,
        },
    }
    patches = {
        "class_path": "modules.methods.videostreaming.frame_tokens.MergedPatches",
        "init_args": {"path": str(models / "clip")},
    }
    recipe["data"]["init_args"]["encoder"] = {
        "class_path": "modules.methods.videostreaming.memories.ClipMemories",
        "init_args": {"patches": patches, "condenser": condenser},
    }
    recipe["data"]["init_args"]["feature_dir"] = str(root / name / "features")
    recipe["model"]["init_args"] |= {
        "num_frames": 4,
        "sampler": {
            "class_path": "modules.methods.videostreaming.memory_selection.MemorySelection",
            "init_args": {"condenser": condenser},
        },
        "mllm": {
            "class_path": "modules.methods.videostreaming.language_reader.LanguageModelReader",
            "init_args": {"path": str(models / "llama"), "memory_dim": width, "memory_tokens": 64},
        },
    }
    return recipe


def measured(root: Path, recipe: dict[str, Any]) -> list[dict[str, int]]:
    """Bytes by phase, a dictionary a rank."""
    folder = Path(recipe["run_dir"]) / "run"
    folder.mkdir(exist_ok=True)
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump({**recipe, "run_dir": str(folder)}))
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("measure_memory.py")), str(file)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env={**os.environ, **MALLOC, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(p.read_text()) for p in sorted(folder.glob("memory_*.json"))]


def estimated(recipe: dict[str, Any], found: dict[str, int]) -> dict[str, float]:
    """The formulas, told how long the prompts and answers of this run were."""
    work: Workload = workload_of(recipe)
    prompt = found["length"] - (work.answer_length - work.prompt_tokens)
    work = dataclasses.replace(work, prompt_tokens=prompt, answer_tokens=found["said"])
    by_phase = {p.name: p.total for p in phases(work)}
    assert work.model is not None
    whole = work.model.bytes_each * work.model.num_parameters  # rollouts begin with the model gathered
    if work.encoder is not None and work.encoder.condenser is not None:
        return _with_encoder(work, by_phase)
    return {
        "held": sum(held(work).values()) + (gradients(work) + whole if work.strategy.shards else 0),
        "rollouts": max(by_phase["encode frames"], by_phase["answer"]),
        "loss": by_phase["loss"],
        "step": by_phase["step"],
    }


def _with_encoder(work: Workload, by_phase: dict[str, float]) -> dict[str, float]:
    """On a CPU an encoder lies beside the rest all the time, and the rest beside it while it works."""
    parts, whole = next(p.parts for p in phases(work) if p.name == "extract"), held(work)
    encoder = sum(size for name, size in parts.items() if "activations" not in name)
    begun = sum(size for name, size in whole.items() if name != "moments") - 8 * work.sampler.num_trained
    return {
        "extract": begun + sum(parts.values()),
        "held": encoder + sum(whole.values()),
        "rollouts": encoder + max(by_phase["encode frames"], by_phase["answer"]),
        "loss": encoder + by_phase["loss"],
        "step": encoder + by_phase["step"],
    }


def compare(
    root: Path,
    change: dict[str, Any],
    write: Callable[..., None] = write_model,
    recipe_of: Callable[..., dict[str, Any]] = recipe_of,
    large: tuple[int, int, int] = (768, 2048, 6),
    **joint: Any,
) -> dict[str, tuple[float, float]]:
    """MiB that a large model takes more than a tiny one, by phase: (measured, estimated), the larger of the ranks."""
    sizes = {"tiny": (64, 64, 2), "large": large}
    found, expected = {}, {}
    for name, size in sizes.items():
        if not (root / name).exists():
            write(root / name, *size)
        recipe = recipe_of(root, name, **joint)
        recipe["trainer"] |= change
        ranks = measured(root, recipe)
        found[name] = {k: max(r[k] for r in ranks) for k in ranks[0]}
        expected[name] = estimated(recipe, found[name])
    return {
        phase: tuple((side["large"][phase] - side["tiny"][phase]) / 2**20 for side in (found, expected))
        for phase in expected["large"]
    }  # type: ignore[misc]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("the peak of resident memory cannot be reset here (/proc/self/clear_refs)")
    return tmp_path_factory.mktemp("memory")


def check(table: dict[str, tuple[float, float]]) -> None:
    print({phase: f"{m:.0f} MiB, estimated {e:.0f}" for phase, (m, e) in table.items()})
    for real, estimate in table.values():
        assert estimate == pytest.approx(real, rel=WITHIN), table


@pytest.mark.long
def test_one_process_holds_what_the_formulas_say(root: Path) -> None:
    check(compare(root, {}))


@pytest.mark.long
def test_a_condenser_holds_what_the_formulas_say_as_encoder_and_as_sampler(root: Path) -> None:
    folder = root / "streaming"
    folder.mkdir()
    check(compare(folder, {}, write_streaming_models, streaming_recipe_of, (640, 1792, 4)))


@pytest.mark.long
def test_checkpointed_activations_hold_what_the_formulas_say(root: Path) -> None:
    check(compare(root, {}, gradient_checkpointing=True))


@pytest.mark.long
def test_two_zero3_processes_hold_what_the_formulas_say(root: Path) -> None:
    pytest.importorskip("deepspeed", reason="deepspeed is not installed")
    sharded = {"class_path": "modules.distributed.sharding.ShardedStrategy", "init_args": {"stage": 3}}
    check(compare(root, {"devices": 2, "strategy": sharded}))
