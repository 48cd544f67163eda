"""Detections to files: outlines with their measures, one row a detection."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle
from shapely.geometry import Polygon, mapping

from crater_model.annotations.pictures import class_color, overlay
from crater_model.annotations.pixels import encode_png
from crater_model.detections import Detections
from crater_model.files import write_bytes
from crater_model.mapping.outlines import outlines

# Written coordinates keep a hundredth of a pixel.
_DECIMALS = 2


def write_detections(path: str | Path, names: Sequence[str], images: Sequence[np.ndarray],
                     found: Sequence[Detections]) -> Path:
    """Writes the detections of some images to one file, whole or not at all.

    Args:
      path: `.geojson` (outlines in px, x right and y down), `.csv` (a row a detection),
        `.json` (COCO results with run-length masks; image_id counts the images from 1) or
        `.png` (the outlines over the one image).
      names, found: of each image its name and detections.
      images: the pixels of the one image for a picture; not looked at otherwise.
    """
    path = Path(path)
    return write_bytes(path, _WRITERS[path.suffix.lower()](names, images, found))


def rows(name: str, detections: Detections) -> list[dict[str, Any]]:
    """The table of one image's detections.

    Each row: image, class, score, x, y (centre of the outline, px), diameter (px, of the
    circle of equal area), and the outline (shapely, px).
    """
    table = []
    for shape, score, class_id in zip(outlines(detections), detections.scores,
                                      detections.classes):
        table.append({
            "image": name, "class": detections.label_map.get(int(class_id), str(class_id)),
            "score": round(float(score), 4), "x_px": round(shape.centroid.x, _DECIMALS),
            "y_px": round(shape.centroid.y, _DECIMALS),
            "diameter_px": round(2.0 * float(np.sqrt(shape.area / np.pi)), _DECIMALS),
            "outline": shape})
    return table


def _geojson(names, images, found) -> bytes:
    features = []
    for name, detections in zip(names, found):
        for row in rows(name, detections):
            shape = row.pop("outline")
            ring = np.round(np.asarray(shape.exterior.coords), _DECIMALS)
            features.append({"type": "Feature", "geometry": mapping(Polygon(ring)),
                             "properties": row})
    return (json.dumps({"type": "FeatureCollection", "coordinates": "px, x right, y down",
                        "features": features}) + "\n").encode()


def _csv(names, images, found) -> bytes:
    out = io.StringIO()
    columns = ("image", "class", "score", "x_px", "y_px", "diameter_px")
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for name, detections in zip(names, found):
        writer.writerows(rows(name, detections))
    return out.getvalue().encode()


def _coco(names, images, found) -> bytes:
    results = []
    for number, detections in enumerate(found, start=1):
        height, width = detections.size
        for shape, box, score, class_id in zip(outlines(detections), detections.boxes,
                                               detections.scores, detections.classes):
            ring = np.asarray(shape.exterior.coords)[:-1].reshape(-1).tolist()
            mask = rle.merge(rle.frPyObjects([ring], height, width))
            ymin, xmin, ymax, xmax = (float(v) for v in box)
            results.append({
                "image_id": number, "category_id": int(class_id), "score": float(score),
                "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
                "segmentation": {"size": mask["size"], "counts": mask["counts"].decode()}})
    return (json.dumps(results) + "\n").encode()


def _png(names, images, found) -> bytes:
    image, detections = images[0], found[0]
    rings = [np.asarray(shape.exterior.coords) for shape in outlines(detections)]
    colors = [class_color(int(class_id)) for class_id in detections.classes]
    # Small images are shown larger, so that thin outlines can be told from the rims.
    zoom = max(1.0, min(4.0, 1024 / max(image.shape[:2])))
    return encode_png(overlay(image, rings, color=colors, zoom=zoom))


_WRITERS: dict[str, Callable[..., bytes]] = {
    ".geojson": _geojson, ".csv": _csv, ".json": _coco, ".png": _png}
SUFFIXES = tuple(_WRITERS)
