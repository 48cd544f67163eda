"""Starts runs as Dagster's own launcher does, and notices where one has lost its process.

Dagster's default launcher has no health check: after a reboot in the middle of a training the run
would stay "started", and hold its place in the pool, until a person ends it. dagster.yaml names
this one; the daemon then fails such a run, and `run_retries` starts it again.
"""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg

# Dagster has no public name for what a launcher answers; test_asset_run_launcher.py names it.
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus

_CLOCK_S = 2.0  # start times are known to the second


class LocalRunLauncher(dg.DefaultRunLauncher):
    """Each run is a process of this machine; one that is gone is found by `run_monitoring`."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process that said it runs this run is still there."""
        found = _process(self._instance, run.run_id)
        if found is None:  # nothing is known: it began this moment, or in another way
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        pid, since = found
        if runs_since(pid, since):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.NOT_FOUND, f"its process {pid} is gone (killed, or the machine was "
                                    "started anew)")


def runs_since(pid: int, since: float) -> bool:
    """Whether a process is there, and is the one that had this number at a time (s since 1970)."""
    try:
        # After the name, which may hold anything: state is field 3, start time field 22.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        booted = next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines()
                      if line.startswith("btime "))
    except (OSError, StopIteration):
        return False
    started = booted + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return fields[0] not in "ZX" and started <= since + _CLOCK_S


def _process(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """Number of the run's process and when it said so; None where it has not."""
    found = None
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        if event is not None and event.step_key is None and (
                pid := event.engine_event_data.metadata.get("pid")):
            found = int(str(pid.value)), entry.timestamp
    return found
