"""Docker and buildah, driven through their command lines.

The command lines know the user's contexts, registries and credentials; DOCKER_HOST,
STORAGE_DRIVER and BUILDAH_ISOLATION mean what they always do.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from crater_model.errors import ConfigError, CraterError

ENGINES = ("docker", "buildah")
_INSPECT_ID = {
    "docker": ["docker", "image", "inspect", "--format", "{{.Id}}"],
    "buildah": ["buildah", "inspect", "--type", "image", "--format", "{{.FromImageID}}"],
}


class EngineUnavailable(CraterError):
    """No Docker daemon answers and there is no buildah."""


class BaseImageUnavailable(CraterError):
    """The image to build on is not here and cannot be pulled."""


def find_engine() -> str | None:
    """Gives "docker" when its daemon answers, else "buildah" when it is installed, else None."""
    if shutil.which("docker"):
        try:
            asked = subprocess.run(["docker", "version", "--format", "{{.Server.Version}}"],
                                   capture_output=True, timeout=20, check=False)
            if asked.returncode == 0:
                return "docker"
        except subprocess.TimeoutExpired:
            pass
    return "buildah" if shutil.which("buildah") else None


def choose_engine(engine: str = "auto") -> str:
    """The engine to use for "docker", "buildah" or "auto".

    Raises:
      ConfigError: another name.
      EngineUnavailable: it is not here, or its daemon does not answer.
    """
    if engine not in (*ENGINES, "auto"):
        raise ConfigError(f"engine {engine!r} is unknown; expected docker, buildah or auto")
    found = engine if engine == "buildah" and shutil.which("buildah") else None
    if engine != "buildah":
        found = find_engine()
    if found is None or engine not in ("auto", found):
        raise EngineUnavailable(
            f"{'no image engine is' if engine == 'auto' else f'{engine} is not'} available; start "
            "a Docker daemon (DOCKER_HOST names another one) or install buildah")
    return found


def pull_base(engine: str, base: str) -> str:
    """Pulls `base` unless it is here, and gives the name to build from.

    Raises:
      BaseImageUnavailable: it is not here and cannot be pulled.
    """
    if _present(engine, base):
        return base
    if engine == "buildah" and not re.match(r"(localhost|[^/]*[.:][^/]*)/", base):
        base = f"docker.io/{base}"  # buildah knows no default registry
        if _present(engine, base):
            return base
    try:
        run_command([engine, "pull", base], "the engine says")
    except CraterError as error:
        raise BaseImageUnavailable(
            f"{base}: this base image is not here and cannot be pulled ({error}); name one "
            "that you have as base, or write the build context and build it elsewhere"
        ) from None
    return base


def build(engine: str, context: Path, tag: str) -> str:
    """Builds the Dockerfile of `context` as `tag`; gives the image's id, "sha256:..."."""
    command = {"docker": ["docker", "build", "--tag", tag, str(context)],
               "buildah": ["buildah", "bud", "--pull=false", "--tag", tag, str(context)]}
    run_command(command[engine], f"{tag}: the image cannot be built")
    image_id = run_command([*_INSPECT_ID[engine], tag], f"{tag}: cannot be inspected", quiet=True)
    return image_id if image_id.startswith("sha256:") else f"sha256:{image_id}"


def push(engine: str, tag: str) -> str:
    """Pushes `tag` and gives it by its digest in the registry, NAME@sha256:..."""
    what = f"{tag}: the image cannot be pushed"
    name = tag.rsplit(":", 1)[0] if ":" in tag.rsplit("/", 1)[-1] else tag
    if engine == "buildah":
        with tempfile.NamedTemporaryFile() as file:
            run_command(["buildah", "push", "--digestfile", file.name, tag], what)
            return f"{name}@{Path(file.name).read_text().strip()}"
    run_command(["docker", "push", tag], what)
    digests = json.loads(run_command(
        ["docker", "image", "inspect", "--format", "{{json .RepoDigests}}", tag], what, quiet=True))
    return next((entry for entry in digests if entry.startswith(f"{name}@")), tag)


def run_command(command: Sequence[str], what: str, quiet: bool = False) -> str:
    """Runs an engine's command and gives its output, which stderr shows as it comes.

    Raises:
      CraterError: it fails; `what` and the last line that it printed.
    """
    lines, tail = [], deque(maxlen=1)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace") as process:
        for line in process.stdout:
            lines.append(line)
            if line.strip():
                tail.append(line.strip())
            if not quiet:
                print(line, end="", file=sys.stderr, flush=True)
    if process.returncode != 0:
        raise CraterError(f"{what}: {tail[0] if tail else f'exit code {process.returncode}'}")
    return "".join(lines).strip()


def _present(engine: str, image: str) -> bool:
    return subprocess.run([*_INSPECT_ID[engine], image], capture_output=True,
                          check=False).returncode == 0
