"""A real partition in containers of a real Docker engine: cancelled, killed, and finished.

The image is deploy/dagster/Dockerfile on a stand-in base: its Python and its dagster are lent by
volumes, and its pip does nothing. The code in it is the image's own.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
import yaml

pytest.importorskip("dagster_docker")

from crater_assets import homes, launch
from crater_assets.executors.containers import StepContainers, _context
from crater_assets.history import last_materialization
from crater_assets.resources import Crater
from crater_model.training.history import read_history
from tests.assets.runs import process_of, repeats, session_of, until
from tests.serving import container_engine
from tests.serving.conftest import docker_base  # noqa: F401 (a fixture)
from tests.tiny import TINY, UNCOMPILED

ROOT = Path(__file__).resolve().parents[2]
IMAGE, STEPS, LOOP = "crater-code:test", 20, 2
BASE = """FROM {base}
RUN ["/bin/busybox", "--install", "/bin"]
RUN printf '#!/bin/sh\\necho "$@" >> /pip\\n' > /opt/bin/python && \\
    printf '#!/bin/sh\\nexec "$CRATER_PYTHON" -m dagster "$@"\\n' > /opt/bin/dagster && \\
    chmod +x /opt/bin/python /opt/bin/dagster
"""


@pytest.fixture(scope="module")
def image(docker_base, tmp_path_factory) -> str:  # noqa: F811
    """The user-code image."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "Dockerfile").write_text(BASE.format(base=docker_base))
    docker("build", "--network", "host", "-t", "local/python:1", folder)
    docker("build", "--network", "host", "-f", ROOT / "deploy/dagster/Dockerfile",
           "--build-arg", "BASE_IMAGE=local/python:1", "-t", IMAGE, ROOT)
    return IMAGE


