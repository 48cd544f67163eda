"""What a window of a scene shows of the scene's labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely

from crater_model.annotations.outline import MIN_AREA, from_shape
from crater_model.annotations.scene import Instance


@dataclass(frozen=True, eq=False)
class Clipped:
    """The labels of one window.

    Attributes:
      instances: those that stay, in px of the chip, in the scene's order.
      cut: how many are left out because too little of them is inside.
      small: how many are left out because they are too small.
      crowded: how many are left out because others are larger (`largest`).
    """

    instances: tuple[Instance, ...] = ()
    cut: int = 0
    small: int = 0
    crowded: int = 0

    def largest(self, most: int | None) -> Clipped:
        """The same with at most so many instances, the largest by area."""
        if most is None or len(self.instances) <= most:
            return self
        order = sorted(range(len(self.instances)), key=lambda i: -self.instances[i].area)
        kept = tuple(self.instances[i] for i in sorted(order[:most]))
        return replace(self, instances=kept, crowded=len(order) - most)


class Outlines:
    """The labels of a scene, found by place."""

    def __init__(self, instances: Sequence[Instance]):
        self._instances = tuple(instances)
        self._shapes = np.empty(len(self._instances), object)
        self._shapes[:] = [_shape(instance) for instance in self._instances]
        self._bounds = shapely.bounds(self._shapes).reshape(-1, 4)
        self._tree = shapely.STRtree(self._shapes)

    def inside(self, left: float, top: float, width: int, height: int, scale: float,
               min_visible: float, min_diameter: float) -> Clipped:
        """The labels that a chip shows, clipped to it.

        Args:
          left, top: the chip's corner, px of the scene.
          width, height: of the chip, in its own px.
          scale: px of the chip per px of the scene.
          min_visible: a label stays with at least this share of its area inside, 0..1.
          min_diameter: smallest diameter that stays, px of the chip.
        """
        corner, size = np.array([left, top]), np.array([width, height], np.float64)
        low, high = corner, corner + size / scale
        window = shapely.box(*low, *high)
        found, cut, small = [], 0, 0
        for number in np.sort(self._tree.query(window, "intersects")).tolist():
            instance, whole, bounds = (self._instances[number], self._shapes[number],
                                       self._bounds[number])
            complete = (bounds[:2] >= low).all() and (bounds[2:] <= high).all()
            part = whole if complete else whole.intersection(window)
            if part.area < MIN_AREA:  # it only touches the window
                continue
            if not complete and part.area < min_visible * whole.area:
                cut += 1
                continue
            area = part.area * scale**2
            rings = instance.rings if complete else from_shape(part)
            if 2 * math.sqrt(area / math.pi) < min_diameter or not rings:
                small += 1
                continue
            # Rounding may put a point a hair outside.
            rings = tuple(np.clip((ring - corner) * scale, 0, size) for ring in rings)
            found.append(replace(instance, rings=rings, area=area))
        return Clipped(tuple(found), cut, small)


def _shape(instance: Instance) -> shapely.Geometry:
    shapes = [shapely.Polygon(ring) for ring in instance.rings]
    return shapes[0] if len(shapes) == 1 else shapely.union_all(shapes)
