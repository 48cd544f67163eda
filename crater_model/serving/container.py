"""Running a serving image for a while, to ask it something."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from crater_model.errors import ConfigError, ServingError
from crater_model.serving.client import Client
from crater_model.serving.docker_engine import connect, plain_errors
from crater_model.serving.engine import EngineUnavailable

OPTIONS = "CRATER_DOCKER_RUN_OPTIONS"
_GRPC = "8500/tcp"


@contextmanager
def run_image(reference: str, engine: str = "docker", *,
              options: Mapping[str, Any] | None = None,
              timeout_s: float = 120.0) -> Iterator[Client]:
    """Runs a serving image, gives a client of it once it is ready, and removes it again.

    Args:
      reference: the image.
      engine: "docker"; buildah builds images and runs none.
      options: further arguments of the Docker SDK's `containers.run`, such as
        {"device_requests": [{"count": -1, "capabilities": [["gpu"]]}]} for all GPUs; default
        the JSON object in $CRATER_DOCKER_RUN_OPTIONS.
      timeout_s: how long it may take to be ready.

    Raises:
      EngineUnavailable: the engine cannot run images.
      ServingError: the container ends or is not ready in time; the message holds the last
        line that it printed.
    """
    if engine != "docker":
        raise EngineUnavailable(f"{reference}: {engine} builds images and runs none; "
                                "run this image with Docker to ask it something")
    options = _options() if options is None else options
    docker = connect()
    with plain_errors(f"{reference}: cannot be run"):
        network, arguments, port = _network(docker)
        container = docker.containers.run(reference, arguments, detach=True, **network, **options)
    try:
        with plain_errors(reference):
            if port is None:
                container.reload()
                port = int(container.ports[_GRPC][0]["HostPort"])
            # By its label: of an image with a canary that may be there alone.
            with Client(f"127.0.0.1:{port}", version_label="stable") as client:
                _wait(client, container, reference, timeout_s)
                yield client
    finally:
        with plain_errors(f"{reference}: its container cannot be removed"):
            container.remove(force=True, v=True)
        docker.close()


def _wait(client: Client, container, reference: str, timeout_s: float) -> None:
    """One wait, cut short when the container ends: its last words say why."""
    waited = 0.0
    while True:
        try:
            client.wait_ready(min(2.0, timeout_s))
            return
        except ServingError as error:
            waited += 2.0
            container.reload()
            running = container.status == "running"
            if running and waited < timeout_s:
                continue
            lines = container.logs(tail=5).decode(errors="replace").strip().splitlines()
            state = "is not ready" if running else "has ended"
            raise ServingError(f"{reference}: the server in the image {state} after "
                               f"{waited:g} s: {lines[-1] if lines else error}") from None


def _network(docker) -> tuple[dict[str, Any], list[str], int | None]:
    """Arguments of `containers.run`, arguments of the server, and the gRPC port where it is
    known.

    An engine without its bridge network can only lend the host's network, where the ports
    of the image may be taken: there the server is told free ones.
    """
    if docker.networks.list(names=["^bridge$"]):
        return {"ports": {_GRPC: ("127.0.0.1", None)}}, [], None
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        port, rest = first.getsockname()[1], second.getsockname()[1]
    return {"network_mode": "host"}, [f"--port={port}", f"--rest_api_port={rest}"], port


def _options() -> dict[str, Any]:
    text = os.environ.get(OPTIONS) or "{}"
    try:
        options = json.loads(text)
        if not isinstance(options, dict):
            raise ValueError("not an object")
    except ValueError as error:
        raise ConfigError(f"{OPTIONS}={text}: expected a JSON object with arguments of the Docker "
                          f"SDK's containers.run: {error}") from None
    return options
