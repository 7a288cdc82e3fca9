"""Two updates of every recipe that trains, and their test tables: what a restructuring may not alter.

    python tests/golden/runs.py record            # writes tests/golden/<run>.json, after a change that is meant
    python tests/golden/runs.py compare [RUN ...] # every number of the code as it is, to the last digit

The files hold the curve, rollouts, test table and sums of the trained weights of each run, at seed 0 on one CPU thread.
Other processors round differently, so `tests/golden/test_golden_runs.py` allows for rounding; `compare` does not.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
SHORT = ["--overlay", "recipes/overlays/smoke.yaml", "--overlay", "tests/golden/observed.yaml"]
TRY_OUT = ["--overlay", "tests/golden/observed.yaml"]
POOL = [
    "--data.pool.num_videos",
    "8",
    "--data.val_pool.num_videos",
    "4",
    "--model.num_steps",
    "2",
    "--trainer.val_check_interval",
    "2",
    "--data.batch_size",
    "8",
]


def _try_out(name: str) -> list[str]:
    return ["--overlay", f"recipes/overlays/try_out/{name}.yaml", *TRY_OUT]


RUNS: dict[str, list[str]] = {
    "tspo": ["recipes/tspo.yaml", *SHORT],
    "tspo_official": [
        "recipes/tspo_official.yaml",
        "--overlay",
        "recipes/overlays/official_settings.yaml",
        *SHORT,
    ],
    "tspo_joint": ["recipes/tspo.yaml", *SHORT, "--model.evolve", "joint", "--model.grpo.beta", "0.04"],
    "tspo_accumulated": [
        "recipes/tspo.yaml",
        *SHORT,
        "--model.optimizer.accumulate",
        "2",
        "--data.batch_size",
        "2",
        "--model.answering.store_frame_tokens",
        "false",
        "--model.grpo.num_iterations",
        "2",
        "--model.grpo.loss_type",
        "dapo",
    ],
    "unet": ["recipes/tspo.yaml", "--overlay", "recipes/overlays/unet.yaml", *SHORT],
    "refocus": ["recipes/refocus.yaml", *SHORT],
    "msjoe_pretrain": ["recipes/msjoe_pretrain.yaml", *SHORT],
    "msjoe_question_only": [
        "recipes/msjoe_pretrain.yaml",
        "--overlay",
        "recipes/overlays/question_only.yaml",
        *SHORT,
    ],
    "msjoe": ["recipes/msjoe.yaml", *SHORT],
    "eval_haystack": [
        "recipes/eval/haystack.yaml",
        "--checkpoint",
        "outputs/refocus/checkpoints/last.ckpt",
        "--data.num_test_videos",
        "2",
        "--data.world.duration_s",
        "100",
        "--data.world.event_duration_s",
        "[2.0, 2.5]",
    ],
    "haystack_clip": ["recipes/haystack/clip.yaml", *POOL],
    "haystack_captions_clip": ["recipes/haystack/captions_clip.yaml", *POOL],
    "haystack_tower": ["recipes/haystack/tower.yaml", *POOL],
    "try_out": ["recipes/data/try_out.yaml"],
    "tspo_qwen2_5_vl_7b": ["recipes/paper/tspo_qwen2_5_vl_7b.yaml", *_try_out("tspo_qwen2_5_vl")],
    "tspo_llava_video_7b": ["recipes/paper/tspo_llava_video_7b.yaml", *_try_out("tspo_llava_video")],
    "refocus_1_3b": ["recipes/paper/refocus_1_3b.yaml", *_try_out("refocus_1_3b")],
    "eval_mlvu": [
        "recipes/eval/mlvu.yaml",
        "--overlay",
        "recipes/overlays/try_out/eval.yaml",
        "--overlay",
        "recipes/overlays/yardsticks.yaml",
        "--annotations",
        "build/try_out/mlvu/mlvu.json",
    ],
}
"""In this order: a later run reads what an earlier one has written."""
EVALUATIONS = ("eval_haystack", "eval_mlvu")


def run(name: str, folder: Path, timeout_s: float = 900) -> Path:
    """Runs a recipe in ``folder``, on one thread of the CPU; its run folder.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    for shared in ("recipes", "tests"):
        if not (folder / shared).exists():
            (folder / shared).symlink_to(ROOT / shared)
    command = [
        sys.executable,
        "-c",
        "from recipes.launcher.cli import main; main()",
        "run",
        *RUNS[name],
        "--run_dir",
        f"outputs/{name}",
    ]
    if name != "try_out":
        command += ["--trainer.accelerator", "cpu"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return folder / "outputs" / name


def observations(run_dir: Path) -> dict[str, Any]:
    """What a run has come to, as plain numbers and texts: ``curve``, ``rollouts``, ``answers`` and ``weights``."""
    return {
        "curve": _curve(run_dir),
        "rollouts": [_row(line) for line in _lines(run_dir / "rollouts.jsonl")],
        "answers": _answers(run_dir),
        "weights": _weights(run_dir),
    }


def differences(expected: Any, found: Any, rtol: float = 0.0, where: str = "") -> Iterator[str]:
    """Where two observations differ; numbers by more than ``rtol`` of the larger (and by 1e-6)."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            if key in expected and key in found:
                yield from differences(expected[key], found[key], rtol, f"{where}/{key}")
            else:
                yield f"{where}/{key}: only in {'the file' if key in expected else 'this run'}"
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            yield f"{where}: {len(expected)} and {len(found)} entries"
        for number, (one, two) in enumerate(zip(expected, found, strict=False)):
            yield from differences(one, two, rtol, f"{where}/{number}")
    elif isinstance(expected, float) and isinstance(found, float):
        if expected != found and not math.isclose(expected, found, rel_tol=rtol, abs_tol=1e-6 if rtol else 0.0):
            yield f"{where}: {expected} and {found}"
    elif expected != found:
        yield f"{where}: {expected!r} and {found!r}"


def _curve(run_dir: Path) -> dict[str, dict[str, float]]:
    """Every metric of MLflow that is no time, no setting and no test result, by name and step."""
    if not (run_dir / "mlflow_run_id").is_file():
        return {}
    with sqlite3.connect(run_dir.parent / "mlflow.db") as database:
        rows = database.execute(
            "select key, step, value from metrics where run_uuid = ? and is_nan = 0",
            ((run_dir / "mlflow_run_id").read_text().strip(),),
        ).fetchall()
    curve: dict[str, dict[str, float]] = {}
    for key, step, value in sorted(rows):
        if not key.startswith(("time/", "test/", "eval/", "reward_weight/")):
            curve.setdefault(key, {})[str(step)] = float(value)
    return curve


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("question", "answer")}


def _answers(run_dir: Path) -> dict[str, dict[str, Any]]:
    """By system and question: when it looked, and the log-probabilities of the options or the text."""
    answers: dict[str, dict[str, Any]] = {}
    if run_dir.name not in EVALUATIONS and (run_dir / "test_rows.csv").is_file():
        header, *rows = (run_dir / "test_rows.csv").read_text().splitlines()
        for row in rows:
            cells = dict(zip(header.split(","), _cells(row), strict=True))
            names = ("correct", "probability", "evidence_found")
            values = {key: round(float(cells[key]), 6) for key in names if cells.get(key)}  # a table is of 6 digits
            answers.setdefault(cells["system"], {})[cells["sample_id"]] = values
    if run_dir.name not in EVALUATIONS:
        return answers
    for line in _lines(run_dir / "answers.jsonl"):
        answers.setdefault(line["system"], {})[line["sample_id"]] = {
            "timestamps_s": line["timestamps_s"],
            "option_log_probs": line["option_log_probs"],
            "text": line["text"],
        }
    return answers


def _cells(row: str) -> list[str]:
    import csv

    return next(csv.reader([row]))


def _weights(run_dir: Path) -> dict[str, list[float]]:
    """Sum and sum of magnitudes of every trained tensor, in float64."""
    tensors: dict[str, Any] = {}
    checkpoint = run_dir / "checkpoints" / "last.ckpt"
    if checkpoint.exists():
        tensors = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    elif run_dir.name.startswith("haystack_"):
        folder = {"haystack_clip": "clip", "haystack_captions_clip": "captions_clip"}.get(run_dir.name, "vlm")
        build = run_dir.parent.parent / "build" / "haystack"
        files = sorted((build / folder).glob("*.safetensors"))
        tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
    return {
        name: [float(tensor.double().sum()), float(tensor.double().abs().sum())] for name, tensor in tensors.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["record", "compare"])
    parser.add_argument("runs", nargs="*", metavar="RUN", help="all by default; what they read has to be among them")
    parser.add_argument("--rtol", type=float, default=0.0, help="relative difference that is none")
    arguments = parser.parse_args()
    names = [name for name in RUNS if not arguments.runs or name in arguments.runs]
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            try:
                found = observations(run(name, Path(folder)))
            except RuntimeError as error:
                sys.stdout.write(f"{name}: failed\n{error}\n")
                failed = True
                continue
            if name == "try_out":  # writes what others read
                continue
            file = HERE / f"{name}.json"
            if arguments.action == "record":
                file.write_text(json.dumps(found, sort_keys=True) + "\n")
                sys.stdout.write(f"{name}: {sum(1 for _ in _leaves(found))} numbers and texts\n")
                continue
            found = json.loads(json.dumps(found))
            wrong = list(differences(json.loads(file.read_text()), found, arguments.rtol))
            failed = failed or bool(wrong)
            sys.stdout.write(f"{name}: {'equal' if not wrong else f'{len(wrong)} differences'}\n")
            sys.stdout.writelines(f"    {line}\n" for line in wrong[:10])
            sys.stdout.flush()
    sys.exit(int(failed))


def _leaves(node: Any) -> Iterator[Any]:
    if isinstance(node, (dict, list)):
        for child in node.values() if isinstance(node, dict) else node:
            yield from _leaves(child)
    else:
        yield node


if __name__ == "__main__":
    main()
