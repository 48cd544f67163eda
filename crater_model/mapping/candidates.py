"""What the tiles have found, in px of the whole image, before each crater is there once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import shapely

from crater_model.detections import Detections
from crater_model.mapping.craters import Craters
from crater_model.mapping.merge import settle
from crater_model.mapping.tiles import Tile, touches_inner_edge

# An outline this close to where the image ends is cut there: px of the image or of the
# network, whichever are larger.
_BESIDE = 1.0
# Pixels without data cut a crater if this share of its outline lies beside them. Single dead
# pixels on a rim do not.
_CUT_SHARE = 0.05


@dataclass(frozen=True)
class Candidates:
    """Outlines of one image, a crater once for each tile that saw it.

    Attributes:
      craters: the outlines.
      cut: bool [n], whether an inner edge of its tile cuts it.
      detections: the same with boxes and masks, where they are kept.
    """

    craters: Craters
    cut: np.ndarray
    detections: Detections | None = None

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        """The candidates of several tiles of one image; at least one."""
        detections = None
        every = [part.detections for part in parts if part.detections is not None]
        if len(every) == len(parts):
            columns = {name: np.concatenate([getattr(part, name) for part in every])
                       for name in ("boxes", "scores", "classes", "masks")}
            detections = Detections(**columns, size=every[0].size, label_map=every[0].label_map)
        return cls(Craters.joined([part.craters for part in parts]),
                   np.concatenate([part.cut for part in parts]), detections)

    def select(self, keep: np.ndarray) -> Candidates:
        """The candidates where this mask is true."""
        detections = None if self.detections is None else self.detections.select(keep)
        return Candidates(self.craters.select(keep), self.cut[keep], detections)

    def settled(self, top: float) -> tuple[Candidates, Candidates]:
        """The craters that are found for good, and what tiles from y = `top` (px) on may
        still have a say in; see `merge.settle`."""
        craters = self.craters
        keep, wait = settle(craters.outlines, craters.scores, craters.classes, self.cut, top)
        return self.select(keep), self.select(wait)


def candidates(detections: Detections, tile: Tile, size: tuple[int, int],
               valid: np.ndarray | None, with_masks: bool = False) -> Candidates:
    """What was found in a tile, in px of the image; without what lies where data are missing.

    Args:
      detections: in px of the tile.
      size: (height, width) of the image, px.
      valid: bool [h, w] of the tile, False where there are no data; None: all are valid.
      with_masks: whether boxes and masks are kept.
    """
    shapes = np.empty(len(detections), object)
    shapes[:] = detections.polygons()
    if valid is not None and not valid.all():
        there = _has_data(shapes, valid)
        detections, shapes = detections.select(there), shapes[there]
    cut = touches_inner_edge(detections.boxes, tile, *size)
    edge = _ends_with_data(shapes, tile, size, valid)
    shapes = shapely.transform(shapes, lambda points: points + (tile.x0, tile.y0))
    craters = Craters(shapes, detections.scores, detections.classes,
                      np.full(len(shapes), tile.scale, np.float32), edge, size,
                      detections.label_map)
    shifted = _shifted(detections, tile, size) if with_masks else None
    return Candidates(craters, cut, shifted)


def _has_data(shapes: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Whether at least half of what is around an outline's centre has data: bool [n]."""
    there = np.ones(len(shapes), bool)
    measured = zip(shapely.centroid(shapes), shapely.area(shapes), strict=True)
    for i, (center, area) in enumerate(measured):
        around = max(1.0, np.sqrt(area / np.pi) / 4)
        x0, y0 = int(max(0, center.x - around)), int(max(0, center.y - around))
        piece = valid[y0:int(center.y + around) + 1, x0:int(center.x + around) + 1]
        there[i] = piece.size == 0 or piece.mean() >= 0.5
    return there


def _ends_with_data(shapes: np.ndarray, tile: Tile, size: tuple[int, int],
                    valid: np.ndarray | None) -> np.ndarray:
    """Which outlines (px of the tile) the image's edge or missing data cut: bool [n]."""
    margin = _BESIDE / min(1.0, tile.scale)
    x0, y0, x1, y1 = shapely.bounds(shapes).T + [
        [tile.x0], [tile.y0], [tile.x0 - size[1]], [tile.y0 - size[0]]]
    cut = (x0 < margin) | (y0 < margin) | (x1 > -margin) | (y1 > -margin)
    if valid is None or valid.all() or not len(shapes):
        return cut
    side = 2 * int(np.ceil(margin)) + 1
    beside = cv2.dilate((~valid).astype(np.uint8), np.ones((side, side), np.uint8))
    points, owner = shapely.get_coordinates(shapes, return_index=True)
    column, row = points.astype(int).T
    touching = beside[row.clip(0, valid.shape[0] - 1), column.clip(0, valid.shape[1] - 1)]
    share = np.bincount(owner, touching, len(shapes)) / np.bincount(owner, minlength=len(shapes))
    return cut | (share >= _CUT_SHARE)


def _shifted(detections: Detections, tile: Tile, size: tuple[int, int]) -> Detections:
    corner = np.array([tile.y0, tile.x0, tile.y0, tile.x0], np.float32)
    return Detections(detections.boxes + corner, detections.scores, detections.classes,
                      detections.masks, size, detections.label_map)
