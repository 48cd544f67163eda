"""`artifact.json`: what an artifact consists of, and whether it still does."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import google_crc32c

from crater_model.errors import DataError

MANIFEST = "artifact.json"

# path -> bytes, and the CRC32C where it has to be compared (of a local file it takes reading)
Found = Mapping[str, tuple[int, Callable[[], str]]]


def describe_folder(folder: str | os.PathLike) -> dict:
    """{"files": [{"path", "bytes", "crc32c"}, ...], "bytes": total}, sorted by path.

    CRC32C is in base64, as Cloud Storage shows it. Hidden files (unfinished ones) are left out.

    Raises:
      DataError: the folder does not exist or holds no file.
    """
    folder = Path(folder)
    files = [{"path": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size,
              "crc32c": crc32c(path)} for path in files_in(folder)]
    if not files:
        raise DataError(f"{folder}: no files to publish, expected a filled folder")
    return {"files": files, "bytes": sum(file["bytes"] for file in files)}


def differences(folder: str | os.PathLike, manifest: dict) -> list[str]:
    """What in `folder` is not as the manifest says; empty when every file agrees."""
    folder = Path(folder)
    return compare(manifest, {
        path.relative_to(folder).as_posix(): (path.stat().st_size, partial(crc32c, path))
        for path in files_in(folder)})


def compare(manifest: dict, found: Found) -> list[str]:
    """What in `found` is not as the manifest says, a line each that begins with the file's path."""
    wrong = []
    for file in manifest["files"]:
        if file["path"] not in found:
            wrong.append(f"{file['path']} is missing")
            continue
        size, checksum = found[file["path"]]
        if size != file["bytes"]:
            wrong.append(f"{file['path']} has {size} bytes, expected {file['bytes']}")
        elif checksum() != file["crc32c"]:
            wrong.append(f"{file['path']} has another checksum than {MANIFEST} says")
    listed = {file["path"] for file in manifest["files"]}
    return wrong + [f"{path} is not in {MANIFEST}" for path in sorted(set(found) - listed)]


def files_in(folder: Path) -> list[Path]:
    """The files of an artifact, sorted: neither its manifest nor hidden ones."""
    return sorted(
        path for path in folder.rglob("*")
        if path.is_file() and path != folder / MANIFEST
        and not any(part.startswith(".") for part in path.relative_to(folder).parts))


def crc32c(path: Path) -> str:
    """CRC32C of a file, base64."""
    with path.open("rb") as file:
        checksum = google_crc32c.Checksum()
        for _ in checksum.consume(file, 1 << 20):
            pass
        return base64.b64encode(checksum.digest()).decode()
