"""A whole scene through a network that reads small images: cut tiles, detect, merge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from crater_model.annotations.raster import ArrayRaster, Raster, filled
from crater_model.detections import Detections
from crater_model.mapping.merge import merge

Predict = Callable[[list[np.ndarray]], list[Detections]]

# A detection this close (px of the tile) to a tile's inner edge counts as cut by it.
_EDGE = 2.0


def detect_image(predict: Predict, image: np.ndarray | Raster, tile: int, scales: Sequence[float] = (1.0,),
                 overlap: float = 0.25, batch: int = 8) -> Detections:
    """Detects over a whole image and merges what the tiles found.

    Args:
      predict: detections of each of a list of images, in that image's px; images smaller
        than `tile` x `tile` network px are scaled up by it.
      image: uint8 [h, w] or [h, w, 3], or a raster, which is read in windows.
      tile: side in px of the network's input.
      scales: network px per image px, one or several; a tile covers tile / scale image px.
      overlap: share of a tile's side that it has in common with the next.

    Returns:
      Detections in px of the whole image, best first.
    """
    raster = image if isinstance(image, Raster) else ArrayRaster(image)
    height, width = raster.height, raster.width
    found: list[Detections] = []
    cut: list[np.ndarray] = []
    for scale in scales:
        windows = list(tile_windows(height, width, max(1, round(tile / scale)), overlap))
        for start in range(0, len(windows), batch):
            group = windows[start:start + batch]
            pieces = [np.ascontiguousarray(filled(raster.read(x0, y0, x1 - x0, y1 - y0)))
                      for y0, x0, y1, x1 in group]
            for window, detections in zip(group, predict(pieces)):
                found.append(_shift(detections, window, (height, width)))
                cut.append(_touches_inner_edge(found[-1].boxes, window, height, width))
    return merge(found, cut)


def tile_windows(height: int, width: int, side: int,
                 overlap: float) -> Iterator[tuple[int, int, int, int]]:
    """(y0, x0, y1, x1) px of tiles that cover the image; the last ones end at its edge."""
    for y in _starts(height, side, overlap):
        for x in _starts(width, side, overlap):
            yield y, x, min(y + side, height), min(x + side, width)


def _starts(length: int, side: int, overlap: float) -> list[int]:
    if length <= side:
        return [0]
    step = max(1, int(side * (1.0 - overlap)))
    count = -(-(length - side) // step)
    # Evenly spread, so that no two tiles overlap more than they must.
    return [round(i * (length - side) / count) for i in range(count + 1)]


def _shift(detections: Detections, window, size: tuple[int, int]) -> Detections:
    y0, x0 = window[:2]
    boxes = detections.boxes + np.array([y0, x0, y0, x0], np.float32)
    return Detections(boxes, detections.scores, detections.classes, detections.masks, size,
                      detections.label_map)


def _touches_inner_edge(boxes: np.ndarray, window, height: int, width: int) -> np.ndarray:
    y0, x0, y1, x1 = window
    touches = np.zeros(len(boxes), bool)
    if y0 > 0:
        touches |= boxes[:, 0] < y0 + _EDGE
    if x0 > 0:
        touches |= boxes[:, 1] < x0 + _EDGE
    if y1 < height:
        touches |= boxes[:, 2] > y1 - _EDGE
    if x1 < width:
        touches |= boxes[:, 3] > x1 - _EDGE
    return touches
