"""The crater measures: precision, recall and F1, by two rules of matching.

- *outline*: the outlines' IoU is at least 0.5.
- *catalogue*: (dx^2 + dy^2) / min(r)^2 < 1.8 and |dr| / min(r) < 1, the rule by which
  crater catalogues are compared (Silburt et al. 2019, section 2.4, for DeepMoon).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from crater_model.detections import Detections
from crater_model.evaluation.truth import Truth

OUTLINE_IOU = 0.5
CATALOGUE_DISTANCE, CATALOGUE_RADIUS = 1.8, 1.0
# Detections of any score come in; precision and recall are quoted at the best F1.
RULES = ("outline", "catalogue")


class CraterMatcher:
    """Matches detections and labels image by image, best score first, each label once."""

    def __init__(self):
        self._scores: list[np.ndarray] = []
        self._right: dict[str, list[np.ndarray]] = {rule: [] for rule in RULES}
        self._diameters: list[np.ndarray] = []
        self._found_by: list[np.ndarray] = []
        self._wanted = 0

    def add(self, shapes: Sequence[shapely.Polygon], detections: Detections,
            truth: Truth) -> None:
        """One image; `shapes` are the detections' outlines. Crowds are left out."""
        real = np.flatnonzero(~truth.crowd)
        wanted = truth.outlines()[real]
        found = np.asarray(list(shapes) + [None], dtype=object)[:-1]
        self._wanted += len(wanted)
        self._scores.append(detections.scores)
        pairs = _pairs(found, wanted, detections.classes, truth.classes[real])
        for rule in RULES:
            first, second, quality = _rule(rule, found, wanted, *pairs)
            finder = _assign(len(found), len(wanted), detections.scores, first, second, quality)
            right = np.zeros(len(found), bool)
            right[finder[finder >= 0]] = True
            self._right[rule].append(right)
            if rule == "outline":
                self._found_by.append(np.where(
                    finder >= 0, np.append(detections.scores, 0.0)[finder], -1.0))
        self._diameters.append(2.0 * np.sqrt(shapely.area(wanted) / np.pi))

    def result(self) -> dict[str, float | None]:
        """`precision`, `recall`, `f1`, `threshold` by outline, and `catalogue_...`.

        The threshold is the score from which detections count so that F1 is highest.
        All None where nothing is labelled.
        """
        result: dict[str, float | None] = {}
        for rule, prefix in (("outline", ""), ("catalogue", "catalogue_")):
            values = best_f1(*self.matches()[rule])
            result.update({f"{prefix}{name}": value for name, value in values.items()})
        return result

    def matches(self) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
        """By rule: scores [n] of all detections, which are right [n], number of labels."""
        scores = np.concatenate([*self._scores, np.zeros(0)])
        return {rule: (scores, np.concatenate([*self._right[rule], np.zeros(0, bool)]),
                       self._wanted) for rule in RULES}

    def found_by_diameter(self) -> tuple[np.ndarray, np.ndarray]:
        """Diameters (px) of the labels, and which are found at the best F1, by outline."""
        threshold = best_f1(*self.matches()["outline"])["threshold"]
        scores = np.concatenate([*self._found_by, np.zeros(0)])
        return (np.concatenate([*self._diameters, np.zeros(0)]),
                scores >= (np.inf if threshold is None else threshold))


def best_f1(scores: np.ndarray, right: np.ndarray, wanted: int) -> dict[str, float | None]:
    """Precision, recall and F1 at the score threshold where F1 is highest."""
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
                            float(scores[order][best]))))


def _pairs(found, wanted, found_classes, wanted_classes):
    """Indices of detections and labels of one class that may match."""
    if not len(found) or not len(wanted):
        return np.zeros(0, int), np.zeros(0, int)
    # The catalogue rule allows circles that do not touch: search sqrt(1.8) radii around.
    reach = np.sqrt(shapely.area(found) / np.pi) * 2.0
    first, second = shapely.STRtree(wanted).query(
        shapely.buffer(shapely.centroid(found), reach), predicate="intersects")
    same = found_classes[first] == wanted_classes[second]
    return first[same], second[same]


def _rule(rule: str, found, wanted, first, second):
    """The pairs that match by the rule, and how well (higher is better)."""
    if rule == "outline":
        overlap = shapely.area(shapely.intersection(found[first], wanted[second]))
        union = shapely.area(found[first]) + shapely.area(wanted[second]) - overlap
        quality = overlap / np.maximum(union, 1e-9)
        ok = quality >= OUTLINE_IOU
    else:
        a, b = shapely.centroid(found[first]), shapely.centroid(wanted[second])
        r_a = np.sqrt(shapely.area(found[first]) / np.pi)
        r_b = np.sqrt(shapely.area(wanted[second]) / np.pi)
        smaller = np.maximum(np.minimum(r_a, r_b), 1e-9)
        distance = (shapely.get_x(a) - shapely.get_x(b))**2
        distance = (distance + (shapely.get_y(a) - shapely.get_y(b))**2) / smaller**2
        change = np.abs(r_a - r_b) / smaller
        ok = (distance < CATALOGUE_DISTANCE) & (change < CATALOGUE_RADIUS)
        quality = -(distance / CATALOGUE_DISTANCE + change)
    return first[ok], second[ok], quality[ok]


def _assign(found: int, wanted: int, scores, first, second, quality) -> np.ndarray:
    """Which detection finds each label, -1 where none: best score first takes its best
    free label. int [wanted]."""
    used, finder = np.zeros(found, bool), np.full(wanted, -1)
    for index in np.lexsort((-quality, -scores[first])):
        a, b = first[index], second[index]
        if not used[a] and finder[b] < 0:
            used[a], finder[b] = True, a
    return finder
