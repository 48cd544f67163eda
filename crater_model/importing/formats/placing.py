"""Craters that are given by their places on the body, on the images that show them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crater_model.errors import DataError
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.place import NO_GEOREFERENCE
from crater_model.imagery.raster import read_header
from crater_model.importing.formats.source import Label, Notes, Source
from crater_model.progress import track

# Rims that are drawn at once.
_ROWS = 100_000
# Rows that messages name; of the rest they give the number.
_NAMED = 100
# A crater of less (px across) shows nothing.
_LEAST_PX = 1.0
# Rims of less (px across) need only every second or fourth point to be true to 0.05 px;
# a global mosaic can have a million of them.
_SMALL_PX = ((5.0, 4), (20.0, 2))


@dataclass(eq=False)
class Craters:
    """Rows of a catalogue, or points of a map.

    Attributes:
      file: what messages call the catalogue. what: what they call a row.
      rows: [n] their numbers in it; a table's line of column names is row 1.
      places: [n, 2] as the catalogue gives them.
      diameter_km: [n] along the ground.
      lonlat: (georeference, places) -> [n, 2] longitude and latitude as that counts them.
    """

    file: str
    rows: np.ndarray
    places: np.ndarray
    diameter_km: np.ndarray
    lonlat: Callable[[Georeference, np.ndarray], np.ndarray] = Georeference.from_degrees
    what: str = "row"

    def where(self, index: int) -> str:
        return f"{self.file}: {self.what} {self.rows[index]}"


class Rows:
    """Problems with rows, kept few: the first hundred are named, of the rest the number."""

    def __init__(self, file: str, notes: Notes, what: str = "row"):
        self.file, self.what, self._notes, self._more, self._named = file, what, notes, 0, 0

    def problem(self, row: object, text: str) -> None:
        self._named += 1
        if self._named <= _NAMED:
            self._notes.problems.append(f"{self.file}: {self.what} {row} {text}")
        else:
            self._more += 1

    def add(self, rows: np.ndarray, values: np.ndarray, text: str) -> None:
        """A problem for each row; `text` has a place for its value."""
        few = max(0, _NAMED - self._named)
        for row, value in zip(rows[:few], values[:few], strict=True):
            self.problem(row, text.format(value))
        self._more += max(0, len(rows) - few)

    def close(self) -> None:
        if self._more:
            self._notes.problems.append(f"{self.file}: {self._more} more {self.what}s cannot be "
                                        "used either; correct them")


def georeferenced_images(source: Source, notes: Notes) -> list[tuple[Path, Georeference]]:
    """The source's images that say where they lie; the others are counted.

    An image that cannot be read is a problem in `notes`.

    Raises:
      DataError: none says where it lies.
    """
    found, unplaced, first = [], 0, ""
    for path in source.images:
        try:
            _, _, georeference, lacks = read_header(path)
        except DataError as error:
            notes.problems.append(str(error))
            continue
        if georeference is None:
            unplaced += 1
            why = source.name(path) + ("" if lacks == NO_GEOREFERENCE else f", which {lacks}")
            first = first or why
            notes.count("image(s) without a georeference were left out", why)
        else:
            found.append((path, georeference))
    if not found:
        raise DataError(f"{source.image_root}: has {unplaced} image(s) without and none with a "
                        f"georeference{f' (first: {first})' if first else ''}, but the labels are "
                        "longitudes and latitudes; give GeoTIFF images or add world files and "
                        ".aux.xml")
    return found


def place(craters: Craters, images: Sequence[tuple[Path, Georeference]],
          labels: dict[Path, list[Label]], notes: Notes) -> None:
    """Adds craters to the labels of every image in which their centres lie."""
    somewhere = np.zeros(len(craters.rows), bool)
    for path, georeference in images:
        lonlat = craters.lonlat(georeference, craters.places)
        centres = georeference.pixels(lonlat)
        chosen = np.flatnonzero(is_inside(centres, georeference))
        somewhere[chosen] = True
        large = _large_enough(craters, lonlat, centres, chosen, georeference)
        if len(large) < len(chosen):
            small = np.setdiff1d(chosen, large)
            notes.count("crater(s) of less than a pixel across were left out",
                        craters.where(small[0]), len(small))
        parts = [large[i:i + _ROWS] for i in range(0, len(large), _ROWS)]
        for part in track(parts, f"drawing craters on {path.name}") if len(parts) > 1 else parts:
            labels[path] += _labels(craters, part, lonlat, centres, georeference, notes)
    nowhere = np.flatnonzero(~somewhere)
    if len(nowhere):
        notes.count("crater(s) of the catalogue lie in no image", craters.where(nowhere[0]),
                    len(nowhere))


def is_inside(centres: np.ndarray, georeference: Georeference) -> np.ndarray:
    """Which of the points [n, 2] in px lie in the image."""
    with np.errstate(invalid="ignore"):
        return np.all((centres >= 0) & (centres < (georeference.width, georeference.height)),
                      axis=1)


def _large_enough(craters: Craters, lonlat: np.ndarray, centres: np.ndarray, chosen: np.ndarray,
                  georeference: Georeference) -> np.ndarray:
    """Those of the `chosen` rows whose rims span a pixel, to the north or to the east."""
    radius = craters.diameter_km[chosen] * 500.0
    radius = np.minimum(radius, georeference.geod.b)
    across = np.zeros(len(chosen))
    for azimuth in (0.0, 90.0):
        lon, lat, _ = georeference.geod.fwd(lonlat[chosen, 0], lonlat[chosen, 1],
                                            np.full(len(chosen), azimuth), radius)
        rim = georeference.pixels(np.stack([lon, lat], axis=1))
        across = np.fmax(across, 2 * np.hypot(*(rim - centres[chosen]).T))
    return chosen[across >= _LEAST_PX]


def _labels(craters: Craters, chosen: np.ndarray, lonlat: np.ndarray, centres: np.ndarray,
            georeference: Georeference, notes: Notes) -> Iterator[Label]:
    rings = georeference.rims(lonlat[chosen], craters.diameter_km[chosen])
    sizes = np.ptp(rings, axis=1).max(axis=1)
    for ring, size, index in zip(rings, sizes, chosen, strict=True):
        where = craters.where(index)
        if not np.isfinite(size):
            notes.count("crater(s) were left out that the image's projection cannot show whole",
                        where)
            continue
        x, y = centres[index]
        step = next((step for limit, step in _SMALL_PX if size < limit), 1)
        yield Label((ring[::step].copy(),), "crater", "catalogue", where,
                    diameter_km=float(craters.diameter_km[index]), centre=(float(x), float(y)))
