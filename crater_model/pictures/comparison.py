"""Detections over the labels of their image."""

from __future__ import annotations

import numpy as np

from crater_model.detections import Detections, Truth
from crater_model.pictures.drawing import OUTLINE, Color, overlay

LABELS: Color = (86, 180, 233)
LEGEND = (("labels", LABELS), ("detections", OUTLINE))


def comparison(image: np.ndarray, detections: Detections, truth: Truth,
               threshold: float | None, zoom: float = 2.0) -> np.ndarray:
    """Labels (blue) and detections from `threshold` on (orange) over an image: uint8 RGB."""
    picture = overlay(image, [r for rings in truth.rings for r in rings],
                      color=LABELS, zoom=zoom)
    kept = detections.select(detections.scores >= (threshold or 0.5))
    rings = [np.asarray(shape.exterior.coords) * zoom for shape in kept.polygons()]
    return overlay(picture, rings)
