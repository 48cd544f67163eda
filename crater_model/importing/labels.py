"""From a reader's labels to a data set's instances: clipped, repaired, measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import shapely

from crater_model.annotations import outline
from crater_model.annotations.scene import Instance
from crater_model.imagery.raster import Header
from crater_model.importing.formats.source import Bad, Label, Notes

DiametersKm = tuple[float, float] | None
# Outlines further out than this (px) are nonsense, and shapely's sums would suffer.
_FARTHEST_PX = 1e7
# Leaving the image by less is rounding, not worth a word (px).
_ROUNDING_PX = 1.0


def finish(labels: Iterable[Label], image: Header, class_ids: Mapping[str, int],
           diameters_km: DiametersKm, notes: Notes) -> tuple[Instance, ...]:
    """The labels of one image as instances.

    Outlines that cross themselves are repaired, those that leave the image are cut at its
    edge, those of the map whose centre lies outside the image or whose diameter lies
    outside `diameters_km` are left out; each is counted in `notes`, and a label that
    cannot be used is a problem there.
    """
    instances = []
    for label in labels:
        with notes.entry(label.where):
            instance = _finish(label, image, class_ids, diameters_km, notes)
            if instance is not None:
                instances.append(instance)
    return tuple(instances)


def _finish(label: Label, image: Header, class_ids: Mapping[str, int],
            diameters_km: DiametersKm, notes: Notes) -> Instance | None:
    if label.centre is not None and not (0 <= label.centre[0] < image.width
                                         and 0 <= label.centre[1] < image.height):
        notes.lose("label(s) whose centre lies outside the image were left out", label.where)
        return None
    everything = np.concatenate(label.rings) if label.rings else np.zeros((0, 2))
    if not len(everything) or not (np.abs(everything) < _FARTHEST_PX).all():
        raise Bad("has an outline with coordinates that are not finite or far outside the image; "
                  "correct it")
    diameter = label.diameter_km
    if diameter is None and image.georeference is not None:
        diameter = image.georeference.diameter_km(label.rings)
    if diameters_km is not None and diameter is not None and not (
            diameters_km[0] <= diameter <= diameters_km[1]):
        notes.lose(f"label(s) outside {diameters_km[0]:g} to {diameters_km[1]:g} km were left out",
                   label.where)
        return None
    if label.holes or _has_hole(label.rings):
        notes.count("label(s) have a hole, which was filled", label.where)
    rings = _inside(label, everything, image, notes)
    rings, area, repaired = outline.repair(rings)
    if repaired:
        notes.count("outline(s) crossed themselves and were repaired", label.where)
    return Instance(0, class_ids[label.name], rings, area, label.crowd, label.source, diameter,
                    label.annotator)


def _has_hole(rings: outline.Rings) -> bool:
    """Whether a ring lies within another, which tools mean as a hole."""
    if len(rings) < 2:
        return False
    shapes = [shapely.make_valid(shapely.Polygon(ring)) for ring in rings]
    tree = shapely.STRtree(shapes)
    inside, outside = tree.query(shapes, predicate="within")
    return bool((inside != outside).any())


def _inside(label: Label, everything: np.ndarray, image: Header, notes: Notes) -> outline.Rings:
    """The label's rings, cut at the image's edge where they leave it."""
    low, high = everything.min(axis=0), everything.max(axis=0)
    size = np.array([image.width, image.height])
    if (low >= 0).all() and (high <= size).all():
        return label.rings
    shape = shapely.union_all([shapely.make_valid(shapely.Polygon(ring)) for ring in label.rings])
    rings = outline.from_shape(shape.intersection(shapely.box(0, 0, *size)))
    if not rings:
        raise Bad(f"has an outline outside its image (x {low[0]:.6g} to {high[0]:.6g}, y "
                  f"{low[1]:.6g} to {high[1]:.6g}, image {image.width}x{image.height} px); correct "
                  "it or find the right image")
    if max(-low.min(), *(high - size)) > _ROUNDING_PX:
        notes.count("outline(s) left the image and were cut at its edge", label.where)
    return rings
