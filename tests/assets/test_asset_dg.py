"""Dagster's own command line, as the README begins with it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crater_assets import homes, launch
from crater_model.errors import CraterError

ROOT = Path(__file__).resolve().parents[2]
DG = Path(sys.executable).with_name("dg")
pytestmark = pytest.mark.skipif(not DG.exists(), reason="dg is not installed")


def test_its_definitions_are_ours():
    found = subprocess.run([DG, "list", "defs", "--json"], cwd=ROOT, capture_output=True,
                           text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert '"checkpoint"' in found.stdout and '"crater_pipeline"' in found.stdout
    assert "superseded" not in found.stdout + found.stderr


@pytest.mark.slow
def test_the_readmes_first_command(tmp_path):
    """What `make ui` runs, with a history of its own."""
    # Without the words of a make that runs these tests, which come on the output too.
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    make = subprocess.run(["make", "-n", "ui"], cwd=ROOT, capture_output=True, text=True,
                          check=True, env=alone).stdout.strip().splitlines()[-1]
    assert make == f"DAGSTER_HOME={ROOT} .venv/bin/dg dev"
    home, port = homes.own_home(tmp_path, ROOT / "dagster.yaml"), launch.free_port()
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            [DG, "dev", "--port", str(port)], cwd=ROOT, stdout=log, stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "DAGSTER_HOME": str(home)})
    try:
        wait_until_loaded(f"http://127.0.0.1:{port}", process)
        launch.graphql(f"http://127.0.0.1:{port}", "{ version }")
        with homes.instance_of(ROOT, home) as instance:
            end = time.monotonic() + 120
            while not instance.get_daemon_heartbeats() and time.monotonic() < end:
                time.sleep(0.5)
            assert instance.get_daemon_heartbeats()
        said = (tmp_path / "log").read_text()  # before its end, which is told as an error
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with contextlib.suppress(ProcessLookupError):  # what a busy machine has not ended yet
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert "superseded" not in said and "Error" not in said, said


def wait_until_loaded(url, process, seconds=180):
    query = "{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus } } } }"
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        try:
            entries = launch.graphql(url, query)["workspaceOrError"]["locationEntries"]
        except CraterError:
            entries = []
        if entries and all(entry["loadStatus"] == "LOADED" for entry in entries):
            assert [entry["name"] for entry in entries] == [launch.LOCATION]
            return
        time.sleep(0.3)
    raise AssertionError(f"dg dev ended with {process.poll()}")