def docker(*arguments) -> str:
    found = subprocess.run(["docker", *map(str, arguments)], capture_output=True, text=True,
                           check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.fixture
def host(tmp_path, tiny_dataset, image, monkeypatch) -> SimpleNamespace:
    """A GPU host without GPUs: data, history and settings below tmp_path, and its records."""
    options = container_engine.run_options()
    # Python, but not the code, which is in the image.
    lent = [volume for volume in options["volumes"] if not volume.startswith(f"{ROOT}:")]
    further = [path for path in os.environ.get("PYTHONPATH", "").split(":")
               if path and Path(path) != ROOT]
    env_vars = [f"{name}={value}" for name, value in options["environment"].items()
                if name != "PYTHONPATH"]
    (tmp_path / "executors.yaml").write_text(yaml.safe_dump({"docker": {"every_step": {
        "env_vars": env_vars + [f"PYTHONPATH={':'.join(['/opt/crater', *further])}"],
        "container_kwargs": {
            "user": "0:0", "network_mode": "host", "labels": {"crater": "step"},
            "volumes": [*lent, *(f"{path}:{path}:ro" for path in further),
                        f"{tmp_path}:{tmp_path}"]}}}}))
    (tmp_path / "sets.yaml").write_text(yaml.safe_dump({"long": TINY | UNCOMPILED | {
        "trainer.train_steps": STEPS, "trainer.steps_per_loop": LOOP,
        "trainer.checkpoint_interval": LOOP, "trainer.validation_interval": STEPS}}))
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    environment = {
        "CRATER_EXECUTOR": "docker", "CRATER_IMAGE": image, "DAGSTER_HOME": str(home),
        "CRATER_EXECUTOR_SETTINGS": str(tmp_path / "executors.yaml"),
        "CRATER_HYPERPARAMETERS": str(tmp_path / "sets.yaml"),
        "CRATER_DATASET": str(tiny_dataset), "CRATER_STORAGE": str(tmp_path / "storage"),
        "PYTHONPATH": ":".join([str(ROOT), *further])}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return SimpleNamespace(folder=tmp_path, home=home, crater=Crater.from_environment())


@contextmanager
def training(host):
    """`checkpoint` of the set "long", started as the command line starts it."""
    with open(host.folder / "run.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "asset", "materialize", "-m",
             "crater_assets.definitions", "--select", "checkpoint", "--partition", "long"],
            cwd=host.folder, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait(process, host, done, seconds: float):
    """What `done` gives once that is true, or the run's end."""
    deadline = time.monotonic() + seconds
    while not (found := done()):
        log = host.folder / "run.log"
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(0.1)
    return found


def checkpoints(host) -> list[int]:
    """The steps of the checkpoints that are kept."""
    return sorted(int(path.stem.rpartition("-")[2]) for path in
                  (host.folder / "storage").glob("checkpoints/*/long-*/ckpt-*.index"))


def containers(step: str = "") -> list[str]:
    """The steps that run now, or the one of this name."""
    chosen = ["--filter", f"label=crater.step={step}"] if step else []
    return docker("ps", "-q", "--filter", "label=crater=step", *chosen).split()


@pytest.mark.slow
def test_a_training_is_cancelled_and_killed_and_goes_on_where_it_was(host, run_assets):
    with dg.DagsterInstance.from_config(str(host.home)) as instance:
        assert run_assets(instance, host.crater, "annotated_images", "tfrecords").success
        with training(host) as process:
            wait(process, host, containers, 60)
            # As cancelling it, or its backfill, does.
            run, = instance.get_runs(filters=dg.RunsFilter(job_name="__ASSET_JOB"))
            instance.report_run_canceling(run)
            process.send_signal(signal.SIGINT)
            process.wait(60)
        assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.CANCELED
        assert containers() == []
        with training(host) as process:
            wait(process, host, lambda: checkpoints(host), 120)
            killed, = containers("checkpoint")
            docker("kill", killed)
            model_dir, = (host.folder / "storage").glob("checkpoints/*/long-*")
            resumed, rows = checkpoints(host)[-1], read_history(model_dir)
            assert resumed < STEPS
            assert process.wait(180) == 0, (host.folder / "run.log").read_text()[-4000:]
        run, = instance.get_runs(filters=dg.RunsFilter(job_name="__ASSET_JOB"), limit=1)
        assert run.status == dg.DagsterRunStatus.SUCCESS
        events = [entry.dagster_event for entry in instance.all_logs(run.run_id)
                  if entry.dagster_event]
        retried, = [event for event in events if event.is_step_up_for_retry]
        assert retried.step_key == "checkpoint"
        assert "Return code is 137" in retried.event_specific_data.error.message
        made = last_materialization(instance, "checkpoint", "long")
        assert made.metadata["steps"] == STEPS and made.check_passed
    # What was trained before the kill is there as it was written then: it did not begin anew.
    history = [row for row in read_history(model_dir) if row["kind"] == "train"]
    assert [row["step"] for row in history] == list(range(LOOP, STEPS + 1, LOOP))
    kept = [row for row in rows if row["step"] <= resumed]
    assert kept and history[:len(kept)] == kept
    # The locks' packages were asked for, with their hashes.
    asked = docker("run", "--rm", "--entrypoint", "/bin/cat", IMAGE, "/pip")
    assert "--require-hashes -r requirements.lock -r requirements-gpu.lock" in asked


def in_the_middle(host, url) -> tuple[str, str]:
    """A run that trains, and its step's container, which is held so that it shall not be done
    before its run is missed."""
    run = launch.launch_job(url, "train", "long", tags={})
    until(lambda: checkpoints(host))
    container, = containers("checkpoint")
    docker("pause", container)
    return run, container


@pytest.mark.slow
def test_a_run_that_lost_its_process_goes_on_in_one_container(host, run_assets):
    home = homes.own_home(host.folder / "own", ROOT / "dagster.yaml")
    with homes.instance_of(host.folder, home) as instance:
        assert run_assets(instance, host.crater, "annotated_images", "tfrecords").success
        with launch.dagster_dev(host.folder, ROOT / "workspace.yaml", home=home,
                                timeout_s=180) as url:
            lost, left = in_the_middle(host, url)
            os.kill(process_of(instance, lost), signal.SIGKILL)
            again = until(lambda: repeats(instance, lost))
            launch.wait_for_run(url, again.run_id, timeout_s=300)
        made = last_materialization(instance, "checkpoint", "long")
        assert made.run_id == again.run_id and made.metadata["steps"] == STEPS
        assert instance.get_run_by_id(lost).status == dg.DagsterRunStatus.FAILURE
    # The one that was left is ended by the run that repeats its run, and made nothing more.
    assert docker("inspect", "-f", "{{.State.ExitCode}}", left).strip() == "137"
    rows = [row["step"] for row in read_history(made.metadata["model_dir"])
            if row["kind"] == "train"]
    assert rows == list(range(LOOP, STEPS + 1, LOOP))


@pytest.mark.slow
def test_a_training_goes_on_in_a_new_container_after_a_reboot(host, run_assets):
    home = homes.own_home(host.folder / "own", ROOT / "dagster.yaml")
    with homes.instance_of(host.folder, home) as instance:
        assert run_assets(instance, host.crater, "annotated_images", "tfrecords").success
        with launch.dagster_dev(host.folder, ROOT / "workspace.yaml", home=home,
                                timeout_s=180) as url:
            lost, stopped = in_the_middle(host, url)
            for pid in session_of(home):
                os.kill(pid, signal.SIGKILL)
            docker("kill", stopped)  # the engine starts none again that a step runs in
            until(lambda: not session_of(home), 20)
        assert instance.get_run_by_id(lost).status == dg.DagsterRunStatus.STARTED
        model_dir, = (host.folder / "storage").glob("checkpoints/*/long-*")
        step, before = checkpoints(host)[-1], read_history(model_dir)
        assert step < STEPS
        with launch.dagster_dev(host.folder, ROOT / "workspace.yaml", home=home,
                                timeout_s=180) as url:
            again = until(lambda: repeats(instance, lost))
            launch.wait_for_run(url, again.run_id, timeout_s=300)
        assert instance.get_run_by_id(lost).status == dg.DagsterRunStatus.FAILURE
        made = last_materialization(instance, "checkpoint", "long")
        assert made.run_id == again.run_id and made.metadata["steps"] == STEPS
    rows = [row for row in read_history(model_dir) if row["kind"] == "train"]
    assert [row["step"] for row in rows] == list(range(LOOP, STEPS + 1, LOOP))
    kept = [row for row in before if row["step"] <= step]
    assert kept and rows[:len(kept)] == kept  # it did not begin anew


def test_only_steps_that_want_one_get_a_gpu(monkeypatch):
    gpu = _context("gpu_step", {"env_vars": ["CRATER_REQUIRE_GPU=1"], "container_kwargs": {
        "device_requests": [{"count": -1, "capabilities": [["gpu"]]}], "shm_size": "1g"}})
    every = _context("every_step", {"container_kwargs": {"labels": {"crater": "step"}},
                                    "env_vars": ["CRATER_STORAGE=gs://bucket"]})
    handler = StepContainers(IMAGE, every, gpu, ["checkpoint"])
    run = SimpleNamespace(job_code_origin=None, run_id="again", root_run_id="first")
    found = {}
    for step in ("checkpoint", "best_model"):
        context = SimpleNamespace(
            dagster_run=run, instance=SimpleNamespace(run_launcher=None),
            execute_step_args=SimpleNamespace(step_keys_to_execute=[step]))
        found[step] = handler._get_docker_container_context(context)
    marks = {"crater": "step", "crater.run": "first", "crater.step": "best_model"}
    assert found["best_model"] == every._replace(container_kwargs={"labels": marks})
    assert found["checkpoint"].env_vars == ["CRATER_STORAGE=gs://bucket", "CRATER_REQUIRE_GPU=1"]
    assert found["checkpoint"].container_kwargs == {
        "labels": marks | {"crater.step": "checkpoint"}, "shm_size": "1g",
        "device_requests": [{"count": -1, "capabilities": [["gpu"]]}]}
