"""Images that share ground: each crater once, and each piece of the ground once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from crater_model.mapping.ground import MappedArea
from crater_model.mapping.maps import Map
from crater_model.mapping.merge import settle


def seen_once(maps: Sequence[Map]) -> list[Map]:
    """The maps of a search, for files that count craters and ground of all images together.

    A crater that several images show is left in the one that shows it whole, then in the one
    where its score is highest; by the rule of `merge`, on the body. Of ground that several
    show, each piece is the first one's. Images without a georeference, and those that share no
    ground with another of the same body, stay as they are.
    """
    maps = list(maps)
    near = _neighbours(maps)
    if not near:
        return maps
    dropped = _seen_better(maps, sorted({number for pair in near for number in pair}))
    joined = []
    for number, entry in enumerate(maps):
        before = [maps[other].ground.shape for other, later in near if later == number]
        if any(number in pair for pair in near):
            entry = _without(entry, dropped[number], before)
        joined.append(entry)
    return joined


def _neighbours(maps: list[Map]) -> list[tuple[int, int]]:
    """Pairs (first, later) of the images that share ground."""
    placed = [number for number, entry in enumerate(maps) if entry.mapped is not None]
    shapes = np.array([maps[number].ground.shape for number in placed], dtype=object)
    if len(shapes) < 2:
        return []
    tree = shapely.STRtree(shapes)
    pairs = []
    for first, later in zip(*tree.query(shapes, predicate="intersects"), strict=True):
        one, other = maps[placed[first]].ground, maps[placed[later]].ground
        if first < later and one.body.is_same(other.body) and shapely.area(
                shapely.intersection(one.shape, other.shape)) > 0:
            pairs.append((placed[first], placed[later]))
    return pairs


def _seen_better(maps: list[Map], numbers: list[int]) -> dict[int, np.ndarray]:
    """Of each of these images which craters another one shows better, bool [n].

    Overlaps are shares of areas, which degrees give as well as km do: a crater is small on its
    body, so that they differ by a factor only, the same for all that lie on one another.
    """
    bodies = {number: next(other for other in numbers
                           if maps[other].ground.body.is_same(maps[number].ground.body))
              for number in numbers}
    owner = np.concatenate([np.full(len(maps[n].craters), n) for n in numbers])
    classes = np.concatenate([[f"{bodies[n]} {name}" for name in maps[n].table["class"]]
                              for n in numbers])
    stay, _ = settle(np.concatenate([maps[n].shapes for n in numbers]),
                     np.concatenate([maps[n].craters.scores for n in numbers]), classes,
                     np.concatenate([maps[n].craters.edge for n in numbers]), np.inf, owner)
    return {number: ~stay[owner == number] for number in numbers}


def _without(entry: Map, dropped: np.ndarray, others: list[shapely.Geometry]) -> Map:
    """The map without these craters and without the ground of others."""
    ground = entry.ground
    shape = shapely.difference(ground.shape, shapely.union_all(others)) if others else ground.shape
    parts = [part for part in shapely.get_parts(shapely.get_parts(shape))
             if part.geom_type == "Polygon" and part.area > 0]
    left = shapely.MultiPolygon([shapely.geometry.polygon.orient(part) for part in parts])
    km2 = ground.km2 * ground.share(left)
    return entry.select(~dropped, MappedArea(left, km2, ground.body, ground.axes_km))
