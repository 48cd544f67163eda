"""Which pixels without data are missing ground, and which are shadow or dead pixels.

Files often declare 0 as no-data, and the shadows in craters are 0. So what declares itself
empty is missing ground only where it reaches the image's frame, or is large and has straight
sides as missing tiles and the gaps between strips have. What else lies inside keeps its pixels
and is ground like any other; single dead pixels take the mean of their neighbours.

The image is looked at once, in strips, as cells of a 2048th of its longer side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

# Cells along the longer side.
_CELLS = 2048
# Missing ground is so wide at least (cells; more is lost of what reaches the frame alone), and
# holds a square of 3 x 3. What does not is dead lines and pixels.
_SOLID = np.ones((3, 3), np.uint8)
# Inside the image missing ground has a side and an area of at least this (cells), and fills so
# much of the rectangle around it, upright or turned. An ellipse fills 0.79 of it.
_LEAST_SIDE, _LEAST_AREA, _UPRIGHT, _TURNED = 8, 100, 0.95, 0.93
# Or its outline (cells) is drawn by so few straight lines to this share of its length. A disc
# takes 17, a crescent of a tenth of its length 8.
_LONG_OUTLINE, _FEW_LINES, _OFF = 400, 6, 0.0025
# A shadow that one side of the frame cuts is at most so many times as large as any whole one.
_CUT_SHADOW = 2
# Gaps whose outlines are looked at, the largest; of more than these nothing is known.
_LOOKED_AT = 256
# Dead pixels: no more of them than this within 5 x 5.
_REACH, _SPECK = 2, 4


@dataclass(frozen=True, eq=False)
class MissingGround:
    """The missing ground of an image.

    Attributes:
      cell: side of a cell, px.
      cells: bool [rows, columns], the cells that are missing.
      pixels: how many pixels of the image are missing.
    """

    cell: int
    cells: np.ndarray
    pixels: int

    def at(self, empty: np.ndarray, left: int, top: int) -> np.ndarray:
        """Which pixels of a window are missing ground.

        Args:
          empty: bool [h, w], the window's pixels without data.
          left, top: the window's corner, px.
        """
        height, width = empty.shape
        if self.cell == 1:
            return self.cells[top:top + height, left:left + width] & empty
        rows, columns = (np.arange(start, start + size) // self.cell
                         for start, size in ((top, height), (left, width)))
        near = _grown(self.cells[rows[0] - (rows[0] > 0):rows[-1] + 2,
                                 columns[0] - (columns[0] > 0):columns[-1] + 2])
        rows, columns = (v - v[0] + (v[0] > 0) for v in (rows, columns))
        return near[np.ix_(rows, columns)] & empty


def find_missing(width: int, height: int, strips: Iterable[tuple[int, np.ndarray]]
                 ) -> MissingGround:
    """The missing ground of an image of `width` x `height` px.

    Args:
      strips: the first row of each, px, and which of its pixels have no data, bool [h, width].
    """
    cell = -(-max(width, height) // _CELLS)
    counts = np.zeros((-(-height // cell), -(-width // cell)), np.int32)
    for top, empty in strips:
        if not empty.any():
            continue
        if cell == 1:
            counts[top:top + len(empty)] = empty
            continue
        rows = np.arange(top, top + len(empty)) // cell
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        # Down the columns first, which numpy does many times as fast.
        down = np.add.reduceat(empty.view(np.uint8), starts, axis=0, dtype=np.uint16)
        counts[rows[starts]] += np.add.reduceat(down, np.arange(0, width, cell), axis=1,
                                                dtype=np.int32)
    sides = [np.minimum(cell, size - np.arange(0, size, cell)) for size in (height, width)]
    cells = _missing(2 * counts >= np.outer(*sides)) if counts.any() else counts > 0
    pixels = int(counts[_grown(cells) if cell > 1 else cells].sum())
    return MissingGround(cell, cells, pixels)


def without_specks(pixels: np.ndarray, empty: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Pixels whose dead ones are the mean of their neighbours.

    Args:
      pixels: uint8 [h, w] or [h, w, 3].
      empty, missing: bool [h, w], pixels without data, and those of missing ground.
    """
    specks = empty & ~missing & (_around(empty.astype(np.float32)) <= _SPECK + 0.5)
    if not specks.any():
        return pixels
    good = (~empty).astype(np.float32)
    weight = np.maximum(_around(good), 1.0)
    known = good if pixels.ndim == 2 else good[..., None]
    mean = _around(pixels * known)
    mean /= weight if pixels.ndim == 2 else weight[..., None]
    pixels = pixels.copy()
    pixels[specks] = np.rint(mean[specks])
    return pixels


# Px beyond a window that `without_specks` looks at.
MARGIN = 2 * _REACH


def _around(values: np.ndarray) -> np.ndarray:
    side = 2 * _REACH + 1
    return cv2.boxFilter(values, cv2.CV_32F, (side, side), normalize=False,
                         borderType=cv2.BORDER_CONSTANT)


def _grown(cells: np.ndarray) -> np.ndarray:
    return cv2.dilate(cells.astype(np.uint8), _SOLID) > 0


def _missing(empty: np.ndarray) -> np.ndarray:
    """Which of the empty cells are missing ground."""
    # Beyond the frame there is no ground: a line of one cell along it is as wide as need be.
    padded = np.pad(empty.astype(np.uint8), 2, constant_values=1)
    solid = np.ascontiguousarray(cv2.morphologyEx(padded, cv2.MORPH_OPEN, _SOLID)[2:-2, 2:-2])
    _, labels, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=8)
    left, top, width, height, area = stats.T.astype(np.int64)
    sides = ((left == 0).astype(int) + (top == 0) + (left + width == empty.shape[1])
             + (top + height == empty.shape[0]))
    chosen = sides > 0
    chosen[0] = False
    straight = _straight_sided(labels, stats)
    shadows = ~chosen & ~straight
    shadows[0] = False
    largest = area[shadows].max(initial=0)
    # A crater's shadow that the frame cuts is not much larger than those that are seen whole.
    chosen &= ~((sides == 1) & ~straight & (area <= _CUT_SHADOW * largest))
    chosen |= straight
    missing = chosen[labels]
    for _ in range(2):  # corners and thin ends, which the opening has taken
        missing = _grown(missing) & empty
    return missing


def _straight_sided(labels: np.ndarray, stats: np.ndarray) -> np.ndarray:
    """Which components are large and have straight sides, bool [n]; of the first, the
    background, False."""
    _, _, width, height, area = stats.T.astype(np.int64)
    large = (np.minimum(width, height) >= _LEAST_SIDE) & (area >= _LEAST_AREA)
    large[0] = False
    straight = large & (area >= _UPRIGHT * width * height)
    others = np.flatnonzero(large & ~straight)
    for number in others[np.argsort(-area[others], kind="stable")][:_LOOKED_AT]:
        x, y, w, h, _ = stats[number]
        piece = (labels[y:y + h, x:x + w] == number).astype(np.uint8)
        outline = max(cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)
        a, b = cv2.minAreaRect(outline)[1]
        length = cv2.arcLength(outline, True)
        straight[number] = area[number] >= _TURNED * (a + 1) * (b + 1) or (
            length >= _LONG_OUTLINE
            and len(cv2.approxPolyDP(outline, _OFF * length, True)) <= _FEW_LINES)
    return straight
