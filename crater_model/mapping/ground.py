"""Outlines in px as shapes on a body: whole at its poles and where its longitudes begin again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyproj
import shapely

from crater_model.imagery.body import Body, body_of
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.projection import latitudes, unwrap, unwrap_ring

# Straight edges in px are bent on the body: a crater's outline is divided into at least so
# many pieces, an image's border into so many.
CRATER_PIECES, BORDER_PIECES = 64, 1024
# Of a small hole in the mapped ground, so many.
_LEAST_PIECES = 8
# A border that runs over a pole is moved inwards by so many px, past it.
_PAST_POLE = 1e-3
# Halvings of the way from the inside to a point that is off the body.
_HALVINGS = 40
# No piece of an outline is so long (deg of longitude) but at a pole, or across 180 deg.
_LONG_STEP = 60.0
# Places that differ by less (deg) are one where the pieces of a shape are put together.
_SAME = 1e-9


@dataclass(frozen=True)
class MappedArea:
    """The ground that was searched.

    Attributes:
      shape: shapely MultiPolygon of longitudes (-180..180) and latitudes in the system of
        the body, cut at 180 deg; its shells run counter-clockwise.
      km2: its area on the body's sphere or ellipsoid.
      body: the body.
      axes_km: its equatorial and polar radius in the image's own system, km.
    """

    shape: shapely.MultiPolygon
    km2: float
    body: Body
    axes_km: tuple[float, float]

    def share(self, part: shapely.Geometry) -> float:
        """The share, 0..1, of the ground that a part of its shape is."""
        a, b = self.axes_km
        squeezed = (a / b)**2 if self.body.planetocentric else 1.0
        whole = _area(self.shape, a, b, squeezed)
        return min(_area(part, a, b, squeezed) / whole, 1.0) if whole else 0.0


def segmented(polygons: Sequence[shapely.Polygon] | np.ndarray, pieces: int = CRATER_PIECES
              ) -> tuple[np.ndarray, np.ndarray]:
    """Closed outer rings in px, with no edge longer than 1 / `pieces` of the ring.

    Returns:
      Points [m, 2] and the number of each point's ring, [m].
    """
    rings = shapely.get_exterior_ring(np.asarray(polygons, dtype=object))
    longest = np.maximum(shapely.length(rings) / pieces, 1e-9)
    return shapely.get_coordinates(shapely.segmentize(rings, longest), return_index=True)


def mapped_area(georeference: Georeference, polygon: shapely.Geometry | None = None,
                area_px: float | None = None) -> MappedArea:
    """The ground of an image, or of a part of it.

    Args:
      polygon: shapely Polygon or MultiPolygon in px, whose holes count; the whole image if
        None. What of it is off the body does not count.
      area_px: the true area, px, of which the polygon is a simplified outline.
    """
    if polygon is None:
        polygon = shapely.box(0, 0, georeference.width, georeference.height)
    simplified = 1.0 if area_px is None or not polygon.area else area_px / polygon.area
    polygon = shapely.union_all([_onto_body(p, georeference) for p in shapely.get_parts(polygon)])
    longest = 2.0 * (georeference.width + georeference.height) / BORDER_PIECES
    shape, body = _geodetic(polygon, georeference, longest), body_of(georeference)
    geod = georeference.geod
    area = _area(shape, geod.a, geod.b)
    return MappedArea(_in_system(shape, body, georeference), area / 1e6 * simplified, body,
                      (geod.a / 1000, geod.b / 1000))


def _area(shape: shapely.Geometry, a: float, b: float, squeezed: float = 1.0) -> float:
    """The area of a shape of longitudes and latitudes (deg) on the body of these axes, in their
    unit squared; `squeezed`: what the latitudes' tangents are multiplied with to be geodetic."""
    flat = pyproj.Proj({"proj": "cea", "a": a, "b": b})

    def plane(points: np.ndarray) -> np.ndarray:
        # Equal in area, and straight where longitudes begin again.
        lat = latitudes(points, squeezed)[:, 1]
        return np.stack([np.radians(points[:, 0]) * a, flat(np.zeros(len(lat)), lat)[1]], axis=1)

    return shapely.transform(shape, plane).area


def on_body(polygons: Sequence[shapely.Polygon] | np.ndarray, georeference: Georeference
            ) -> np.ndarray:
    """Outlines in px as longitudes (-180..180) and latitudes of their body's system.

    Returns:
      MultiPolygons, object [n]: cut at 180 deg, closed over a pole that they hold, shells
      counter-clockwise; empty where a part is off the body.
    """
    polygons = np.asarray(polygons, dtype=object)
    body = body_of(georeference)
    points, ring = segmented(polygons)
    lonlat = georeference.lonlat(points)
    plain = _plain(lonlat, ring, len(polygons))
    made = np.full(len(polygons), None, dtype=object)
    kept = plain[ring]
    numbers = np.cumsum(plain) - 1
    rings = shapely.linearrings(body.from_geodetic(lonlat[kept], georeference),
                                indices=numbers[ring[kept]])
    rings = np.where(shapely.is_ccw(rings), rings, shapely.reverse(rings))
    made[plain] = shapely.multipolygons(shapely.polygons(rings), indices=np.arange(len(rings)))
    for number in np.flatnonzero(~plain):
        longest = polygons[number].exterior.length / CRATER_PIECES
        made[number] = _in_system(_geodetic(polygons[number], georeference, longest), body,
                                  georeference)
    return made


