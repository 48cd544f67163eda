"""Runs and their processes, for tests that kill them."""

import os
import time
from pathlib import Path

import dagster as dg

from crater_assets.run_launcher import runs_since


def until(condition, seconds=240):
    """What the condition gives once that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


def process_of(instance, run_id, step=None) -> int:
    """The process of a run, or of one of its steps."""
    events = [entry.dagster_event for entry in instance.all_logs(run_id)
              if entry.dagster_event and entry.dagster_event.step_key == step]
    pids = [event.event_specific_data.metadata["pid"].value for event in events
            if "pid" in (getattr(event.event_specific_data, "metadata", None) or {})]
    return int(pids[-1])


def repeats(instance, run_id):
    """The run that repeats this one."""
    found = instance.get_runs(dg.RunsFilter(tags={"dagster/parent_run_id": run_id}))
    return found[0] if found else None


def started_training(instance, run_id) -> bool:
    return any(entry.dagster_event for entry in instance.all_logs(
        run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION))


def alive(pid) -> bool:
    return runs_since(pid, time.time())


def session_of(folder) -> list[int]:
    """The processes that run with this folder as DAGSTER_HOME, but this one."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and f"DAGSTER_HOME={folder}\0" in Path(
                    f"/proc/{entry}/environ").read_text(errors="replace"):
                found += [int(entry)] if alive(int(entry)) else []
        except OSError:
            continue
    return found
