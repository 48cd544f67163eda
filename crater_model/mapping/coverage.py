"""Where an image has data."""

from __future__ import annotations

import numpy as np
import shapely
from affine import Affine
from rasterio import features

from crater_model.imagery.raster import Raster

# Cells along the longer side that the area is made of; its edge is known to a cell.
_CELLS = 2048
_ROWS = 512  # px read at a time


def valid_area(raster: Raster) -> shapely.Geometry | None:
    """The part of an image that has data, in px, shapely Polygon or MultiPolygon.

    A cell of the longer side / 2048 px, or of one px where the image is smaller, counts
    where its first pixel does. The image is read once, in bands.

    Returns:
      None where every pixel has data; an empty polygon where none has.
    """
    if not raster.has_invalid:
        return None
    cell = -(-max(raster.width, raster.height) // _CELLS)
    rows = []
    for top in range(0, raster.height, _ROWS * cell):
        height = min(_ROWS * cell, raster.height - top)
        valid = raster.read(0, top, raster.width, height).valid
        rows.append(np.ones((-(-height // cell), -(-raster.width // cell)), bool) if valid is None
                    else valid[::cell, ::cell])
    mask = np.concatenate(rows)
    if mask.all():
        return None
    pieces = [shapely.geometry.shape(shape) for shape, _ in features.shapes(
        mask.astype(np.uint8), mask, transform=Affine.scale(cell))]
    image = shapely.box(0, 0, raster.width, raster.height)
    return shapely.intersection(shapely.union_all(pieces), image)
