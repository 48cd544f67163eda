"""Crater catalogues: tables of longitude, latitude and diameter, over georeferenced images.

Text tables separated by commas, semicolons, tabs or spaces, with one line of column names, and
craterstats' `.scc` and `.diam`. Known by their names are those of

- Robbins (2019), "A New Global Database of Lunar Impact Craters >1-2 km", JGR Planets 124,
  and Robbins and Hynek (2012) of Mars: their circles. How the angles of their ellipses are
  counted is not documented, so those are not drawn;
- Head et al. (2010) and Povilaitis et al. (2018) of the Moon, as DeepMoon has them;
- Salamuniccar et al. (2012), LU78287GT, the IAU's gazetteer, and any other table with such
  columns.

Longitudes are east, -180..180 or 0..360, unless a name, a letter, a line before the columns or
a column for it says west; diameters are along the ground.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from crater_model.errors import DataError, DataProblems
from crater_model.imagery.georeference import Georeference
from crater_model.importing.classes import CRATER, class_values, is_gazetteer
from crater_model.importing.formats.craterstats import SUFFIXES, looks_right, read_count
from crater_model.importing.formats.directions import Convention, convention, from_planetographic
from crater_model.importing.formats.placing import Craters, Rows, georeferenced_images, place
from crater_model.importing.formats.source import Label, LabelledImage, Notes, Reading, Source
from crater_model.importing.formats.tables import Layout, Table, layout, read_table

NAME = "catalogue"
TITLE = "crater catalogue (CSV with longitude, latitude, diameter; .scc, .diam)"

# Radii of one body differ by less than this share.
_SAME_BODY = 0.01
_TABLES = (".csv", ".tsv", ".txt", ".dat", ".tab")


def recognise(source: Source) -> list[Path]:
    """The tables with columns for a longitude, a latitude and a diameter or radius, and the
    counts."""
    return [path for path in source.with_suffix(*_TABLES) if layout(path)] + [
        path for path in source.with_suffix(*SUFFIXES) if looks_right(path)]


def read(source: Source, files: Sequence[Path], notes: Notes) -> Reading:
    """The catalogues' craters, on every image in which their centres lie.

    Raises:
      DataError: no image has a georeference, or a file cannot be read.
    """
    images = georeferenced_images(source, notes)
    labels: dict[Path, list[Label]] = defaultdict(list)
    for path in files:
        _refuse_other_bodies(path, images)
        place(_craters(source.name(path), path, notes), images, labels, notes, source.diameters_km)
    return Reading([LabelledImage(path, labels[path]) for path, _ in images])


def _refuse_other_bodies(path: Path, images: Sequence[tuple[Path, Georeference]]) -> None:
    """Raises DataError where a count is of a body of another size than an image's."""
    said = read_count(path).radius_km if path.suffix.lower() in SUFFIXES else np.nan
    for image, georeference in images:
        shown = georeference.geod.a / 1000
        if abs(said - shown) > _SAME_BODY * shown:
            raise DataError(f"{path}: counts on a body of {said:g} km radius, but {image.name} "
                            f"shows one of {shown:g} km, another body; name the right image")


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


def _craters(name: str, path: Path, notes: Notes) -> Craters:
    """The rows of a catalogue that can be used; the others are problems in `notes`. `name` is
    what messages call it."""
    if path.suffix.lower() in SUFFIXES:
        count = read_count(path)
        return _usable(count.numbers, None, name, notes, unit=True, label="diam",
                       lonlat=_kind(count.said.centric), west=bool(count.said.west))
    found = layout(path)
    if found is None:
        raise DataError(f"{path}: has no columns for longitude, latitude and diameter in its first "
                        "line; name them, for example lon, lat, diameter_km")
    table = read_table(path, found, name, notes)
    numbers, kinds, known = _turned(table, found, name, notes)
    names = None if table.classes is None else class_values(found.class_name, table.classes)
    names = names and [text for text, kept in zip(names, known, strict=True) if kept]
    numbers, kinds = numbers[known], kinds[known]
    if names and table.classes is not None and is_gazetteer(table.classes):
        numbers, kinds, names = _craters_alone(numbers, kinds, names, name, notes)
    return _usable(numbers, names, name, notes, found.columns.unit, found.columns.label,
                   _of_kinds(kinds), to_km=found.columns.to_km, kinds=kinds)


