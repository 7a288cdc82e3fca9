"""The thread that sends to MLflow what a run has logged, and tries again as long as it has to."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callbacks.tracking.mlflow_database import make_whole, sqlite_path
from callbacks.tracking.row_table import split_table
from callbacks.tracking.unsent import UnsentEntries
from modules.files.whole_files import write_whole

if TYPE_CHECKING:
    from mlflow import MlflowClient

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 30.0
_WARN_AFTER_S = 10.0
"""A first start meets others at the same database: what comes right in this time is worth no word."""
_MOST_ENTRIES, _MOST_METRICS = 200, 1000  # the latter is what MLflow takes in one call
_REQUEST_TIMEOUT_S = "20"
_KIND_TAG = "mlflow.experimentKind"  # of MLflow's pages; its client has no name for it
_Group = list[tuple[dict[str, Any], int]]
"""Entries, each with its end in the file."""


class UnreadableEntryError(ValueError):
    """A line that is no entry."""


@dataclass(frozen=True)
class MLflowRun:
    """Where a run is tracked."""

    experiment_name: str
    run_name: str | None
    tracking_uri: str
    artifact_location: str | None
    run_id_file: Path
    """Holds the id that MLflow has given the run, once it has."""


class MLflowWriter(threading.Thread):
    """Takes entries from the file in which they wait, and sends them in order.

    Args:
        run: where to.
        unsent: what.
    """

    def __init__(self, run: MLflowRun, unsent: UnsentEntries) -> None:
        super().__init__(name="mlflow-writer", daemon=True)  # one that hangs in a server holds up no exit
        self.info, self.unsent, self.closing = run, unsent, threading.Event()
        self.abandoned = False
        """Set when nobody waits any more: what is not sent then stays in the file."""
        self.refused: list[str] = []
        self.last_progress = time.monotonic()
        self.reason = "it has not answered"
        self.experiment_id: str | None = None
        """Of the experiment that the run belongs to; None until MLflow has answered."""
        self._client: MlflowClient | None = None
        self._run_id: str | None = None
        self._has_database = False
        self._failing_since: float | None = None
        self._has_warned = False
        import_quietly()

    def run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self.abandoned and self._wait_for_entries():
            try:
                for group in _groups(self.unsent.next(_MOST_ENTRIES)):
                    self._send(group)
                    pause_s, self._failing_since = _FIRST_PAUSE_S, None
            except Exception as error:  # whatever MLflow, a database or a network may raise: the training goes on
                self._note_failure(error)
                self._pause(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def close(self) -> None:
        """Ends the thread once everything was sent."""
        with self.unsent.changed:
            self.last_progress = time.monotonic()
            self.closing.set()
            self.unsent.changed.notify_all()

    def _wait_for_entries(self) -> bool:
        """Returns when there is something to send: false when there will be nothing more."""
        with self.unsent.changed:
            self.unsent.changed.wait_for(lambda: self.closing.is_set() or not self.unsent.empty)
            return not self.unsent.empty

    def _pause(self, pause_s: float) -> None:
        if self.closing.is_set():
            time.sleep(min(pause_s, 0.5))
        else:
            self.closing.wait(pause_s)

    def _note_failure(self, error: Exception) -> None:
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        self.reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        if now - self._failing_since >= _WARN_AFTER_S and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "MLflow at %s takes nothing (%s). The training goes on; what MLflow lacks waits in %s and is sent when "
                "it can be",
                self.info.tracking_uri,
                self.reason,
                self.unsent.path,
            )

    def _send(self, group: _Group) -> None:
        """Sends a group, or each of it where one of them is refused. A file that cannot be copied goes to the end of
        the queue, so that metrics do not wait for it."""
        entries, end = [entry for entry, _ in group], group[-1][1]
        try:
            self._send_together(entries)
        except Exception as error:
            if not _is_refusal(error):
                if entries[0].keys() & {"file", "table"}:
                    self.unsent.append(entries[0])
                    self.unsent.sent(end)
                raise
            if len(group) > 1:
                for one in group:
                    self._send([one])
                return
            self._note_refusal(entries[0], error)
        self.last_progress = time.monotonic()
        self.unsent.sent(end)

    def _note_refusal(self, entry: dict[str, Any], error: Exception) -> None:
        if not self.refused:
            _log.warning("MLflow cannot have %s: %s. The training goes on without it", str(entry)[:200], error)
        self.refused.append(str(entry)[:200])

    def _send_together(self, entries: list[dict[str, Any]]) -> None:
        """Metrics of several steps, or one entry of another kind. What was sent before may be sent again: MLflow keeps
        a metric of the same time, step and value once."""
        from mlflow.entities import Metric, RunTag

        client, run_id = self._open()
        first = entries[0]
        if "metrics" in first:
            metrics = [
                Metric(name, float(value), entry["time_ms"], entry["step"])
                for entry in entries
                for name, value in entry["metrics"].items()
            ]
            client.log_batch(run_id, metrics=metrics)
        elif "params" in first:
            self._send_params(client, run_id, first["params"])
        elif "tags" in first:
            client.log_batch(run_id, tags=[RunTag(name, value) for name, value in first["tags"].items()])
        elif "file" in first:
            client.log_artifact(run_id, first["file"], first["folder"])
        elif "table" in first:
            self._send_table(client, run_id, Path(first["table"]))
        elif "status" in first:
            client.set_terminated(run_id, first["status"])
        else:
            raise UnreadableEntryError("a process that was killed has written half of it")

    def _send_params(self, client: MlflowClient, run_id: str, params: dict[str, str]) -> None:
        """MLflow never changes a param: what a run that goes on has changed stays as it began, and a tag says so."""
        from mlflow.entities import Param, RunTag

        known = client.get_run(run_id).data.params
        changed = {name: value for name, value in params.items() if known.get(name, value) != value}
        client.log_batch(
            run_id,
            params=[Param(name, value) for name, value in params.items() if name not in known],
            tags=[RunTag(f"changed.{name}"[:250], f"{known[name]} -> {value}") for name, value in changed.items()],
        )

    def _send_table(self, client: MlflowClient, run_id: str, rows: Path) -> None:
        """A file of JSON lines as the table that MLflow's pages show; one that was sent before is replaced."""
        from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS

        entry = {"path": f"{rows.stem}.json", "type": "table"}
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / entry["path"]
            table.write_text(split_table(rows))
            client.log_artifact(run_id, str(table))
        known = json.loads(client.get_run(run_id).data.tags.get(MLFLOW_LOGGED_ARTIFACTS, "[]"))
        if entry not in known:
            client.set_tag(run_id, MLFLOW_LOGGED_ARTIFACTS, json.dumps([*known, entry]))

    def _open(self) -> tuple[MlflowClient, str]:
        """The client and the run's id; database, experiment and run are made at first, where there are none."""
        if self._client is None:
            if not self._has_database and (path := sqlite_path(self.info.tracking_uri)) is not None:
                make_whole(path)
                self._has_database = True  # progress once: what fails after it is no progress when it is tried again
                self.last_progress = time.monotonic()
            from mlflow import MlflowClient

            client = MlflowClient(self.info.tracking_uri)
            if self._run_id is None:  # asked for once, even where the run folder cannot keep it
                self._run_id = self._known_run(client) or self._new_run()
            write_whole(self.info.run_id_file, "name of the run in MLflow", self._run_id)
            self.experiment_id = client.get_run(self._run_id).info.experiment_id
            _name_the_kind(client, self.experiment_id)
            self._client = client
        assert self._run_id is not None
        return self._client, self._run_id

    def _known_run(self, client: MlflowClient) -> str | None:
        """The run that this one goes on with."""
        from mlflow.exceptions import MlflowException

        if not self.info.run_id_file.is_file():
            return None
        run_id = self.info.run_id_file.read_text().strip()
        try:
            return client.get_run(run_id).info.run_id
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            _log.warning(
                "MLflow at %s does not know run %s, which this run folder was tracked as; a new one is begun",
                self.info.tracking_uri,
                run_id,
            )
            return None

    def _new_run(self) -> str:
        from lightning.pytorch.loggers import MLFlowLogger

        info = self.info
        logger = MLFlowLogger(
            info.experiment_name, info.run_name, info.tracking_uri, artifact_location=info.artifact_location
        )
        run_id = logger.run_id
        assert run_id is not None
        return run_id


