"""A running `dagster dev` (web server, daemon, code location) driven over GraphQL."""

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
import yaml

from crater_assets import homes, launch
from crater_assets.history import last_failure, last_materialization
from crater_model.errors import CraterError
from tests.assets.runs import session_of, until
from tests.tiny import TINY, UNCOMPILED

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    "CRATER_DATASET": "data", "CRATER_STORAGE": "storage", "CRATER_EXPERIMENT": "tiny.yaml",
    "CRATER_HYPERPARAMETERS": "sets.yaml", "PYTHONPATH": str(ROOT),
    "DOCKER_HOST": "unix:///nowhere/docker.sock"}  # no engine
RATE = "trainer.optimizer_config.learning_rate.cosine.initial_learning_rate"
SETS = f"""tiny:
  grid:
    {RATE}: [1e-3, 3e-3]
    task.model.anchor.anchor_size: [3.0, 4.0]
longer: {{trainer.train_steps: 4}}
from_pretrained: {{task.init_checkpoint: pretrained}}
diverging: {{{RATE}: 1e30}}
impossible: {{task.model.max_level: 2}}
"""
GOOD = ["tiny-initial_learning_rate=0.001-anchor_size=3.0",
        "tiny-initial_learning_rate=0.001-anchor_size=4.0",
        "tiny-initial_learning_rate=0.003-anchor_size=3.0",
        "tiny-initial_learning_rate=0.003-anchor_size=4.0", "longer", "from_pretrained"]
BAD = ["diverging", "impossible"]
PRETRAINING = {"ops": {"pretrained": {"config": {"scenes": 4, "train_steps": 2}}}}
POOL = 2  # trainings at a time


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_dataset):
    """Where `dagster dev` runs: its own dagster.yaml, data, experiment, hyperparameter sets."""
    folder = tmp_path_factory.mktemp("dev")
    settings = (ROOT / "dagster.yaml").read_text()
    assert "default_limit: 1" in settings
    (folder / "dagster.yaml").write_text(
        settings.replace("default_limit: 1", f"default_limit: {POOL}"))
    make_dataset(folder / "data", craters=(4, 6, 0, 5, 3, 7))
    (folder / "tiny.yaml").write_text(yaml.safe_dump(
        {"experiment": "demo", **TINY, **UNCOMPILED, "trainer.train_steps": 2}))
    (folder / "sets.yaml").write_text(SETS)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    """A running `dagster dev` for all tests: its address `url`, and `stop()`, for the last one."""
    with ExitStack() as stack:
        url = stack.enter_context(launch.dagster_dev(
            folder, ROOT / "workspace.yaml", env=ENVIRONMENT, timeout_s=180))
        yield SimpleNamespace(url=url, stop=stack.close)


@pytest.fixture(scope="module")
def url(server):
    """The address of the running web server."""
    return server.url


@pytest.fixture(scope="module")
def backfill(url):
    """A backfill of all eight sets after the data was made: what it ends with."""
    data = launch.launch_job(url, "prepare_data", run_config=PRETRAINING)
    launch.wait_for_run(url, data, timeout_s=900)
    with pytest.raises(CraterError) as error:
        launch.wait_for_backfill(url, launch.launch_backfill(url, ["checkpoint"]), total=8,
                                 timeout_s=3600)
    return str(error.value)


@pytest.mark.slow
def test_a_backfill_of_eight_sets_of_which_two_fail(backfill, url, folder):
    assert "\n" not in backfill
    assert "checkpoint[diverging] failure: checkpoint: " in backfill and "the loss is" in backfill
    assert "lower the learning rate" in backfill
    assert "checkpoint[impossible] failure: checkpoint: " in backfill
    with homes.instance_of(folder) as instance:
        runs = [record for record in instance.get_run_records()
                if record.dagster_run.tags.get("dagster/partition")]
        assert len(runs) == 8
        for run in runs:  # no more at a time than the pool holds
            beside = [r for r in runs if r.start_time <= run.start_time < r.end_time]
            assert len(beside) <= POOL
        for name in GOOD:
            made = last_materialization(instance, "checkpoint", name)
            assert made.check_passed is True and made.metadata["reused"] is False
            assert made.metadata["steps"] == (4 if name == "longer" else 2)
        start = last_materialization(instance, "pretrained").artifact
        assert made.metadata["pretrained"] == start  # of from_pretrained, the last
        for name in BAD:
            assert last_materialization(instance, "checkpoint", name) is None
            assert last_failure(instance, "checkpoint", name) in backfill


