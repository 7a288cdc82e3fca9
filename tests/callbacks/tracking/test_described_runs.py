"""What MLflow knows of a run beside its metrics: settings of any length, rollouts as a table, a busy machine."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from callbacks.tracking.mlflow_logger import BufferedMLFlowLogger
from callbacks.tracking.row_table import columns_and_rows
from callbacks.tracking.shortened import plain_name, shortened


@pytest.fixture
def uri(made: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(made, tmp_path / 'mlflow.db')}"


def logger_for(uri: str, tmp_path: Path, **settings: float) -> BufferedMLFlowLogger:
    run_dir, artifacts = str(tmp_path / "run"), str(tmp_path / "artifacts")
    return BufferedMLFlowLogger(run_dir=run_dir, tracking_uri=uri, artifact_location=artifacts, **settings)


def run_in(uri: str, tmp_path: Path) -> Run:
    return MlflowClient(uri).get_run((tmp_path / "run/mlflow_run_id").read_text())


def test_two_long_values_are_equal_only_if_they_are() -> None:
    one, other = "x" * 9000 + "a", "x" * 9000 + "b"
    assert shortened(one) == shortened("x" * 9000 + "a") != shortened(other)
    assert len(shortened(one)) == 500
    assert shortened("x" * 500) == "x" * 500
    assert plain_name("a/b, ü (c)") == "ab  c"
    assert plain_name("reward/total", extra="/") == "reward/total"
    assert len(plain_name("x" * 900)) == 250


def test_more_settings_than_one_call_takes_and_longer_ones_than_mlflow_keeps(uri: str, tmp_path: Path) -> None:
    settings = {f"model.part_{n}.rate": n for n in range(250)}
    logger = logger_for(uri, tmp_path)
    logger.log_hyperparams({**settings, "prompt": "p" * 10_000, "paper, uniform": 58.9, "k" * 400: 1, "empty": ""})
    logger.log_tags({"command": "lightning run " + "--x y " * 5000})
    assert logger.close(60) is None
    found = run_in(uri, tmp_path).data
    assert {name: str(value) for name, value in settings.items()}.items() <= found.params.items()
    assert len(found.params) == 254
    assert found.params["paper uniform"] == "58.9"
    assert found.params["prompt"].startswith("ppp")
    assert found.tags["command"].startswith("lightning run --x y")


def test_a_setting_that_a_run_changed_stays_as_it_began_and_is_told(uri: str, tmp_path: Path, caplog) -> None:
    for max_steps in (2, 2, 3):
        logger = logger_for(uri, tmp_path)
        logger.log_hyperparams({"trainer.max_steps": max_steps, "seed": 0} | ({"new": 1} if max_steps == 3 else {}))
        assert logger.close(60) is None
    found = run_in(uri, tmp_path).data
    assert found.params == {"trainer.max_steps": "2", "seed": "0", "new": "1"}
    changed = {name: value for name, value in found.tags.items() if name.startswith("changed.")}
    assert changed == {"changed.trainer.max_steps": "2 -> 3"}
    assert not caplog.records


def test_rollouts_are_a_table_that_is_replaced_when_it_comes_again(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tmp_path / "rollouts.jsonl"
    rows.write_text('{"step": 1, "timestamps_s": [2.0, 4.5], "reward_accuracy": null}\n{"step": 2, "text": "a"}\n{"st')
    assert columns_and_rows(rows) == (
        ["step", "timestamps_s", "reward_accuracy", "text"],
        [[1, [2.0, 4.5], None, None], [2, None, None, "a"]],
    )
    for _ in range(2):
        logger = logger_for(uri, tmp_path)
        logger.log_table(rows, 2)
        assert logger.close(60) is None
    run = run_in(uri, tmp_path)
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [{"path": "rollouts.json", "type": "table"}]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # the client reads tables from the process's own
    mlflow.set_tracking_uri(uri)
    table = MlflowClient(uri).load_table(run.info.experiment_id, "rollouts.json", [run.info.run_id])
    assert list(table.step) == [1, 2]
    assert table.timestamps_s[0] == [2.0, 4.5]


def test_the_link_opens_the_table_of_runs(uri: str, tmp_path: Path) -> None:
    logger = logger_for(uri, tmp_path)
    assert logger.how_to_look() == [f"mlflow ui --backend-store-uri {uri}", "http://127.0.0.1:5000"]
    logger.log_metrics({"reward/total": 1.0}, 1)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run/mlflow_run_id").is_file() or "experiments" not in logger.how_to_look()[1]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    experiment = MlflowClient(uri).get_experiment(run_in(uri, tmp_path).info.experiment_id)
    page = f"#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"
    assert logger.how_to_look()[1] == f"http://127.0.0.1:5000/{page}"
    assert logger.close(60) is None  # the writer has done all that it was to do
    tags = MlflowClient(uri).get_experiment(experiment.experiment_id).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert logger_for("https://mlflow.example.org/", tmp_path).how_to_look() == ["https://mlflow.example.org"]


def test_an_experiment_that_says_what_it_is_is_left_so(uri: str, tmp_path: Path) -> None:
    client = MlflowClient(uri)
    experiment_id = client.create_experiment("kairos", tags={"mlflow.experimentKind": "genai_development"})
    logger = logger_for(uri, tmp_path)
    logger.log_metrics({"reward/total": 1.0}, 1)
    assert logger.close(60) is None
    assert client.get_experiment(experiment_id).tags == {"mlflow.experimentKind": "genai_development"}


def test_how_busy_the_machine_is_under_the_number_of_the_update(uri: str, tmp_path: Path) -> None:
    logger = logger_for(uri, tmp_path, system_metrics_every_s=0.05)
    logger.log_metrics({"reward/total": 1.0}, 7)
    time.sleep(0.5)
    assert logger.close(60) is None
    assert not [thread for thread in threading.enumerate() if thread.name == "system-metrics"]
    run = run_in(uri, tmp_path)
    history = MlflowClient(uri).get_metric_history(run.info.run_id, "system/system_memory_usage_percentage")
    assert len(history) >= 2
    assert history[-1].step == 7
    assert all(0 < point.value < 100 for point in history)
    assert {"system/cpu_utilization_percentage", "system/disk_usage_percentage"} <= run.data.metrics.keys()
