"""Counters for Prometheus under TF Serving's names.

Written out here, in the text format of
https://prometheus.io/docs/instrumenting/exposition_formats/: the `prometheus_client` package
ends every counter's name in _total, and TF Serving's `request_count` does not.
"""

from __future__ import annotations

import threading
from bisect import bisect_left

REQUEST_LATENCY = "request_latency"
RUNTIME_LATENCY = "runtime_latency"
QUEUING_LATENCY = "batching_session:queuing_latency"
_HELP = {
    REQUEST_LATENCY: "Wall time of a request in the server, in microseconds.",
    RUNTIME_LATENCY: "Wall time of a run of the model, in microseconds.",
    QUEUING_LATENCY: "Wall time that a request waited for a batch thread, in microseconds.",
}
_BOUNDS = [10 * 1.8**step for step in range(33)]  # TF Serving's: 10 us to some 20 minutes


class Metrics:
    """Counts requests and times; safe from several threads.

    The labels must be of few values: model names that exist, status codes, entry points.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._times: dict[tuple[str, str], list] = {}  # -> [count of each bucket, sum]

    def count_request(self, model: str, status: str) -> None:
        """One more request of `model` that ended with the gRPC status of this name."""
        labels = _labels({"model_name": model, "status": status})
        with self._lock:
            self._counts[labels] = self._counts.get(labels, 0) + 1

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Adds a time to the histogram `name`, one of this module's constants."""
        micros = seconds * 1e6
        with self._lock:
            entry = self._times.setdefault((name, _labels(labels)),
                                           [[0] * (len(_BOUNDS) + 1), 0.0])
            entry[0][bisect_left(_BOUNDS, micros)] += 1
            entry[1] += micros

    def text(self) -> str:
        """All of it in Prometheus's text format."""
        name = ":tensorflow:serving:request_count"
        with self._lock:
            lines = [f"# HELP {name} The total number of requests.", f"# TYPE {name} counter"]
            lines += [f"{name}{{{labels}}} {n}" for labels, n in sorted(self._counts.items())]
            for short, text in _HELP.items():
                name = f":tensorflow:serving:{short}"
                lines += [f"# HELP {name} {text}", f"# TYPE {name} histogram"]
                for (kind, labels), (buckets, total) in sorted(self._times.items()):
                    if kind == short:
                        lines += _histogram(name, labels, buckets, total)
        return "\n".join(lines) + "\n"


def _histogram(name: str, labels: str, buckets: list[int], total: float) -> list[str]:
    lines, below = [], 0
    for bound, n in zip([*(f"{bound:g}" for bound in _BOUNDS), "+Inf"], buckets, strict=True):
        below += n
        lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {below}')
    return [*lines, f"{name}_sum{{{labels}}} {total:.0f}", f"{name}_count{{{labels}}} {below}"]


def _labels(values: dict[str, str]) -> str:
    def quoted(text):
        return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return ",".join(f'{key}="{quoted(value)}"' for key, value in values.items())
