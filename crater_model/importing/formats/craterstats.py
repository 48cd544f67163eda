"""Crater counts of craterstats and CraterTools: `.scc` with places, `.diam` with or without."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crater_model.errors import DataError
from crater_model.importing.formats.directions import Convention, convention
from crater_model.importing.formats.source import head, read_text

SUFFIXES = (".scc", ".diam")

_COMMENT = re.compile(r"#.*")
_CRATERS = re.compile(r"\bcraters?\s*=\s*\{\s*([^\n}]*)\n?([^}]*)\}?", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Count:
    """What a count holds: `numbers` [n, 4], line, longitude, latitude and diameter in km, what its
    lines say of how places count, and the body's equatorial radius in km (NaN if unsaid)."""

    numbers: np.ndarray
    said: Convention
    radius_km: float


def looks_right(path: Path) -> bool:
    """Whether the file's beginning is a count's."""
    text = head(path)
    return bool(re.search(r"^\s*(#|\w+\s*=)", text)) and (
        "=" in text or "crater" in text.lower())


def read_count(path: Path) -> Count:
    """The craters of a count.

    Raises:
      DataError: it has no block of craters, or no places.
    """
    text = read_text(path)
    plain = _COMMENT.sub(lambda comment: " " * len(comment[0]), text)
    block = _CRATERS.search(plain)
    if block is None:
        raise DataError(f"{path}: has no block 'crater = {{diam, ...' with the craters, expected a "
                        "count as craterstats reads it; export it again")
    names = [re.sub("[^a-z]", "", name.lower()) for name in block[1].split(",")]
    found = {what: next((names.index(name) for name in known if name in names), None)
             for what, known in (("lon", ("lon", "longitude")), ("lat", ("lat", "latitude")),
                                 ("diam", ("diam", "diameter", "diameterkm", "diamkm")))}
    missing = [what for what, number in found.items() if number is None]
    if missing:
        raise DataError(f"{path}: its craters have no {' nor '.join(missing)} (got "
                        f"{', '.join(names) or 'nothing'}), expected diameters with longitudes and "
                        "latitudes; give a .scc, or a .diam with lon and lat")
    first = plain.count("\n", 0, block.start(2)) + 1
    columns = [found[what] for what in ("lon", "lat", "diam")]
    rows = [[number, *_numbers(line, columns)]
            for number, line in enumerate(block[2].split("\n"), start=first) if line.strip()]
    # The names of an area or of a file are no words on directions.
    said = "\n".join(line for line in text[:block.start()].splitlines()
                     if line.startswith("#") and "name" not in line.lower())
    axis = re.search(r"\ba_axis_radius\s*=\s*([\d.]+)", plain)
    return Count(np.array(rows, np.float64).reshape(-1, 4), convention(said),
                 float(axis[1]) if axis else np.nan)


def _numbers(line: str, columns: list) -> list[float]:
    """The values at these places of a row; NaN for what is none."""
    values = re.split(r"[\s,]+", line.strip())
    found = []
    for column in columns:
        try:
            found.append(float(values[column]))
        except (IndexError, ValueError):
            found.append(np.nan)
    return found
