"""One process of a machine at a time: file locks, which the system frees when a process dies.

The same owner takes over from itself: a run that was lost is repeated while its old step may
still be at work, in a container for one. The old one is asked to stop, by a file beside the lock,
and waited for.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from crater_model.errors import CraterError
from crater_model.files import make_folder

TAKEOVER_SECONDS = 120.0  # a training looks after each loop of steps
_POLL_S = 0.2


@contextmanager
def waiting(path: Path) -> Iterator[None]:
    """Holds the lock file at `path`; waits for whoever holds it."""
    file = _locked(path, fcntl.LOCK_EX)
    try:
        yield
    finally:
        _free(path, file)


class Held:
    """A lock that is held, as `held` gives it.

    Args:
      path: of the lock file.
      owner, what: for messages.
    """

    def __init__(self, path: Path, owner: str, what: str):
        self._asked, self._owner, self._what = _asked(path), owner, what

    def check(self) -> None:
        """Returns while nobody has asked for the lock.

        Raises:
          CraterError: the same owner wants to go on in another process.
        """
        if self._asked.exists():
            raise CraterError(f"{self._what}: {self._owner} was started again and takes over; this "
                              "process stops")


@contextmanager
def held(path: Path, owner: str, what: str) -> Iterator[Held]:
    """Holds the lock file at `path` for `owner`; takes it over from the same owner.

    Raises:
      CraterError: `what` is being made by another process.
    """
    file = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB) or _taken_over(path, owner)
    if file is None:
        raise CraterError(taken(what, *_read(path)))
    try:
        _asked(path).unlink(missing_ok=True)
        file.truncate(0)
        json.dump({"owner": owner, "since": now()}, file)
        file.flush()
        yield Held(path, owner, what)
    finally:
        _free(path, file)


def _taken_over(path: Path, owner: str):
    """The lock's file once the same owner's other process has let it go; None of another owner,
    or where it does not stop in `TAKEOVER_SECONDS`."""
    end = time.monotonic() + TAKEOVER_SECONDS
    while _read(path)[0] == owner and time.monotonic() < end:
        _asked(path).touch()
        time.sleep(_POLL_S)
        file = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if file is not None:
            return file
    return None


def _asked(path: Path) -> Path:
    return path.with_name(f"{path.name}.asked")


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
