"""Tracking ends no training and holds none up: half-made and locked databases, servers that are silent or broken."""

from __future__ import annotations

import json
import logging
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from callbacks.tracking.mlflow_database import make_whole
from callbacks.tracking.mlflow_logger import BufferedMLFlowLogger
from callbacks.tracking.unsent import UnsentEntries
from recipes.launcher.cli import main


@pytest.fixture
def database(made: Path, tmp_path: Path) -> Path:
    path = tmp_path / "mlflow.db"
    path.write_bytes(made.read_bytes())
    return path


def logger_for(path: Path | str, run_dir: Path) -> BufferedMLFlowLogger:
    uri = path if isinstance(path, str) else f"sqlite:///{path}"
    return BufferedMLFlowLogger(run_dir=str(run_dir), tracking_uri=uri, artifact_location=str(run_dir / "artifacts"))


def metrics_in(path: Path) -> list[tuple[int, float]]:
    with closing(sqlite3.connect(path)) as opened:
        return list(opened.execute("select step, value from metrics order by step, value"))


def log_steps(logger: BufferedMLFlowLogger, steps: range) -> float:
    """Logs a metric at each of them; seconds that took."""
    started = time.perf_counter()
    for step in steps:
        logger.log_metrics({"reward/total": step / 10}, step)
    return time.perf_counter() - started


def expected(steps: range) -> list[tuple[int, float]]:
    return [(step, step / 10) for step in steps]


def half_make(path: Path, seconds_ago: float = 60.0) -> None:
    """Leaves what MLflow has written when it is killed in the middle of bringing the tables up to date."""
    with closing(sqlite3.connect(path)) as opened:
        opened.executescript("drop table alembic_version; drop table spans;")
    os.utime(path, (time.time() - seconds_ago,) * 2)


def test_metrics_tags_and_files_arrive(database: Path, tmp_path: Path) -> None:
    logger = logger_for(database, tmp_path / "run")
    log_steps(logger, range(1, 4))
    logger.log_tags({"commit": "abc+", "method": "tspo"})
    logger.log_hyperparams({"model": {"rate": 0.5}})
    note = tmp_path / "note.txt"
    note.write_text("what was found")
    logger.log_file(note, "notes")
    logger.finalize("success")
    assert logger.close() is None
    assert metrics_in(database) == expected(range(1, 4))
    run_id = (tmp_path / "run/mlflow_run_id").read_text()
    assert logger.version == run_id
    assert (tmp_path / f"run/artifacts/{run_id}/artifacts/notes/note.txt").read_text() == "what was found"
    assert not (tmp_path / "run/mlflow_unsent.jsonl").exists()
    with closing(sqlite3.connect(database)) as opened:
        assert opened.execute("select status from runs").fetchall() == [("FINISHED",)]
        assert opened.execute("select key, value from params").fetchall() == [("model.rate", "0.5")]
        tags = dict(opened.execute("select key, value from tags"))
    own = {"commit": "abc+", "method": "tspo", "mlflow.source.git.commit": "abc"}
    assert own.items() <= tags.items()


def test_a_half_made_database_is_put_aside_and_made_again(database: Path, tmp_path: Path, caplog) -> None:
    half_make(database)
    logger = logger_for(database, tmp_path / "run")
    log_steps(logger, range(1, 3))
    assert logger.close(60) is None
    assert metrics_in(database) == expected(range(1, 3))
    (aside,) = tmp_path.glob("mlflow.db.half-made-*")
    assert aside.stat().st_size > 0
    assert sum("half-made" in record.message for record in caplog.records) == 1


def test_one_that_somebody_is_making_is_waited_for(database: Path) -> None:
    half_make(database, seconds_ago=0.0)
    with pytest.raises(BlockingIOError, match="no complete schema yet"):
        make_whole(database)
    assert database.is_file()


