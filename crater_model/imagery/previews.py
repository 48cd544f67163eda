"""Small pictures of images of any size, read in strips."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol, TypeVar

import cv2
import numpy as np

from crater_model.imagery.raster import Raster
from crater_model.progress import track

# Pixels of a strip, unless a single row has more.
_STRIP = 2**22
# Images that are decoded at the same time. Of those with more pixels than this only one,
# since decoding takes several times their size.
THREADS = max(2, min(4, len(os.sched_getaffinity(0))))
_LARGE = 2**24
_large = threading.Lock()
T = TypeVar("T")


class Sized(Protocol):
    """Something of `width` x `height` px."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


S = TypeVar("S", bound=Sized)


@dataclass(frozen=True, eq=False)
class Preview:
    """A grey picture of a whole image.

    Attributes:
      grey: uint8 [h, w].
      valid: bool [h, w], False where most of the image is 0 (no data, black margins).
    """

    grey: np.ndarray
    valid: np.ndarray


def preview(raster: Raster, side: int) -> Preview:
    """A picture whose longer side is at most `side` px.

    Every pixel is read, so that an image with a broken part does not pass.

    Raises:
      DataError: the file is broken.
    """
    scale = min(1.0, side / max(raster.width, raster.height))
    width, height = (max(1, round(n * scale)) for n in (raster.width, raster.height))
    if (width, height) == (raster.width, raster.height):
        grey = _grey(raster.read(0, 0, width, height).pixels)
        return Preview(grey, grey > 0)
    sums = np.zeros((height, width, 2))
    for top, rows in _strips(raster):
        grey = _grey(raster.read(0, top, raster.width, rows).pixels)
        there = cv2.compare(grey, 0, cv2.CMP_GT)  # type: ignore[call-overload]
        narrow = np.stack([cv2.resize(part, (width, rows), interpolation=cv2.INTER_AREA)
                           for part in (grey, there)], axis=-1)
        _add_rows(sums, narrow, top, raster.height)
    there = sums[..., 1] / 255
    grey = sums[..., 0] / np.maximum(there, 1e-3)
    return Preview(np.clip(np.rint(grey), 0, 255).astype(np.uint8), there >= 0.5)


def for_each(images: Sequence[S], work: Callable[[S], T], what: str) -> Iterator[T]:
    """work(image) for every image, in order, several at the same time; shows progress."""
    def limited(image: S) -> T:
        with _large if image.width * image.height > _LARGE else nullcontext():
            return work(image)

    with ThreadPoolExecutor(THREADS) as pool:
        yield from track(pool.map(limited, images), what, len(images))


def _grey(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 3:
        return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    return np.ascontiguousarray(pixels)


def _strips(raster: Raster) -> Iterator[tuple[int, int]]:
    """(top, height) of strips; whole rows of the file's blocks where those are not huge."""
    rows = max(1, _STRIP // raster.width)
    blocks = getattr(raster, "block_rows", 1)
    if blocks * raster.width <= 16 * _STRIP:
        rows = max(1, rows // blocks) * blocks
    for top in range(0, raster.height, rows):
        yield top, min(rows, raster.height - top)


def _add_rows(sums: np.ndarray, part: np.ndarray, top: int, total: int) -> None:
    """Adds rows `top`... of an image of `total` rows to the means of which fewer are left."""
    step = total / len(sums)
    first = int(top / step)
    last = min(len(sums), int(np.ceil((top + len(part)) / step)))
    rows, edges = np.arange(top, top + len(part)), np.arange(first, last + 1) * step
    shares = np.clip(np.minimum(edges[1:, None], rows + 1) - np.maximum(edges[:-1, None], rows),
                     0, 1) / step
    sums[first:last] += np.tensordot(shares, part.astype(np.float64), axes=1)
