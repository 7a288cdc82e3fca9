"""Every recipe for real models and benchmarks passes `check`, and runs in small: the real command, on files of the real
formats and small models of the real classes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM, LlavaOnevisionForConditionalGeneration, Qwen2_5_VLForConditionalGeneration

from datamodules.annotations.long_video_qa import LongVideoQA
from datamodules.annotations.training import TSPO10K
from modules.evaluation.answer_files import read_answers
from modules.evaluation.evaluation_module import EvaluationModule
from modules.methods.swinbert.swinbert_folder import load_network
from modules.records import QuestionBatch, Rollouts
from modules.rl.evolution import EvolutionModule
from modules.rl.reward_sum import Rewards
from modules.selection.selection_files import read_selections
from recipes.launcher.cli import main
from recipes.launcher.guard import ROOT

RECIPES = ROOT / "recipes"
BENCHMARKS = {
    "longvideobench": "lvb_val.json",
    "mlvu": "mlvu.json",
    "videomme": "test.parquet",
    "lvbench": "video_info.meta.jsonl",
    "nextgqa": "test.csv",
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder in which recipes/data/try_out.yaml has run."""
    folder = tmp_path_factory.mktemp("workplace")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KAIROS_RUN_DIR", "outputs/try_out/run")
        main(["run", str(RECIPES / "data/try_out.yaml")])
    return folder


@pytest.fixture
def run(workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, on_device: list[str]):
    """Runs a recipe in the workplace; its run folder and what it printed."""

    def call(recipe: str, *arguments: str) -> tuple[Path, str]:
        monkeypatch.chdir(workplace)
        monkeypatch.setenv("KAIROS_DEBUG", "1")
        monkeypatch.delenv("KAIROS_RUN_DIR", raising=False)
        run_dir = Path("outputs") / f"{Path(recipe).stem}-{len(list(workplace.glob('outputs/*')))}"
        trained = on_device if recipe.startswith(("paper/", "eval/")) else []  # jobs choose their device themselves
        main(["run", str(RECIPES / recipe), "--run_dir", str(run_dir), *arguments, *trained])
        return workplace / run_dir, capsys.readouterr().out

    return call


