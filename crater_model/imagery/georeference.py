"""Where on a body an image lies: px to longitude and latitude, and km on the ground.

Longitudes are degrees east of the body's prime meridian, latitudes degrees north and
geodetic (planetographic), on the sphere or ellipsoid of the image's coordinate system,
whichever way that counts them itself; on a sphere geodetic and planetocentric latitudes
are the same. pyproj does the geodesy. Longitudes may be given in 0..360 or -180..180:
they are turned by whole circles to the image's side.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
import pyproj
import shapely

from crater_model.errors import DataError
from crater_model.imagery.projection import Projection, latitudes, projection, unwrap, unwrap_ring

# Points along a crater's rim that is drawn from its centre and diameter.
_RIM_POINTS = 64
# Edges longer than this share of an outline's length are divided before it is measured.
_MEASURED_EDGE = 1 / 64
# Lengths and areas below this are none (px, px^2).
_NOTHING = 1e-6
# Places that differ by less are one (deg).
_SAME_PLACE = 1e-6


@dataclass(frozen=True)
class Georeference:
    """The place of an image of `width` x `height` px.

    Attributes:
      crs: coordinate reference system, anything pyproj reads ("IAU_2015:30100", WKT).
      transform: a, b, c, d, e, f of map x = a col + b row + c, y = d col + e row + f
        (col, row: px from the image's upper left corner; the order of rasterio's affine).
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]
    width: int
    height: int

    def __post_init__(self):
        a, b, _, d, e, _ = self.transform
        if not all(map(math.isfinite, self.transform)) or not 0 < abs(a * e - b * d) < math.inf:
            raise DataError(f"the georeference's transform is {list(self.transform)}, expected six "
                            "finite numbers that span a plane; correct it")
        projection(self.crs)

    def to_json(self) -> dict:
        return {"crs": self.crs, "transform": list(self.transform)}

    @classmethod
    def from_json(cls, value: dict, width: int, height: int) -> Georeference:
        """Raises DataError on anything but {"crs": text, "transform": [six numbers]}."""
        try:
            transform = tuple(float(v) for v in value["transform"])
            if len(transform) != 6 or not isinstance(value["crs"], str):
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise DataError(f"the georeference is {str(value)[:80]!r}, expected crs and a "
                            "transform of six numbers; correct it") from None
        return cls(value["crs"], transform, width, height)

    def part(self, left: float, top: float, scale: float, width: int, height: int) -> Georeference:
        """That of a piece of the image: corner in px, `scale` px of the piece per px."""
        a, b, c, d, e, f = self.transform
        moved = (a / scale, b / scale, a * left + b * top + c,
                 d / scale, e / scale, d * left + e * top + f)
        return replace(self, transform=moved, width=width, height=height)

    def lonlat(self, points: np.ndarray) -> np.ndarray:
        """Points [n, 2] (x, y px) as [n, 2] longitude and latitude, deg; NaN off the body.

        On a cylindrical or geographic image longitudes run on without a step and may leave
        -180..180.
        """
        return self._projection.to_lonlat(*self._to_map(points))

    def pixels(self, lonlat: np.ndarray) -> np.ndarray:
        """[n, 2] longitude and latitude (deg) as [n, 2] x, y px, also outside the image;
        NaN where the projection does not show the place, or shows another there too."""
        lonlat = np.asarray(lonlat, np.float64).reshape(-1, 2)
        lonlat = np.where(np.isfinite(lonlat), lonlat, np.nan)
        lon = unwrap(lonlat[:, 0], self.middle_longitude)
        x, y = self._projection.from_lonlat(lon, lonlat[:, 1])
        # Far from their middle, transverse Mercator and its like fold back over themselves.
        off = self._projection.to_lonlat(x, y) - lonlat
        along = unwrap(off[:, 0], 0.0) * np.cos(np.radians(lonlat[:, 1]))
        same = np.maximum(np.abs(along), np.abs(off[:, 1])) < _SAME_PLACE
        return np.where(same[:, None], self._to_image(x, y), np.nan)

    @functools.cached_property
    def middle_longitude(self) -> float:
        """Longitude of the image's middle, deg (0 where the middle is off the body)."""
        lon = self.lonlat(np.array([[self.width / 2, self.height / 2]]))[0, 0]
        return float(lon) if math.isfinite(lon) else 0.0

    @property
    def geod(self) -> pyproj.Geod:
        """Geodesics on the body's sphere or ellipsoid (m)."""
        return self._projection.geod

    @property
    def geographic_crs(self) -> pyproj.CRS:
        """The system of the longitudes and latitudes that `lonlat` gives: degrees, east and
        north."""
        return self._projection.plain

    def map_lonlat(self, points: np.ndarray) -> np.ndarray:
        """Points [n, 2] of the image's own coordinate system as longitude and latitude."""
        return self._projection.to_lonlat(*np.asarray(points, np.float64).reshape(-1, 2).T)

    def from_degrees(self, lonlat: np.ndarray) -> np.ndarray:
        """Longitudes (east) and latitudes [n, 2] that somebody gives for the body without
        naming a system: latitudes are of the kind that the image's own system counts."""
        return self.from_planetocentric(lonlat) if self._projection.planetocentric else (
            np.asarray(lonlat, np.float64))

    def from_planetocentric(self, lonlat: np.ndarray) -> np.ndarray:
        """Longitudes and planetocentric latitudes [n, 2], deg, as `lonlat` gives them."""
        return latitudes(lonlat, 1.0 / (1.0 - self.geod.es))

    def rim(self, lon: float, lat: float, diameter_km: float) -> np.ndarray:
        """Outline [n, 2] in px of the circle on the ground around a place.

        Raises:
          ValueError: it holds a pole or leaves what the projection can show.
        """
        ring = self.rims(np.array([[lon, lat]]), np.array([diameter_km]))[0]
        if not np.isfinite(ring).all():
            raise ValueError(f"of {diameter_km:g} km around longitude {lon:g}, latitude {lat:g} "
                             "cannot be drawn in the image's projection; leave it out")
        return ring

    def rims(self, centres: np.ndarray, diameters_km: np.ndarray) -> np.ndarray:
        """Outlines [n, 64, 2] in px of circles on the ground.

        Args:
          centres: [n, 2] longitude and latitude, deg.
          diameters_km: [n] along geodesics through the centre.

        Returns:
          NaN for the whole of an outline that cannot be drawn: it holds a pole that the
          projection does not show as a point, it leaves what the projection shows, or it
          spans half the body.
        """
        n = len(centres)
        diameters_km = np.asarray(diameters_km, np.float64).reshape(n, 1)
        # From here on what cannot be drawn is not a number.
        fits = (diameters_km > 0) & (diameters_km < self.geod.b * np.pi / 1000)
        shape = (n, _RIM_POINTS)
        distance = np.broadcast_to(np.where(fits, diameters_km * 500.0, np.nan), shape)
        bearing = np.broadcast_to(np.linspace(0, 360, _RIM_POINTS, endpoint=False), shape)
        lon, lat = (np.repeat(values[:, None], _RIM_POINTS, axis=1)
                    for values in np.asarray(centres, np.float64).T)
        lons, lats = map(np.asarray, self.geod.fwd(lon, lat, bearing, distance)[:2])
        rings = self._drawn(lons, lats, lon[:, :1])
        some = np.stack([lons[:, ::_RIM_POINTS // 8], lats[:, ::_RIM_POINTS // 8]], axis=-1)
        shown = np.isfinite(self.pixels(some).reshape(n, -1)).all(axis=1)
        rings[~(shown & _turn_once(rings))] = np.nan
        return rings

    def outline(self, lonlat: np.ndarray, around: float | None = None) -> np.ndarray:
        """A ring [n, 2] of longitude and latitude (deg) in px, kept whole at the seam.

        Args:
          around: the longitude that decides on which side of the seam the ring lies; the
            mean of its own if None.

        Raises:
          ValueError: it holds a pole that the projection does not show as a point.
        """
        lonlat = np.asarray(lonlat, np.float64)
        if around is None:
            around = float(unwrap_ring(lonlat[:, 0]).mean())
        ring = self._drawn(lonlat[None, :, 0], lonlat[None, :, 1], np.array([[around]]))[0]
        if not np.isfinite(ring).all():
            raise ValueError("holds a pole or leaves what the image's projection can show; leave "
                             "it out")
        return ring

    def diameter_km(self, rings: tuple[np.ndarray, ...]) -> float | None:
        """Diameter in km of the circle with the outlines' area on the ground.

        None where a point is off the body.
        """
        total = 0.0
        for ring in rings:
            # A straight edge in px is no geodesic: in short pieces that does not matter.
            closed = shapely.LinearRing(ring)
            if not closed.length:  # one point, which cannot be cut into pieces
                continue
            ring = shapely.get_coordinates(closed.segmentize(
                max(closed.length * _MEASURED_EDGE, _NOTHING)))[:-1]
            lonlat = self.lonlat(ring)
            if not np.isfinite(lonlat).all():
                return None
            area, _ = self.geod.polygon_area_perimeter(*lonlat.T)
            total += abs(area)
        return 2.0 * math.sqrt(total / math.pi) / 1000.0

    def _drawn(self, lons: np.ndarray, lats: np.ndarray, around: np.ndarray) -> np.ndarray:
        """Rings [n, k] of lon and lat in px [n, k, 2], on the side of the seam where the
        longitudes `around` [n, 1] lie; NaN for a whole ring that is not closed there."""
        lons = unwrap_ring(lons)
        lons = lons + (unwrap(lons[:, :1], unwrap(around, self.middle_longitude)) - lons[:, :1])
        points = self._to_image(*self._projection.from_lonlat(lons.ravel(), lats.ravel()))
        points = points.reshape(*lons.shape, 2)
        if not self._projection.poles_are_points:
            # Around a pole, longitudes do not come back to where they began.
            points[np.abs(lons[:, -1] - lons[:, 0]) > 180.0] = np.nan
        return points

    def _to_map(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = np.asarray(points, np.float64).reshape(-1, 2).T
        a, b, c, d, e, f = self.transform
        return a * x + b * y + c, d * x + e * y + f

    def _to_image(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        a, b, c, d, e, f = self.transform
        determinant = a * e - b * d
        return np.stack([(e * (x - c) - b * (y - f)) / determinant,
                         (a * (y - f) - d * (x - c)) / determinant], axis=1)

    @property
    def _projection(self) -> Projection:
        return projection(self.crs)


def _turn_once(rings: np.ndarray) -> np.ndarray:
    """Which of the rings [n, k, 2] are simple loops, as a circle's picture must be."""
    good = np.isfinite(rings).all(axis=(1, 2))
    shapes = shapely.polygons(np.where(good[:, None, None], rings, 0.0))
    return good & shapely.is_valid(shapes) & (shapely.area(shapes) > _NOTHING)
