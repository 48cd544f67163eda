"""Labels that mark the same crater twice."""

from __future__ import annotations

import numpy as np
import shapely

from crater_model.annotations.scene import Instance, Scene

# Outlines of two labels that share this much (intersection over union) are one crater.
SAME_IOU = 0.7


def same_craters(scene: Scene) -> list[tuple[int, int]]:
    """Pairs of ids of labels of one class whose outlines agree (IoU of 0.7 or more)."""
    instances = [i for i in scene.instances if not i.crowd]
    if len(instances) < 2:
        return []
    boxes = np.array([(i.box[1], i.box[0], i.box[3], i.box[2]) for i in instances])
    tree = shapely.STRtree(shapely.box(*boxes.T))
    one, other = tree.query(tree.geometries)
    one, other = one[one < other], other[one < other]
    # The boxes of outlines that agree agree about as well, and their areas do.
    areas = np.array([i.area for i in instances])
    classes = np.array([i.class_id for i in instances])
    small, large = np.minimum(areas[one], areas[other]), np.maximum(areas[one], areas[other])
    keep = (classes[one] == classes[other]) & (small >= SAME_IOU * large)
    one, other = one[keep], other[keep]
    shapes = {n: _shape(instances[n]) for n in np.union1d(one, other).tolist()}
    first = np.array([shapes[n] for n in one.tolist()], object)
    second = np.array([shapes[n] for n in other.tolist()], object)
    shared = shapely.area(shapely.intersection(first, second))
    union = areas[one] + areas[other] - shared
    pairs = [(instances[a].id, instances[b].id)
             for a, b, same in zip(one, other, shared >= SAME_IOU * union, strict=True) if same]
    return sorted((min(pair), max(pair)) for pair in pairs)


def _shape(instance: Instance) -> shapely.Geometry:
    shapes = [shapely.make_valid(shapely.Polygon(ring)) for ring in instance.rings]
    return shapes[0] if len(shapes) == 1 else shapely.union_all(shapes)
