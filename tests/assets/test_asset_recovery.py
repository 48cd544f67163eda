"""A training whose run is killed, or whose machine is: a real `dagster dev` and real kills."""

import os
import signal
import time
from pathlib import Path

import dagster as dg
import pytest
import yaml

from crater_assets import homes, launch
from crater_assets.history import last_materialization
from crater_assets.run_launcher import runs_since
from crater_model.training.history import read_history
from tests.assets.runs import (
    alive,
    process_of,
    repeats,
    session_of,
    started_training,
    until,
)
from tests.tiny import TINY, UNCOMPILED

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    "CRATER_DATASET": "data", "CRATER_STORAGE": "storage", "CRATER_EXPERIMENT": "tiny.yaml",
    "CRATER_HYPERPARAMETERS": "sets.yaml", "PYTHONPATH": str(ROOT)}
STEPS = {"killed": 4000, "rebooted": 40}  # the first is never to end by itself
_PERSON = {"crater/started_by": "a person"}


@pytest.fixture
def folder(tmp_path, make_dataset):
    """Where `dagster dev` runs; two trainings at a time."""
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text().replace(
        "default_limit: 1", "default_limit: 2").replace("poll_interval_seconds: 15",
                                                        "poll_interval_seconds: 2"))
    make_dataset(tmp_path / "data", craters=(4, 6, 0, 5, 3, 7))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({
        "experiment": "demo", **TINY, **UNCOMPILED, "trainer.steps_per_loop": 1,
        "trainer.checkpoint_interval": 2, "trainer.validation_interval": 10_000}))
    (tmp_path / "sets.yaml").write_text(yaml.safe_dump(
        {name: {"trainer.train_steps": steps} for name, steps in STEPS.items()}))
    return tmp_path


@pytest.mark.slow
def test_a_killed_run_and_a_reboot(folder):
    with homes.instance_of(folder) as instance:
        with launch.dagster_dev(folder, ROOT / "workspace.yaml", ENVIRONMENT,
                                timeout_s=180) as url:
            launch.wait_for_run(url, launch.launch_job(url, "prepare_data"), timeout_s=300)
            runs = {"killed": launch.launch_job(url, "train", "killed", tags=_PERSON)}
            until(lambda: trained(folder, "killed"))
            step = process_of(instance, runs["killed"], "checkpoint")

            # The run's own process is killed: its step goes with it, and the run that repeats it
            # has the artifact's lock.
            os.kill(process_of(instance, runs["killed"]), signal.SIGKILL)
            until(lambda: not alive(step), 20)
            again = until(lambda: repeats(instance, runs["killed"]))
            assert instance.get_run_by_id(runs["killed"]).status == dg.DagsterRunStatus.FAILURE
            until(lambda: started_training(instance, again.run_id))

            # The machine stops in the middle of another training.
            runs["rebooted"] = launch.launch_job(url, "train", "rebooted", tags=_PERSON)
            until(lambda: trained(folder, "rebooted") >= 4)
            for pid in session_of(folder):
                os.kill(pid, signal.SIGKILL)
            until(lambda: not session_of(folder), 20)
        assert instance.get_run_by_id(runs["rebooted"]).status == dg.DagsterRunStatus.STARTED
        model_dir, = folder.glob("storage/checkpoints/*/rebooted-*")
        step, before = trained(folder, "rebooted"), read_history(model_dir)
        with launch.dagster_dev(folder, ROOT / "workspace.yaml", ENVIRONMENT,
                                timeout_s=180) as url:
            again = until(lambda: repeats(instance, runs["rebooted"]))
            launch.wait_for_run(url, again.run_id, timeout_s=300)
        lost = instance.get_run_by_id(runs["rebooted"])
        assert lost.status == dg.DagsterRunStatus.FAILURE
        made = last_materialization(instance, "checkpoint", "rebooted")
        assert made.run_id == again.run_id and made.metadata["steps"] == STEPS["rebooted"]
        # What was trained before is there as it was written then: it did not begin anew.
        rows = [row for row in read_history(model_dir) if row["kind"] == "train"]
        assert [row["step"] for row in rows] == list(range(1, STEPS["rebooted"] + 1))
        kept = [row for row in before if row["step"] <= step]
        assert len(kept) == step >= 4 and rows[:step] == kept


def test_a_process_is_told_from_another_of_the_same_number():
    assert runs_since(os.getpid(), time.time())
    assert not runs_since(os.getpid(), time.time() - 365 * 24 * 3600)
    child = os.spawnlp(os.P_NOWAIT, "true", "true")
    until(lambda: not runs_since(child, time.time()), 20)  # ended, and not waited for yet
    os.waitpid(child, 0)
    assert not runs_since(child, time.time())


def trained(folder, name) -> int:
    """The last step of the newest checkpoint of a set; 0 without any."""
    found = [int(path.stem.rpartition("-")[2]) for path in
             folder.glob(f"storage/checkpoints/*/{name}-*/ckpt-*.index")]
    return max(found, default=0)
