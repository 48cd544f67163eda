"""Craters that are given by their places on the body, on the images that show them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from crater_model.errors import DataError
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.place import NO_GEOREFERENCE
from crater_model.imagery.raster import read_header
from crater_model.importing.classes import CRATER
from crater_model.importing.formats.sizes import (
    Craters,
    Rows,
    Seen,
    across_px,
    plausible,
    with_unit,
)
from crater_model.importing.formats.source import Label, Notes, Source
from crater_model.importing.formats.whereabouts import whereabouts
from crater_model.progress import track

__all__ = ["Craters", "Rows", "georeferenced_images", "is_inside", "place"]

# Rims that are drawn at once.
_ROWS = 100_000
# A crater of less (px across) shows nothing.
_LEAST_PX = 1.0
# Rims of less (px across) need only every second or fourth point to be true to 0.05 px;
# a global mosaic can have a million of them.
_SMALL_PX = ((5.0, 4), (20.0, 2))


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
          labels: dict[Path, list[Label]], notes: Notes,
          diameters_km: tuple[float, float] | None = None) -> None:
    """Adds craters to the labels of every image in which their centres lie.

    Raises:
      DataError: the unit of the diameters is not said and cannot be known, or most craters are
        larger than their images.
    """
    somewhere = np.zeros(len(craters.rows), bool)
    seen = [_seen(craters, path, georeference) for path, georeference in images]
    craters = with_unit(craters, seen, notes)
    for part in seen:
        somewhere[part.rows] = True
    for part, chosen in zip(seen, plausible(craters, seen, notes, diameters_km), strict=True):
        large = _large_enough(craters, part, chosen)
        if len(large) < len(chosen):
            small = np.setdiff1d(part.rows[chosen], part.rows[large])
            notes.lose("crater(s) of less than a pixel across were left out",
                       craters.where(small[0]), len(small))
        pieces = [large[i:i + _ROWS] for i in range(0, len(large), _ROWS)]
        for piece in (track(pieces, f"drawing craters on {part.path.name}")
                      if len(pieces) > 1 else pieces):
            labels[part.path] += _labels(craters, part, piece, notes)
    nowhere = np.flatnonzero(~somewhere)
    if len(nowhere):
        notes.lose("crater(s) of the catalogue lie in no image", craters.where(nowhere[0]),
                   len(nowhere))
        if not somewhere.any():
            path, georeference = images[-1]
            notes.hints.append(whereabouts(craters.lonlat(georeference, craters.places), path,
                                           georeference))


def _seen(craters: Craters, path: Path, georeference: Georeference) -> Seen:
    lonlat = craters.lonlat(georeference, craters.places)
    centres = georeference.pixels(lonlat)
    rows = np.flatnonzero(is_inside(centres, georeference))
    return Seen(path, georeference, rows, lonlat[rows], centres[rows])


def is_inside(centres: np.ndarray, georeference: Georeference) -> np.ndarray:
    """Which of the points [n, 2] in px lie in the image."""
    with np.errstate(invalid="ignore"):
        return np.all((centres >= 0) & (centres < (georeference.width, georeference.height)),
                      axis=1)


def _large_enough(craters: Craters, seen: Seen, chosen: np.ndarray) -> np.ndarray:
    """Those of the `chosen` whose rims span a pixel, to the north or to the east."""
    diameter = craters.diameter_km[seen.rows[chosen]]
    return chosen[across_px(diameter, seen, chosen) >= _LEAST_PX]


def _labels(craters: Craters, seen: Seen, chosen: np.ndarray, notes: Notes) -> Iterator[Label]:
    rows = seen.rows[chosen]
    rings = seen.georeference.rims(seen.lonlat[chosen], craters.diameter_km[rows])
    sizes = np.ptp(rings, axis=1).max(axis=1)
    for ring, size, index, (x, y) in zip(rings, sizes, rows, seen.centres[chosen], strict=True):
        where = craters.where(index)
        if not np.isfinite(size):
            notes.lose("crater(s) were left out that the image's projection cannot show whole",
                       where)
            continue
        step = next((step for limit, step in _SMALL_PX if size < limit), 1)
        yield Label((ring[::step].copy(),),
                    CRATER if craters.names is None else str(craters.names[index]), "catalogue",
                    where, diameter_km=float(craters.diameter_km[index]),
                    centre=(float(x), float(y)))
