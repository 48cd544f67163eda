"""One process of a machine at a time: file locks, which the system frees when a process dies."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from crater_model.errors import CraterError
from crater_model.files import make_folder


@contextmanager
def waiting(path: Path) -> Iterator[None]:
    """Holds the lock file at `path`; waits for whoever holds it."""
    file = _locked(path, fcntl.LOCK_EX)
    try:
        yield
    finally:
        _free(path, file)


@contextmanager
def held(path: Path, owner: str, what: str) -> Iterator[None]:
    """Holds the lock file at `path` for `owner`.

    Raises:
      CraterError: `what` is being made by another process.
    """
    file = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if file is None:
        raise CraterError(taken(what, *_read(path)))
    try:
        file.truncate(0)
        json.dump({"owner": owner, "since": now()}, file)
        file.flush()
        yield
    finally:
        _free(path, file)


def taken(what: str, owner: str, since: str, more: str = "") -> str:
    """The line that says who makes an artifact."""
    return f"{what}: is being made by {owner} since {since}{more}; wait for it, or cancel it"


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _locked(path: Path, how: int):
    make_folder(path.parent)
    while True:
        file = open(path, "a")  # noqa: SIM115 (as long as the lock)
        try:
            fcntl.flock(file, how)
        except BlockingIOError:
            file.close()
            return None
        # Whoever held it has removed it meanwhile: then this is the lock of nothing.
        try:
            if os.path.samestat(os.stat(path), os.fstat(file.fileno())):
                return file
        except FileNotFoundError:
            pass
        file.close()


def _free(path: Path, file) -> None:
    path.unlink(missing_ok=True)
    file.close()


def _read(path: Path) -> tuple[str, str]:
    try:
        found = json.loads(path.read_text())
        return found["owner"], found["since"]
    except (OSError, ValueError):  # it has just ended, or has just begun
        return "another process", "just now"
