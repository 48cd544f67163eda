"""Where the versions of a SavedModel stand on disk. Needs no TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from crater_model.errors import ServingError

_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Policy:
    """Which versions to serve, as in ModelServerConfig: the newest `latest` (None: all), or
    the `specific` ones when there are any."""

    latest: int | None = 1
    specific: frozenset[int] = frozenset()

    def wanted(self, numbers: Iterable[int]) -> set[int]:
        """The versions to serve out of those that are there."""
        if self.specific:
            return set(numbers) & self.specific
        return set(sorted(numbers)[-self.latest if self.latest else 0:])


def scan(path: str | Path) -> dict[int, Path]:
    """Versions of a SavedModel at `path`, by number: a version folder (.../<integer>) or its
    parent. Folders without saved_model.pb (not copied yet) and other names are left out.

    A SavedModel in a folder that is not named by an integer counts as version 1.
    """
    path = Path(path).resolve()
    if (path / "saved_model.pb").is_file():
        return {int(path.name) if _NUMBER.fullmatch(path.name) else 1: path}
    try:
        children = list(path.iterdir())
    except OSError:  # absent, or a network mount that is away
        return {}
    return {int(child.name): child for child in sorted(children)
            if _NUMBER.fullmatch(child.name) and (child / "saved_model.pb").is_file()}


def version_folders(path: str | Path) -> dict[int, Path]:
    """What `scan` finds, oldest first.

    Raises:
      ServingError: there is no SavedModel.
    """
    if not (found := scan(path)):
        raise ServingError(
            f"{Path(path).resolve()}: holds no SavedModel; expected saved_model.pb in it or in a "
            "folder named by a version number below it (crater export writes one)")
    return dict(sorted(found.items()))


def fingerprint(folder: Path) -> frozenset:
    """Changes when a file of the folder does: a version that failed half-copied is tried again."""
    try:
        return frozenset((str(file), file.stat().st_size, file.stat().st_mtime_ns)
                         for file in folder.rglob("*") if file.is_file())
    except OSError:  # it vanishes as we look
        return frozenset()
