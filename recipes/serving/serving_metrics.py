"""What a server has done, in Prometheus' text format (exposition format 0.0.4)."""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Counter:
    """A number that grows, of each set of labels.

    Args:
        name, help: of the metric.
        labels: their names.
    """

    def __init__(self, name: str, help: str, *labels: str) -> None:
        self.name, self.help, self.labels = name, help, labels
        self.values: dict[tuple[str, ...], float] = defaultdict(float)
        self._lock = threading.Lock()

    def add(self, amount: float = 1.0, *values: str) -> None:
        """So much more, for those values of the labels."""
        with self._lock:
            self.values[values] += amount

    def lines(self) -> Iterator[str]:
        """As they are read."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} counter"
        with self._lock:
            values = dict(self.values) or ({} if self.labels else {(): 0.0})
        for given, value in sorted(values.items()):
            yield f"{self.name}{_labels(self.labels, given)} {value:.15g}"


class Histogram:
    """Seconds, counted by how long they were.

    Args:
        name, help: of the metric.
    """

    def __init__(self, name: str, help: str) -> None:
        self.name, self.help = name, help
        self.counts, self.total = [0] * (len(_BOUNDS_S) + 1), 0.0
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """One more."""
        with self._lock:
            self.counts[next((n for n, bound in enumerate(_BOUNDS_S) if seconds <= bound), len(_BOUNDS_S))] += 1
            self.total += seconds

    def lines(self) -> Iterator[str]:
        """As they are read."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} histogram"
        with self._lock:
            counts, total = list(self.counts), self.total
        so_far = 0
        for bound, count in zip((*map(str, _BOUNDS_S), "+Inf"), counts, strict=True):
            so_far += count
            yield f'{self.name}_bucket{{le="{bound}"}} {so_far}'
        yield f"{self.name}_sum {total:g}"
        yield f"{self.name}_count {so_far}"


class ServingMetrics:
    """Everything that is counted."""

    def __init__(self) -> None:
        self.requests = Counter("kairos_requests_total", "Requests by path and status.", "path", "status")
        self.seconds = Histogram("kairos_question_seconds", "From a question's arrival to its answer.")
        self.videos_prepared = Counter("kairos_videos_prepared_total", "Videos decoded and encoded, or found stored.")
        self.batches = Counter("kairos_batches_total", "Batches of questions on one video.")
        self.questions_answered = Counter("kairos_questions_answered_total", "Questions in those batches.")
        self.given_up = Counter("kairos_given_up_total", "Questions that nobody waited for any more.")
        self.frames = Counter("kairos_frames_total", "Frames by what was done with them.", "what")
        self.upstream_bytes = Counter("kairos_upstream_bytes_total", "Bytes of requests to the server behind.")
        self.upstream = Counter("kairos_upstream_requests_total", "Requests to the server behind, by status.", "status")
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {
            "kairos_started_seconds": ("Unix time of the start.", _at(time.time())),
            "kairos_memory_peak_bytes": ("Largest memory of the server's process so far.", _peak_bytes),
        }

    def text(self) -> str:
        """As Prometheus reads it."""
        counters = [value for value in vars(self).values() if isinstance(value, (Counter, Histogram))]
        lines = [line for counter in counters for line in counter.lines()]
        for name, (help_text, value) in self.gauges.items():
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} gauge", f"{name} {value():.15g}"]
        return "\n".join(lines) + "\n"


def _at(value: float) -> Callable[[], float]:
    return lambda: value


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    pairs = [f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _peak_bytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
