"""Writing files so that nobody ever sees half of one: write beside, then rename."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crater_model.errors import CraterError


def write_bytes(path: str | os.PathLike, data: bytes) -> Path:
    """Writes `data` to `path` whole or not at all, making its folder where needed."""
    path = Path(path)
    make_folder(path.parent)
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    return path


def write_json(path: str | os.PathLike, value) -> Path:
    """Writes `value` as indented JSON; NaN is refused, since JSON has none."""
    text = json.dumps(value, indent=2, allow_nan=False)
    return write_bytes(path, (text + "\n").encode())


def make_folder(path: str | os.PathLike) -> Path:
    """Makes the folder and its parents.

    Raises:
      CraterError: something that is not a folder stands at the path or above it.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise CraterError(
            f"{path}: cannot make this folder: it, or a part of its path, is a file; "
            "name another folder or move the file away"
        ) from None
    return path


@contextmanager
def whole_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a folder to fill beside `path` and puts it in `path`'s place at the end.

    What stood at `path` is replaced only when the block ends without an error, so a
    reader sees the old folder or the new one and never a mixture.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise CraterError(f"{path}: is a file, expected a folder; name another place")
    make_folder(path.parent)
    beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    os.chmod(beside, 0o755)
    try:
        yield beside
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
            os.replace(path, old / "old")
            os.replace(beside, path)
            shutil.rmtree(old)
        else:
            os.replace(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
