"""The ground that an image shows: all of it but what is missing."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import shapely
from affine import Affine
from rasterio import features

from crater_model.imagery.missing import MissingGround
from crater_model.imagery.raster import Raster

# Its outline is true to this (cells of `imagery.missing`), or to twice as much and so on while it
# has more points or parts than a count needs.
_OFF = 1.5
_POINTS, _PARTS = 4000, 200


class ShownGround(NamedTuple):
    """The part of an image that shows ground.

    Attributes:
      shape: its outline in px, simplified; shapely Polygon or MultiPolygon.
      pixels: its true area, px.
    """

    shape: shapely.Geometry
    pixels: int


def shown_ground(raster: Raster) -> ShownGround | None:
    """The part of an image whose ground is not missing; its holes are missing ground.

    The image is read once, in strips, however often it is asked for.

    Returns:
      None where no ground is missing; an empty polygon where all is.

    Raises:
      DataError: the file is broken.
    """
    missing = raster.missing
    if missing is None or not missing.pixels:
        return None
    pixels = raster.width * raster.height - missing.pixels
    image = shapely.box(0, 0, raster.width, raster.height)
    shape = shapely.intersection(_simple(_outline(missing)), image) if pixels else shapely.Polygon()
    return ShownGround(shape, pixels)


def _outline(missing: MissingGround) -> shapely.Geometry:
    # A line or a point of ground within what is missing is none to count on.
    there = cv2.morphologyEx((~missing.cells).astype(np.uint8), cv2.MORPH_OPEN,
                             np.ones((3, 3), np.uint8))
    pieces = [shapely.geometry.shape(shape) for shape, _ in features.shapes(
        there, there > 0, transform=Affine.scale(missing.cell))]
    limit = missing.cell * _OFF
    while True:
        parts = [_without_small_holes(part) for part in _largest(pieces)]
        shape = shapely.union_all(shapely.simplify(parts, limit))
        if shapely.get_num_coordinates(shape) <= _POINTS:
            return shape
        limit *= 2
        pieces = parts


def _without_small_holes(part: shapely.Polygon) -> shapely.Polygon:
    holes = _largest([shapely.Polygon(ring) for ring in part.interiors])
    return shapely.Polygon(part.exterior, [hole.exterior for hole in holes])


def _largest(parts: list[shapely.Polygon]) -> list[shapely.Polygon]:
    order = np.argsort(-shapely.area(parts), kind="stable")[:_PARTS]
    return [parts[i] for i in np.sort(order)]


def _simple(shape: shapely.Geometry) -> shapely.Geometry:
    return shape if shape.is_valid else shapely.make_valid(shape)
