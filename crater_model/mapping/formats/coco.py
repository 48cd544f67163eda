"""COCO results: run-length masks in px of each image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from pycocotools import mask as rle

from crater_model.files import write_bytes
from crater_model.mapping.maps import Map


def write(path: Path, maps: Sequence[Map]) -> Path:
    """Writes a result for each crater; `image_id` counts the images from 1."""
    results = [result for number, entry in enumerate(maps, start=1)
               for result in _results(number, entry)]
    return write_bytes(path, (json.dumps(results) + "\n").encode())


def _results(number: int, entry: Map):
    craters = entry.craters
    height, width = craters.size
    boxes = shapely.bounds(craters.outlines).reshape(-1, 4)
    for outline, box, score, class_id in zip(craters.outlines, boxes, craters.scores,
                                             craters.classes, strict=True):
        ring = np.asarray(outline.exterior.coords)[:-1].reshape(-1).tolist()
        mask = rle.frPyObjects([ring], height, width)[0]
        left, top, right, bottom = box.tolist()
        yield {"image_id": number, "category_id": int(class_id), "score": float(score),
               "bbox": [left, top, right - left, bottom - top],
               "segmentation": {"size": mask["size"], "counts": mask["counts"].decode()}}
