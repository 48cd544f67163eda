"""pycocotools' own scores of labels and detections, for both sides of a comparison."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

import numpy as np


def document(sizes: Sequence[tuple[int, int]], annotations: list[dict]) -> dict:
    """Labels of one class in images of these (height, width) px, numbered from 1."""
    return {"images": [{"id": number, "width": width, "height": height}
                       for number, (height, width) in enumerate(sizes, start=1)],
            "annotations": annotations, "categories": [{"id": 1, "name": "crater"}]}


def entry(image: int, rings: Sequence, size: tuple[int, int], **more) -> dict:
    """A label or a detection in that image, by its run-length mask."""
    from crater_model.scores.evaluator import encode_rings

    return {"image_id": image, "category_id": 1, "segmentation": encode_rings(rings, *size), **more}


def precision(kind: str, labels: dict, found: list[dict], most: int,
              areas: Sequence[tuple[float, float]] = ()) -> np.ndarray:
    """[IoU, recall, range of areas], with at most `most` detections an image.

    Args:
      kind: "bbox" or "segm".
      labels: a `document`.
      areas: px^2; its own ranges, of which the first is every area, where none is given.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(sys.stderr):
        truth = COCO()
        truth.dataset = {**labels, "annotations": [dict(one) for one in labels["annotations"]]}
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(found), kind)
        if areas:
            run.params.areaRng = [list(area) for area in areas]
            run.params.areaRngLbl = [str(area) for area in areas]
        run.params.maxDets = [1, 10, most]
        run.evaluate()
        run.accumulate()
    return run.eval["precision"][:, :, 0, :, -1]
