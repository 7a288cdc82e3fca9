"""MLflow as a logger that can neither end nor hold up a training.

Lightning's own logger talks to MLflow in the middle of a step: a locked database or a server that hangs ends or stops
the run. This one writes down what is logged and has one thread send it.
"""

from __future__ import annotations

import math
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse.typing import PositiveFloat
from lightning.fabric.utilities.logger import _convert_params, _flatten_dict
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from callbacks.tracking.mlflow_writer import MLflowRun, MLflowWriter
from callbacks.tracking.run_logger import RunLogger
from callbacks.tracking.shortened import plain_name, shortened
from callbacks.tracking.system_metrics import SystemMetrics
from callbacks.tracking.unsent import UnsentEntries

_STATUS = {"success": "FINISHED", "finished": "FINISHED", "failed": "FAILED"}
_MOST_PARAMS, _LONGEST_TAG = 100, 5000  # what MLflow takes in one call, and in one tag
_RUNS_TABLE = "#/experiments/{}/runs?workflowType=machine_learning"
"""Without these words MLflow 3 opens its page of traces, which a training has none of."""
_LOCAL_ADDRESS = "http://127.0.0.1:5000"
"""Where ``mlflow ui`` listens."""


class BufferedMLFlowLogger(RunLogger, Logger):
    """Logs to MLflow from a thread, so that a slow or absent server never holds up training.

    Args:
        run_dir: what waits to be sent is ``mlflow_unsent.jsonl`` below it; ``mlflow_run_id`` says which run of MLflow
            it is, and a resumed run goes on with that one.
        experiment_name: made where MLflow has none of that name.
        run_name: as MLflow shows it.
        tracking_uri: ``sqlite:///FILE``, or the address of a server.
        artifact_location: where an experiment that is made keeps its files; by default what the server says.
        system_metrics_every_s: seconds from one reading of processor, memory, disk, network and cards to the next; None
            reads nothing. They are logged under the number of updates at that moment, as everything else is.
    """

    def __init__(
        self,
        *,
        run_dir: str,
        experiment_name: str = "kairos",
        run_name: str | None = None,
        tracking_uri: str = "sqlite:///outputs/mlflow.db",
        artifact_location: str | None = None,
        system_metrics_every_s: PositiveFloat | None = None,
    ) -> None:
        super().__init__()
        self.run_dir, self.tracking_uri = Path(run_dir), tracking_uri
        self._run = MLflowRun(
            experiment_name, run_name, tracking_uri, artifact_location, self.run_dir / "mlflow_run_id"
        )
        self._version: str | None = None
        self._unsent: UnsentEntries | None = None
        self._writer: MLflowWriter | None = None
        self._system_metrics_every_s = system_metrics_every_s
        self._system_metrics: SystemMetrics | None = None
        self._step = 0

    @property
    def name(self) -> str:
        return self._run.experiment_name

    @property
    def version(self) -> str | None:
        """The run's id in MLflow; None until MLflow has given it one."""
        if self._version is None and self._run.run_id_file.is_file():  # progress bars ask at every step
            self._version = self._run.run_id_file.read_text().strip()
        return self._version

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._step = self._step if step is None else step
        values = {plain_name(name, extra="/"): float(value) for name, value in metrics.items()}
        # JSON has no word for NaN, and MLflow does
        written = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
        self._append({"metrics": written, "step": self._step, "time_ms": int(time.time() * 1000)})

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        flat = _flatten_dict(_convert_params(params), ".")
        texts = [(plain_name(name), shortened(str(value))) for name, value in flat.items()]
        for n in range(0, len(texts), _MOST_PARAMS):
            self._append({"params": dict(texts[n : n + _MOST_PARAMS])})

    @rank_zero_only
    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags; ``command`` and ``commit`` also fill the columns *Source* and *Version* of MLflow's table."""
        columns = {"command": "mlflow.source.name", "commit": "mlflow.source.git.commit"}
        every = dict(tags) | {column: tags[name].rstrip("+") for name, column in columns.items() if name in tags}
        self._append({"tags": {name: shortened(value, _LONGEST_TAG) for name, value in every.items()}})

    @rank_zero_only
    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Has a file copied to the run's artifacts.

        Args:
            path: of the file, which stays where it is.
            folder: among the artifacts; None for their top.
        """
        self._append({"file": str(path.absolute()), "folder": folder})

    def log_picture(self, path: Path, name: str, step: int) -> None:
        self.log_file(path, name)

    @rank_zero_only
    def log_table(self, path: Path, step: int) -> None:
        self._append({"table": str(path.absolute())})

    def how_to_look(self) -> list[str]:
        is_server = self.tracking_uri.startswith(("http://", "https://"))
        address = self.tracking_uri.rstrip("/") if is_server else _LOCAL_ADDRESS
        experiment_id = None if self._writer is None else self._writer.experiment_id
        page = "" if experiment_id is None else f"/{_RUNS_TABLE.format(experiment_id)}"
        return [*[f"mlflow ui --backend-store-uri {self.tracking_uri}"] * (not is_server), f"{address}{page}"]

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._writer is not None:
            self._append({"status": _STATUS.get(status, "FAILED")})

    @rank_zero_only
    def start(self) -> None:
        """Begins to send, first what an earlier process has left in the run folder."""
        if self._writer is None:
            self._unsent = UnsentEntries(self.run_dir / "mlflow_unsent.jsonl")
            self._writer = MLflowWriter(self._run, self._unsent)
            self._writer.start()
            if self._system_metrics_every_s is not None:
                self._system_metrics = SystemMetrics(self._system_metrics_every_s, self.log_metrics)
                self._system_metrics.start()

    def _append(self, entry: dict[str, Any]) -> None:
        self.start()
        assert self._unsent is not None
        self._unsent.append(entry)

    @rank_zero_only
    def close(self, patience_s: float = 15.0) -> str | None:
        if self._system_metrics is not None:
            self._system_metrics.end()
            self._system_metrics = None
        if self._writer is None or self._unsent is None:
            return None
        writer, unsent, self._writer = self._writer, self._unsent, None
        writer.close()
        with unsent.changed:
            while not unsent.empty and time.monotonic() - writer.last_progress < patience_s:
                unsent.changed.wait(0.2)
        writer.abandoned = True
        return self._lacking(writer, unsent)

    def _lacking(self, writer: MLflowWriter, unsent: UnsentEntries) -> str | None:
        said = []
        if not unsent.empty:
            said.append(
                f"MLflow at {self.tracking_uri} lacks what this run has logged since it last took something: "
                f"{writer.reason}. It lies in {unsent.path}, a line an entry; `lightning track {self.run_dir}` sends "
                "it, and so does a run that is resumed there"
            )
        if writer.refused:
            said.append(f"MLflow refused {len(writer.refused)} entries, the first of them {writer.refused[0]}")
        if unsent.lost:
            said.append(f"{unsent.lost} entries could be neither sent nor kept")
        return ". ".join(said) or None
