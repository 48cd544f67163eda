"""Where the tiles of a large image lie, and in which order they are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# A detection this close to a tile's inner edge counts as cut by it: px of the image or of
# the network, whichever are larger.
_EDGE = 2.0


class Tile(NamedTuple):
    """A window of an image in px: rows y0 to y1, columns x0 to x1.

    Attributes:
      number: its place in the order of all tiles, from 0 on.
      band: the place of its band.
      scale: network px per image px.
    """

    number: int
    band: int
    scale: float
    y0: int
    x0: int
    y1: int
    x1: int


@dataclass(frozen=True)
class Band:
    """A row of tiles of one scale: the image's rows y0 to y1, px.

    Attributes:
      first: number of its first tile.
      lefts: the left edge of each tile, px.
      side: width of a tile, px (cut at the image's right edge).
    """

    number: int
    first: int
    scale: float
    y0: int
    y1: int
    lefts: tuple[int, ...]
    side: int
    width: int

    def tiles(self) -> Iterator[Tile]:
        """The tiles from left to right."""
        for i, x0 in enumerate(self.lefts):
            yield Tile(self.first + i, self.number, self.scale, self.y0, x0, self.y1,
                       min(x0 + self.side, self.width))


def plan(height: int, width: int, tile: int, scales: Sequence[float],
         overlap: float) -> list[Band]:
    """The bands of all scales, by their upper edges from the top of the image down.

    No band begins above the one before it. So once a band is begun, what ends above its
    upper edge has been seen by all tiles that can see it, at whatever scale.

    Args:
      height, width: of the image, px.
      tile: side of the network's input, px; a tile covers tile / scale px of the image.
      scales: network px per image px.
      overlap: share of a tile's side that it has in common with the next.
    """
    rows = []
    for scale in scales:
        side = max(1, round(tile / scale))
        lefts = tuple(_starts(width, side, overlap))
        rows += [(y0, scale, side, lefts) for y0 in _starts(height, side, overlap)]
    rows.sort(key=lambda row: row[0])
    bands, first = [], 0
    for number, (y0, scale, side, lefts) in enumerate(rows):
        bands.append(Band(number, first, scale, y0, min(y0 + side, height), lefts, side, width))
        first += len(lefts)
    return bands


def touches_inner_edge(boxes: np.ndarray, tile: Tile, height: int, width: int) -> np.ndarray:
    """Which boxes (px of the tile) an edge of the tile cuts that is not the image's: bool [n]."""
    margin = _EDGE / min(1.0, tile.scale)
    touches = np.zeros(len(boxes), bool)
    if tile.y0 > 0:
        touches |= boxes[:, 0] < margin
    if tile.x0 > 0:
        touches |= boxes[:, 1] < margin
    if tile.y1 < height:
        touches |= boxes[:, 2] > tile.y1 - tile.y0 - margin
    if tile.x1 < width:
        touches |= boxes[:, 3] > tile.x1 - tile.x0 - margin
    return touches


def _starts(length: int, side: int, overlap: float) -> list[int]:
    if length <= side:
        return [0]
    step = max(1, int(side * (1.0 - overlap)))
    count = -(-(length - side) // step)
    # Evenly spread, so that no two tiles overlap more than they must.
    return [round(i * (length - side) / count) for i in range(count + 1)]
