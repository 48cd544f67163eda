"""Image engines: Docker by way of its SDK, buildah by way of its command line.

DOCKER_HOST, Docker's contexts and stored logins, STORAGE_DRIVER and BUILDAH_ISOLATION mean
what they always do.
"""

from __future__ import annotations

import shutil

from crater_model.errors import ConfigError
from crater_model.serving.buildah_engine import BuildahEngine
from crater_model.serving.docker_engine import DockerEngine, answers
from crater_model.serving.engine import Engine, EngineUnavailable

ENGINES = ("docker", "buildah")


def find_engine() -> str | None:
    """Gives "docker" when its daemon answers, else "buildah" when it is installed, else None."""
    if answers():
        return "docker"
    return "buildah" if shutil.which("buildah") else None


def open_engine(name: str = "auto") -> Engine:
    """The engine "docker", "buildah" or, for "auto", the one that `find_engine` gives.

    Raises:
      ConfigError: another name.
      EngineUnavailable: it is not here, or its daemon does not answer.
    """
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
