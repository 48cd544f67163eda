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
    """Which of the outlines stay when every crater is to be there once: bool [n]."""
    shapes = np.asarray(shapes, dtype=object)
    areas = shapely.area(shapes)
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    pairs = first < second
    first, second = first[pairs], second[pairs]
    same_class = classes[first] == classes[second]
    first, second = first[same_class], second[same_class]
    overlap = shapely.area(shapely.intersection(shapes[first], shapes[second]))
    smaller = np.minimum(areas[first], areas[second])
    larger = np.maximum(areas[first], areas[second])
    iou = overlap / np.maximum(areas[first] + areas[second] - overlap, 1e-9)
    alike = (iou >= SAME_IOU) & (larger <= SAME_DIAMETER_RATIO**2 * smaller)
    small_is_first = areas[first] <= areas[second]
    small_cut = np.where(small_is_first, cut[first], cut[second])
    alike |= small_cut & (overlap >= CUT_COVERED * smaller)

    rank = np.empty(len(shapes), int)
    rank[np.lexsort((-scores, cut))] = np.arange(len(shapes))
    neighbours: list[list[int]] = [[] for _ in shapes]
    for a, b in zip(first[alike], second[alike]):
        winner, loser = (a, b) if rank[a] < rank[b] else (b, a)
        neighbours[winner].append(loser)
    keep = np.ones(len(shapes), bool)
    for index in np.argsort(rank):
        if keep[index]:
            keep[neighbours[index]] = False
    return keep
