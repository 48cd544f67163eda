"""PNG: the outlines over the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crater_model.errors import ConfigError
from crater_model.files import write_bytes
from crater_model.imagery.pixels import encode_png
from crater_model.imagery.previews import preview
from crater_model.imagery.raster import read_whole
from crater_model.mapping.craters import Craters
from crater_model.mapping.maps import Map
from crater_model.pictures.drawing import class_color, overlay

# Of an image with a longer side (px) the picture is a reduced one, in grey.
LONGEST_SIDE = 4096
# Small images are shown larger, so that thin outlines can be told from the rims.
_SMALL, _MOST_ZOOM = 1024, 4.0


def write(path: Path, maps: Sequence[Map]) -> Path:
    """Writes the picture of the one image.

    Images of up to `LONGEST_SIDE` px are shown in full; larger ones are read in strips and
    reduced to it.

    Raises:
      ConfigError: there is not exactly one image, or its pixels are not given.
    """
    if len(maps) != 1:
        raise ConfigError(f"{path}: a picture shows one image, got {len(maps)}; choose another "
                          "suffix or name one image")
    if maps[0].open is None:
        raise ConfigError(f"{path}: a picture needs the pixels of {maps[0].name}, which are not "
                          "given; choose another suffix")
    return write_bytes(path, encode_png(whole(maps[0])))


def whole(entry: Map) -> np.ndarray:
    """The craters over their whole image, of which `open` is given: uint8 RGB."""
    assert entry.open is not None
    with entry.open() as raster:
        side = max(raster.width, raster.height)
        image = read_whole(raster) if side <= LONGEST_SIDE else preview(raster, LONGEST_SIDE).grey
        scale = np.array(image.shape[1::-1]) / (raster.width, raster.height)
    zoom = max(1.0, min(_MOST_ZOOM, _SMALL / max(image.shape[:2])))
    return drawn(image, entry.craters, scale=scale, zoom=zoom)


def drawn(image: np.ndarray, craters: Craters, corner=(0, 0), scale=1.0,
          zoom: float = 1.0) -> np.ndarray:
    """Craters over a part of their image: uint8 RGB.

    Args:
      image: uint8 [h, w] or [h, w, 3].
      corner: (x, y) px of the whole image where the part begins.
      scale: px of the part per px of the whole image, one number or (x, y).
      zoom: px of the picture per px of the part.
    """
    rings = [(np.asarray(outline.exterior.coords) - corner) * scale
             for outline in craters.outlines]
    colors = [class_color(int(class_id)) for class_id in craters.classes]
    return overlay(image, rings, color=colors, zoom=zoom)
