"""Text files of labels: their encodings, their beginnings, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crater_model.errors import DataError


def read_text(path: Path) -> str:
    """A text file as UTF-8 (with or without a mark), UTF-16 (with a mark) or Latin-1."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ("utf-16",) if utf16 else ("utf-8-sig", "latin-1"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"{path}: is not text (neither UTF-8 nor UTF-16); export it again")


def read_json(path: Path) -> Any:
    """A JSON file's value; DataError where it is not JSON."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({error}); export it again") from None


def head(path: Path, size: int = 65536) -> str:
    """The beginning of a file as text; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(size)
    except OSError:
        return ""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "ignore")
    return data.decode("utf-8-sig", "ignore")
