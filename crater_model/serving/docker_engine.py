"""Docker by way of its SDK for Python: the plain builder, not BuildKit."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound
from docker.utils import parse_repository_tag

from crater_model.errors import CraterError
from crater_model.serving.engine import EngineUnavailable, ImageAbsent, LocalImage, absent

# Seconds without a word from the daemon: a large model's layer takes a while.
_PATIENCE = 600


def connect(timeout_s: int = _PATIENCE) -> docker.DockerClient:
    """A client of the daemon that DOCKER_HOST or the current context names.

    Raises:
      EngineUnavailable: it does not answer.
    """
    try:
        return docker.from_env(timeout=timeout_s)
    except (DockerException, requests.RequestException, OSError) as error:
        raise EngineUnavailable(f"the Docker daemon does not answer ({error}); start it, or name "
                                "another one in DOCKER_HOST") from None


def answers() -> bool:
    """Whether a daemon answers."""
    try:
        with plain_errors("docker"):
            client = connect(timeout_s=20)
            client.ping()
            client.close()
    except CraterError:
        return False
    return True


@contextmanager
def plain_errors(what: str) -> Iterator[None]:
    """The SDK's errors as CraterError: `what` and the daemon's own words."""
    try:
        yield
    except APIError as error:
        raise CraterError(f"{what}: {' '.join(str(error.explanation or error).split())}") from None
    except (DockerException, requests.RequestException) as error:
        raise CraterError(f"{what}: {error}") from None


class DockerEngine:
    """An `Engine`."""

    name = "docker"

    def __init__(self):
        self._client = connect()

    def find(self, image: str) -> LocalImage | None:
        with plain_errors(f"{image}: cannot be inspected"):
            try:
                found = self._client.images.get(image)
            except ImageNotFound:
                return None
            return LocalImage(found.id, found.labels)

    def pull(self, image: str) -> None:
        name, tag = _split(image)
        what = f"{image}: cannot be pulled"
        with plain_errors(what):
            try:
                _follow(self._client.api.pull(name, tag=tag, stream=True, decode=True), what)
            except (APIError, CraterError) as error:
                if absent(str(error)):
                    raise ImageAbsent(f"{image}: the registry has no such image") from None
                raise

    def tag(self, image_id: str, image: str) -> None:
        with plain_errors(f"{image}: cannot be tagged"):
            self._client.api.tag(image_id, *_split(image))

    def build(self, context: Path, image: str) -> None:
        what = f"{image}: the image cannot be built"
        with plain_errors(what):
            _follow(self._client.api.build(path=str(context), tag=image, rm=True, forcerm=True,
                                           timeout=_PATIENCE, decode=True), what)

    def push(self, image: str) -> str:
        name, tag = _split(image)
        what = f"{image}: the image cannot be pushed"
        with plain_errors(what):
            said = _follow(self._client.api.push(name, tag=tag, stream=True, decode=True), what)
        return said["Digest"]


def _split(image: str) -> tuple[str, str]:
    name, tag = parse_repository_tag(image)
    return name, tag or "latest"


def _follow(lines: Iterable[dict[str, Any]], what: str) -> dict[str, Any]:
    """Shows on stderr what the daemon says, and gives the facts among it.

    Raises:
      CraterError: it says that it failed.
    """
    facts: dict[str, str] = {}
    for line in lines:
        if "error" in line:
            raise CraterError(f"{what}: {' '.join(line['error'].split())}")
        facts |= line.get("aux") or {}
        text = line.get("stream") or ("" if "progressDetail" in line else line.get("status", ""))
        if text.strip():
            print(text.rstrip(), file=sys.stderr, flush=True)
    return facts
