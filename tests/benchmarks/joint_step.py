"""One joint step beside TRL's ``GRPOTrainer`` on the same small Qwen2.5-VL, images as frames: time and peak memory.

    python tests/benchmarks/joint_step.py

Both draw G answers of at most L tokens to each of B questions on K frames and take one GRPO step on the language model,
the vision tower frozen. TRL reads a question's K frames as images; its G answers share them. Here every answer has K
frames of its own, out of a pool of N, which a sampler drew; the sampler is trained in the same step. Each side runs in
a process of its own, in turns.

Two figures of time: on the clock, and of the processor, which says more on a machine that others use too; parts of a
step are in the latter. Two figures of memory: what is resident at the peak, imports and model included; and how far a
step goes above what is resident before it, in one more step that is not timed, ahead of which the allocator gives back
what is free. (Without that, what it keeps from the step before hides most of the next one: more on TRL's side than on
ours.)
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

SIZE = 56


def write_model(folder: str) -> None:
    """A random Qwen2.5-VL, large enough that its own arithmetic is what takes time."""
    import transformers

    from modules.small_stack.blank_families import qwen25_vl

    torch.manual_seed(0)
    blank, processor = qwen25_vl()
    config = blank.config
    for key, value in {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4}.items():
        setattr(config.text_config, key, value)
    config.text_config.layer_types = ["full_attention"] * 4
    config.text_config.rope_parameters = {**config.text_config.rope_parameters, "mrope_section": [8, 12, 12]}
    vision = {
        "depth": 4,
        "hidden_size": 160,
        "intermediate_size": 448,
        "num_heads": 4,
        "out_hidden_size": 256,
        "fullatt_block_indexes": [1, 3],
    }
    for key, value in vision.items():
        setattr(config.vision_config, key, value)
    model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = blank.generation_config
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    # TRL's images beside our videos
    processor.chat_template = processor.chat_template.replace(
        "{% else %}{{ c['text'] }}",
        "{% elif c['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c['text'] }}",
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def frames(count: int, seed: int = 0) -> torch.Tensor:
    """uint8 (N, 3, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 255, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)


def resident_mib(which: str) -> float:
    """``VmRSS``, now, or ``VmHWM``, the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(which))


def reset_peak() -> None:
    """The resident peak is counted from here."""
    Path("/proc/self/clear_refs").write_text("5")


class StepMemory:
    """The resident peak of what was timed, and how far one more step goes above what is resident before it."""

    def begin(self) -> None:
        self.peak_mib = resident_mib("VmHWM")
        ctypes.CDLL(None).malloc_trim(0)
        reset_peak()
        self.before_mib = resident_mib("VmRSS")

    def end(self) -> dict[str, float]:
        return {"peak_mib": self.peak_mib, "step_mib": resident_mib("VmHWM") - self.before_mib}


def ours(options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Steps of `EvolutionModule`'s parts: roll out, reward, loss of picks and tokens, one update."""
    from modules.methods.msjoe.unet import UNetSampler
    from modules.mllms.prompt import Prompt
    from modules.mllms.qwen_vl import Qwen25VL
    from modules.records import Candidates, QuestionBatch, VideoQuestion
    from modules.rl.advantages import group_advantages
    from modules.rl.grpo import GRPO, grpo_loss
    from modules.rl.rollout_phase import RolloutPhase
    from modules.rl.token_training import JointTraining, TokenTraining
    from modules.systems.answering import Answering

    prompt = Prompt(answer_with="words")
    mllm = Qwen25VL(path=folder, prompt=prompt, frames_per_grid=1, frame_pixels=(SIZE**2, SIZE**2)).requires_grad_(
        False
    )
    config = GRPO(num_generations=options.rollouts, loss_type="grpo")
    tokens = TokenTraining(mllm, JointTraining(loss_type="grpo"), config)
    sampler = UNetSampler(channels=(8, 16))
    optimizer = torch.optim.AdamW([*tokens.parameters(), *sampler.parameters()], lr=1e-6)
    answering = Answering(mllm, canary=False, max_new_tokens=options.tokens, rows_per_forward=options.rows)
    phase = RolloutPhase(sampler, answering, None, options.frames, options.rollouts, 0)
    size = options.questions
    pool, times = frames(options.pool), torch.arange(options.pool, dtype=torch.float64)

    class Source:
        def decode_many(self, asked: list[tuple[Candidates, torch.Tensor]]) -> Iterator[torch.Tensor]:
            return (pool[index] for _, index in asked)

    batch = QuestionBatch(
        [VideoQuestion("d", "s", f"q{n}", f"v{n}", float(options.pool), "What is shown here?") for n in range(size)],
        [Candidates(f"v{n}", torch.arange(options.pool), times, float(options.pool)) for n in range(size)],
        torch.randn(size, options.pool, 32),
        torch.ones(size, options.pool, dtype=torch.bool),
        times.float()[None].expand(size, -1),
        torch.randn(size, 1, 32),
    )
    parts: dict[str, list[float]] = {"rollout": [], "update": []}

    def step(number: int) -> int:
        started = time.process_time()
        found = phase.run(Source(), batch, number, options=False, text=True, temperature=1.0)  # type: ignore[arg-type]
        rolled = time.process_time()
        reward = torch.tensor([[float(len(t)) for t in texts] for texts in found.rollouts.texts])
        advantages = group_advantages(reward).flatten()
        picks = found.policy.log_prob(found.sampler_selection.candidate_index).flatten(0, 1)
        old = found.sampler_selection.log_probs.flatten(0, 1)
        loss = grpo_loss(config, picks, old, advantages, torch.ones_like(picks)).loss
        loss.backward()
        for part in tokens.loss_parts(found.completions, advantages, options.rows):
            part.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        parts["rollout"].append(rolled - started)
        parts["update"].append(time.process_time() - rolled)
        return sum(len(i) for i in found.completions[0].generation.token_ids)

    return measure(step, options.steps) | {"parts_s": {k: median(v[1:-1]) for k, v in parts.items()}}


