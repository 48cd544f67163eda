"""Where a Dagster instance keeps its history, and who is at work on it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from crater_model.errors import CraterError
from crater_model.files import make_folder

if TYPE_CHECKING:
    import os

    import dagster as dg

_HEARTBEAT_S = 45.0  # a daemon gives a sign of life every 30 s


def own_home(home: str | os.PathLike, settings: str | os.PathLike) -> Path:
    """A folder for `dagster_dev` whose history is its own; returns it.

    Args:
      home: the folder; it may be there already.
      settings: a dagster.yaml. What it keeps in relative folders goes below `home`.
    """
    home = make_folder(Path(home).absolute())
    text = yaml.safe_load(Path(settings).read_text())
    (home / "dagster.yaml").write_text(yaml.safe_dump(_below(text, home)))
    return home


@contextmanager
def instance_of(folder: str | os.PathLike, home: str | os.PathLike | None = None
                ) -> Iterator[dg.DagsterInstance]:
    """The instance that `dagster_dev` uses with these two folders."""
    import dagster as dg

    with chdir(folder):  # relative paths in dagster.yaml start there
        instance = dg.DagsterInstance.from_config(str(home or Path(folder).absolute()))
    with instance:
        yield instance


def _below(settings: Any, folder: Path) -> Any:
    """The settings of an instance, each base_dir in a folder of its own below this one."""
    if not isinstance(settings, dict):
        return settings
    return {key: str(folder / value) if key == "base_dir" else _below(value, folder)
            for key, value in settings.items()}


def refuse_second_daemon(instance: dg.DagsterInstance, home: Path) -> None:
    """Returns where no daemon is at work on this history.

    Raises:
      CraterError: one is; two would start each run twice.
    """
    beats = [beat.timestamp for beat in instance.get_daemon_heartbeats().values()]
    age = time.time() - max(beats, default=0)
    if age < _HEARTBEAT_S:
        raise CraterError(
            f"{home}: a Dagster daemon is at work on this history (last sign of life {age:.0f} s "
            "ago), and a second one would start its runs twice; stop that one, or name another "
            f"home. If it is gone already, try again in {_HEARTBEAT_S - age:.0f} s")


def cancel_left_over(instance: dg.DagsterInstance, tags: Mapping[str, str],
                     states: Sequence[str]) -> set[str]:
    """Cancels the runs with these tags and states, which an end without warning left, before a
    daemon starts them again; returns their backfills."""
    import dagster as dg

    backfills = set()
    for run in instance.get_runs(dg.RunsFilter(
            tags=tags, statuses=[dg.DagsterRunStatus[state] for state in states])):
        instance.report_run_canceled(run, "left unfinished by a program that is gone")
        backfills |= {run.tags["dagster/backfill"]} if "dagster/backfill" in run.tags else set()
    return backfills
