"""Outlines: from COCO segmentations to clean rings, in px.

Every function raises ValueError with a text that follows "annotation 7 ...".
"""

from __future__ import annotations

import math

import numpy as np
import shapely
from rasterio import features

Rings = tuple[np.ndarray, ...]

# The most that a drawn ellipse's polygon may be off it (px).
_ROUNDNESS = 0.05
# Nothing in an image is as far or as large as this (px).
_FARTHEST = 1e7
# Below this an outline encloses nothing (px^2).
MIN_AREA = 1e-6


def from_polygons(segmentation) -> Rings:
    """COCO polygons [[x1, y1, x2, y2, ...], ...] as float64 [n, 2] rings."""
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("has no outline, expected a polygon in segmentation; draw it or "
                         "delete the annotation")
    rings = []
    for number, values in enumerate(segmentation, start=1):
        name = "polygon" if len(segmentation) == 1 else f"polygon {number}"
        try:
            points = np.asarray(values, np.float64)
        except (TypeError, ValueError, OverflowError):
            points = None
        if points is None or points.ndim != 1 or len(points) % 2:
            raise ValueError(f"has a {name} that is not a list x1, y1, x2, y2, ... of numbers; "
                             "correct it")
        if not np.isfinite(points).all():
            raise ValueError(f"has a {name} with a coordinate that is not finite; correct it")
        points = points.reshape(-1, 2)
        if len(points) > 1 and (points[0] == points[-1]).all():
            points = points[:-1]
        if len(points) < 3:
            raise ValueError(f"has a {name} of {len(points)} point(s), expected at least 3; draw "
                             "it again or delete the annotation")
        rings.append(points)
    return tuple(rings)


def from_rle(segmentation: dict, width: int, height: int) -> Rings:
    """Outer contours of a COCO run-length mask (list or string counts); holes are filled."""
    return trace_rle(segmentation, width, height)[0]


def trace_rle(segmentation: dict, width: int, height: int) -> tuple[Rings, bool]:
    """`from_rle`, and whether a hole was filled."""
    from pycocotools import mask as coco_mask

    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise ValueError(f"has a run-length mask of size {size} (height, width), expected "
                         f"[{height}, {width}]; export it again")
    try:
        if isinstance(counts, list):
            if min(counts, default=-1) < 0 or sum(counts) != width * height:
                raise ValueError("its runs do not add up")
            segmentation = coco_mask.frPyObjects(segmentation, height, width)
        mask = coco_mask.decode(segmentation)
    except Exception as error:  # pycocotools raises many kinds on broken masks
        raise ValueError(f"has a run-length mask that cannot be decoded ({error}); export it "
                         "again") from None
    rings, holes = trace(mask)
    if not rings:
        raise ValueError("has an empty run-length mask; delete the annotation")
    return rings, holes


def from_mask(mask: np.ndarray) -> Rings:
    """Outer edges of a binary mask [h, w], px: along the pixels' edges, of the mask's area.

    Pixels that touch at a corner belong together; holes are filled.
    """
    return trace(mask)[0]


def trace(mask: np.ndarray) -> tuple[Rings, bool]:
    """`from_mask`, and whether a hole was filled."""
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    if not len(rows):
        return (), False
    top, left = rows[0], columns[0]
    part = np.ascontiguousarray(mask[top:rows[-1] + 1, left:columns[-1] + 1] != 0, np.uint8)
    found = [shape["coordinates"] for shape, _ in features.shapes(
        part, mask=part.astype(bool), connectivity=8)]
    rings = tuple(np.asarray(edges[0][:-1], np.float64) + (left, top) for edges in found)
    return rings, any(len(edges) > 1 for edges in found)


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0) -> np.ndarray:
    """Outline [n, 2] of an ellipse, px: its points lie on it, its edges within a twentieth of a
    px inside.

    Args:
      x, y: its middle, px.
      rx, ry: half its axes, px.
      angle: deg by which its rx axis is turned from x towards y (clockwise as seen).
    """
    if not (np.isfinite([x, y, rx, ry, angle]).all() and rx > 0 and ry > 0):
        raise ValueError(f"has an ellipse around {x:g}, {y:g} with half axes {rx:g}, {ry:g} px, "
                         "expected finite numbers and axes above 0; draw it again")
    if max(abs(x), abs(y), rx, ry) > _FARTHEST:
        raise ValueError(f"has an ellipse around {x:g}, {y:g} with half axes {rx:g}, {ry:g} px, "
                         "far too large; correct it")
    fine = math.pi / math.acos(1 - min(0.5, max(1e-4, _ROUNDNESS / max(rx, ry))))
    # The four ends of its axes among them, so that its box is exact; 48 lose 0.3 % of the area.
    points = 4 * min(90, max(12, math.ceil(fine / 4)))
    turns = np.linspace(0, 2 * math.pi, points, endpoint=False)
    along, across = rx * np.cos(turns), ry * np.sin(turns)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return np.stack([x + along * cos - across * sin, y + along * sin + across * cos], axis=1)


def clip_rounding(rings: Rings, width: int, height: int, tolerance: float) -> tuple[Rings, bool]:
    """Rings moved inside the image where they leave it by at most `tolerance` px.

    Returns the rings and whether anything was moved.
    """
    points = np.concatenate(rings)
    low, high = points.min(axis=0), points.max(axis=0)
    outside = max(-low.min(), high[0] - width, high[1] - height)
    if outside <= 0:
        return rings, False
    if outside > tolerance:
        raise ValueError(
            f"has an outline that leaves its image by {outside:.6g} px (x {low[0]:.6g} to "
            f"{high[0]:.6g}, y {low[1]:.6g} to {high[1]:.6g}, image {width}x{height} px); clip or "
            "correct it")
    return tuple(np.clip(ring, 0, (width, height)) for ring in rings), True


def repair(rings: Rings) -> tuple[Rings, float, bool]:
    """Rings that do not cross themselves, the area of their union in px^2, and whether
    anything had to be repaired."""
    shapes = [shapely.Polygon(ring) for ring in rings]
    valid = all(shape.is_valid for shape in shapes)
    if valid and len(rings) == 1:
        area = shapes[0].area
    else:
        shape = shapely.union_all([shapely.make_valid(s) for s in shapes])
        area = shape.area
        if not valid:
            rings = from_shape(shape)
    if area < MIN_AREA:
        raise ValueError("has an outline that encloses no area inside its image; draw it again "
                         "or delete the annotation")
    return rings, float(area), not valid


def from_shape(shape: shapely.Geometry) -> Rings:
    """Exterior rings of every polygon in a shapely geometry, not closed."""
    parts = shapely.get_parts(shapely.get_parts(shape))
    return tuple(shapely.get_coordinates(part.exterior)[:-1] for part in parts
                 if part.geom_type == "Polygon" and part.area >= MIN_AREA)