def theirs(options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Steps of TRL's trainer."""
    import transformers
    from datasets import Dataset
    from PIL import Image
    from trl import GRPOConfig, GRPOTrainer

    processor = transformers.AutoProcessor.from_pretrained(folder)
    processor.image_processor.size = {"shortest_edge": SIZE**2, "longest_edge": SIZE**2}
    model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(folder)
    model.model.visual.requires_grad_(False)
    lengths: list[int] = []

    def reward(completions: list, completion_ids: list, **_: Any) -> list[float]:
        lengths.append(sum(map(len, completion_ids)))
        return [float(len(c[0]["content"])) for c in completions]

    rows = [
        {
            "prompt": [{"role": "user", "content": "What is shown here?"}],
            "images": [Image.fromarray(f.permute(1, 2, 0).numpy()) for f in frames(options.frames, seed)],
        }
        for seed in range(options.questions * (options.steps + 2))
    ]
    marks: list[tuple[float, float]] = []
    memory, found = StepMemory(), {}

    class Marks(transformers.TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if len(marks) == 1:
                reset_peak()
            if len(marks) == options.steps + 1:
                memory.begin()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append(now())
            if len(marks) == options.steps + 2:
                found.update(memory.end())

    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=options.questions * options.rollouts,
        num_generations=options.rollouts,
        max_completion_length=options.tokens,
        max_steps=options.steps + 2,
        learning_rate=1e-6,
        loss_type="grpo",
        beta=0.0,
        temperature=1.0,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        logging_strategy="no",
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        shuffle_dataset=False,
        dataloader_num_workers=0,
    )
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=processor,
        callbacks=[Marks()],
    )
    trainer.train()
    steps = list(pairwise(marks[:-1]))
    return {**medians(steps), "tokens": median(lengths[1:-1]), **found}


def now() -> tuple[float, float]:
    """Seconds on the clock and of the processor."""
    return time.perf_counter(), time.process_time()


def medians(steps: list[tuple[tuple[float, float], tuple[float, float]]]) -> dict[str, float]:
    """What a step takes, out of when each began and ended."""
    return {name: median(b[n] - a[n] for a, b in steps) for n, name in enumerate(("step_s", "processor_s"))}


def measure(step: Any, steps: int) -> dict[str, Any]:
    """Median time of a step and tokens after one warm-up, and the memory."""
    step(0)
    reset_peak()
    spans, said = [], []
    for number in range(1, steps + 1):
        started = now()
        said.append(step(number))
        spans.append((started, now()))
    memory = StepMemory()
    memory.begin()
    step(steps + 1)
    return {**medians(spans), "tokens": median(said), **memory.end()}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default, text in (
        ("questions", 4, "B"),
        ("rollouts", 8, "G"),
        ("frames", 8, "K"),
        ("pool", 64, "candidate frames, N"),
        ("tokens", 16, "of an answer"),
        ("rows", 64, "in one forward"),
        ("steps", 5, "measured"),
        ("rounds", 3, "in turns"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=text)
    parser.add_argument("--side", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    return parser


def main() -> None:
    options = arguments().parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if options.side:
        print("RESULT " + json.dumps({"ours": ours, "theirs": theirs}[options.side](options, options.model)))
        return
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
    with tempfile.TemporaryDirectory() as folder:
        write_model(folder)
        for side in ["ours", "theirs"] * options.rounds:
            words = [sys.executable, __file__, *sys.argv[1:], "--side", side, "--model", folder]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stderr[-3000:])
            line = next(x for x in done.stdout.splitlines() if x.startswith("RESULT "))
            found[side].append(json.loads(line.removeprefix("RESULT ")))
    for side, runs in found.items():
        print(f"{side:7} " + "  ".join(median_and_range(runs, *column) for column in COLUMNS))
        for part in runs[0].get("parts_s", {}):
            print(f"{'':7} {part} " + ", ".join(f"{r['parts_s'][part]:.2f}" for r in runs) + " s")
    middle = {side: {k: median(r[k] for r in runs) for k, *_ in COLUMNS} for side, runs in found.items()}
    clock, processor = (middle["theirs"][k] / middle["ours"][k] for k in ("step_s", "processor_s"))
    resident, step = (middle["ours"][k] / middle["theirs"][k] for k in ("peak_mib", "step_mib"))
    print(
        f"theirs / ours: time {clock:.2f}, processor {processor:.2f}; "
        f"ours / theirs: resident {resident:.2f}, a step's own {step:.2f}"
    )


COLUMNS = (
    ("step_s", "step", "s", 2),
    ("processor_s", "processor", "s", 2),
    ("tokens", "tokens", "", 0),
    ("peak_mib", "resident", "MiB", 0),
    ("step_mib", "a step's own", "MiB", 0),
)


def median_and_range(runs: list[dict[str, Any]], key: str, name: str, unit: str, digits: int) -> str:
    """Median over the rounds, and their range."""
    values = [r[key] for r in runs]
    return f"{name} {median(values):.{digits}f} {unit} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    main()