def _turned(table: Table, found: Layout, name: str, notes: Notes
            ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The numbers with longitudes to the east; for each row whether its latitudes are
    planetocentric (1), planetographic (-1) or as the image's system counts (0); and whether its
    directions are known."""
    said = found.columns.centric if found.columns.centric is not None else found.said.centric
    numbers = table.numbers.copy()
    kinds = np.full(len(numbers), 0 if said is None else 1 if said else -1)
    if table.systems is None:
        if found.columns.west or found.said.west:
            notes.count("longitude(s) to the west were taken to the east", name, len(numbers))
        return numbers, kinds, np.ones(len(numbers), bool)
    texts = np.array([str(text) for text in table.systems], dtype=object)
    rows, keep = Rows(name, notes), np.ones(len(numbers), bool)
    for text in dict.fromkeys(texts):
        chosen, how = texts == text, convention(text)
        if how == Convention(None, False) and not found.columns.west and found.said.west is None:
            for row in numbers[chosen, 0].astype(int):
                rows.problem(row, f"says {text[:60]!r} and not which way its longitudes count, "
                                  "which planetographic systems do either way; add +West or +East")
            keep &= ~chosen
        if how.west is not None and how.west != bool(found.columns.west or found.said.west):
            numbers[chosen, 1] *= -1.0
        if how.west:
            notes.count("longitude(s) to the west were taken to the east", name, int(chosen.sum()))
        if how.centric is not None:
            kinds[chosen] = 1 if how.centric else -1
    rows.close()
    return numbers, kinds, keep


def _craters_alone(numbers: np.ndarray, kinds: np.ndarray, names: list[str], name: str,
                   notes: Notes) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A gazetteer's craters, without its plains and mountains."""
    keep = np.array([text == CRATER for text in names], bool)
    if not keep.all():
        first = np.flatnonzero(~keep)[0]
        notes.count("feature(s) of a gazetteer that are no craters were not read",
                    f"{name}: row {numbers[first, 0]:.0f} ({names[first]})", int((~keep).sum()))
    return numbers[keep], kinds[keep], [CRATER] * int(keep.sum())


def _kind(centric: bool | None) -> Callable[[Georeference, np.ndarray], np.ndarray]:
    return {None: Georeference.from_degrees, True: Georeference.from_planetocentric,
            False: from_planetographic}[centric]


def _of_kinds(kinds: np.ndarray) -> Callable[[Georeference, np.ndarray], np.ndarray]:
    """How places are turned into an image's, of rows of the same kind or of several."""
    known = {1: True, -1: False, 0: None}
    if len(set(kinds.tolist())) < 2:
        return _kind(known[int(kinds[0])] if len(kinds) else None)

    def lonlat(georeference: Georeference, places: np.ndarray) -> np.ndarray:
        result = np.array(places, np.float64)
        for number, centric in known.items():
            chosen = kinds == number
            result[chosen] = _kind(centric)(georeference, result[chosen])
        return result
    return lonlat


def _usable(numbers: np.ndarray, names: list[str] | None, name: str, notes: Notes, unit: bool,
            label: str, lonlat: Callable, to_km: float = 1.0, west: bool = False,
            kinds: np.ndarray | None = None) -> Craters:
    """Craters of a table of numbers [n, 4]: row number, longitude, latitude and diameter. Rows
    that cannot be used are problems."""
    rows = Rows(name, notes)
    number, (places, diameter) = numbers[:, 0].astype(np.int64), (numbers[:, 1:3], numbers[:, 3])
    places = places * (-1.0, 1.0) if west else places
    diameter = diameter * to_km
    left = np.ones(len(numbers), bool)
    for values, fits, text in (
            (places[:, 0], np.abs(places[:, 0]) <= 360, "longitude {:g}, expected -360..360"),
            (places[:, 1], np.abs(places[:, 1]) <= 90, "latitude {:g}, expected -90..90"),
            (diameter, (diameter > 0) & (diameter < np.inf),
             "diameter {:g} km, expected a number above 0")):
        bad = left & ~fits
        rows.add(number[bad], values[bad], f"has the {text}; correct it")
        left &= fits
    rows.close()
    if kinds is not None:
        lonlat = _of_kinds(kinds[left])
    return Craters(name, number[left], places[left], diameter[left], lonlat, unit=unit, label=label,
                   names=None if names is None else np.array(names, object)[left])
