"""buildah by way of its command line: it needs no daemon."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path

from crater_model.errors import CraterError
from crater_model.serving.engine import ImageAbsent, LocalImage, absent


class BuildahEngine:
    """An `Engine`."""

    name = "buildah"

    def find(self, image: str) -> LocalImage | None:
        shown = subprocess.run(["buildah", "inspect", "--type", "image", image],
                               capture_output=True, text=True, check=False)
        if shown.returncode:
            return None
        made = json.loads(shown.stdout)
        return LocalImage(f"sha256:{made['FromImageID'].removeprefix('sha256:')}",
                          made["OCIv1"]["config"].get("Labels") or {})

    def pull(self, image: str) -> None:
        try:
            _run(f"{image}: cannot be pulled", "pull", "--policy", "always", image)
        except CraterError as error:
            if absent(str(error)):
                raise ImageAbsent(f"{image}: the registry has no such image") from None
            raise

    def tag(self, image_id: str, image: str) -> None:
        _run(f"{image}: cannot be tagged", "tag", image_id.removeprefix("sha256:"), image)

    def build(self, context: Path, image: str) -> None:
        _run(f"{image}: the image cannot be built", "bud", "--pull=false", "--tag", image,
             str(context))

    def push(self, image: str) -> str:
        with tempfile.NamedTemporaryFile() as file:
            _run(f"{image}: the image cannot be pushed", "push", "--digestfile", file.name, image)
            return Path(file.name).read_text().strip()


def _run(what: str, *arguments: str) -> None:
    """Runs buildah and shows its output on stderr as it comes.

    Raises:
      CraterError: it fails; `what` and the last line that it printed.
    """
    tail: deque[str] = deque(maxlen=1)
    with subprocess.Popen(["buildah", *arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip():
                tail.append(line.strip())
            print(line, end="", file=sys.stderr, flush=True)
    if process.returncode != 0:
        raise CraterError(f"{what}: {tail[0] if tail else f'exit code {process.returncode}'}")
