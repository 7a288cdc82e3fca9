"""How busy the machine is while it trains: processor, memory, disk, network and cards, read every few seconds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor

_log = logging.getLogger(__name__)


class SystemMetrics(threading.Thread):
    """Reads MLflow's own system metrics of this machine, under the names that its page *System metrics* looks for.

    Cards are read where there is ``nvidia-ml-py``, or ``pyrsmi`` for AMD's. What the other machines of a run do is not
    known here.

    Args:
        every_s: seconds from one reading to the next.
        log: takes the numbers of a reading by name, such as ``system/cpu_utilization_percentage``.
    """

    def __init__(self, every_s: float, log: Callable[[dict[str, float]], None]) -> None:
        super().__init__(name="system-metrics", daemon=True)
        self.every_s, self.log = every_s, log
        self._ended = threading.Event()
        self._monitors = _monitors()
        self._read()  # a processor's share is that since the reading before

    def run(self) -> None:
        while not self._ended.wait(self.every_s):
            try:
                self.log(self._read())
            except Exception as error:  # a card that was taken away, a file system that is gone: the training goes on
                _log.warning("system metrics end here: %s", error)
                return

    def end(self) -> None:
        """Ends the readings."""
        self._ended.set()
        self.join(timeout=5.0)

    def _read(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            found |= {f"system/{name}": value for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        return found


def _monitors() -> list[BaseMetricsMonitor]:
    """What can be read here; a card whose package is missing is told of."""
    import torch
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    found: list[BaseMetricsMonitor] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    if torch.cuda.is_available():
        of_card, package = (ROCMMonitor, "pyrsmi") if torch.version.hip else (GPUMonitor, "nvidia-ml-py")
        try:
            found.append(of_card())
        except Exception as error:
            _log.warning("system metrics leave the cards out (%s); they need the package %s", error, package)
    return found
