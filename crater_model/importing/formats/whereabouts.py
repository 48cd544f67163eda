"""Where labels lie that no image shows, in words: their coordinates beside the images'."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crater_model.imagery.georeference import Georeference


def whereabouts(lonlat: np.ndarray, image: Path, georeference: Georeference) -> str:
    """"the labels lie at longitude 10 to 12, latitude -3 to 2 deg, moon.tif shows ...".

    Args:
      lonlat: [n, 2] deg, in the image's system.
      image, georeference: one of the images.
    """
    x, y = (np.linspace(0, side, 9) for side in (georeference.width, georeference.height))
    grid = georeference.lonlat(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
    return f"the labels lie at {_ranges(lonlat)}, {image.name} shows {_ranges(grid)}"


def _ranges(lonlat: np.ndarray) -> str:
    found = lonlat[np.isfinite(lonlat).all(axis=1)]
    if not len(found):
        return "no place on the body"
    (west, south), (east, north) = found.min(axis=0), found.max(axis=0)
    return f"longitude {west:.6g} to {east:.6g}, latitude {south:.6g} to {north:.6g} deg"
