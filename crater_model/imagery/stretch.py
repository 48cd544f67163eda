"""Values of more than 8 bits as 1..255, between two percentiles of the whole image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from crater_model.errors import DataError
from crater_model.progress import Progress

# The share of dark and of bright pixels, in percent from below, that a stretch gives up.
PERCENTILES = (0.5, 99.5)
# Pixels that a stretch is computed from, at most, spread evenly over the image.
_SAMPLES = 4_000_000
# Values turned at once: bounds the memory that it takes.
_AT_ONCE = 2**21
Read = Callable[[int, int, int, int], tuple[np.ndarray, np.ndarray | None]]


class Values(Protocol):
    """An image whose own values can be read in windows (`raster.FileRaster`).

    Attributes:
      name: what messages call it.
      width, height, block_rows: px; bands: 1 or 3.
    """

    name: str | Path
    width: int
    height: int
    bands: int
    block_rows: int

    def values(self, left: int, top: int, width: int, height: int
               ) -> tuple[np.ndarray, np.ndarray | None]:
        """The values of a window (px), and where they are valid (None: everywhere)."""


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


def strips(height: int, rows: int) -> Iterator[tuple[int, int]]:
    """(top, height) of strips of `rows` rows that fill `height` rows, px."""
    for top in range(0, height, rows):
        yield top, min(rows, height - top)


def compute_stretch(raster: Values, percentiles: tuple[float, float] = PERCENTILES) -> Stretch:
    """Percentiles of an image's valid values, from every n-th pixel of a large one.

    The same file always gives the same stretch. An image without valid pixels gets 0..0.
    """
    return stretch_of(sampled(raster, raster.values), percentiles)


def sampled(raster: Values, read: Read) -> np.ndarray:
    """The valid values [n] of every n-th pixel of an image, those of its bands together.

    `read` gives the values of a window and where they are valid, as `Values.values`.
    """
    step = max(1, math.ceil(math.sqrt(raster.width * raster.height * raster.bands / _SAMPLES)))
    found = []
    with Progress(f"reading the values of {Path(raster.name).name}", raster.height) as progress:
        for top, height in strips(raster.height, _rows_at_once(raster)):
            first = -top % step
            values, valid = read(0, top, raster.width, height)
            values = values[first::step, ::step]
            if valid is not None:
                values = values[valid[first::step, ::step]]
            found.append(values.ravel())
            progress.update(top + height)
    return np.concatenate(found) if found else np.zeros(0)


def stretch_of(values: np.ndarray, percentiles: tuple[float, float]) -> Stretch:
    """The stretch of an image of these valid values, [n]."""
    low, high = np.percentile(values, percentiles) if len(values) else (0.0, 0.0)
    if not low < high and len(values):
        low, high = float(values.min()), float(values.max())
    return Stretch(float(low), float(high), (float(percentiles[0]), float(percentiles[1])))


def _rows_at_once(raster: Values) -> int:
    """Whole rows of the file's blocks, of about four million pixels."""
    blocks = max(1, 2**22 // (raster.width * raster.block_rows))
    return blocks * raster.block_rows
