"""Which georeferenced images show the same place of a body, on any projections."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from crater_model.imagery.georeference import Georeference

# Points along each side of the grid that stands for an image.
_GRID = 65
# Px by which a point must lie inside both images to be shown by both, so that images that
# only touch, give or take the rounding of their places, do not overlap.
_MARGIN_PX = 1.0
# The same body may be given with slightly different axes.
_SAME_BODY = 0.01
# A point may be this much further from an image's middle than its own outermost points.
_SLACK = 1.05
# Pairs whose distance is looked at in one go.
_ROWS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Footprint:
    """An image's place.

    Attributes:
      georeference: of the image.
      middle: unit vector from the body's middle, the mean direction of its points.
      reach: largest distance of a point from `middle`, as a chord of the unit sphere.
    """

    georeference: Georeference
    middle: np.ndarray
    reach: float


def footprint(georeference: Georeference) -> Footprint | None:
    """The place of an image; None where none of it is on the body."""
    directions = _grid_directions(georeference)
    if not len(directions):
        return None
    middle = directions.mean(axis=0)
    length = float(np.linalg.norm(middle))
    # All around the body there is no middle; then nothing is out of reach.
    middle = middle / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])
    reach = float(np.linalg.norm(directions - middle, axis=1).max())
    return Footprint(georeference, middle, reach)


def overlap(one: Footprint, other: Footprint) -> bool:
    """Whether some place of one body is more than a pixel inside both images."""
    axes = [footprint.georeference.geod.a for footprint in (one, other)]
    if abs(axes[0] - axes[1]) > _SAME_BODY * min(axes):
        return False
    return _shows(one, other) or _shows(other, one)


def overlapping_pairs(footprints: Sequence[Footprint | None],
                      known: Callable[[int, int], bool]) -> Iterator[tuple[int, int]]:
    """Yields pairs (i, j), i < j, of places that overlap.

    Args:
      footprints: of the images; None where there is no place.
      known: known(i, j) tells of a pair, just before it would be looked at, that it is of
        no interest.
    """
    there = {i: footprint for i, footprint in enumerate(footprints) if footprint is not None}
    if len(there) < 2:
        return
    places = list(there)
    middles = np.stack([footprint.middle for footprint in there.values()])
    reaches = np.array([footprint.reach for footprint in there.values()])
    for start in range(0, len(there), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        squared = np.maximum(0, 2 - 2 * middles[rows] @ middles.T)
        near = np.sqrt(squared) <= (reaches[rows, None] + reaches) * _SLACK
        for a, b in np.argwhere(np.triu(near, start + 1)):
            i, j = places[start + a], places[b]
            if not known(i, j) and overlap(there[i], there[j]):
                yield i, j


def _shows(one: Footprint, other: Footprint) -> bool:
    """Whether `one` shows a point of the grid of `other`."""
    points = _grid_directions(other.georeference)
    far = np.linalg.norm(points - one.middle, axis=1)
    points = points[far <= one.reach * _SLACK]
    if not len(points):
        return False
    place = one.georeference
    with np.errstate(invalid="ignore"):
        x, y = place.pixels(_lonlat(points, place)).T
        return bool(((x > _MARGIN_PX) & (x < place.width - _MARGIN_PX)
                     & (y > _MARGIN_PX) & (y < place.height - _MARGIN_PX)).any())


def _grid(width: int, height: int) -> np.ndarray:
    """Points [n, 2] (x, y px), the outermost a margin inside the image's edges."""
    x, y = (np.linspace(min(_MARGIN_PX, side / 2), max(side - _MARGIN_PX, side / 2), _GRID)
            for side in (width, height))
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


@functools.lru_cache(maxsize=1024)
def _grid_directions(place: Georeference) -> np.ndarray:
    """Unit vectors [n, 3] to those points of the image's grid that are on the body."""
    lonlat = place.lonlat(_grid(place.width, place.height))
    return _directions(lonlat[np.isfinite(lonlat).all(axis=1)], place)


def _directions(lonlat: np.ndarray, place: Georeference) -> np.ndarray:
    """Unit vectors [n, 3]; latitudes on an ellipsoid become those seen from its middle, in
    which images on a sphere are given."""
    lon, lat = np.radians(lonlat).T
    north = np.sin(lat) * (1 - place.geod.f) ** 2
    vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), north], axis=1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _lonlat(directions: np.ndarray, place: Georeference) -> np.ndarray:
    """The reverse of `_directions`, on the body of another image."""
    x, y, z = directions.T
    lat = np.arctan2(z, np.hypot(x, y) * (1 - place.geod.f) ** 2)
    return np.degrees(np.stack([np.arctan2(y, x), lat], axis=1))
