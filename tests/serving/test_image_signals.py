"""What a container of the image does at SIGTERM, with a real Docker engine.

The server in it is a program without a handler, as `tensorflow_model_server` is one: the kernel
does not end a container's first process by a signal that it has no handler for.
"""

import json
import subprocess
import time

import pytest

from crater_model.serving.image import write_context
from tests.serving.container_engine import import_base

WITHOUT_HANDLER = """#!/bin/sh
echo "$@"
for last; do :; done
[ "$last" != --version ] || exit 7
exec busybox sleep 1000
"""


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True,
                          check=True).stdout.strip()


@pytest.fixture(scope="module")
def image(docker_base, blob_model, tmp_path_factory):
    import_base("local/deaf:1", WITHOUT_HANDLER)
    folder = write_context(blob_model / "3", tmp_path_factory.mktemp("deaf") / "context",
                           base="local/deaf:1")
    docker("build", "--tag", "deaf", str(folder))
    return "deaf"


@pytest.fixture
def running(image):
    """Starts containers, waits until their server has, and removes them at the end."""
    started = []

    def start(*options: str) -> str:
        container = docker("run", "--detach", "--network=none", *options)
        started.append(container)
        end = time.monotonic() + 20
        while "--port=8500" not in docker("logs", container):
            assert time.monotonic() < end, docker("inspect", container)
            time.sleep(0.05)
        return container

    yield start
    for container in started:
        docker("rm", "--force", container)


def state(container: str) -> dict:
    return json.loads(docker("inspect", "--format", "{{json .State}}", container))


def stopped(container: str, grace_s: int) -> tuple[float, int]:
    """Seconds that it took, and the exit code."""
    start = time.monotonic()
    docker("stop", "--time", str(grace_s), container)
    return time.monotonic() - start, state(container)["ExitCode"]


@pytest.mark.slow
def test_sigterm_ends_it_at_once_and_not_only_the_kill(running, image):
    seconds, code = stopped(running(image), grace_s=30)
    assert seconds < 5 and code == 128 + 15
    # The same server as the first process, without the image's own: only killing it helps.
    alone = running("--entrypoint", "tensorflow_model_server", image, "--port=8500")
    seconds, code = stopped(alone, grace_s=3)
    assert seconds >= 3 and code == 128 + 9


@pytest.mark.parametrize("signal", ["INT", "HUP"])
def test_other_signals_end_it_too(running, image, signal):
    container = running(image)
    docker("kill", "--signal", signal, container)
    assert docker("wait", container) == "143"


def test_the_server_s_own_end_and_its_arguments_pass_through(running, image):
    container = running(image, "--num_load_threads=2", "--version")
    assert docker("wait", container) == "7"
    assert docker("logs", container).endswith("--num_load_threads=2 --version")
