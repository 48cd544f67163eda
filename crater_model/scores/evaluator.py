"""Scores over a set of images: COCO's average precision and the crater measures.

Every image counts, also those without a label or without a detection, and no number of
instances is cut off. COCO's evaluation runs in faster-coco-eval, which gives
pycocotools' numbers (a test compares them).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from pycocotools import mask as rle

from crater_model.detections import Detections
from crater_model.detections.truth import Truth
from crater_model.scores.craters import CraterMatcher

Scores = dict[str, float | None]


class Evaluator:
    """Collects images and scores them; `reset`, `add` for each image, `result`."""

    def __init__(self, label_map: dict[int, str]):
        self.label_map = label_map
        self.reset()

    def reset(self) -> None:
        """Forgets every image."""
        self._images: list[dict] = []
        self._truth: list[dict] = []
        self._found: list[dict] = []
        self._most_found = 0
        self._matcher = CraterMatcher()

    def add(self, name: str, detections: Detections, truth: Truth) -> None:
        """One image's detections and labels, both in px of the same image.

        Raises:
          ValueError: the two are of different image sizes.
        """
        if tuple(detections.size) != tuple(truth.size):
            raise ValueError(f"Invalid sizes for image {name}: detections are for "
                             f"{detections.size}, labels for {truth.size} (height, width)")
        height, width = truth.size
        image = len(self._images) + 1
        self._images.append({"id": image, "width": width, "height": height, "file_name": name})
        shapes = detections.polygons()
        self._most_found = max(self._most_found, len(detections))
        for rings, class_id, crowd in zip(truth.rings, truth.classes, truth.crowd, strict=True):
            mask = encode_rings(rings, height, width)
            self._truth.append({
                "id": len(self._truth) + 1, "image_id": image, "category_id": int(class_id),
                "segmentation": mask, "area": float(rle.area(mask)), "iscrowd": int(crowd),
                "bbox": _ring_box(rings)})
        for shape, box, score, class_id in zip(shapes, detections.boxes, detections.scores,
                                               detections.classes, strict=True):
            ymin, xmin, ymax, xmax = (float(v) for v in box)
            ring = np.asarray(shape.exterior.coords)[:-1]
            self._found.append({
                "image_id": image, "category_id": int(class_id), "score": float(score),
                "segmentation": encode_rings([ring], height, width),
                "bbox": [xmin, ymin, xmax - xmin, ymax - ymin]})
        self._matcher.add(shapes, detections, truth)

    def result(self) -> Scores:
        """The scores by name; None where there is none (no label to find).

        `mask_AP`, `mask_AP50`, `mask_AP75`, `mask_AP_small`, `_medium`, `_large` (up to
        32^2 px^2, up to 96^2, above, by area), `mask_AR` and `mask_AR_small`, `_medium`,
        `_large`, the same for `box_`, all 0..1 as COCO defines them but without its limit
        of 100 detections an image; the crater measures of `craters.CraterMatcher.result`;
        and counts of `images`, `instances`, `detections`.
        """
        scores: Scores = {
            "images": float(len(self._images)), "instances": float(len(self._truth)),
            "detections": float(len(self._found))}
        for kind, prefix in (("segm", "mask"), ("bbox", "box")):
            scores.update(self._coco(kind, prefix))
        scores.update(self._matcher.result())
        return scores

    def matches(self) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
        """See `CraterMatcher.matches`."""
        return self._matcher.matches()

    def by_diameter(self) -> list[dict[str, Any]]:
        """See `CraterMatcher.by_diameter`."""
        return self._matcher.by_diameter()

    def _coco(self, kind: str, prefix: str) -> Scores:
        if not self._found:
            # COCO gives 0 wherever something was there to find.
            there = {size: any(low <= t["area"] <= high and not t["iscrowd"] for t in self._truth)
                     for size, (low, high) in _AREAS.items()}
            return {f"{prefix}_{name}": 0.0 if there[size] else None
                    for name, (_, _, size) in _COCO_SCORES.items()}
        truth = COCO({"images": self._images, "annotations": [dict(t) for t in self._truth],
                      "categories": [{"id": i, "name": n} for i, n in self.label_map.items()]})
        found = truth.loadRes([_result(entry, kind) for entry in self._found])
        evaluation = COCOeval_faster(truth, found, kind, print_function=lambda *_: None)
        evaluation.params.maxDets = [max(1, self._most_found)]
        evaluation.params.areaRng = [list(limits) for limits in _AREAS.values()]
        evaluation.params.areaRngLbl = list(_AREAS)
        evaluation.evaluate()
        evaluation.accumulate()
        values = {}
        for name, (measure, threshold, size) in _COCO_SCORES.items():
            # Threshold of IoU first; area and the (only) limit of detections last.
            of_size = evaluation.eval[measure][..., list(_AREAS).index(size), 0]
            values[f"{prefix}_{name}"] = _mean(of_size[threshold])
        return values


# COCO's ranges of area, px^2, both ends included.
_AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2),
          "large": (96.0**2, 1e10)}
# What of COCO's result each score is the mean of: measure, IoU of 0.50, 0.55 .. 0.95, range.
_COCO_SCORES = {
    "AP": ("precision", slice(None), "all"), "AP50": ("precision", 0, "all"),
    "AP75": ("precision", 5, "all"),
    **{f"AP_{size}": ("precision", slice(None), size) for size in ("small", "medium", "large")},
    "AR": ("recall", slice(None), "all"),
    **{f"AR_{size}": ("recall", slice(None), size) for size in ("small", "medium", "large")}}


def _result(entry: dict[str, Any], kind: str) -> dict[str, Any]:
    unwanted = "segmentation" if kind == "bbox" else "bbox"
    return {key: value for key, value in entry.items() if key != unwanted}


def _mean(values: np.ndarray) -> float | None:
    """The mean over what is defined; COCO marks the rest with -1."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None


def encode_rings(rings, height: int, width: int) -> dict:
    """COCO run-length mask of outline rings (x, y in px)."""
    flat = [np.asarray(ring, np.float64).reshape(-1).tolist() for ring in rings]
    return rle.merge(rle.frPyObjects(flat, height, width))


def _ring_box(rings) -> list[float]:
    points = np.concatenate([np.asarray(ring) for ring in rings])
    low, high = points.min(axis=0), points.max(axis=0)
    return [float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])]