def _name_the_kind(client: MlflowClient, experiment_id: str) -> None:
    """Says that an experiment has trainings in it, where nothing says of which kind it is.

    MLflow's pages would take it for one of traces.
    """
    from mlflow.exceptions import MlflowException

    if _KIND_TAG not in client.get_experiment(experiment_id).tags:
        with suppress(MlflowException):  # somebody else's experiment, which may only be added to
            client.set_experiment_tag(experiment_id, _KIND_TAG, "custom_model_development")


def _groups(entries: _Group) -> Iterator[_Group]:
    """Metrics that follow one another go together, up to what MLflow takes in one call; the rest one by one."""
    group: _Group = []
    size = 0
    for entry, end in entries:
        num_metrics = len(entry.get("metrics", ()))
        if group and (not num_metrics or size + num_metrics > _MOST_METRICS):
            yield group
            group, size = [], 0
        if num_metrics:
            group.append((entry, end))
            size += num_metrics
        else:
            yield [(entry, end)]
    if group:
        yield group


def _is_refusal(error: Exception) -> bool:
    """Whether to try again would change nothing: MLflow has read it and does not take it, or its file is gone."""
    return getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE" or isinstance(
        error, (FileNotFoundError, UnreadableEntryError)
    )


def import_quietly() -> None:
    """Imports before the thread begins, not beside other imports; what goes wrong is said here, without traceback."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", _REQUEST_TIMEOUT_S)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # the thread tries again by itself
    import alembic.script  # noqa: F401
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    for name, level in (
        ("mlflow", logging.WARNING),
        ("mlflow.store", logging.CRITICAL),
        ("alembic", logging.WARNING),
        ("urllib3.connectionpool", logging.ERROR),
        ("lightning.pytorch.loggers.mlflow", logging.ERROR),
    ):
        logging.getLogger(name).setLevel(level)
