"""What an image engine does, and how it fails."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from crater_model.errors import CraterError


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
    known = re.search(r"manifest unknown|name unknown|manifest for .* not found", answer,
                      re.I)
    return bool(known) and "denied" not in answer
