"""Running a serving image for a while, to ask it something."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from crater_model.errors import ServingError
from crater_model.serving.client import Client
from crater_model.serving.engine import EngineUnavailable, run_command

OPTIONS = "CRATER_DOCKER_RUN_OPTIONS"


@contextmanager
def run_image(reference: str, engine: str = "docker", *, options: Sequence[str] | None = None,
              timeout_s: float = 120.0) -> Iterator[Client]:
    """Runs a serving image, gives a client of it once it is ready, and removes it again.

    Args:
      reference: the image.
      engine: "docker"; buildah builds images and runs none.
      options: further options of `docker run`, such as ["--gpus", "all"]; default the words
        of $CRATER_DOCKER_RUN_OPTIONS.
      timeout_s: how long it may take to be ready.

    Raises:
      EngineUnavailable: the engine cannot run images.
      ServingError: the container ends or is not ready in time; the message holds the last
        line that it printed.
    """
    if engine != "docker":
        raise EngineUnavailable(f"{reference}: {engine} builds images and runs none; "
                                "run this image with Docker to ask it something")
    if options is None:
        options = shlex.split(os.environ.get(OPTIONS, ""))
    network, arguments, port = _network()
    container = run_command(["docker", "run", "--detach", *network, *options, reference,
                             *arguments], f"{reference}: cannot be run", quiet=True)
    container = container.splitlines()[-1]
    try:
        if port is None:
            port = _published(container)
        # One wait, cut short when the container ends: its last words say why.
        with Client(f"127.0.0.1:{port}") as client:
            _wait(client, container, reference, timeout_s)
            yield client
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", container],
                       capture_output=True, check=False)


def _wait(client: Client, container: str, reference: str, timeout_s: float) -> None:
    waited = 0.0
    while True:
        try:
            client.wait_ready(min(2.0, timeout_s))
            return
        except ServingError as error:
            waited += 2.0
            running = subprocess.run(
                ["docker", "inspect", "--format", "{{.State.Running}}", container],
                capture_output=True, text=True, check=False).stdout.strip()
            if running == "true" and waited < timeout_s:
                continue
            state = "is not ready" if running == "true" else "has ended"
            raise ServingError(f"{reference}: the server in the image {state} after "
                               f"{waited:g} s: {_last_words(container) or error}") from None


def _last_words(container: str) -> str:
    logs = subprocess.run(["docker", "logs", "--tail", "5", container], text=True,
                          capture_output=True, check=False, errors="replace")
    lines = (logs.stdout + logs.stderr).strip().splitlines()
    return lines[-1] if lines else ""


def _network() -> tuple[list[str], list[str], int | None]:
    """Options of `docker run`, arguments of the server, and the gRPC port where it is known.

    An engine without its bridge network can only lend the host's network, where the ports
    of the image may be taken: there the server is told free ones.
    """
    bridge = subprocess.run(["docker", "network", "inspect", "bridge"], capture_output=True,
                            check=False)
    if bridge.returncode == 0:
        return ["--publish", "127.0.0.1::8500"], [], None
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        port, rest = first.getsockname()[1], second.getsockname()[1]
    return ["--network", "host"], [f"--port={port}", f"--rest_api_port={rest}"], port


def _published(container: str) -> int:
    shown = run_command(["docker", "port", container, "8500/tcp"],
                        f"{container}: has no gRPC port", quiet=True)
    return int(shown.splitlines()[0].rsplit(":", 1)[1])
