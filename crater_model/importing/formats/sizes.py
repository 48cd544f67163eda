"""Whether diameters can be right: of a crater in an image, on a body, in km or in m.

A file that does not name the unit of its diameters is read in the one that fits the image, km or
m, and refused where both do or none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crater_model.errors import DataError
from crater_model.imagery.georeference import Georeference
from crater_model.importing.formats.source import Notes

# Rows that messages name; of the rest they give the number.
_NAMED = 100
# The largest basins known span 0.87 of their body's diameter; km that were m span much more.
_MOST_OF_BODY = 0.95
# Of diameters without a unit, so many must not be larger than the image for it to fit, and the
# middle one must span so many px: people rarely outline smaller craters.
_FITTING_SHARE, _FITTING_PX = 0.9, 5.0


@dataclass(eq=False)
class Craters:
    """Rows of a catalogue, or points of a map.

    Attributes:
      file: what messages call the catalogue. what: what they call a row.
      rows: [n] their numbers in it; a table's line of column names is row 1.
      places: [n, 2] as the catalogue gives them.
      diameter_km: [n] along the ground.
      lonlat: (georeference, places) -> [n, 2] longitude and latitude as that counts them.
      unit: whether the file says the diameters' unit. label: what it calls them.
      names: [n] their classes, or None.
    """

    file: str
    rows: np.ndarray
    places: np.ndarray
    diameter_km: np.ndarray
    lonlat: Callable[[Georeference, np.ndarray], np.ndarray] = Georeference.from_degrees
    what: str = "row"
    unit: bool = True
    label: str = "diameter"
    names: np.ndarray | None = None

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


@dataclass(eq=False)
class Seen:
    """The craters whose centres lie in one image.

    Attributes:
      rows: [m] indices of `Craters`. lonlat: [m, 2] deg. centres: [m, 2] px.
    """

    path: Path
    georeference: Georeference
    rows: np.ndarray
    lonlat: np.ndarray
    centres: np.ndarray


def extent_km(georeference: Georeference) -> float:
    """The longer side of an image on the ground, through its middle, km; of one that shows a
    body as a whole the body's diameter."""
    width, height = georeference.width, georeference.height
    across = []
    for ends in ((np.linspace(0, width, 33), np.full(33, height / 2)),
                 (np.full(33, width / 2), np.linspace(0, height, 33))):
        lon, lat = georeference.lonlat(np.stack(ends, axis=1)).T
        steps = georeference.geod.inv(lon[:-1], lat[:-1], lon[1:], lat[1:])[2]
        across.append(np.nansum(steps) if np.isfinite(steps).any() else np.inf)
    return min(max(across), 2.0 * georeference.geod.a) / 1000


def across_px(diameter_km: np.ndarray, seen: Seen, chosen: np.ndarray) -> np.ndarray:
    """How many px circles of these diameters [k] span around the `chosen` [k] of an image's
    craters, to the north or to the east, whichever is more."""
    georeference = seen.georeference
    radius = np.minimum(diameter_km * 500.0, georeference.geod.b)
    across = np.zeros(len(chosen))
    for azimuth in (0.0, 90.0):
        lon, lat, _ = georeference.geod.fwd(seen.lonlat[chosen, 0], seen.lonlat[chosen, 1],
                                            np.full(len(chosen), azimuth), radius)
        rim = georeference.pixels(np.stack([lon, lat], axis=1))
        across = np.fmax(across, 2 * np.hypot(*(rim - seen.centres[chosen]).T))
    return across


def with_unit(craters: Craters, seen: list[Seen], notes: Notes) -> Craters:
    """Craters whose file does not say the unit, in that which fits the images.

    Raises:
      DataError: km and m both fit, or neither does.
    """
    count = sum(len(part.rows) for part in seen)
    if craters.unit or not count:
        return craters
    small_km, km = _fits(craters.diameter_km, seen)
    small_m, metres = _fits(craters.diameter_km / 1000, seen)
    name = f"{craters.file}: the {count} value(s) of {craters.label!r} in the images"
    fix = f"name its unit, as {craters.label}_km or {craters.label}_m"
    if km and metres and not (small_km or small_m):
        raise DataError(f"{name} may be km or m, and both would fit; {fix}")
    if km and (not metres or small_m):
        notes.count("diameter(s) without a unit were taken as km", craters.file, count)
        return craters
    if not metres or small_m:
        raise DataError(f"{name} name no unit and fit neither as km (larger than the image) nor "
                        f"as m (less than {_FITTING_PX:g} px); {fix}")
    notes.count("diameter(s) without a unit were taken as m (as km they were larger than the "
                "image)", craters.file, count)
    return replace(craters, diameter_km=craters.diameter_km / 1000, unit=True)


def _fits(diameter_km: np.ndarray, seen: list[Seen]) -> tuple[bool, bool]:
    """Whether diameters are mostly too small to be seen, and whether they are not too large."""
    small, fit, total = [], 0, 0
    for part in seen:
        diameter = diameter_km[part.rows]
        small.append(across_px(diameter, part, np.arange(len(part.rows))))
        fit += int((diameter <= extent_km(part.georeference)).sum())
        total += len(part.rows)
    return bool(np.median(np.concatenate(small)) < _FITTING_PX), fit >= _FITTING_SHARE * total


def plausible(craters: Craters, seen: list[Seen], notes: Notes,
              diameters_km: tuple[float, float] | None) -> list[np.ndarray]:
    """Of each image which of its craters (indices of `Seen.rows`) are no larger than the image
    and the body allow. The others are counted in `notes`, but where `diameters_km` leaves them
    out anyway.

    Raises:
      DataError: most are larger, so that the unit must be another.
    """
    kept, count, total, first = [], 0, 0, None
    for part in seen:
        diameter = craters.diameter_km[part.rows]
        image, body = extent_km(part.georeference), 2e-3 * part.georeference.geod.a
        large = diameter > min(image, _MOST_OF_BODY * body)
        kept.append(np.flatnonzero(~large))
        asked = np.ones(len(diameter), bool) if diameters_km is None else (
            diameter <= diameters_km[1])
        total, count = total + int(asked.sum()), count + int((large & asked).sum())
        if first is None and (large & asked).any():
            index = np.flatnonzero(large & asked)[0]
            first = (f"{craters.where(part.rows[index])} with {diameter[index]:g} km (the image "
                     f"{part.path.name} is {image:.4g} km wide, the body {body:.4g} km)")
    if count > total / 2:
        raise DataError(
            f"{first}: {count} of {total} craters are larger than their image or body; if "
            f"{craters.label!r} is in m, name it so (diameter_m), else leave them out "
            "(--diameters-km)")
    if count:
        notes.lose("crater(s) larger than their image or body were left out (is that km, or m?)",
                   str(first), count)
    return kept
