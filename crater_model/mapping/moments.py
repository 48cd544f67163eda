"""Centre, area and ellipse of many rings at once, from the moments of what they enclose."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Moments(NamedTuple):
    """Of n rings, in the unit of their points.

    Attributes:
      area: [n]. centre: centroids, [n, 2].
      major, minor: [n], the whole axes of the ellipse with the ring's second moments: of an
        ellipse its own.
      angle: [n], deg from the first axis of coordinates towards the second, 0..180, of the
        major axis.
    """

    area: np.ndarray
    centre: np.ndarray
    major: np.ndarray
    minor: np.ndarray
    angle: np.ndarray


def moments(points: np.ndarray, ring: np.ndarray, n: int) -> Moments:
    """Measures closed rings.

    Args:
      points: [m, 2], one ring after the other, each with its first point again at its end.
      ring: [m], the number of the ring of each point, rising.
      n: number of rings; one without points gives NaN.
    """
    def total(values: np.ndarray, index: np.ndarray) -> np.ndarray:
        return np.bincount(index, values, minlength=n)

    count = total(np.ones(len(ring)), ring)
    with np.errstate(invalid="ignore", divide="ignore"):
        origin = np.stack([total(column, ring) / count for column in points.T], axis=1)
        # Around the ring's middle, so that few digits are lost far from the origin.
        local = points - origin[ring]
        edge = ring[1:] == ring[:-1]
        (x, y), (u, v) = local[:-1][edge].T, local[1:][edge].T
        index, cross = ring[:-1][edge], x * v - u * y
        area = total(cross, index) / 2
        cx, cy = (total((a + b) * cross, index) / (6 * area) for a, b in ((x, u), (y, v)))
        xx, yy = (total((a * a + a * b + b * b) * cross, index) / (12 * area)
                  for a, b in ((x, u), (y, v)))
        xy = total((x * v + 2 * x * y + 2 * u * v + u * y) * cross, index) / (24 * area)
        xx, yy, xy = xx - cx * cx, yy - cy * cy, xy - cx * cy
        # The variance along an axis of an ellipse is a sixteenth of the axis squared.
        mean, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        major, minor = (4 * np.sqrt(np.maximum(mean + sign * half, 0)) for sign in (1, -1))
        # Twice, since a hair below 0 becomes 180 itself.
        angle = np.degrees(np.arctan2(2 * xy, xx - yy)) / 2 % 180.0 % 180.0
    return Moments(np.abs(area), origin + np.stack([cx, cy], axis=1), major, minor, angle)
