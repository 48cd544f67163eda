"""The labels of one image in the form that scoring needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import Polygon

from crater_model.detections.contours import mask_outline


@dataclass(frozen=True)
class Truth:
    """Labelled instances of one image.

    Attributes:
      rings: for each instance its outline rings, float64 [n, 2] x, y in px.
      classes: int64 [n].
      crowd: bool [n], instances that are neither right nor wrong to find.
      size: (height, width) px.
    """

    rings: Sequence[Sequence[np.ndarray]]
    classes: np.ndarray
    crowd: np.ndarray
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.rings)

    def outlines(self) -> np.ndarray:
        """Shapely outlines, object [n]."""
        return np.array([_union(rings) for rings in self.rings] + [None], dtype=object)[:-1]


def truth_from_scene(scene) -> Truth:
    """The labels of a data set's scene or chip (`annotations.Scene`)."""
    return truth_of(scene.instances, (scene.height, scene.width))


def truth_of(instances: Sequence, size: tuple[int, int]) -> Truth:
    """Labels (`annotations.Instance`) of an image of this (height, width), px."""
    return Truth(
        rings=[instance.rings for instance in instances],
        classes=np.array([instance.class_id for instance in instances], np.int64),
        crowd=np.array([instance.crowd for instance in instances], bool), size=size)


def truth_from_grids(boxes: np.ndarray, classes: np.ndarray, grids: np.ndarray,
                     crowd: np.ndarray, size: tuple[int, int]) -> Truth:
    """The labels of a record; rows of class below 1 are padding.

    Args:
      boxes: [n, 4] px; classes: [n]; grids: [n, g, g] 0 or 1 on the box; crowd: bool [n].
    """
    real = np.flatnonzero(classes > 0)
    outlines = [mask_outline(grids[i].astype(np.float32), boxes[i]) for i in real]
    return Truth(
        rings=[[np.asarray(outline.exterior.coords)[:-1]] for outline in outlines],
        classes=classes[real].astype(np.int64), crowd=crowd[real], size=size)


def _union(rings: Sequence[np.ndarray]):
    polygons = [Polygon(ring) for ring in rings]
    polygons = [p if p.is_valid else p.buffer(0) for p in polygons]
    return polygons[0] if len(polygons) == 1 else shapely.union_all(polygons)
