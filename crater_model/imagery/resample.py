"""Pixels of an image at another scale, a piece at a time.

A piece is read with the margin that the filter reaches over, so that pieces put side by
side are what resampling the whole image at once gives.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from crater_model.imagery.addresses import gdal_name
from crater_model.imagery.raster import FileRaster, Raster, Window

# Values (px times bands) of the source that are held at once.
SOURCE_VALUES = 2**24
# Below this scale the filter alone would reach over too many pixels.
MIN_SCALE = 0.002
# A pixel has data where at least this much of what it averages has (of 255).
_HALF = 128
# Blocks that `DataMap` asks for one by one.
_MAX_BLOCKS = 4_000_000


class Region(NamedTuple):
    """A piece of a scaled image: its corner and size in px of that image, and its scale."""

    x: int
    y: int
    width: int
    height: int
    scale: float


class Pixels(NamedTuple):
    """A piece of an image.

    Attributes:
      values: uint8 [h, w] or [h, w, 3].
      coverage: uint8 [h, w], how much of each pixel has data (255: all); None: all have.
    """

    values: np.ndarray
    coverage: np.ndarray | None


def resample(image: np.ndarray, left: float, top: float, width: int, height: int,
             scale: float) -> np.ndarray:
    """A window of an image at another scale.

    Pieces of an image give what the whole gives: the same where `scale` is a power of two;
    otherwise half steps between two values may be rounded the other way.

    Args:
      image: uint8 [h, w] or [h, w, 3].
      left, top: the window's corner in px of `image`; fractions are allowed.
      width, height: of the result, px.
      scale: px of the result per px of `image`. Downwards areas are averaged, upwards
        the pixels are interpolated, both as the detector itself does it (bilinear); pixel
        edges, not middles, are aligned.

    Returns:
      uint8 [height, width] or [height, width, 3].
    """
    if scale == 1.0 and float(left).is_integer() and float(top).is_integer():
        return image[int(top):int(top) + height, int(left):int(left) + width]
    right = min(left + width / scale, image.shape[1])
    bottom = min(top + height / scale, image.shape[0])
    first = max(0, math.floor(top) - _margin(scale))
    rows = image[first:math.ceil(bottom) + _margin(scale)]
    # Along the rows first, always: left to itself, Pillow decides by the image's shape, and
    # pieces of different shapes would be rounded differently.
    how = Image.Resampling.BILINEAR
    flat = Image.fromarray(rows).resize((width, len(rows)), how, (left, 0, right, len(rows)))
    return np.asarray(flat.resize((width, height), how, (0, top - first, width, bottom - first)))


def read_scaled(raster: Raster, region: Region) -> Pixels:
    """A piece of the image at another scale; of the source little is in memory at a time.

    Raises:
      DataError: the file is broken there.
    """
    shape = (region.height, region.width) + ((3,) if raster.bands == 3 else ())
    values, coverage = np.empty(shape, np.uint8), None
    for tile in _tiles(region, raster.bands):
        pixels = _scaled(*_read_source(raster, tile))
        rows = slice(tile.y - region.y, tile.y - region.y + tile.height)
        columns = slice(tile.x - region.x, tile.x - region.x + tile.width)
        values[rows, columns] = pixels.values
        if pixels.coverage is not None:
            if coverage is None:
                coverage = np.full(shape[:2], 255, np.uint8)
            coverage[rows, columns] = pixels.coverage
    return Pixels(values, coverage)


def read_for_later(raster: Raster, region: Region) -> Callable[[], Pixels]:
    """`read_scaled` in two steps: all the reading now; the resampling, as far as the source
    may be held until then, in the function returned, which any thread may call."""
    if source_values(region, raster.bands) > SOURCE_VALUES:
        done = read_scaled(raster, region)
        return lambda: done
    return functools.partial(_scaled, *_read_source(raster, region))


def source_values(region: Region, bands: int) -> float:
    """About how many values of the source a piece is made from, the margin included."""
    margin = 2 * _margin(region.scale)
    return ((region.width / region.scale + margin) * (region.height / region.scale + margin)
            * bands)


def fill(pixels: Pixels, min_valid: float) -> np.ndarray | None:
    """The values, with the mean of those with data (per band) where there are none.

    None where less than the share `min_valid` (0..1) of the pixels has data, or none has.
    """
    if pixels.coverage is None:
        return pixels.values
    valid = pixels.coverage >= _HALF
    share = valid.mean()
    if share == 0 or share < min_valid:
        return None
    values = pixels.values.copy()
    values[~valid] = np.rint(values[valid].mean(axis=0))
    return values


class DataMap:
    """Which parts of an image surely have no data, known without reading them: the blocks
    that a sparse GeoTIFF leaves out."""

    def __init__(self, raster: Raster):
        self._block = 1, 1
        self._stored: np.ndarray | None = None
        if isinstance(raster, FileRaster) and raster.driver == "GTiff" and raster.has_invalid:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                try:
                    self._look(raster)
                except RasterioError:
                    self._stored = None  # reading will say what is wrong

    def _look(self, raster: FileRaster) -> None:
        with rasterio.open(gdal_name(raster.name)) as file:
            rows, columns = file.block_shapes[0]
            down, across = math.ceil(file.height / rows), math.ceil(file.width / columns)
            flags = {flag.name for flags in file.mask_flag_enums for flag in flags}
            # What is left out reads as the nodata value; a mask or alpha band would decide.
            if flags != {"nodata"} or down * across > _MAX_BLOCKS:
                return
            self._block = columns, rows
            self._stored = np.array(
                [[any(file.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", band) is not None
                      for band in file.indexes) for x in range(across)] for y in range(down)])

    def has_data(self, region: Region) -> bool:
        """False where the whole piece surely has none."""
        if self._stored is None:
            return True
        # Data beyond the edge alone never make up half of a pixel inside.
        x, y, width, height, scale = region
        columns, rows = self._block
        return bool(self._stored[
            int(y / scale / rows):math.ceil((y + height) / scale / rows),
            int(x / scale / columns):math.ceil((x + width) / scale / columns)].any())


def _margin(scale: float) -> int:
    """Px of the source that the filter reaches over beyond a window, and one for rounding."""
    return math.ceil(max(1.0, 1 / scale)) + 1


def _source_box(region: Region, width: int, height: int) -> tuple[int, int, int, int]:
    """left, top, right, bottom in px of the source, margin included."""
    x, y, columns, rows, scale = region
    margin = 0 if scale == 1.0 else _margin(scale)
    return (max(0, math.floor(x / scale) - margin), max(0, math.floor(y / scale) - margin),
            min(width, math.ceil((x + columns) / scale) + margin),
            min(height, math.ceil((y + rows) / scale) + margin))


def _tiles(region: Region, bands: int) -> Iterator[Region]:
    """The region in strips, or squares where even strips would be made from too much."""
    x, y, width, height, scale = region
    values, margin = SOURCE_VALUES // bands, 2 * _margin(scale) + 2
    columns, across = width, width / scale + margin
    if across * 2 * margin > values:
        columns = max(1, min(width, int((math.isqrt(values) - margin) * scale)))
        across = columns / scale + margin
    rows = max(1, min(height, int((values / across - margin) * scale)))
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield Region(x + left, y + top, min(columns, width - left), min(rows, height - top),
                         scale)


def _read_source(raster: Raster, region: Region) -> tuple[Window, float, float, Region]:
    """What a piece is made from, and where in it the piece's corner lies (px of the source)."""
    left, top, right, bottom = _source_box(region, raster.width, raster.height)
    return (raster.read(left, top, right - left, bottom - top), region.x / region.scale - left,
            region.y / region.scale - top, region)


def _scaled(source: Window, left: float, top: float, region: Region) -> Pixels:
    """A piece from what `_read_source` gives for it."""
    place = left, top, region.width, region.height, region.scale
    if source.valid is None or source.valid.all():
        return Pixels(resample(source.pixels, *place), None)
    if not source.valid.any():
        shape = (region.height, region.width)
        return Pixels(np.zeros(shape + source.pixels.shape[2:], np.uint8),
                      np.zeros(shape, np.uint8))
    values = resample(source.pixels, *place)
    coverage = resample(source.valid.astype(np.uint8) * np.uint8(255), *place)
    # Pixels without data are 0 and must not darken their neighbours.
    part = (coverage > 0) & (coverage < 255)
    if part.any():
        values = values.copy()
        weight = coverage[part].astype(np.float32).reshape(-1, *[1] * (values.ndim - 2))
        values[part] = np.minimum(np.rint(values[part] * np.float32(255) / weight), 255)
    return Pixels(values, coverage)