@pytest.mark.slow
def test_the_best_of_those_that_trained_is_released(backfill, url, folder):
    launch.wait_for_run(url, launch.launch_job(url, "release"), timeout_s=900)
    with homes.instance_of(folder) as instance:
        scores = {name: last_materialization(instance, "checkpoint", name).metadata["score"]
                  for name in GOOD}
        best = last_materialization(instance, "best_model").metadata
        assert best["partition"] == min(scores, key=lambda name: (-scores[name], name))
        assert {entry["partition"]: entry["score"] for entry in best["ranking"]} == {
            **scores, **dict.fromkeys(BAD)}
        for name in BAD:
            row, = [record.data for record in best["leaderboard"].records
                    if record.data["hyperparameters"] == name]
            assert row["rank"] == row["mask_AP"] == "-"
            assert row["note"] == f"failed: {last_failure(instance, 'checkpoint', name)}"
        assert best["leaderboard_picture"].startswith(
            "![mask_AP of the hyperparameter sets](/logs/pictures/")
    assert (folder / "storage" / "tfrecords").is_dir()


@pytest.mark.slow
def test_a_second_backfill_trains_only_what_is_missing(backfill, url, folder):
    written = {path: path.stat().st_mtime_ns for path in folder.glob("storage/checkpoints/*/*/*")
               if "diverging" not in str(path)}
    again = [*GOOD[-2:], "diverging"]
    with pytest.raises(CraterError, match=r"checkpoint\[diverging\] failure") as error:
        launch.wait_for_backfill(url, launch.launch_backfill(url, ["checkpoint"], again), total=3,
                                 timeout_s=1800)
    assert str(error.value).count(" failure: ") == 1
    with homes.instance_of(folder) as instance:
        for name in GOOD[-2:]:
            made = last_materialization(instance, "checkpoint", name)
            assert made.metadata["reused"] is True and made.metadata["run"] != made.run_id
    assert {path: path.stat().st_mtime_ns for path in written} == written


@pytest.mark.slow
def test_a_job_that_fails_names_the_check(url, folder):
    image = folder / "data" / "images" / "scene_002.png"
    kept = image.read_bytes()
    image.write_bytes(kept[:100])
    try:
        run = launch.launch_job(url, "prepare_data", run_config=PRETRAINING)
        with pytest.raises(CraterError) as error:
            launch.wait_for_run(url, run, "prepare_data", timeout_s=300)
    finally:
        image.write_bytes(kept)
    assert "check labels_valid: " in str(error.value) and "scene_002.png" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_backfill_from_the_command_line(backfill, url, folder):
    subprocess.run(
        [sys.executable, "-m", "dagster", "job", "backfill", "-w", str(ROOT / "workspace.yaml"),
         "-j", "train", "--partitions", "longer", "--noprompt"], cwd=folder, check=True,
        env={**os.environ, **ENVIRONMENT, "DAGSTER_HOME": str(folder)})
    with homes.instance_of(folder) as instance:
        run, = instance.get_runs(dg.RunsFilter(job_name="train"))
        assert run.tags["dagster/partition"] == "longer"
        launch.wait_for_run(url, run.run_id, "train", timeout_s=300)
        assert last_materialization(instance, "checkpoint", "longer").run_id == run.run_id


@pytest.mark.slow
def test_a_second_dagster_dev_leaves_the_runs_of_others_alone(url, folder):
    run = launch.launch_job(url, "prepare_data", run_config=PRETRAINING,
                            tags={})  # as a person does in the UI
    with pytest.raises(CraterError, match="a Dagster daemon is at work on this history") as error:
        with launch.dagster_dev(folder, ROOT / "workspace.yaml", env=ENVIRONMENT):
            pass
    assert str(folder) in str(error.value) and "\n" not in str(error.value)
    home = homes.own_home(folder / "own", ROOT / "dagster.yaml")
    with launch.dagster_dev(folder, ROOT / "workspace.yaml", ENVIRONMENT, home=home) as other:
        assert not launch.graphql(other, "{ runsOrError { ... on Runs { results { runId } } } }"
                                  )["runsOrError"]["results"]
    launch.wait_for_run(url, run, timeout_s=300)
    assert launch.cancel_unfinished(url) == 0
    assert (home / ".dagster" / "history").is_dir()


