"""The crater measures: precision, recall and F1, completeness by diameter, and how well
centre and diameter are met. `matching` holds the rules.

Detections of any score come in. What is quoted at "the best F1" counts those from the score
on that makes F1 highest, for each rule its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely

from crater_model.detections import Detections
from crater_model.detections.matching import RULES, Shapes, best_f1, covered, match
from crater_model.detections.truth import Truth

# Below it experts themselves differ widely: one bin, px.
SMALLEST_DIAMETER = 10.0
_PREFIX = {"outline": "", "catalogue": "catalogue_"}


class CraterMatcher:
    """Matches detections and labels image by image, best score first, each label once."""

    def __init__(self):
        self._wanted = 0
        self._diameters: list[np.ndarray] = []
        self._errors: list[np.ndarray] = []
        self._scores: dict[str, list[np.ndarray]] = {rule: [] for rule in RULES}
        self._right: dict[str, list[np.ndarray]] = {rule: [] for rule in RULES}
        self._finders: dict[str, list[np.ndarray]] = {rule: [] for rule in RULES}

    def add(self, shapes: Sequence[shapely.Polygon], detections: Detections,
            truth: Truth) -> None:
        """One image; `shapes` are the detections' outlines.

        A crowd is nothing to find, and what lies by half in one of its class and finds no
        label is not counted as wrong.
        """
        found = Shapes.of(shapes, detections.classes)
        labels = Shapes.of(truth.outlines(), truth.classes)
        wanted = labels.select(~truth.crowd)
        ignored = covered(found, labels.select(truth.crowd))
        self._wanted += len(wanted)
        self._diameters.append(wanted.diameters)
        for rule in RULES:
            finder = match(rule, found, wanted, detections.scores)
            right = np.zeros(len(found), bool)
            right[finder[finder >= 0]] = True
            counted = right | ~ignored
            self._scores[rule].append(detections.scores[counted])
            self._right[rule].append(right[counted])
            scores = np.append(detections.scores, -1.0)[finder]
            self._finders[rule].append(scores)
            if rule == "outline":
                self._errors.append(_errors(found, wanted, finder, scores))

    def result(self) -> dict[str, float | None]:
        """`precision`, `recall`, `f1`, `threshold` by outline, and `catalogue_...`; None
        where nothing is labelled. The threshold is the score of the best F1.

        Of the pairs by outline at the best F1, None where there is none:
        `centre_error_px` and `centre_error_relative`, the median distance of the centroids in
        px and in radii of the label; `diameter_error` and `diameter_bias`, the medians of
        |d - label's| / label's and of the same with its sign (positive: found too large),
        d of the circle of the same area.
        """
        result: dict[str, float | None] = {}
        for rule, prefix in _PREFIX.items():
            values = best_f1(*self.matches()[rule])
            result.update({f"{prefix}{name}": value for name, value in values.items()})
        errors = _join(self._errors, (0, 4))
        errors = errors[errors[:, 0] >= self._threshold("outline")]
        columns = {"centre_error_px": errors[:, 1], "centre_error_relative": errors[:, 2],
                   "diameter_error": np.abs(errors[:, 3]), "diameter_bias": errors[:, 3]}
        result.update({name: float(np.median(column)) if len(column) else None
                       for name, column in columns.items()})
        return result

    def matches(self) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
        """By rule: scores [n] of the detections, which are right [n], number of labels."""
        return {rule: (_join(self._scores[rule]), _join(self._right[rule]).astype(bool),
                       self._wanted) for rule in RULES}

    def by_diameter(self) -> list[dict[str, Any]]:
        """Completeness by diameter of the labels, at the best F1.

        Returns:
          Bins from below `SMALLEST_DIAMETER` to the largest label's, in steps of sqrt(2):
          `from_px` (included), `to_px`, `labels` (their number), `recall` by outline and
          `catalogue_recall`, 0..1, None where there is no label. Empty without any label.
        """
        diameters = _join(self._diameters)
        if not diameters.size:
            return []
        steps = max(0, math.floor(2.0 * math.log2(diameters.max() / SMALLEST_DIAMETER)) + 1)
        edges = np.append(0.0, SMALLEST_DIAMETER * 2.0 ** (np.arange(steps + 1) / 2.0))
        place = np.minimum(np.searchsorted(edges, diameters, side="right") - 1, steps)
        labels = np.bincount(place, minlength=steps + 1)
        hits = {rule: np.bincount(place, _join(self._finders[rule]) >= self._threshold(rule),
                                  minlength=steps + 1) for rule in RULES}
        return [{"from_px": round(float(edges[i]), 2), "to_px": round(float(edges[i + 1]), 2),
                 "labels": int(labels[i]),
                 **{f"{prefix}recall": float(hits[rule][i] / labels[i]) if labels[i] else None
                    for rule, prefix in _PREFIX.items()}} for i in range(steps + 1)]

    def _threshold(self, rule: str) -> float:
        threshold = best_f1(*self.matches()[rule])["threshold"]
        return np.inf if threshold is None else threshold


def _errors(found: Shapes, wanted: Shapes, finder: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Of each pair: score, distance px, distance / radius, change of diameter: [pairs, 4]."""
    second = np.flatnonzero(finder >= 0)
    first, diameters = finder[second], np.maximum(wanted.diameters[second], 1e-9)
    distance = shapely.distance(found.middles[first], wanted.middles[second])
    return np.stack([scores[second], distance, 2.0 * distance / diameters,
                     found.diameters[first] / diameters - 1.0], axis=1)


def _join(parts: list[np.ndarray], empty: tuple[int, ...] = (0,)) -> np.ndarray:
    return np.concatenate([*parts, np.zeros(empty)])
