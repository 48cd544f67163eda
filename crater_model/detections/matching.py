"""Which detection finds which labelled crater, by two rules.

- *outline*: the outlines' IoU is at least 0.5.
- *catalogue*: (dx^2 + dy^2) / min(r)^2 < 1.8 and |dr| / min(r) < 1, the rule by which
  crater catalogues are compared (Silburt et al. 2019, section 2.4, for DeepMoon).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

OUTLINE_IOU = 0.5
CATALOGUE_DISTANCE, CATALOGUE_RADIUS = 1.8, 1.0
RULES = ("outline", "catalogue")


@dataclass(frozen=True)
class Shapes:
    """Outlines of one image, with what both rules need of them.

    Attributes:
      polygons: shapely polygons, object [n], px.
      classes: int [n].
      middles: centroids, shapely points, object [n].
      areas: px^2, [n].
      diameters: of the circles of the same area, px, [n].
    """

    polygons: np.ndarray
    classes: np.ndarray
    middles: np.ndarray
    areas: np.ndarray
    diameters: np.ndarray

    @classmethod
    def of(cls, polygons, classes: np.ndarray) -> Shapes:
        """Measures polygons (a sequence)."""
        polygons = np.asarray([*polygons, None], dtype=object)[:-1]
        areas = shapely.area(polygons)
        return cls(polygons, np.asarray(classes), shapely.centroid(polygons), areas,
                   2.0 * np.sqrt(areas / np.pi))

    def __len__(self) -> int:
        return len(self.polygons)

    def select(self, keep: np.ndarray) -> Shapes:
        """Those at these indices, or where this mask is true."""
        return Shapes(self.polygons[keep], self.classes[keep], self.middles[keep],
                      self.areas[keep], self.diameters[keep])


def match(rule: str, found: Shapes, wanted: Shapes, scores: np.ndarray) -> np.ndarray:
    """Which detection finds each label, -1 where none: int [len(wanted)].

    The detection of the best score takes first, of the labels of its class that are still
    free the one that it fits best; each label is found once.

    Args:
      rule: one of `RULES`.
      scores: of the detections, [len(found)].
    """
    pairs = _by_outline if rule == "outline" else _by_catalogue
    first, second, quality = pairs(found, wanted)
    order = np.lexsort((-quality, -scores[first]))
    finder, used = [-1] * len(wanted), [False] * len(found)
    for a, b in zip(first[order].tolist(), second[order].tolist(), strict=True):
        if not used[a] and finder[b] < 0:
            used[a], finder[b] = True, a
    return np.array(finder, int)


def covered(found: Shapes, crowds: Shapes) -> np.ndarray:
    """Which detections lie by half or more in a crowd of their class: bool [len(found)]."""
    inside = np.zeros(len(found), bool)
    first, second = _touching(found, crowds)
    share = _overlap(found, crowds, first, second) / np.maximum(found.areas[first], 1e-9)
    inside[first[share >= OUTLINE_IOU]] = True
    return inside


def best_f1(scores: np.ndarray, right: np.ndarray, wanted: int) -> dict[str, float | None]:
    """Precision, recall and F1 at the score threshold where F1 is highest.

    Args:
      scores: of the detections, [n]; right: bool [n], which find a label.
      wanted: number of labels; without any all is None.
    """
    names = ("precision", "recall", "f1", "threshold")
    if wanted == 0:
        return dict.fromkeys(names)
    if scores.size == 0:
        return {"precision": None, "recall": 0.0, "f1": 0.0, "threshold": None}
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / wanted
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    # A threshold cannot part equal scores: only the last of each counts.
    last = np.append(np.diff(scores[order]) != 0, True)
    best = int(np.argmax(np.where(last, f1, -1.0)))
    return dict(zip(names, (float(precision[best]), float(recall[best]), float(f1[best]),
                            float(scores[order][best])), strict=True))


def _by_outline(found: Shapes, wanted: Shapes):
    """Pairs of an IoU of `OUTLINE_IOU` or more: indices of both, and the IoU."""
    first, second = _touching(found, wanted)
    # The smaller area over the larger is the most that the IoU can be.
    a, b = found.areas[first], wanted.areas[second]
    near = np.minimum(a, b) >= OUTLINE_IOU * np.maximum(a, b)
    first, second = first[near], second[near]
    overlap = _overlap(found, wanted, first, second)
    union = found.areas[first] + wanted.areas[second] - overlap
    quality = overlap / np.maximum(union, 1e-9)
    ok = quality >= OUTLINE_IOU
    return first[ok], second[ok], quality[ok]


def _by_catalogue(found: Shapes, wanted: Shapes):
    """Pairs by the catalogue rule: indices of both, and how well they fit (0 is best)."""
    radii, wanted_radii = found.diameters / 2.0, wanted.diameters / 2.0
    # The tree leaves out nothing: min(r) is at most the detection's radius.
    first, second = shapely.STRtree(wanted.middles).query(
        found.middles, predicate="dwithin", distance=radii * CATALOGUE_DISTANCE ** 0.5)
    same = found.classes[first] == wanted.classes[second]
    first, second = first[same], second[same]
    smaller = np.maximum(np.minimum(radii[first], wanted_radii[second]), 1e-9)
    distance = (shapely.distance(found.middles[first], wanted.middles[second]) / smaller) ** 2
    change = np.abs(radii[first] - wanted_radii[second]) / smaller
    ok = (distance < CATALOGUE_DISTANCE) & (change < CATALOGUE_RADIUS)
    return first[ok], second[ok], -(distance / CATALOGUE_DISTANCE + change)[ok]


def _touching(found: Shapes, wanted: Shapes):
    """Indices of the pairs of one class whose bounding boxes touch."""
    first, second = shapely.STRtree(wanted.polygons).query(found.polygons)
    same = found.classes[first] == wanted.classes[second]
    return first[same], second[same]


def _overlap(found: Shapes, wanted: Shapes, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return shapely.area(shapely.intersection(found.polygons[first], wanted.polygons[second]))