def overlay(name: str) -> list[str]:
    return ["--overlay", str(RECIPES / f"overlays/try_out/{name}.yaml")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tspo_qwen2_5_vl", "tspo_llava_video"])
def test_paper_recipes_take_two_steps(name: str, run) -> None:
    run_dir, _ = run(f"paper/{name}_7b.yaml", *overlay(name))
    assert (run_dir / "checkpoints" / "last.ckpt").is_file()
    assert (run_dir / "environment.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_videostreamings_paper_recipe_takes_two_steps(dtype: str, run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CLIP, the lower half of a Phi and a Llama on MP4 files: selection and Llama learn, and nothing else does."""

    def differ(module: EvolutionModule, rollouts: Rollouts) -> Rewards:  # what a blank model says is never right
        rewards = torch.arange(rollouts.selection.candidate_index.shape[1]).float().expand(len(rollouts.batch), -1)
        return Rewards({"different": rewards}, rewards, rewards)

    monkeypatch.setattr(EvolutionModule, "score_rewards", differ)
    words = ["--model.mllm.loading.dtype", dtype, "--data.encoder.condenser.layers.dtype", dtype]
    run_dir, _ = run("paper/videostreaming_vicuna_7b.yaml", *overlay("videostreaming_vicuna"), *words)
    saved = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    moved = {name.split(".")[0] for name in saved}
    assert moved == {"sampler", "mllm"}
    begun = LlamaForCausalLM.from_pretrained("build/try_out/models/videostreaming/llama", dtype="float32").state_dict()
    prefix = "mllm.model."
    trained = {n.removeprefix(prefix): w for n, w in saved.items() if n.startswith(prefix)}
    assert trained.keys() == dict(begun).keys()
    assert any(not torch.equal(w.float().cpu(), begun[n].float()) for n, w in trained.items())
    assert {"mllm.output.0.weight", "sampler.question_head.weight", "sampler.clip_head.weight"} <= saved.keys()
    assert all(w.dtype == torch.float32 for w in saved.values())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-mixed", pytest.param("32-true", marks=pytest.mark.long)])
def test_swinberts_paper_recipe_takes_two_steps(precision: str, run) -> None:
    """On clips in MSR-VTT's layout: all of its parts learn, in float32, and what it leaves behind is a captioner."""
    run_dir, printed = run("paper/swinbert_msrvtt.yaml", *overlay("swinbert_msrvtt"), "--trainer.precision", precision)
    saved = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    begun = load_file("build/try_out/models/swinbert/vidswin.safetensors")
    weights = {name.removeprefix("network."): w.cpu() for name, w in saved["state_dict"].items()}
    assert all(w.dtype == torch.float32 for name, w in weights.items() if not name.endswith("index"))
    assert any(not torch.equal(weights[f"backbone.{name}"], w) for name, w in begun.items())
    assert not torch.equal(weights["mask.logits"], torch.full_like(weights["mask.logits"], 2.0))
    captions = [a for a in read_answers(run_dir) if a.system == "swinbert"]
    assert len(captions) == 2
    assert all(len(a.references) == 5 and a.text is not None for a in captions)
    assert "cider-d@1, msrvtt/test" in printed
    assert load_network(str(run_dir / "model")).num_frames == 4


CAPTIONS = {
    "msrvtt": "test_videodatainfo.json",
    "msvd": "video_corpus.csv",
    "vatex": "vatex_public_test_english_v1.1.json",
    "tvc": "tvc_val_release.jsonl",
    "youcook2": "youcookii_annotations_trainval.json",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [n if n == "msrvtt" else pytest.param(n, marks=pytest.mark.long) for n in CAPTIONS])
def test_caption_benchmarks_end_with_a_card_and_numbers(name: str, run) -> None:
    more = ["--clips", "null"] if name == "msvd" else []
    file = f"build/try_out/{name}/{CAPTIONS[name]}"
    run_dir, printed = run(f"eval/{name}.yaml", *overlay("eval_captions"), "--annotations", file, *more)
    assert json.loads((run_dir / "card.json").read_text())["systems"]
    assert "bleu-4@1" in printed
    answers = read_answers(run_dir)
    assert {a.system for a in answers} == {"captioner"}
    assert len(answers) == 2
    assert all(a.text is not None and a.references for a in answers)
    within_s = {"tvc": (0, 6.5), "youcook2": (1, 7)}.get(name, (0, 8))
    assert all(within_s[0] <= t <= within_s[1] for a in answers for t in a.timestamps_s)


@pytest.mark.long
def test_an_mllm_is_scored_as_a_captioner_too(run) -> None:
    words = ["--overlay", str(RECIPES / "overlays/eval_caption_mllm.yaml"), *overlay("eval_captions")]
    small = ["--model.captioners.mllm.mllm.loading.dtype", "float32"]
    small += ["--model.captioners.mllm.mllm.frame_pixels", "[784, 1568]", "--model.captioners.mllm.max_new_tokens", "4"]
    file = ["--annotations", "build/try_out/msrvtt/test_videodatainfo.json"]
    run_dir, _ = run("eval/msrvtt.yaml", *words, *file, "--mllm", "build/try_out/models/qwen2_5_vl", *small)
    assert {a.system for a in read_answers(run_dir)} == {"mllm"}


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_eval_recipes_end_with_a_card_and_numbers(name: str, run) -> None:
    file = f"build/try_out/{name}/{BENCHMARKS[name]}"
    more = ["--overlay", str(RECIPES / "overlays/yardsticks.yaml")]
    run_dir, printed = run(f"eval/{name}.yaml", *overlay("eval"), *more, "--annotations", file)
    card = json.loads((run_dir / "card.json").read_text())
    for key in ("num_frames", "grid", "systems", "frame_size", "prompt", "scorers", "versions", "annotations"):
        assert card[key], key
    assert card["versions"]["transformers"]
    assert "Evaluation card" in printed
    assert "micro" in printed
    answers = read_answers(run_dir)
    assert {a.system for a in answers} == {"uniform", "sampler", "blind", "oracle"}
    assert len(answers) == 16
    assert all(a.text is not None and a.option_log_probs is not None for a in answers)
    assert all(sum(map(math.exp, a.option_log_probs)) == pytest.approx(1, abs=1e-3) for a in answers)
    rows = read_selections(run_dir / "selections.parquet", "sampler")
    assert rows == read_selections(run_dir / "selections.jsonl", "sampler")
    assert all(r.decoder and r.num_video_frames and r.video_fps > 1 and r.scores and r.ranks for r in rows)
    scores = json.loads((run_dir / "scores.json").read_text())
    names = {line["name"] for line in scores["option-logprob@1"]["uniform"]}
    assert {"longvideobench": "duration=60", "mlvu": "macro over task", "nextgqa": "Acc@GQA"}.get(
        name, "micro"
    ) in names


@pytest.mark.slow
def test_an_evaluation_is_reproduced_from_its_selections_alone(run, workplace: Path) -> None:
    """Without encoder and sampler: the frames of the file are the candidates, and the answers are the same."""
    arguments = [*overlay("eval"), "--annotations", "build/try_out/mlvu/mlvu.json"]
    first, _ = run("eval/mlvu.yaml", *arguments)
    overlays = ["--overlay", str(RECIPES / "overlays/precomputed.yaml")]
    chosen = ["--selections", str(first / "selections.parquet"), "--system", "sampler"]
    second, _ = run("eval/mlvu.yaml", *arguments[:2], *overlays, *arguments[2:], *chosen)
    before = {a.sample_id: a for a in read_answers(first) if a.system == "sampler"}
    for answer in read_answers(second):
        assert answer.system == "precomputed"
        assert answer.timestamps_s == before[answer.sample_id].timestamps_s
        assert answer.text == before[answer.sample_id].text
        assert answer.option_log_probs == pytest.approx(before[answer.sample_id].option_log_probs, abs=1e-5)
    main(["compare", str(first), str(second), "--system-a", "sampler"])


@pytest.mark.slow
def test_answers_outlive_what_ends_an_evaluation(run, workplace: Path, monkeypatch, capsys) -> None:
    whole, left = EvaluationModule.test_step, [2]

    def step(module: EvaluationModule, batch: QuestionBatch, batch_idx: int):
        if not left[0]:
            raise OSError("the disk is gone")
        left[0] -= 1
        return whole(module, batch, batch_idx)

    monkeypatch.setattr(EvaluationModule, "test_step", step)
    file = "build/try_out/mlvu/mlvu.json"
    with pytest.raises(OSError, match="the disk is gone"):
        run("eval/mlvu.yaml", *overlay("eval"), "--annotations", file, "--data.eval_batch_size", "1")
    run_dir = max(workplace.glob("outputs/mlvu-*"), key=lambda p: p.stat().st_mtime)
    assert not (run_dir / "answers.jsonl").exists()
    assert {a.system for a in read_answers(run_dir)} == {"uniform", "sampler"}
    assert len(read_answers(run_dir)) == 4
    capsys.readouterr()
    main(["score", str(run_dir)])
    assert "micro" in capsys.readouterr().out


@pytest.mark.slow
def test_finished_runs_are_scored_compared_and_exported(run, workplace: Path, capsys) -> None:
    run_dir, _ = run("eval/mlvu.yaml", *overlay("eval"), "--annotations", "build/try_out/mlvu/mlvu.json")
    main(["score", str(run_dir), "--scorer", "vlmevalkit", "--scorer", "option-logprob", "--macro-over", "task"])
    printed = capsys.readouterr().out
    assert "vlmevalkit@2026-08" in printed
    assert "macro over task" in printed
    main(["compare", str(run_dir), str(run_dir), "--system-a", "uniform", "--system-b", "sampler"])
    assert "McNemar p" in capsys.readouterr().out
    selections = str(run_dir / "selections.parquet")
    common = ["export", selections, "--sampler", "sampler", "--num-frames", "4"]
    main([*common, "--format", "json", "--out", "s.json"])
    exported = json.loads(Path("s.json").read_text())
    assert all(len(e["frame_ids"]) == 4 == len(e["scores"]) for e in exported.values())
    main([*common, "--format", "vlmevalkit", "--out", "frames"])
    folders = list(Path("frames").iterdir())
    assert len(folders) == 4
    assert sorted(p.name for p in folders[0].iterdir()) == [f"frame-{n}-of-4.jpg" for n in (1, 2, 3, 4)]
    rows = json.loads(Path("build/try_out/mlvu/mlvu.json").read_text())[:4]
    Path("four.json").write_text(json.dumps(rows))
    main([*common, "--format", "tspo-float", "--annotations", "four.json", "--out", "TSPO_frameIdx.json"])
    published = json.loads(Path("TSPO_frameIdx.json").read_text())
    assert all(isinstance(i, float) for r in published for i in r["frame_idx"])
    assert published[0]["question"] == rows[0]["question"]
    back = read_selections("TSPO_frameIdx.json")
    assert {r.sample_id: list(r.frame_ids) for r in back} == {k: e["frame_ids"] for k, e in exported.items()}
    with pytest.raises(SystemExit, match="no scorer 'lenient'"):
        monkeypatched_main(["score", str(run_dir), "--scorer", "lenient"])


def monkeypatched_main(arguments: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KAIROS_DEBUG", raising=False)
        main(arguments)


@pytest.mark.slow
def test_inspect_prints_what_is_there_and_what_is_not(run, workplace: Path) -> None:
    (workplace / "build/try_out/nowhere").mkdir()
    source = ["--source", "datamodules.annotations.lvbench.LVBench", "--videos", "build/try_out/nowhere"]
    run_dir, printed = run("data/inspect.yaml", *source, "--annotations", "build/try_out/lvbench/video_info.meta.jsonl")
    assert "0 of 5; missing e.g. build/try_out/nowhere/v0.mp4" in " ".join(printed.split())
    assert "published: 1549 on 103" in " ".join(printed.split())
    assert printed.count("evidence") >= 10
    manifest = json.loads((run_dir / "manifest.json").read_text())["test"]
    assert manifest["num_rows"] == manifest["num_questions"] == 20


@pytest.mark.slow
def test_extract_once_then_nothing_then_shards(run, workplace: Path, monkeypatch) -> None:
    source = [
        "--source",
        "datamodules.annotations.mlvu.MLVU",
        "--annotations",
        "build/try_out/mlvu/mlvu.json",
        "--videos",
        "build/try_out/videos",
        "--encoder",
        "build/try_out/models/clip",
    ]
    store = ["--job.data.feature_dir", "shards"]
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "1")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    _, printed = run("data/extract.yaml", *source, *store)
    assert "videos      2: 2 encoded, 0 stored before, 0 failed" in printed
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    monkeypatch.delenv("SLURM_ARRAY_TASK_COUNT")
    monkeypatch.delenv("SLURM_ARRAY_TASK_MIN")
    _, printed = run("data/extract.yaml", *source, *store, "--job.shard.index", "0", "--job.shard.count", "2")
    assert "videos      3: 3 encoded, 0 stored before" in printed
    assert len(list((workplace / "shards").glob("clip-*/*.safetensors"))) == 5
    _, printed = run("data/extract.yaml", *source, *store)
    assert "videos      5: 0 encoded, 5 stored before, 0 failed" in printed


@pytest.mark.slow
def test_difficulty_filter_counts_resumes_and_can_be_trained_on(run, workplace: Path) -> None:
    arguments = [
        "--annotations",
        "build/try_out/llava_video/mc.json",
        "--videos",
        "build/try_out/videos",
        "--out",
        "mine/general.jsonl",
        "--mllm",
        "build/try_out/models/qwen2_5_vl",
        "--job.many",
        "12",
        "--job.mllm.loading.dtype",
        "float32",
        "--job.mllm.frame_pixels",
        "[784, 1568]",
    ]
    run_dir, printed = run("data/filter_difficulty.yaml", *arguments)
    counts = json.loads((run_dir / "counts.json").read_text())
    total = counts.pop("total")
    assert total == 20 == sum(counts.values())
    assert counts.get("kept", 0) > 0
    assert "left out" in printed
    kept = TSPO10K(annotations="mine/general.jsonl", videos="build/try_out/videos").load()
    assert len(kept.questions) == counts["kept"]
    assert all(Path(q.video).is_file() for q in kept.questions)
    verdicts = Path("mine/general.verdicts.jsonl")
    verdicts.write_text("\n".join(verdicts.read_text().splitlines()[:15]) + '\n{"id": "cut o')
    again, _ = run("data/filter_difficulty.yaml", *arguments)
    assert json.loads((again / "counts.json").read_text()) == {"total": total, **counts}


@pytest.mark.slow
def test_msjoes_data_and_both_stages(run, workplace: Path) -> None:
    """Pass rates of questions, long-video data out of them, stage 1 on it, stage 2 on stage 1."""
    mllm = [
        "--mllm",
        "build/try_out/models/qwen2_5_vl",
        "--job.mllm.loading.dtype",
        "float32",
        "--job.mllm.frame_pixels",
        "[784, 1568]",
    ]
    source = ["--annotations", "build/try_out/tspo_10k/TSPO_10k.jsonl", "--videos", "build/try_out/videos"]
    small = ["--job.num_frames", "4", "--job.num_trials", "3", "--job.max_new_tokens", "4"]
    rates = ["--out", "mine/pass_rates.jsonl"]
    run_dir, printed = run("data/pass_rates.yaml", *source, *mllm, *small, *rates)
    rows = [json.loads(line) for line in Path("mine/pass_rates.jsonl").read_text().splitlines()]
    assert all(row["pass_rate"] in (0.0, 1 / 3, 2 / 3, 1.0) and row["num_trials"] == 3 for row in rows)
    assert sum(json.loads((run_dir / "counts.json").read_text()).values()) == len(rows) > 4
    assert "long_video_qa.yaml" in printed
    Path("mine/pass_rates.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows[:3]) + '{"id": "cut o')
    run("data/pass_rates.yaml", *source, *mllm, *small, *rates)
    assert [json.loads(x) for x in Path("mine/pass_rates.jsonl").read_text().splitlines()] == rows

    run_dir, _ = run(
        "data/long_video_qa.yaml",
        *source,
        "--rates",
        "mine/pass_rates.jsonl",
        "--out",
        "build/try_out/long_video_qa.json",
        "--job.min_duration_s",
        "1",
    )
    counts = json.loads((run_dir / "counts.json").read_text())
    kept = LongVideoQA(annotations="build/try_out/long_video_qa.json", videos="build/try_out/videos").load()
    assert len(kept.questions) == counts["kept"] == len([r for r in rows if r["pass_rate"] < 0.99])
    assert {q.sample_id: q.pass_rate for q in kept.questions} == {
        r["id"]: r["pass_rate"] for r in rows if r["pass_rate"] < 0.99
    }
    assert all(q.duration_s > 1 and Path(q.video).is_file() for q in kept.questions)

    first, _ = run("paper/msjoe_pretrain_qwen2_5_vl_7b.yaml", *overlay("msjoe_qwen2_5_vl"))
    stage1 = first / "checkpoints" / "last.ckpt"
    second, _ = run("paper/msjoe_qwen2_5_vl_7b.yaml", *overlay("msjoe_qwen2_5_vl"), "--model.init_from", str(stage1))
    assert not list((second / "stalled").iterdir())
    main(["consolidate", str(second / "checkpoints" / "last.ckpt"), "build/msjoe"])
    written = Qwen2_5_VLForConditionalGeneration.from_pretrained("build/msjoe/mllm").state_dict()
    saved = torch.load(second / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    trained = {n.removeprefix("mllm.model."): w for n, w in saved.items() if n.startswith("mllm.")}
    assert trained
    assert not any("visual" in n for n in trained)
    assert all(torch.equal(written[n].cpu(), w.cpu()) for n, w in trained.items())
    again = ["--model.mllm.path", "build/msjoe/mllm", "--model.init_from", "build/msjoe/sampler.safetensors"]
    run("paper/msjoe_qwen2_5_vl_7b.yaml", *overlay("msjoe_qwen2_5_vl"), *again, "--model.evolve", "sampler")


@pytest.mark.slow
def test_needles_by_description(run, workplace: Path) -> None:
    run_dir, _ = run(
        "data/needles.yaml",
        "--videos",
        "build/try_out/videos",
        "--out",
        "mine/specific.jsonl",
        "--mllm",
        "build/try_out/models/qwen2_5_vl",
        "--job.style",
        "identify",
        "--job.max_new_tokens",
        "24",
        "--job.min_words",
        "1",
        "--job.mllm.loading.dtype",
        "float32",
        "--job.mllm.frame_pixels",
        "[784, 1568]",
        "--job.max_right_frac",
        "1.0",
    )
    counts = json.loads((run_dir / "counts.json").read_text())
    assert counts.pop("total") == 5 == sum(counts.values())
    assert Path("mine/specific.descriptions.jsonl").is_file()
    kept = (
        TSPO10K(annotations="mine/specific.jsonl", videos="build/try_out/videos").load().questions
        if counts.get("kept")
        else []
    )
    assert all(q.groups["type"] == "specific" and len(q.options) == 4 for q in kept)
    assert len(kept) == counts.get("kept", 0)


@pytest.mark.slow
def test_the_tspo_folder_of_a_run(run, workplace: Path) -> None:
    trained, _ = run("paper/tspo_qwen2_5_vl_7b.yaml", *overlay("tspo_qwen2_5_vl"))
    run(
        "data/save_tspo_folder.yaml",
        "--checkpoint",
        str(trained / "checkpoints/last.ckpt"),
        "--out",
        "my-tspo",
        "--job.encoder.path",
        "build/try_out/models/clip",
        "--job.sampler.dim",
        "32",
    )
    arguments = [*overlay("eval"), "--annotations", "build/try_out/mlvu/mlvu.json", "--selector", "my-tspo"]
    by_folder, _ = run("eval/mlvu.yaml", *arguments, "--model.systems.sampler.sampler.weights", "my-tspo")
    assert len(read_answers(by_folder)) == 8


@pytest.mark.slow
def test_llava_video_is_converted_and_answers(run, workplace: Path) -> None:
    blank = workplace / "build/try_out/models/llava_onevision"
    names = {
        "model.vision_tower.": "model.vision_tower.vision_tower.vision_model.",
        "model.multi_modal_projector.linear_1.": "model.mm_projector.0.",
        "model.multi_modal_projector.linear_2.": "model.mm_projector.2.",
        "model.language_model.": "model.",
    }
    tensors = {}
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(blank)
    for name, tensor in model.state_dict().items():
        prefix = next((p for p in names if name.startswith(p)), "")
        tensors[names.get(prefix, "") + name.removeprefix(prefix)] = tensor.clone()
    (workplace / "original").mkdir()
    save_file(tensors, workplace / "original" / "model.safetensors")
    run(
        "data/convert_llava_video.yaml",
        "--source",
        "original",
        "--out",
        "models/llava-video",
        "--processor",
        str(blank),
        "--job.config",
        str(blank),
    )
    run_dir, _ = run("paper/tspo_llava_video_7b.yaml", *overlay("tspo_llava_video"), "--mllm", "models/llava-video")
    assert (run_dir / "checkpoints" / "last.ckpt").is_file()


def test_memory_needs_no_weights(capsys: pytest.CaptureFixture) -> None:
    main(["check", str(RECIPES / "paper/tspo_qwen2_5_vl_7b.yaml"), "--memory"])
    printed = capsys.readouterr().out
    assert "8,292,166,656 parameters" in printed
    assert "sampler     2,952,960 parameters" in printed
    assert "by phase: arithmetic, not a measurement" in printed
    main(
        [
            "check",
            str(RECIPES / "paper/tspo_llava_video_7b.yaml"),
            "--memory",
            "--mllm",
            "lmms-lab/LLaVA-Video-7B-Qwen2",
        ]
    )
    assert "16 frames x 210 tokens" in capsys.readouterr().out
    main(["check", str(RECIPES / "paper/refocus_1_3b.yaml"), "--memory"])
    printed = capsys.readouterr().out
    assert "2,088,883,712 parameters" in printed
    assert "sampler     1," in printed  # built of parts, and counted
    with pytest.raises(SystemExit, match="is not known"):
        monkeypatched_main(
            ["check", str(RECIPES / "paper/tspo_qwen2_5_vl_7b.yaml"), "--memory", "--mllm", "some/model"]
        )


@pytest.mark.slow
def test_refocus_s_filter_and_paper_recipe_take_two_steps(run, workplace: Path) -> None:
    """Margins of parts of videos, the questions they leave, Mamba-2 over patch tokens trained on those."""
    run_dir, _ = run(
        "data/margin_variance.yaml",
        "--annotations",
        "build/try_out/tspo_10k/TSPO_10k.jsonl",
        "--videos",
        "build/try_out/videos",
        "--mllm",
        "build/try_out/models/internvl",
        "--out",
        "mine/kept.jsonl",
        "--min_variance",
        "0.0",
        "--job.num_frames",
        "2",
        "--job.mllm.loading.dtype",
        "float32",
        "--job.short_side_px",
        "56",
    )
    counts = json.loads((run_dir / "counts.json").read_text())
    kept = [json.loads(line)["id"] for line in Path("mine/kept.jsonl").read_text().splitlines()]
    assert counts["kept"] == len(kept) > 4
    run_dir, _ = run("paper/refocus_1_3b.yaml", *overlay("refocus_1_3b"), "--data.filter.train_ids", "mine/kept.jsonl")
    saved = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    for name in ("sof", "raw_scale", "backbone.model.embeddings.weight"):
        assert f"sampler.{name}" in saved["state_dict"]
    groups = saved["optimizer_states"][0]["param_groups"]
    assert [g["name"] for g in groups] == ["sampler", "sampler_backbone"]
    assert groups[1]["initial_lr"] == pytest.approx(0.1 * groups[0]["initial_lr"])
    frames = [float(row.split(",")[2]) for row in (run_dir / "curve.csv").read_text().splitlines() if "entropy" in row]
    assert len(frames) == 2
