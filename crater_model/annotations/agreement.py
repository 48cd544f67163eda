"""How far several people agree who labelled the same images."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from crater_model.annotations.annotators import CONSENSUS, annotators, sets_of, shapes_of
from crater_model.annotations.dataset import load_dataset
from crater_model.annotations.scene import Dataset
from crater_model.detections.matching import RULES, match
from crater_model.errors import ConfigError, DataError


def agreement(folder: str | Path, rule: str = "outline", min_diameter: float = 0.0
              ) -> dict[str, Any]:
    """F1 of each annotator with each other, over the images that both have labelled.

    A crater of one of them counts from `min_diameter` on, and may be matched by one of any
    size of the other, so that a limit between two drawings of a crater does no harm.

    Args:
      folder: a data set with labels of two annotators or more.
      rule: by which two labels are one crater: "outline" (IoU of 0.5) or "catalogue" (see
        `detections.matching`).
      min_diameter: px.

    Returns:
      `annotators` (name -> labels), `pairs` (each with `one`, `other`, `images`, `f1`, `found`
      (share of the other's craters that `one` marks), `confirmed` (share of `one`'s that the
      other marks), `median_iou` of the matched), `mean_f1` (of people, the consensus left out),
      `rule` and `min_diameter_px`; values are None where there is nothing to compare.

    Raises:
      ConfigError: an unknown rule.
      DataError: the data set is not valid, or has fewer than two annotators.
    """
    if rule not in RULES:
        raise ConfigError(f"rule: got {rule!r}, expected one of {', '.join(RULES)}")
    dataset = load_dataset(folder, every_annotator=True)
    names = annotators(dataset)
    if len(names) < 2:
        raise DataError(f"{folder}: has labels of {len(names)} annotator(s), expected two or more; "
                        "import labels that several people made of the same images")
    counts = _counts(dataset, rule, min_diameter)
    pairs = [_pair(one, other, counts[one, other])
             for one, other in itertools.combinations(names, 2) if (one, other) in counts]
    scores = [pair["f1"] for pair in pairs
              if pair["f1"] is not None and CONSENSUS not in (pair["one"], pair["other"])]
    return {"annotators": names, "pairs": pairs,
            "mean_f1": round(float(np.mean(scores)), 4) if scores else None,
            "rule": rule, "min_diameter_px": min_diameter}


def table(result: dict[str, Any]) -> str:
    """`agreement`'s F1 as lines of text, a row and a column for each annotator."""
    names = list(result["annotators"])
    values = {frozenset((p["one"], p["other"])): p["f1"] for p in result["pairs"]}
    width = max(6, *(len(name) for name in names))

    def cell(one: str, other: str) -> str:
        value = values.get(frozenset((one, other)))
        return "-" if value is None else f"{value:.3f}"

    rows = [["F1", *names]] + [[one, *(cell(one, other) for other in names)] for one in names]
    lines = ["  ".join(text.rjust(width) for text in row) for row in rows]
    mean = result["mean_f1"]
    return "\n".join([*lines, f"mean: {'-' if mean is None else f'{mean:.3f}'}"])


def _counts(dataset: Dataset, rule: str, min_diameter: float) -> dict:
    """(one, other) -> [images, large of one, matched of those, the same of the other, IoUs]."""
    counts: dict = defaultdict(lambda: [0, 0, 0, 0, 0, []])
    for scene in dataset.scenes:
        shapes = {name: shapes_of(scene, [i for i in scene.instances if i.annotator == name
                                          and not i.crowd]) for name in sets_of(scene)}
        for one, other in itertools.combinations(shapes, 2):
            a, b = shapes[one], shapes[other]
            by = match(rule, a, b, np.ones(len(a)))
            second = np.flatnonzero(by >= 0)
            first = by[second]
            large_a, large_b = a.diameters >= min_diameter, b.diameters >= min_diameter
            shared = shapely.area(shapely.intersection(a.polygons[first], b.polygons[second]))
            count = counts[one, other]
            for place, value in enumerate((1, large_a.sum(), large_a[first].sum(), large_b.sum(),
                                           large_b[second].sum())):
                count[place] += int(value)
            count[5] += (shared / (a.areas[first] + b.areas[second] - shared))[
                large_a[first] | large_b[second]].tolist()
    return counts


def _pair(one: str, other: str, count: list) -> dict[str, Any]:
    images, of_one, one_matched, of_other, other_matched, ious = count
    confirmed = one_matched / of_one if of_one else None
    found = other_matched / of_other if of_other else None
    f1 = None
    if confirmed is not None and found is not None:
        f1 = 2 * confirmed * found / (confirmed + found) if confirmed + found else 0.0

    def rounded(value: float | None) -> float | None:
        return None if value is None else round(float(value), 4)

    return {"one": one, "other": other, "images": images, "f1": rounded(f1),
            "found": rounded(found), "confirmed": rounded(confirmed),
            "median_iou": rounded(float(np.median(ious)) if ious else None)}
