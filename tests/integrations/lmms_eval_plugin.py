"""lmms-eval with `kairos`; run by lmms_eval.sh, in its environment and from a folder in which try_out.yaml has run."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from lmms_eval.models.registry_v2 import ModelRegistryV2
from lmms_eval.tasks._task_utils.mcq_extract import extract_mcq_answer
from lmms_eval.tasks.longvideobench.utils import parse_multi_choice_response

from modules.evaluation.scorers import LmmsEval, LmmsEvalLongVideoBench
from modules.records import Answer
from recipes.launcher.cli import main

ROOT = Path(__file__).resolve().parent.parent.parent
EVAL, OVERLAY = ROOT / "recipes/eval/mlvu.yaml", ROOT / "recipes/overlays/try_out/eval.yaml"
NUM_QUESTIONS = 6


@pytest.fixture(scope="module")
def task() -> Path:
    """The harness's own MLVU task on a local file and local videos."""
    import lmms_eval.tasks.mlvu

    rows = json.loads(Path("build/try_out/mlvu/mlvu.json").read_text())
    Path("mlvu_local.json").write_text(json.dumps(rows[:NUM_QUESTIONS]))
    videos = Path("hf/mlvu")
    videos.parent.mkdir(exist_ok=True)
    if not videos.exists():
        videos.symlink_to(Path("build/try_out/videos").resolve())
    folder = Path("tasks")
    folder.mkdir(exist_ok=True)
    original = Path(next(iter(lmms_eval.tasks.mlvu.__path__))) / "mlvu_dev.yaml"
    (folder / "mlvu_local.yaml").write_text(
        f"include: {original}\ntask: mlvu_local\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {Path('mlvu_local.json').resolve()}}}}}\n"
    )
    return folder


def harness(task: Path, name: str, arguments: str) -> tuple[dict, list[dict]]:
    """Results and samples of a run of the harness."""
    out = Path("results") / name
    subprocess.run(
        [
            sys.executable,
            "-m",
            "lmms_eval",
            "--model",
            "kairos",
            "--model_args",
            arguments,
            "--tasks",
            "mlvu_local",
            "--include_path",
            str(task),
            "--batch_size",
            "1",
            "--log_samples",
            "--output_path",
            str(out),
        ],
        check=True,
    )
    results = json.loads(next(out.rglob("*results.json")).read_text())
    samples = [json.loads(line) for line in next(out.rglob("*samples_mlvu_local.jsonl")).read_text().splitlines()]
    return results, samples


def test_the_plugin_is_found() -> None:
    registry = ModelRegistryV2()
    registry.load_entrypoint_manifests(overwrite=True)
    assert registry.resolve("kairos").class_path == "recipes.launcher.lmms_eval.Kairos"


def test_the_harness_gets_the_answers_of_our_own_evaluation(task: Path) -> None:
    run_dir = Path("own")
    main(
        [
            "run",
            str(EVAL),
            "--overlay",
            str(OVERLAY),
            "--annotations",
            "build/try_out/mlvu/mlvu.json",
            "--limit",
            str(NUM_QUESTIONS),
            "--run_dir",
            str(run_dir),
        ]
    )
    own = {
        a["sample_id"]: a["text"]
        for a in map(json.loads, (run_dir / "answers.jsonl").read_text().splitlines())
        if a["system"] == "sampler"
    }
    results, samples = harness(task, "sampler", f"recipe={EVAL},overlay={OVERLAY},system=sampler")
    assert len(samples) == NUM_QUESTIONS
    theirs = {s["doc"]["question_id"] if "doc" in s else f"Q{s['doc_id']}": _text(s) for s in samples}
    assert theirs == own
    assert "mlvu_local" in results["results"]

    lines = (run_dir / "selections.jsonl").read_text().splitlines()
    chosen = Path("sampler_only.jsonl")
    chosen.write_text("\n".join(x for x in lines if json.loads(x)["sampler"] == "sampler") + "\n")
    _, again = harness(task, "selections", f"recipe={EVAL},overlay={OVERLAY},selections={chosen}")
    assert [_text(s) for s in again] == [_text(s) for s in samples]


def test_prompts_of_another_family_can_be_taken(task: Path) -> None:
    _, samples = harness(task, "plm", f"recipe={EVAL},overlay={OVERLAY},system=uniform,prompt_key=plm")
    assert len(samples) == NUM_QUESTIONS
    with pytest.raises((subprocess.CalledProcessError, StopIteration)):  # the harness logs it and leaves no results
        harness(task, "none", f"recipe={EVAL},overlay={OVERLAY},system=uniform,prompt_key=nobody")


def _text(sample: dict) -> str:
    answer = sample["filtered_resps"]
    while isinstance(answer, list):
        answer = answer[0]
    return answer


def test_scorers_agree_with_the_harness_on_random_sentences() -> None:
    words = [
        "A",
        "B",
        "C",
        "D",
        "E",
        "(A)",
        "B.",
        "C:",
        "D)",
        "the answer is",
        "The best option is",
        "my choice is",
        "A man",
        "dog",
        "because",
        "\n",
        ",",
        ".",
        "答案是",
        "Answer:",
        "Best",
        "option",
        '"',
        "Best option:",
        "The answer",
    ]
    rng, ours, theirs_lvb = random.Random(0), LmmsEval(), LmmsEvalLongVideoBench()
    for _ in range(20_000):
        text = rng.choice([" ", ""]).join(rng.choice(words) for _ in range(rng.randint(0, 9)))
        assert ours.letter(text) == extract_mcq_answer(text, ["A", "B", "C", "D"]), text
        answer = Answer("d", "s", "q", "v", "x", "?", ("1", "2", "3", "4", "5"), 0, text)
        chosen = theirs_lvb.choose(answer)
        if chosen is not None:
            assert "ABCDE"[chosen] == parse_multi_choice_response(text, list("ABCDE"), {}), text
        else:  # the harness draws an option here
            assert parse_multi_choice_response(text, ["drawn"], {}) == "drawn", text
