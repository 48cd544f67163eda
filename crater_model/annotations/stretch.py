"""Values of more than 8 bits as 1..255, between two percentiles of the whole image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from rasterio.windows import Window

from crater_model.errors import DataError
from crater_model.progress import Progress

if TYPE_CHECKING:
    from crater_model.annotations.raster import FileRaster, Raster

# The share of dark and of bright pixels, in percent from below, that a stretch gives up.
PERCENTILES = (0.5, 99.5)
# Pixels that a stretch is computed from, at most, spread evenly over the image.
_SAMPLES = 4_000_000
# Values turned at once: bounds the memory that it takes.
_AT_ONCE = 2**21
# Side of the blocks of a written file, px.
_BLOCK = 256


@dataclass(frozen=True)
class Stretch:
    """How values become 1..255: `low` and below 1, `high` and above 255, evenly between.

    Attributes:
      low, high: values of the image at the two percentiles.
      percentiles: percent (0..100) of the image's valid pixels below `low` and `high`.
    """

    low: float
    high: float
    percentiles: tuple[float, float]

    def apply(self, values: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
        """uint8 of the values' shape; 0 where `valid` ([h, w]) is False."""
        span = self.high - self.low
        factor = np.float32(254 / span if span > 1e-30 else 0)
        out = np.empty(values.shape, np.uint8)
        rows = max(1, _AT_ONCE // max(1, math.prod(values.shape[1:])))
        for top in range(0, len(values), rows):
            part = values[top:top + rows].astype(np.float32)
            part -= np.float32(self.low)
            part *= factor
            part = np.nan_to_num(part, copy=False, nan=0.0)
            out[top:top + rows] = np.clip(part, 0, 254, out=part) + np.float32(1.5)
        if valid is not None:
            out[~valid] = 0
        return out

    def to_json(self) -> dict:
        return {**asdict(self), "percentiles": list(self.percentiles)}

    @classmethod
    def from_json(cls, value: dict) -> Stretch:
        """Raises DataError on anything but what `to_json` gives."""
        try:
            low, high = (float(v) for v in value["percentiles"])
            return cls(float(value["low"]), float(value["high"]), (low, high))
        except (KeyError, TypeError, ValueError):
            raise DataError(f"the stretch is {str(value)[:80]!r}, expected low, high and two "
                            "percentiles; correct it") from None


def strips(raster: Raster, rows: int) -> Iterator[tuple[int, int]]:
    """(top, height) px of strips of `rows` rows over the whole width."""
    for top in range(0, raster.height, rows):
        yield top, min(rows, raster.height - top)


def compute_stretch(raster: FileRaster, percentiles: tuple[float, float] = PERCENTILES) -> Stretch:
    """Percentiles of an image's valid values, from every n-th pixel of a large one.

    The same file always gives the same stretch. An image without valid pixels gets 0..0.
    """
    step = max(1, math.ceil(math.sqrt(raster.width * raster.height * raster.bands / _SAMPLES)))
    found = []
    with Progress(f"reading the values of {Path(raster.name).name}", raster.height) as progress:
        for top, height in strips(raster, _rows_at_once(raster)):
            first = -top % step
            values, valid = raster.values(0, top, raster.width, height)
            values = values[first::step, ::step]
            if valid is not None:
                values = values[valid[first::step, ::step]]
            found.append(values.ravel())
            progress.update(top + height)
    values = np.concatenate(found) if found else np.zeros(0)
    low, high = np.percentile(values, percentiles) if len(values) else (0.0, 0.0)
    if not low < high and len(values):
        low, high = float(values.min()), float(values.max())
    return Stretch(float(low), float(high), tuple(map(float, percentiles)))


def _rows_at_once(raster: FileRaster) -> int:
    """Whole rows of the file's blocks, of about four million pixels."""
    blocks = max(1, 2**22 // (raster.width * raster.block_rows))
    return blocks * raster.block_rows


def write_8bit(raster: FileRaster, path: str | Path) -> None:
    """Writes an image as a tiled 8-bit (Geo)TIFF, in windows; blocks without data take no
    room.

    Pixels without data become 0, which the file declares as such; the darkest others 1.
    """
    georeference = raster.georeference
    place = {} if georeference is None else {
        "crs": georeference.crs, "transform": rasterio.Affine(*georeference.transform)}
    with rasterio.Env(GDAL_CACHEMAX=64), \
            Progress(f"converting {Path(raster.name).name}", raster.height) as progress, \
            rasterio.open(path, "w", driver="GTiff", dtype="uint8", count=raster.bands,
                          width=raster.width, height=raster.height, tiled=True,
                          blockxsize=_BLOCK, blockysize=_BLOCK, compress="deflate", predictor=2,
                          sparse_ok=True, bigtiff="if_safer",
                          nodata=0 if raster.has_invalid else None, **place) as out:
        for top, height in strips(raster, _BLOCK):
            pixels, valid = raster.read(0, top, raster.width, height)
            if raster.has_invalid and raster.stretch is None:
                good = np.ones(pixels.shape[:2], bool) if valid is None else valid
                pixels[good] = np.maximum(pixels[good], 1)
            if pixels.any():
                bands = pixels[None] if raster.bands == 1 else np.moveaxis(pixels, -1, 0)
                out.write(bands, window=Window(0, top, raster.width, height))
            progress.update(top + height)
