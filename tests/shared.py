"""What many tests look at is made once: by whichever process of the run comes first."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import inspect
import os
import shutil
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]


def made_once(name: str, make: Callable[[Path], None], *, key: object = ()) -> Path:
    """The folder that `make(folder)` fills, made once for all processes of a test run.

    It lies under CRATER_TEST_CACHE; where that is not set, conftest.py sets it to a folder that
    goes when the run ends. `key` is what else the content depends on, settings for one, with a
    repr that is the same in every process. `make` gets an empty folder with another name, so
    nothing in it may hold its own path. Whoever wants to change the content changes a copy.
    """
    digest = hashlib.sha256(repr((_sources(inspect.getsourcefile(make)), key)).encode())
    folder = Path(os.environ["CRATER_TEST_CACHE"]) / f"{name}-{digest.hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = Path(f"{folder}.part")
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


@functools.cache
def _sources(maker: str) -> str:
    """A digest of what can change a result: the packages, the tests' shared helpers, the file of
    the maker and the versions of the libraries."""
    paths = {path for package in ("crater_model", "crater_assets")
             for path in (ROOT / package).rglob("*")
             if path.is_file() and "__pycache__" not in path.parts}
    paths |= {*(ROOT / "tests").glob("*.py"), Path(maker), ROOT / "requirements.lock"}
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()
