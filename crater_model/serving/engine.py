"""Image engines: Docker by way of its SDK, buildah by way of its command line.

DOCKER_HOST, Docker's contexts and stored logins, STORAGE_DRIVER and BUILDAH_ISOLATION mean
what they always do.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from crater_model.errors import ConfigError, CraterError

ENGINES = ("docker", "buildah")


class EngineUnavailable(CraterError):
    """No Docker daemon answers and there is no buildah."""


class BaseImageUnavailable(CraterError):
    """The image to build on is not here and cannot be pulled."""


class ImageAbsent(CraterError):
    """The registry has no such image."""


@dataclass(frozen=True)
class LocalImage:
    """An image that the engine has: its id "sha256:..." and its labels."""

    id: str
    labels: dict[str, str]


class Engine(Protocol):
    """What building and pushing an image takes. Every method may raise CraterError; what the
    engine says meanwhile goes to stderr."""

    name: str

    def find(self, image: str) -> LocalImage | None:
        """The image of that name, None where the engine has none."""

    def pull(self, image: str) -> None:
        """Fetches it from its registry; raises ImageAbsent where that has none."""

    def tag(self, image_id: str, image: str) -> None:
        """Names an image."""

    def build(self, context: Path, image: str) -> None:
        """Builds the Dockerfile of a folder without pulling its base."""

    def push(self, image: str) -> str:
        """Pushes it to its registry and gives its digest there, "sha256:..."."""


def find_engine() -> str | None:
    """Gives "docker" when its daemon answers, else "buildah" when it is installed, else None."""
    from crater_model.serving.docker_engine import answers

    if answers():
        return "docker"
    return "buildah" if shutil.which("buildah") else None


def open_engine(name: str = "auto") -> Engine:
    """The engine "docker", "buildah" or, for "auto", the one that `find_engine` gives.

    Raises:
      ConfigError: another name.
      EngineUnavailable: it is not here, or its daemon does not answer.
    """
    from crater_model.serving.buildah_engine import BuildahEngine
    from crater_model.serving.docker_engine import DockerEngine

    if name not in (*ENGINES, "auto"):
        raise ConfigError(f"engine {name!r} is unknown; expected docker, buildah or auto")
    if name == "buildah":
        found = "buildah" if shutil.which("buildah") else None
    else:
        found = find_engine()
    if found is None or name not in ("auto", found):
        raise EngineUnavailable(
            f"{'no image engine is' if name == 'auto' else f'{name} is not'} available; start "
            "a Docker daemon (DOCKER_HOST names another one) or install buildah")
    return DockerEngine() if found == "docker" else BuildahEngine()


def pull_base(engine: Engine, base: str) -> str:
    """Pulls `base` unless it is here, and gives the name to build from.

    Raises:
      BaseImageUnavailable: it is not here and cannot be pulled.
    """
    if engine.find(base):
        return base
    if engine.name == "buildah" and not re.match(r"(localhost|[^/]*[.:][^/]*)/", base):
        base = f"docker.io/{base}"  # buildah knows no default registry
        if engine.find(base):
            return base
    try:
        engine.pull(base)
    except CraterError as error:
        raise BaseImageUnavailable(
            f"{base}: this base image is not here and cannot be pulled ({error}); name one "
            "that you have as base, or write the build context and build it elsewhere"
        ) from None
    return base


def absent(answer: str) -> bool:
    """Whether a registry's answer says that it has no such image. A denial does not: the image
    may be there, for others to see."""
    known = re.search(r"manifest unknown|name unknown|manifest for .* not found", answer, re.I)
    return bool(known) and "denied" not in answer
