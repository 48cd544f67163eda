"""One detection a crater out of what overlapping tiles and scales have found.

Craters nest, so a crater is never dropped for lying inside another: two detections are
the same crater only where their outlines agree in place and in size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from crater_model.detections import Detections
from crater_model.mapping.outlines import outlines

SAME_IOU = 0.2
SAME_DIAMETER_RATIO = 2.0
# Of a detection that a tile's edge has cut only a part is seen: it is the same crater as
# a whole one that covers most of it, whatever their sizes.
CUT_COVERED = 0.6


def merge(parts: Sequence[Detections], cut: Sequence[np.ndarray]) -> Detections:
    """Merges detections given in px of one image.

    Args:
      parts: the tiles' detections, all with the same image size.
      cut: for each part, bool [n]: touches an inner edge of its tile.

    Returns:
      The kept detections, best first; whole ones win over cut ones, then the higher score.
    """
    if len(parts) == 1:
        return parts[0]
    joined = Detections(
        np.concatenate([p.boxes for p in parts]), np.concatenate([p.scores for p in parts]),
        np.concatenate([p.classes for p in parts]), np.concatenate([p.masks for p in parts]),
        parts[0].size, parts[0].label_map)
    if len(joined) == 0:
        return joined
    keep = same_crater_keep(outlines(joined), joined.scores, joined.classes,
                            np.concatenate(list(cut)))
    kept = np.flatnonzero(keep)
    return joined.select(kept[np.argsort(-joined.scores[kept], kind="stable")])


def same_crater_keep(shapes: Sequence[shapely.Polygon], scores: np.ndarray, classes: np.ndarray,
                     cut: np.ndarray) -> np.ndarray:
    """Which of the outlines stay when every crater is to be there once: bool [n].

    Greedy from the best on, through a spatial index: only outlines that stay ask for their
    neighbours, so that a thousand detections of one crater cost little more than two.
    """
    shapes = np.asarray(shapes, dtype=object)
    areas, bounds = shapely.area(shapes), shapely.bounds(shapes)
    tree = shapely.STRtree(shapes)
    order = np.lexsort((-scores, cut))
    rank = np.empty(len(shapes), int)
    rank[order] = np.arange(len(shapes))
    keep = np.ones(len(shapes), bool)
    for index in order:
        if not keep[index]:
            continue
        near = tree.query(shapes[index])
        near = near[keep[near] & (rank[near] > rank[index]) & (classes[near] == classes[index])]
        near = near[_may_be_same(areas[index], bounds[index], areas[near], bounds[near])]
        if near.size:
            overlap = shapely.area(shapely.intersection(shapes[index], shapes[near]))
            keep[near[_same(areas[index], cut[index], areas[near], cut[near], overlap)]] = False
    return keep


def _same(area: float, cut: bool, areas: np.ndarray, cuts: np.ndarray,
          overlap: np.ndarray) -> np.ndarray:
    """Which of the others are the same crater as the one; areas and overlaps in px^2."""
    smaller, larger = np.minimum(area, areas), np.maximum(area, areas)
    iou = overlap / np.maximum(area + areas - overlap, 1e-9)
    alike = (iou >= SAME_IOU) & (larger <= SAME_DIAMETER_RATIO**2 * smaller)
    smaller_is_cut = np.where(areas <= area, cuts, cut)
    return alike | (smaller_is_cut & (overlap >= CUT_COVERED * smaller))


def _may_be_same(area: float, bounds: np.ndarray, areas: np.ndarray,
                 others: np.ndarray) -> np.ndarray:
    """Whether the bounding boxes overlap enough for `_same` to be possible at all."""
    width = np.minimum(bounds[2], others[:, 2]) - np.maximum(bounds[0], others[:, 0])
    height = np.minimum(bounds[3], others[:, 3]) - np.maximum(bounds[1], others[:, 1])
    most = np.maximum(width, 0) * np.maximum(height, 0)
    return ((most >= SAME_IOU / (1 + SAME_IOU) * (area + areas))
            | (most >= CUT_COVERED * np.minimum(area, areas)))