@pytest.mark.slow
def test_a_training_goes_on_while_the_demo_runs_beside_it(backfill, url, folder):
    """The whole demo in the same folder; what it would train is there, but not its history."""
    shutil.copy(ROOT / "workspace.yaml", folder)
    (folder / "demo.yaml").write_text("longer: {trainer.train_steps: 4}\n")

    def steps() -> list[float]:
        seen = instance.fetch_observations(dg.AssetRecordsFilter(
            asset_key=dg.AssetKey("checkpoint"), asset_partitions=["longer"]), limit=10).records
        return [record.asset_observation.metadata["steps"].value for record in seen
                if record.run_id == training and "steps" in record.asset_observation.metadata]

    training = launch.launch_job(url, "train", "longer", tags={}, run_config={
        "ops": {"checkpoint": {"config": {"train_steps": 100_000}}}})
    with homes.instance_of(folder) as instance:
        before = until(steps)[0]
        subprocess.run([sys.executable, "-m", "crater_assets.demo"], cwd=folder, check=True, env={
            **os.environ, **ENVIRONMENT, "CRATER_HYPERPARAMETERS": "demo.yaml"})
        assert until(lambda: [step for step in steps() if step > before])
        assert instance.get_run_by_id(training).status == dg.DagsterRunStatus.STARTED
        launch.graphql(url, launch._TERMINATE, {"ids": [training]})
    summary = json.loads((folder / "demo" / "summary.json").read_text())
    assert summary["best"] == "longer" and summary["image"] is None
    assert (folder / "demo" / "overlay.png").is_file()
    with homes.instance_of(folder, folder / "demo" / "dagster") as instance:
        assert {run.job_name for run in instance.get_runs()} >= {"prepare_data", "release"}
        assert training not in {run.run_id for run in instance.get_runs()}
        assert last_materialization(instance, "checkpoint", "longer").metadata["reused"] is True


@pytest.mark.slow
def test_execute_all_on_the_checks_tab(backfill, url, folder):
    """As the UI starts it: checks alone, of a partitioned asset, without a partition."""
    checks = ("loss_finite_and_metric_present", "artifact_in_storage")
    answer = launch.graphql(url, launch._LAUNCH_RUN, {"params": {
        "selector": {"repositoryName": launch.REPOSITORY, "pipelineName": "__ASSET_JOB",
                     "repositoryLocationName": launch.LOCATION, "assetSelection": [],
                     "assetCheckSelection": [{"assetKey": {"path": ["checkpoint"]}, "name": name}
                                             for name in checks]},
        "runConfigData": {}, "executionMetadata": {"tags": []}}})["launchRun"]
    launch.wait_for_run(url, answer["run"]["runId"], "checks", timeout_s=300)
    with homes.instance_of(folder) as instance:
        found = [entry.dagster_event.event_specific_data for entry in instance.all_logs(
            answer["run"]["runId"], of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)]
    assert {(each.check_name, each.partition, each.passed) for each in found} == {
        (name, partition, True) for name in checks for partition in GOOD}


@pytest.mark.slow
def test_the_launchpad_brings_no_data_set_of_another_day(url):
    with pytest.raises(CraterError, match="Dagster refuses it.*dataset"):
        launch.launch_job(url, "prepare_data", run_config={
            "resources": {"crater": {"config": {"dataset": "/old"}}}})


@pytest.mark.slow
def test_what_dagster_refuses_is_said(url):
    with pytest.raises(CraterError, match="job nothing: Dagster refuses it"):
        launch.launch_job(url, "nothing")
    with pytest.raises(CraterError, match="backfill: Dagster refuses it"):
        launch.launch_backfill(url, ["checkpoint"], ["no_such_set"])
    with pytest.raises(CraterError, match="job prepare_data: Dagster refuses it.*nothing"):
        launch.launch_job(url, "prepare_data", run_config={"ops": {"nothing": {}}})


@pytest.mark.slow
def test_it_stops_with_all_its_processes_and_runs_are_cancelled(server, folder):
    """The last test that needs the server."""
    run = launch.launch_job(server.url, "prepare_data", run_config=PRETRAINING)
    assert session_of(folder)
    server.stop()
    with pytest.raises(OSError):
        urllib.request.urlopen(server.url, timeout=2)
    assert not session_of(folder)
    with homes.instance_of(folder) as instance:
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