def test_a_database_with_runs_is_never_touched(database: Path) -> None:
    with closing(sqlite3.connect(database)) as opened:
        opened.execute("insert into runs (run_uuid, name, status) values ('old', 'of last year', 'FINISHED')")
        opened.execute("update alembic_version set version_num = '451aebb31d03'")  # of an earlier MLflow
        opened.commit()
    before = database.read_bytes()
    make_whole(database)
    assert database.read_bytes() == before


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_text("my notes on runs, kept under an unlucky name\n" * 50)
    with pytest.raises(ValueError, match="is no sqlite database"):
        make_whole(path)
    logger = logger_for(path, tmp_path / "run")
    assert log_steps(logger, range(1, 3)) < 5
    assert "is no sqlite database" in (logger.close(0.5) or "")
    assert path.read_text().startswith("my notes")


def test_a_locked_database_holds_nothing_up_and_gets_everything_later(database: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("begin exclusive")
        logger = logger_for(database, tmp_path / "run")
        assert log_steps(logger, range(1, 101)) < 5
        lines = (tmp_path / "run/mlflow_unsent.jsonl").read_text().splitlines()
        assert len(lines) == 100
        other.execute("rollback")
    assert logger.close(60) is None
    assert metrics_in(database) == expected(range(1, 101))


def answer_500(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
    connection.close()


def drop(connection: socket.socket) -> None:
    connection.recv(10)
    connection.close()


def hang(connection: socket.socket) -> None:
    threading.Event().wait(30)
    connection.close()


def drip(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(60):
        connection.sendall(b" ")
        time.sleep(0.5)


@pytest.fixture
def serve() -> Iterator:
    """Starts a server on the loopback that treats every connection in one way; gives its address."""
    listeners = []

    def begin(treat) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=_quietly, args=(treat, connection), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield begin
    for listener in listeners:
        listener.close()


def _quietly(treat, connection: socket.socket) -> None:
    try:
        treat(connection)
    except OSError:
        connection.close()


@pytest.mark.parametrize("treat", [answer_500, drop, hang, drip])
def test_a_broken_server_neither_ends_nor_holds_up_a_run(serve, treat, database: Path, tmp_path: Path) -> None:
    logger = logger_for(serve(treat), tmp_path / "run")
    assert log_steps(logger, range(1, 51)) < 5
    started = time.perf_counter()
    lacking = logger.close(1.0)
    assert time.perf_counter() - started < 5
    assert lacking is not None
    assert "mlflow_unsent.jsonl" in lacking
    assert f"lightning track {tmp_path / 'run'}" in lacking
    later = logger_for(database, tmp_path / "run")  # the same run folder, and an MLflow that works
    later.start()
    assert later.close(60) is None
    assert metrics_in(database) == expected(range(1, 51))


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    logger = logger_for(f"http://127.0.0.1:{port}", tmp_path / "run")
    assert log_steps(logger, range(1, 11)) < 5
    assert "Connection" in (logger.close(1.0) or "")


def test_what_mlflow_refuses_is_left_out_and_said(database: Path, tmp_path: Path, caplog) -> None:
    logger = logger_for(database, tmp_path / "run")
    logger.log_metrics({"reward/total": 0.1}, 1)
    logger.log_metrics({"reward//total": 1.0}, 1)  # a name that would be another
    logger.log_metrics({"reward/total": 0.2}, 2)
    logger.log_file(tmp_path / "gone.png")
    said = logger.close(60)
    assert said is not None
    assert "refused 2 entries" in said
    assert metrics_in(database) == expected(range(1, 3))


def test_a_name_with_commas_is_cleaned(database: Path, tmp_path: Path) -> None:
    logger = logger_for(database, tmp_path / "run")
    logger.log_metrics({"test/accuracy_best, of 8": 1.0}, 1)
    assert logger.close(60) is None
    with closing(sqlite3.connect(database)) as opened:
        assert opened.execute("select key from metrics").fetchall() == [("test/accuracy_best of 8",)]


def test_files_that_cannot_be_copied_hold_up_no_metric(database: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/artifacts").write_text("a file where a folder should be")
    note = tmp_path / "note.txt"
    note.write_text("x")
    logger = logger_for(database, tmp_path / "run")
    logger.log_file(note)
    log_steps(logger, range(1, 4))
    assert "lacks what this run has logged" in (logger.close(3.0) or "")
    assert "note.txt" in (tmp_path / "run/mlflow_unsent.jsonl").read_text().splitlines()[-1]
    assert metrics_in(database) == expected(range(1, 4))


def test_a_disk_that_takes_nothing_ends_no_run(database: Path, tmp_path: Path, caplog) -> None:
    (tmp_path / "run").write_text("a file where the folder should be")
    logger = logger_for(database, tmp_path / "run")
    log_steps(logger, range(1, 4))
    assert "3 entries could be neither sent nor kept" in (logger.close(1.0) or "")
    assert sum("cannot be kept" in record.message for record in caplog.records) == 1


def test_half_a_line_costs_that_line(tmp_path: Path) -> None:
    path = tmp_path / "unsent.jsonl"
    path.write_bytes(b'{"status": "FAILED"}\n{"metrics": {"rew')
    unsent = UnsentEntries(path)
    unsent.append({"status": "FINISHED"})
    entries = [entry for entry, _ in unsent.next(10)]
    assert entries == [{"status": "FAILED"}, {"unreadable": '{"metrics": {"rew\n'}, {"status": "FINISHED"}]
    ends = [end for _, end in unsent.next(10)]
    unsent.sent(ends[0])
    assert [entry for entry, _ in unsent.next(1)] == entries[1:2]
    unsent.sent(ends[-1])
    assert unsent.empty
    assert not path.exists()


def test_what_a_killed_run_had_sent_is_not_there_twice(database: Path, tmp_path: Path) -> None:
    """It was killed between sending and noting that: the next one sends it again."""
    entries = [{"metrics": {"reward/total": s / 10}, "step": s, "time_ms": 1_000_000 + s} for s in range(1, 4)]
    for _ in range(2):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run/mlflow_unsent.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries))
        logger = logger_for(database, tmp_path / "run")
        logger.start()
        assert logger.close(60) is None
    assert metrics_in(database) == expected(range(1, 4))
    with closing(sqlite3.connect(database)) as opened:
        assert opened.execute("select count(*) from runs").fetchone() == (1,)


def test_a_run_that_mlflow_does_not_know_is_begun_anew(database: Path, tmp_path: Path, caplog) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/mlflow_run_id").write_text("0123456789abcdef0123456789abcdef")
    logger = logger_for(database, tmp_path / "run")
    log_steps(logger, range(1, 2))
    assert logger.close(60) is None
    assert metrics_in(database) == expected(range(1, 2))
    assert any("a new one is begun" in record.message for record in caplog.records)


def test_only_rank_0_talks(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    before = threading.active_count()
    logger = logger_for(tmp_path / "mlflow.db", tmp_path / "run")
    log_steps(logger, range(1, 3))
    logger.log_hyperparams({"a": 1})
    logger.log_tags({"method": "tspo"})
    logger.log_picture(tmp_path / "step.png", "timeline", 1)
    logger.log_table(tmp_path / "rollouts.jsonl", 1)
    logger.finalize("success")
    assert logger.close() is None
    assert threading.active_count() == before
    assert not list(tmp_path.iterdir())


@pytest.fixture(autouse=True)
def _warnings_are_seen(caplog) -> None:
    caplog.set_level(logging.WARNING)


def test_what_lacks_is_sent_by_a_command(database: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "mlflow_unsent.jsonl").write_text('{"metrics": {"reward/total": 0.1}, "step": 1, "time_ms": 1000}\n')
    (run / "recipe.yaml").write_text(
        "trainer:\n  logger:\n    class_path: callbacks.tracking.mlflow_logger.BufferedMLFlowLogger\n    init_args:\n"
        f"      run_dir: outputs/moved\n      experiment_name: kairos\n      tracking_uri: sqlite:///{database}\n"
    )
    main(["track", str(run)])
    assert "has all that" in capsys.readouterr().out
    assert metrics_in(database) == [(1, 0.1)]
    with pytest.raises(SystemExit, match=r"there is no .*recipe\.yaml"):
        main(["track", str(tmp_path / "other")])
