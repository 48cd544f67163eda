"""One detection a crater out of what overlapping tiles and scales have found.

Craters nest, so a crater is never dropped for lying inside another: two detections are
the same crater only where their outlines agree in place and in size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

SAME_IOU = 0.2
SAME_DIAMETER_RATIO = 2.0
# Of a detection that a tile's edge has cut only a part is seen: it is the same crater as
# a whole one that covers much of it, whatever their sizes. Not most of it: of a thin piece
# half lies outside a whole one that is a pixel or two off.
CUT_COVERED = 0.4


def same_crater_keep(shapes: Sequence[shapely.Polygon] | np.ndarray, scores: np.ndarray,
                     classes: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Which of the outlines stay when every crater is to be there once: bool [n].

    Whole ones win over those that a tile's inner edge cuts, then the higher score.
    """
    return settle(shapes, scores, classes, cut, np.inf)[0]


def settle(shapes: Sequence[shapely.Polygon] | np.ndarray, scores: np.ndarray, classes: np.ndarray,
           cut: np.ndarray, top: float, images: np.ndarray | None = None
           ) -> tuple[np.ndarray, np.ndarray]:
    """Decides, as far as it can be known, which outlines stay as `same_crater_keep` would.

    More outlines may follow, none of which reaches above the line y = `top`. What lies
    above it and depends on nothing that is still open is decided for good, so that outlines
    given part by part come out exactly as if they had been given at once.

    Greedy from the best on, through a spatial index: only outlines that stay ask for their
    neighbours, so that a thousand detections of one crater cost little more than two.

    Args:
      shapes, scores, classes, cut: the outlines (px), each with its score, class and
        whether a tile's inner edge cuts it.
      top: px.
      images: the image of each outline, where several show the same ground (outlines in deg):
        those of one image are told apart already.

    Returns:
      keep, wait: bool [n] each; those that stay, and those that are undecided. The others
      are the same crater as one that stays.
    """
    shapes = np.asarray(shapes, dtype=object)
    areas, bounds = shapely.area(shapes), shapely.bounds(shapes)
    tree = shapely.STRtree(shapes)
    order = np.lexsort((-scores, cut))
    rank = np.empty(len(shapes), int)
    rank[order] = np.arange(len(shapes))
    dropped = np.zeros(len(shapes), bool)
    wait = bounds[:, 3] >= top if len(shapes) else dropped.copy()
    for index in order:
        if dropped[index]:
            continue
        near = tree.query(shapes[index])
        near = near[~dropped[near] & (rank[near] > rank[index])
                    & (classes[near] == classes[index])]
        if images is not None:
            near = near[images[near] != images[index]]
        near = near[_may_be_same(areas[index], bounds[index], areas[near], bounds[near])]
        if near.size:
            overlap = shapely.area(shapely.intersection(shapes[index], shapes[near]))
            alike = near[_same(areas[index], cut[index], areas[near], cut[near], overlap)]
            # Whether an undecided one drops them is undecided too.
            (wait if wait[index] else dropped)[alike] = True
    return ~dropped & ~wait, ~dropped & wait


def _same(area: float, cut: bool, areas: np.ndarray, cuts: np.ndarray,
          overlap: np.ndarray) -> np.ndarray:
    """Which of the others are the same crater as the one, of areas and overlaps of one unit."""
    smaller, larger = np.minimum(area, areas), np.maximum(area, areas)
    iou = overlap / np.maximum(area + areas - overlap, np.finfo(float).tiny)
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
