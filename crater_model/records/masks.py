"""Instance masks as small grids of bits, cheap to store and cheap to read.

A full-size mask for each of several hundred craters costs more to decode than all the
rest of a training step. Here the box of every instance is divided evenly into GRID x
GRID cells, a cell is set where its middle lies inside the outline, and the bits are
packed row by row, highest bit first: GRID * GRID / 8 bytes an instance, all instances
of an image in one string.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from crater_model.annotations.scene import Instance

GRID = 32
GRID_BYTES = GRID * GRID // 8


def encode_grids(instances: Sequence[Instance]) -> bytes:
    """The bit grids of these instances, one after the other (GRID_BYTES each)."""
    return b"".join(np.packbits(instance_grid(instance)).tobytes() for instance in instances)


def decode_grids(data: bytes) -> np.ndarray:
    """The grids in `data`, uint8 0/1 [n, GRID, GRID] (`read.unpack_grids` in NumPy)."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    return bits.reshape(-1, GRID, GRID)


def instance_grid(instance: Instance) -> np.ndarray:
    """The instance's mask over its box, bool [GRID, GRID]; at least one cell is set."""
    ymin, xmin, ymax, xmax = instance.box
    middles = (np.arange(GRID) + 0.5) / GRID
    xs, ys = xmin + middles * (xmax - xmin), ymin + middles * (ymax - ymin)
    grid = rasterize(instance.rings, xs, ys)
    if not grid.any():  # a sliver between the samples: keep the cell under its corner
        x, y = instance.rings[0][0]
        grid[np.abs(ys - y).argmin(), np.abs(xs - x).argmin()] = True
    return grid


def full_mask(instance: Instance, height: int, width: int) -> np.ndarray:
    """The instance's mask on its image, uint8 0/1 [height, width], pixel middles sampled."""
    mask = np.zeros((height, width), np.uint8)
    ymin, xmin, ymax, xmax = instance.box
    top, left = max(0, int(ymin)), max(0, int(xmin))
    bottom, right = min(height, int(np.ceil(ymax))), min(width, int(np.ceil(xmax)))
    xs, ys = np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5
    mask[top:bottom, left:right] = rasterize(instance.rings, xs, ys)
    return mask


def encode_mask(mask: np.ndarray) -> bytes:
    """PNG of a uint8 mask [height, width], its values kept.

    Nearly all of it is one long run, on which this is three times as fast as
    `pixels.encode_png`.
    """
    data = io.BytesIO()
    Image.fromarray(mask).save(data, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return data.getvalue()


def rasterize(rings: Sequence[np.ndarray], xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """Where the points (xs[j], ys[i]) lie inside the union of the rings.

    Args:
      rings: outlines [n, 2], x and y, not closed.
      xs, ys: increasing sample positions, same units as the rings.

    Returns:
      bool [len(ys), len(xs)].
    """
    inside = np.zeros((len(ys), len(xs)), bool)
    for ring in rings:
        x0, y0 = ring.T
        x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
        # Every edge that a row of samples crosses, half-open so that a corner counts once.
        rows, edges = np.nonzero((y0 <= ys[:, None]) != (y1 <= ys[:, None]))
        slope = (x1[edges] - x0[edges]) / (y1[edges] - y0[edges])
        crossings = x0[edges] + (ys[rows] - y0[edges]) * slope
        # A crossing turns all samples to its left; an odd number of turns is inside.
        turns = np.zeros((len(ys), len(xs) + 1), np.int32)
        np.add.at(turns, (rows, np.searchsorted(xs, crossings)), 1)
        right = np.cumsum(turns[:, :0:-1], axis=1)[:, ::-1]
        inside |= right % 2 == 1
    return inside