def _plain(lonlat: np.ndarray, ring: np.ndarray, n: int) -> np.ndarray:
    """Which of n rings lie between -180 and 180 deg and go around no pole: bool [n]."""
    plain = np.ones(n, bool)
    plain[ring[~(np.abs(lonlat[:, 0]) <= 180.0)]] = False
    far = np.abs(np.diff(lonlat[:, 0])) > _LONG_STEP
    plain[ring[1:][far & (ring[1:] == ring[:-1])]] = False
    return plain


def _in_system(shape: shapely.MultiPolygon, body: Body, georeference: Georeference
               ) -> shapely.MultiPolygon:
    shape = shapely.transform(shape, lambda p: body.from_geodetic(p, georeference))
    return shapely.MultiPolygon(
        [shapely.geometry.polygon.orient(part) for part in shape.geoms])


def _geodetic(shape: shapely.Geometry, georeference: Georeference, longest: float
              ) -> shapely.MultiPolygon:
    """A shape in px on the body, its edges divided into pieces of `longest` px at most."""
    poles = _poles(georeference)
    for point in poles.values():
        if shapely.boundary(shape).distance(point) < _PAST_POLE:
            shape = shape.buffer(-2 * _PAST_POLE)
    made = []
    for part in shapely.get_parts(shape):
        outer = _ring(part.exterior, georeference, poles, longest)
        holes = [_ring(hole, georeference, poles, longest) for hole in part.interiors]
        made.append(shapely.difference(outer, shapely.union_all(holes)) if holes else outer)
    return _polygons(shapely.union_all(made))


def _onto_body(polygon: shapely.Polygon, georeference: Georeference) -> shapely.Polygon:
    """A polygon in px whose points off the body are moved towards its inside, onto it."""
    fine = shapely.segmentize(polygon, max(polygon.length / BORDER_PIECES, 1e-9))
    points = shapely.get_coordinates(fine)
    off = ~np.isfinite(georeference.lonlat(points)).all(axis=1)
    if not off.any():
        return polygon
    inside = shapely.get_coordinates(polygon.representative_point())
    good, bad = np.repeat(inside, off.sum(), axis=0), points[off]
    for _ in range(_HALVINGS):
        middle = (good + bad) / 2
        on = np.isfinite(georeference.lonlat(middle)).all(axis=1, keepdims=True)
        good, bad = np.where(on, middle, good), np.where(on, bad, middle)
    points[off] = good
    return shapely.make_valid(shapely.set_coordinates(fine, points))


def _poles(georeference: Georeference) -> dict[float, shapely.Point]:
    """Where in px the poles are that the projection shows as points: latitude -> point."""
    found = {}
    for lat in (90.0, -90.0):
        places = georeference.pixels(np.array([[lon, lat] for lon in (0.0, 90.0, 180.0)]))
        if np.isfinite(places).all() and np.ptp(places, axis=0).max() < _PAST_POLE:
            found[lat] = shapely.Point(places[0])
    return found


def _ring(ring: shapely.LinearRing, georeference: Georeference,
          poles: dict[float, shapely.Point], longest: float) -> shapely.Geometry:
    """What a ring in px encloses, in longitudes of -180..180 and geodetic latitudes."""
    inside = shapely.Polygon(ring)
    pieces = max(_LEAST_PIECES, math.ceil(ring.length / max(longest, 1e-9) - 1e-6))
    lonlat = georeference.lonlat(segmented([inside], pieces)[0])
    if not np.isfinite(lonlat).all():
        return shapely.MultiPolygon()
    lonlat[:, 0] = unwrap_ring(lonlat[:, 0])
    if abs(lonlat[-1, 0] - lonlat[0, 0]) > 180.0:
        pole = next((lat for lat, point in poles.items() if inside.contains(point)),
                    np.copysign(90.0, lonlat[:, 1].mean()))
        lonlat = np.concatenate([lonlat, [[lonlat[-1, 0], pole], [lonlat[0, 0], pole]]])
    shape = shapely.make_valid(shapely.Polygon(lonlat))
    west, _, east, _ = shape.bounds
    turns = range(int(np.floor((west + 180) / 360)), int(np.ceil((east + 180) / 360)))
    return shapely.union_all([
        shapely.transform(shapely.intersection(shape, shapely.box(
            360 * turn - 180, -90, 360 * turn + 180, 90)), lambda p, turn=turn: p - [360 * turn, 0])
        for turn in turns], grid_size=_SAME)


def _polygons(shape: shapely.Geometry) -> shapely.MultiPolygon:
    """The polygons in a shape, without what has no area."""
    parts = shapely.get_parts(shapely.get_parts(shape))
    return shapely.MultiPolygon([p for p in parts if p.geom_type == "Polygon" and p.area > 0])


def wrapped(lon: np.ndarray) -> np.ndarray:
    """Longitudes turned to -180 (included) .. 180 deg."""
    return unwrap(lon, 0.0)
