"""From masks to outlines, with sub-pixel accuracy."""

from __future__ import annotations

import contourpy
import numpy as np
from shapely.geometry import Polygon, box

# A mask is a probability; the outline runs where it crosses one half.
MASK_THRESHOLD = 0.5


def outlines(masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int],
             threshold: float = MASK_THRESHOLD) -> list[Polygon]:
    """The outline of each mask in px of its image, clipped to the image.

    The contour runs where the mask's probability, interpolated between its cells'
    middles, crosses `threshold`. Of several pieces the largest counts. A mask that is
    nowhere above the threshold gives the box's inscribed ellipse, so that every
    mask has an outline.

    Args:
      masks: uint8 [n, m, m], probability x 255 on the box.
      boxes: [n, 4], ymin, xmin, ymax, xmax in px.
      size: (height, width) of the image in px.
      threshold: 0..1.
    """
    height, width = size
    image = box(0, 0, width, height)
    found = []
    for mask, limits in zip(masks, boxes, strict=True):
        polygon = mask_outline(mask.astype(np.float32) / 255.0, limits, threshold)
        if limits[0] < 0 or limits[1] < 0 or limits[2] > height or limits[3] > width:
            polygon = _largest(polygon.intersection(image)) or polygon
        found.append(polygon)
    return found


def mask_outline(mask: np.ndarray, limits: np.ndarray, threshold: float = 0.5) -> Polygon:
    """The outline in px of a mask [m, n] on the box ymin, xmin, ymax, xmax (px)."""
    rows, columns = mask.shape
    ymin, xmin, ymax, xmax = (float(v) for v in limits)
    # Zeros around, half a cell outside the box: a mask that fills its box ends at the box.
    padded = np.pad(mask, 1)
    y = ymin + (np.arange(rows + 2) - 0.5) * (ymax - ymin) / rows
    x = xmin + (np.arange(columns + 2) - 0.5) * (xmax - xmin) / columns
    lines = contourpy.contour_generator(x, y, padded).lines(threshold)
    rings = [np.asarray(line) for line in lines if len(line) >= 4]
    if not rings:
        return _ellipse(ymin, xmin, ymax, xmax)
    ring = max(rings, key=_shoelace)
    polygon = Polygon(ring)
    if not polygon.is_valid:
        polygon = _largest(polygon.buffer(0)) or _ellipse(ymin, xmin, ymax, xmax)
    return polygon


def _shoelace(ring: np.ndarray) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return abs(float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])))


def _ellipse(ymin: float, xmin: float, ymax: float, xmax: float) -> Polygon:
    angle = np.linspace(0, 2 * np.pi, 33)[:-1]
    x = (xmin + xmax) / 2 + max(xmax - xmin, 1e-3) / 2 * np.cos(angle)
    y = (ymin + ymax) / 2 + max(ymax - ymin, 1e-3) / 2 * np.sin(angle)
    return Polygon(np.stack([x, y], axis=1))


def _largest(shape) -> Polygon | None:
    """The largest polygon of a shape that clipping or repair may have split."""
    if isinstance(shape, Polygon):
        return shape if not shape.is_empty else None
    parts = [part for part in getattr(shape, "geoms", []) if isinstance(part, Polygon)]
    return max(parts, key=lambda part: part.area, default=None)
