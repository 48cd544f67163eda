"""Sources that come as a .zip, as CVAT, Roboflow and shapefiles do."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from crater_model.errors import DataError, DataProblems

# Labels and images shrink by 20 to 1 at most; what promises more is a bomb.
_MOST_RATIO = 100
_FREE_BYTES = 64 * 2**20
_MOST_MEMBERS = 1_000_000


@contextmanager
def unpacked(path: str | Path) -> Iterator[Path]:
    """The path itself, or a temporary folder with a .zip file's contents.

    Raises:
      DataError: the archive is broken, encrypted, names files outside of itself or grows
        out of proportion.
    """
    path = Path(path)
    if path.suffix.lower() != ".zip" or not path.is_file():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="crater_import_") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                _check(path, archive)
                for member in archive.infolist():
                    _extract(archive, member, Path(folder))
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError,
                OSError, ValueError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{path}: cannot be unpacked ({reason}); unpack it yourself or export "
                            "it again") from None
        try:
            yield Path(folder)
        except DataProblems as error:
            raise DataProblems([line.replace(folder, str(path)) for line in error.problems],
                               error.fix) from None
        except DataError as error:
            raise DataError(str(error).replace(folder, str(path))) from None


def _check(path: Path, archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if len(members) > _MOST_MEMBERS:
        raise DataError(f"{path}: holds {len(members)} files, expected at most {_MOST_MEMBERS}; "
                        "unpack it yourself")
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/")).parts
        if ".." in parts or parts[:1] == ("/",) or ":" in (parts[0] if parts else ""):
            raise DataError(f"{path}: holds the path {member.filename[:80]!r}, which leads out of "
                            "it; unpack it yourself if you trust it")
    total = sum(member.file_size for member in members)
    if total > _FREE_BYTES + _MOST_RATIO * path.stat().st_size:
        raise DataError(f"{path}: would grow from {path.stat().st_size} to {total} bytes, more "
                        f"than {_MOST_RATIO} times; unpack it yourself if that is right")
    if total > 0.9 * shutil.disk_usage(tempfile.gettempdir()).free:
        raise DataError(f"{path}: needs {total} bytes in the folder for temporary files, which has "
                        "less; unpack it yourself")


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    if member.is_dir():
        return
    target = folder.joinpath(*PurePosixPath(member.filename.replace("\\", "/")).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Reads no more than the archive's index promised, which _check has bounded.
    with archive.open(member) as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file)
