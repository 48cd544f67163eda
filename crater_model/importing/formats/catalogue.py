"""Crater catalogues: tables of longitude, latitude and diameter, over georeferenced images.

Text tables separated by commas, semicolons or tabs, with one line of column names. Known
by their names are those of

- Robbins (2019), "A New Global Database of Lunar Impact Craters >1-2 km", JGR Planets 124,
  and Robbins and Hynek (2012) of Mars: their circles. How the angles of their ellipses are
  counted is not documented, so those are not drawn;
- Head et al. (2010) and Povilaitis et al. (2018) of the Moon, as DeepMoon has them;
- Salamuniccar et al. (2012), LU78287GT, and any other table with such columns.

Longitudes are east, -180..180 or 0..360; diameters are along the ground.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from crater_model.errors import DataError, DataProblems
from crater_model.imagery.georeference import Georeference
from crater_model.importing.formats.placing import Craters, Rows, georeferenced_images, place
from crater_model.importing.formats.source import Label, LabelledImage, Notes, Reading, Source, head

NAME = "catalogue"
TITLE = "crater catalogue (CSV with longitude, latitude, diameter)"

# Rows that are read at once.
_ROWS = 100_000

# Column names, in lower case without anything but letters and digits, and without a unit.
_LON = ("lon", "long", "longitude", "lone360", "lon360", "lon180", "lone180", "lone", "longitudee",
        "loneast", "eastlon", "eastlongitude", "longitudeeast", "centerlon", "centerlongitude",
        "centrelon", "centrelongitude", "loncircimg", "longitudecircleimage")
_LAT = ("lat", "latitude", "latn", "latitudenorth", "centerlat", "centerlatitude", "centrelat",
        "centrelatitude", "latcircimg", "latitudecircleimage")
_DIAMETER = ("diameter", "diam", "d", "craterdiameter", "diamcircimg", "diamcircleimage")
_RADIUS = ("radius", "r", "craterradius")
_CIRCLES = (("loncircimg", "latcircimg", "diamcircimg"),
            ("longitudecircleimage", "latitudecircleimage", "diamcircleimage"))
_UNITS = {"km": 1.0, "kilometers": 1.0, "kilometres": 1.0, "kilometer": 1.0, "kilometre": 1.0,
          "m": 1e-3, "meters": 1e-3, "metres": 1e-3, "meter": 1e-3, "metre": 1e-3}


@dataclass(frozen=True)
class Columns:
    """Where a table has what: column numbers from 0.

    Attributes:
      lon, lat, diameter: of the circle.
      to_km: what the diameter column's values are multiplied by.
      unit: whether the file names that unit.
      planetocentric: the latitudes are known to be.
    """

    lon: int
    lat: int
    diameter: int
    to_km: float = 1.0
    unit: bool = True
    planetocentric: bool = False


def recognise(source: Source) -> list[Path]:
    """The tables with columns for a longitude, a latitude and a diameter or radius."""
    return [path for path in source.with_suffix(".csv", ".tsv", ".txt") if _layout(path)]


def read(source: Source, files: Sequence[Path], notes: Notes) -> Reading:
    """The catalogues' craters, on every image in which their centres lie.

    Raises:
      DataError: no image has a georeference, or a file cannot be read.
    """
    images = georeferenced_images(source, notes)
    labels: dict[Path, list[Label]] = defaultdict(list)
    for path in files:
        place(_craters(source.name(path), path, notes), images, labels, notes)
    return Reading([LabelledImage(path, labels[path]) for path, _ in images])


def load(path: str | Path) -> Craters:
    """The craters of one catalogue, wherever they lie.

    Raises:
      DataError: the file is missing or no catalogue. DataProblems: rows cannot be used.
    """
    path, notes = Path(path), Notes()
    if not path.is_file():
        raise DataError(f"{path}: does not exist, expected a crater catalogue; name it again")
    found = _craters(str(path), path, notes)
    if notes.problems:
        raise DataProblems(notes.problems, "a comparison needs every row")
    return found


def columns(names: Sequence[str]) -> Columns | None:
    """The columns of a catalogue among a table's column names, or None.

    Where several sets fit, the most specific counts, then a diameter before a radius and a
    column that names its unit before one that does not.
    """
    parsed = [_column_name(name) for name in names]
    keys = [key for key, _ in parsed]
    for circle in _CIRCLES:
        if all(name in keys for name in circle):
            lon, lat, diameter = (keys.index(n) for n in circle)
            return Columns(lon, lat, diameter, planetocentric=True)
    east, north = (next((keys.index(n) for n in known if n in keys), None)
                   for known in (_LON, _LAT))
    if east is None or north is None:
        return None
    found = [(known is _RADIUS, not unit, _UNITS.get(unit, 1.0) != 1.0, number, factor)
             for known, factor in ((_DIAMETER, 1.0), (_RADIUS, 2.0))
             for number, (key, unit) in enumerate(parsed)
             if key in known and (not unit or unit in _UNITS)]
    if not found:
        return None
    _, unnamed, _, number, factor = min(found)
    return Columns(east, north, number, factor * _UNITS.get(parsed[number][1], 1.0), not unnamed)


def _column_name(name: str) -> tuple[str, str]:
    """("diameter", "km") of "Diameter (km)" or "diameter_km"; the unit may be empty."""
    name = name.strip().lower()
    in_brackets = re.search(r"[(\[{]\s*([^)\]}]*)", name)
    unit = re.sub(r"[^a-z]", "", in_brackets.group(1)) if in_brackets else ""
    words = re.findall(r"[a-z0-9]+", re.sub(r"[(\[{].*", "", name))
    if not unit and len(words) > 1 and (words[-1] in _UNITS or words[-1] in ("deg", "degrees")):
        unit = words.pop()
    return "".join(words), unit


@dataclass(frozen=True)
class _Layout:
    """How a table is written: its columns, the lines before their names, and what stands
    between values and in numbers."""

    columns: Columns
    skipped: int
    separator: str
    decimal: str
    encoding: str


def _layout(path: Path) -> _Layout | None:
    """None where the file's beginning is no catalogue's."""
    text = head(path)
    lines = text.splitlines()
    for number, line in enumerate(lines[:100]):
        for separator in (",", ";", "\t"):
            if separator not in line:
                continue
            try:
                names = next(csv.reader([line.lstrip("# ")], delimiter=separator))
            except csv.Error:
                return None
            found = columns(names)
            if found:
                rest = "\n".join(lines[number + 1:number + 20])
                comma = separator != "," and re.search(r"\d,\d", rest) and not re.search(
                    r"\d\.\d", rest)
                with path.open("rb") as file:
                    wide = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
                return _Layout(found, number, separator, "," if comma else ".",
                               "utf-16" if wide else "utf-8-sig")
        if line.strip() and not line.startswith("#"):
            return None
    return None


def _craters(name: str, path: Path, notes: Notes) -> Craters:
    """The rows of a catalogue that can be used; the others are problems in `notes`. `name` is
    what messages call it."""
    layout = _layout(path)
    if layout is None:
        raise DataError(f"{path}: has no columns for longitude, latitude and diameter in its first "
                        "line; name them, for example lon, lat, diameter_km")
    rows = Rows(name, notes)
    table = _table(path, layout, name, notes)
    craters = _usable(table, layout.columns, rows, notes)
    rows.close()
    return craters


def _usable(table: np.ndarray, columns: Columns, rows: Rows, notes: Notes) -> Craters:
    """Craters of a table of numbers [n, 4]: row number, longitude, latitude and diameter. Rows
    that cannot be used are problems."""
    number, (places, diameter) = table[:, 0].astype(np.int64), (table[:, 1:3], table[:, 3])
    diameter = diameter * columns.to_km
    left = np.ones(len(table), bool)
    for values, fits, text in (
            (places[:, 0], np.abs(places[:, 0]) <= 360, "longitude {:g}, expected -360..360"),
            (places[:, 1], np.abs(places[:, 1]) <= 90, "latitude {:g}, expected -90..90"),
            (diameter, (diameter > 0) & (diameter < np.inf),
             "diameter {:g} km, expected a number above 0")):
        bad = left & ~fits
        rows.add(number[bad], values[bad], f"has the {text}; correct it")
        left &= fits
    if not columns.unit:
        notes.count("diameter(s) without a unit were taken as km", rows.file, int(left.sum()))
    return Craters(
        rows.file, number[left], places[left], diameter[left],
        Georeference.from_planetocentric if columns.planetocentric else Georeference.from_degrees)


def _table(path: Path, layout: _Layout, name: str, notes: Notes) -> np.ndarray:
    """Row numbers and the needed columns as numbers; NaN for what is none."""
    found = layout.columns
    wanted = [found.lon, found.lat, found.diameter]
    order = sorted(set(wanted))
    parts, first = [], layout.skipped + 2
    try:
        reader = pd.read_csv(
            path, sep=layout.separator, decimal=layout.decimal, encoding=layout.encoding,
            encoding_errors="replace", header=0, index_col=False, usecols=order,
            skiprows=layout.skipped, skip_blank_lines=False, skipinitialspace=True,
            low_memory=False, chunksize=_ROWS)
        for part in reader:
            numbers = [_numbers(part.iloc[:, order.index(i)]) for i in wanted]
            named = np.arange(first, first + len(part), dtype=np.float64)
            empty = part.isna().to_numpy().all(axis=1)
            first += len(part)
            parts.append(np.column_stack([named, *numbers])[~empty])
            if empty.any():
                notes.count("empty row(s) were passed over", f"{name}: row {named[empty][0]:.0f}",
                            int(empty.sum()))
    except (ValueError, OSError, MemoryError, csv.Error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read as a table ({reason}); export it again") from None
    return np.concatenate(parts) if parts else np.zeros((0, 4))


def _numbers(values: pd.Series) -> np.ndarray:
    return pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
