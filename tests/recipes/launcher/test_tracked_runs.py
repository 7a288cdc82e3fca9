"""Real runs whose MLflow is half-made, locked, silent or shared: each comes to its end and says what MLflow lacks."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from recipe_commands import start

from recipes.launcher.guard import ROOT

pytestmark = pytest.mark.long
RECIPE = [
    str(ROOT / "recipes/tspo.yaml"),
    "--overlay",
    str(ROOT / "recipes/overlays/smoke.yaml"),
    "--data.num_test_videos",
    "1",
    "--data.encoder.model",
    f"local-dir:{ROOT}/recipes/haystack/weights/clip",
    "--model.mllm.path",
    f"{ROOT}/recipes/haystack/weights/vlm",
]


def run(cwd: Path, *words: str) -> str:
    process = start(cwd, *words)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output[-4000:]
    assert "Traceback" not in output
    return output


def steps_in(database: Path) -> set[int]:
    with closing(sqlite3.connect(database)) as opened:
        return {step for (step,) in opened.execute("select step from metrics where key = 'reward/total'")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder with the data of a finished run, and its MLflow."""
    cwd = tmp_path_factory.mktemp("finished")
    run(cwd, "run", *RECIPE)
    return cwd


@pytest.fixture
def workplace(finished: Path, tmp_path: Path) -> Path:
    """A fresh folder with the data alone, so that each run is a first start of MLflow."""
    shutil.copytree(finished / "data", tmp_path / "data")
    (tmp_path / "outputs").mkdir()
    return tmp_path


def test_after_one_that_was_killed_in_its_first_start(workplace: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database = workplace / "outputs/mlflow.db"
    SqlAlchemyStore(f"sqlite:///{database}", "mlruns").engine.dispose()
    with closing(sqlite3.connect(database)) as opened:  # as far as it had come: tables, and no word on which
        opened.executescript("drop table alembic_version; drop table spans;")
    os.utime(database, (time.time() - 60,) * 2)
    output = run(workplace, "run", *RECIPE)
    assert output.count("half-made") >= 1
    assert steps_in(database) == {1, 2}


def test_a_database_that_is_locked_all_the_time(finished: Path, workplace: Path) -> None:
    database = workplace / "outputs/mlflow.db"
    shutil.copy(finished / "outputs/mlflow.db", database)
    before = steps_in(database)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("delete from metrics")
        other.execute("begin exclusive")
        output = run(workplace, "run", *RECIPE, "--run_dir", "outputs/tspo/locked")
    assert "lightning track outputs/tspo/locked" in output
    assert "database is locked" in output
    assert steps_in(database) == set()
    assert "has all that" in run(workplace, "track", "outputs/tspo/locked")
    assert steps_in(database) == before == {1, 2}


def test_a_server_that_is_silent(workplace: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # connections wait in its queue for ever
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        output = run(workplace, "run", *RECIPE, "--trainer.logger.tracking_uri", address, "--run_dir", "outputs/silent")
    assert f"MLflow at {address} lacks" in output
    local = f"sqlite:///{workplace}/outputs/mlflow.db"
    run(workplace, "track", "outputs/silent", "--tracking-uri", local)
    assert steps_in(workplace / "outputs/mlflow.db") == {1, 2}


def test_four_at_once(workplace: Path) -> None:
    processes = [start(workplace, "run", *RECIPE) for _ in range(4)]
    for process in processes:
        output, _ = process.communicate(timeout=400)
        assert process.returncode == 0, output[-3000:]
        assert " lacks " not in output
    assert len(list((workplace / "outputs/tspo").glob("*/test_summary.json"))) == 4
    with closing(sqlite3.connect(workplace / "outputs/mlflow.db")) as opened:
        asked = "select count(*) from metrics where key = 'reward/total' group by run_uuid"
        assert opened.execute(asked).fetchall() == [(2,)] * 4
