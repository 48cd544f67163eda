"""A running `dagster dev` (web server, daemon, code location) driven over GraphQL."""

import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import dagster as dg
import pytest

from crater_assets import launch
from crater_assets.history import last_materialization
from crater_model.errors import CraterError

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    "CRATER_DATASET": "data", "CRATER_STORAGE": "storage", "CRATER_EXPERIMENT": "demo",
    "CRATER_HYPERPARAMETERS": "sets.yaml", "PYTHONPATH": str(ROOT),
    "DOCKER_HOST": "unix:///nowhere/docker.sock"}  # no engine
SETS = """short: {trainer.train_steps: 2}
shorter: {trainer.train_steps: 1}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_dataset):
    """Where `dagster dev` runs: its own dagster.yaml, data and hyperparameter sets."""
    folder = tmp_path_factory.mktemp("dev")
    shutil.copy(ROOT / "dagster.yaml", folder)
    make_dataset(folder / "data", craters=(4, 6, 0, 5, 3, 7))
    (folder / "sets.yaml").write_text(SETS)
    return folder


@pytest.fixture(scope="module")
def url(folder):
    """The address of the running web server."""
    with launch.dagster_dev(folder, ROOT / "workspace.yaml", env=ENVIRONMENT,
                            timeout_s=180) as url:
        yield url


@pytest.mark.slow
def test_a_backfill_of_every_hyperparameter_set(url, folder):
    launch.wait_for_run(url, launch.launch_job(url, "prepare_data"), timeout_s=300)
    backfill = launch.launch_backfill(url, ["checkpoint"])
    runs = launch.wait_for_backfill(url, backfill, total=2, timeout_s=900)
    assert [run["partition"] for run in runs] == ["short", "shorter"]
    assert {run["status"] for run in runs} == {"SUCCESS"}
    launch.wait_for_run(url, launch.launch_job(url, "release"), timeout_s=300)
    with instance_of(folder) as instance:
        trained = sorted((r.start_time, r.end_time) for r in instance.get_run_records()
                         if r.dagster_run.tags.get("dagster/partition"))
        assert len(trained) == 2 and trained[0][1] <= trained[1][0]  # one at a time in the pool
        for name, steps in (("short", 2), ("shorter", 1)):
            made = last_materialization(instance, "checkpoint", name)
            assert made.metadata["steps"] == steps and made.check_passed is True
        ranking = last_materialization(instance, "best_model").metadata["ranking"]
        assert sorted(entry["partition"] for entry in ranking) == ["short", "shorter"]
        assert all(entry["score"] is not None for entry in ranking)
    assert (folder / "storage" / "tfrecords").is_dir()


@pytest.mark.slow
def test_a_job_that_fails_names_the_check(url, folder):
    image = folder / "data" / "images" / "scene_002.png"
    kept = image.read_bytes()
    image.write_bytes(kept[:100])
    try:
        run = launch.launch_job(url, "prepare_data")
        with pytest.raises(CraterError) as error:
            launch.wait_for_run(url, run, "prepare_data", timeout_s=300)
    finally:
        image.write_bytes(kept)
    assert "check labels_valid: " in str(error.value) and "scene_002.png" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_backfill_from_the_command_line(url, folder):
    subprocess.run(
        [sys.executable, "-m", "dagster", "job", "backfill", "-w", str(ROOT / "workspace.yaml"),
         "-j", "train", "--partitions", "shorter", "--noprompt"], cwd=folder, check=True,
        env={**os.environ, **ENVIRONMENT, "DAGSTER_HOME": str(folder)})
    with instance_of(folder) as instance:
        run, = instance.get_runs(dg.RunsFilter(job_name="train"))
        assert run.tags["dagster/partition"] == "shorter"
        launch.wait_for_run(url, run.run_id, "train", timeout_s=300)
        assert last_materialization(instance, "checkpoint", "shorter").run_id == run.run_id


@pytest.mark.slow
def test_what_dagster_refuses_is_said(url):
    with pytest.raises(CraterError, match="job nothing: Dagster refuses it"):
        launch.launch_job(url, "nothing")
    with pytest.raises(CraterError, match="backfill: Dagster refuses it"):
        launch.launch_backfill(url, ["checkpoint"], ["no_such_set"])
    with pytest.raises(CraterError, match="job prepare_data: Dagster refuses it.*nothing"):
        launch.launch_job(url, "prepare_data", run_config={"ops": {"nothing": {}}})


@pytest.mark.slow
def test_it_stops_with_all_its_processes_and_runs_are_cancelled(tmp_path, tiny_dataset):
    folder = tmp_path / "dev"
    folder.mkdir()
    shutil.copy(ROOT / "dagster.yaml", folder)
    env = {"CRATER_DATASET": str(tiny_dataset), "CRATER_STORAGE": "storage",
           "PYTHONPATH": str(ROOT)}
    with launch.dagster_dev(folder, ROOT / "workspace.yaml", env=env, timeout_s=180) as url:
        run = launch.launch_job(url, "prepare_data")
    with pytest.raises(OSError):
        urllib.request.urlopen(url, timeout=2)
    assert not [pid for pid in processes() if f"{folder}" in environment_of(pid)]
    with instance_of(folder) as instance:
        assert instance.get_run_by_id(run).status == dg.DagsterRunStatus.CANCELED


def test_a_folder_without_workspace_is_one_line(tmp_path):
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    with pytest.raises(CraterError, match="dagster dev ended with"):
        with launch.dagster_dev(tmp_path, timeout_s=60):
            pass


def test_no_server_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        with pytest.raises(CraterError, match="no answer from Dagster"):
            launch.launch_job(f"http://127.0.0.1:{taken.getsockname()[1]}", "train")


def instance_of(folder) -> dg.DagsterInstance:
    """The instance that `dagster dev` used in this folder."""
    before = Path.cwd()
    os.chdir(folder)  # dagster.yaml names its history by a relative path
    try:
        return dg.DagsterInstance.from_config(str(folder))
    finally:
        os.chdir(before)


def processes() -> list[str]:
    return [entry for entry in os.listdir("/proc") if entry.isdigit()]


def environment_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:
        return ""
