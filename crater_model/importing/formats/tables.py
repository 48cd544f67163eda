"""How a text table is written: its columns, separators and encoding, and its rows."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crater_model.errors import DataError
from crater_model.importing.classes import class_columns
from crater_model.importing.formats.columns import Columns, columns
from crater_model.importing.formats.directions import (
    UNQUOTED,
    Convention,
    angle,
    angles,
    convention,
    pairs,
)
from crater_model.importing.formats.source import Notes, head, read_text

# Rows that are read at once.
_ROWS = 100_000
_SPACES = r"\s+"


@dataclass(frozen=True)
class Layout:
    """How a table is written: its columns, the lines before their names, what stands between
    values and in numbers, what those lines say of its directions, its class column, and how
    many columns there are."""

    columns: Columns
    skipped: int
    separator: str
    decimal: str
    encoding: str
    said: Convention
    classes: int | None
    class_name: str
    width: int


@dataclass(eq=False)
class Table:
    """The needed columns of a table, a row each.

    Attributes:
      numbers: [n, 4]: row number, longitude (east), latitude and diameter (as it stands); NaN
        for what is none.
      systems: [n] what the rows say of how places count, or None.
      classes: [n] texts or numbers, or None.
    """

    numbers: np.ndarray
    systems: np.ndarray | None
    classes: np.ndarray | None


def layout(path: Path) -> Layout | None:
    """None where the file's beginning is no catalogue's."""
    lines = head(path).splitlines()
    for number, line in enumerate(lines[:100]):
        for separator in (",", ";", "\t", _SPACES):
            if not re.search(separator, line.strip()):
                continue
            try:
                names = _names(line, separator)
            except csv.Error:
                return None
            found = columns(names)
            if found and (found.lon != found.lat or _has_pair(lines[number + 1:number + 20])):
                return _layout(path, lines, number, separator, names, found)
        if line.strip() and not line.startswith("#"):
            return None
    return None


def _names(line: str, separator: str) -> list[str]:
    line = line.lstrip("# ")
    if separator == _SPACES:
        return line.split()
    return next(csv.reader([line], delimiter=separator))


def _has_pair(lines: list[str]) -> bool:
    pair = re.compile(r"\d\s*[°\u00ba]?\s*[NSEW]?[\"\s,;/]+[-+]?\d", re.IGNORECASE)
    return any(pair.search(line) for line in lines)


def _layout(path: Path, lines: list[str], number: int, separator: str, names: list[str],
            found: Columns) -> Layout:
    rest = "\n".join(lines[number + 1:number + 20])
    comma = separator != "," and re.search(r"\d,\d", rest) and not re.search(r"\d\.\d", rest) and (
        found.lon != found.lat)
    with path.open("rb") as file:
        wide = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
    classes = next(iter(class_columns(names)), None)
    return Layout(found, number, separator, "," if comma else ".",
                  "utf-16" if wide else "utf-8-sig", convention("\n".join(lines[:number])),
                  classes, "" if classes is None else names[classes].strip(), len(names))


def read_table(path: Path, found: Layout, name: str, notes: Notes) -> Table:
    """The rows. Raises DataError where it cannot be read as a table."""
    place = found.columns
    extra = [number for number in (place.system, found.classes) if number is not None]
    order = sorted({place.lon, place.lat, place.diameter, *extra})
    west = place.west if found.said.west is None else place.west or found.said.west
    parts, texts, first = [], [], found.skipped + 2
    try:
        reader = pd.read_csv(
            _opened(path, found), sep=found.separator, decimal=found.decimal,
            encoding=found.encoding, encoding_errors="replace", index_col=False, usecols=order,
            skip_blank_lines=False, skipinitialspace=True, low_memory=False, chunksize=_ROWS,
            **_head(found))
        for part in reader:
            column = {number: part.iloc[:, at] for at, number in enumerate(order)}
            if place.lon == place.lat:
                lonlat = pairs(column[place.lon], place.lon_first, west)
            else:
                lonlat = np.stack([angles(column[place.lon], "W" if west else "E"),
                                   angles(column[place.lat], "S" if place.south else "N")], axis=1)
            named = np.arange(first, first + len(part), dtype=np.float64)
            empty = part.isna().to_numpy().all(axis=1)
            first += len(part)
            diameter = pd.to_numeric(column[place.diameter], errors="coerce").to_numpy(np.float64)
            parts.append(np.column_stack([named, lonlat, diameter])[~empty])
            texts.append([None if number is None else column[number].to_numpy(object)[~empty]
                          for number in (place.system, found.classes)])
            if empty.any():
                notes.count("empty row(s) were passed over", f"{name}: row {named[empty][0]:.0f}",
                            int(empty.sum()))
    except (ValueError, OSError, MemoryError, csv.Error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read as a table ({reason}); export it again") from None
    nothing = np.zeros(0, object)
    systems, classes = (
        None if number is None else np.concatenate([nothing, *(row[at] for row in texts)])
        for at, number in enumerate((place.system, found.classes)))
    return Table(np.concatenate(parts) if parts else np.zeros((0, 4)), systems, classes)


def _head(found: Layout) -> dict[str, Any]:
    """How pandas finds the columns; a mark before their names would be one in a table of words."""
    if found.separator != _SPACES:
        return {"header": 0, "skiprows": found.skipped}
    return {"header": None, "names": range(found.width), "skiprows": found.skipped + 1}


def _opened(path: Path, found: Layout) -> Path | io.StringIO:
    """The file, or its text with quotes around pairs whose comma would be read as the
    separator."""
    if found.columns.lon != found.columns.lat or found.separator != ",":
        return path
    return io.StringIO(UNQUOTED.sub(_quoted, read_text(path)))


def _quoted(match: re.Match) -> str:
    plausible = all(np.isfinite(angle(part)[0]) for part in match.groups())
    return f'"{match[1]},{match[2]}"' if plausible else match[0]
