"""Where on a body an image lies: px to longitude and latitude, and km on the ground.

Longitudes and latitudes are degrees (east and north) in the image's own geographic
coordinate system, on its sphere or ellipsoid; pyproj does the geodesy. Longitudes may be
given in 0..360 or -180..180: they are turned by whole circles to the image's side.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
import pyproj
from pyproj.exceptions import CRSError, ProjError

from crater_model.annotations import outline
from crater_model.errors import DataError

# Points along a crater's rim that is drawn from its centre and diameter.
_RIM_POINTS = 64


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
        if not all(map(math.isfinite, self.transform)) or not a * e - b * d:
            raise DataError(f"the georeference's transform is {list(self.transform)}, expected six "
                            "finite numbers that span a plane; correct it")
        _projection(self.crs)

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

        Longitudes run on without a step and may leave -180..180.
        """
        points = np.asarray(points, np.float64).reshape(-1, 2)
        a, b, c, d, e, f = self.transform
        x, y = points.T
        return self._projection.to_lonlat(a * x + b * y + c, d * x + e * y + f)

    def pixels(self, lonlat: np.ndarray) -> np.ndarray:
        """[n, 2] longitude and latitude (deg) as [n, 2] x, y px, also outside the image;
        NaN where the projection does not show the place."""
        lonlat = np.asarray(lonlat, np.float64).reshape(-1, 2)
        lon = unwrap(lonlat[:, 0], self.middle_longitude)
        x, y = self._projection.from_lonlat(lon, lonlat[:, 1])
        a, b, c, d, e, f = self.transform
        determinant = a * e - b * d
        return np.stack([(e * (x - c) - b * (y - f)) / determinant,
                         (a * (y - f) - d * (x - c)) / determinant], axis=1)

    @functools.cached_property
    def middle_longitude(self) -> float:
        """Longitude of the image's middle, deg (0 where the middle is off the body)."""
        lon = self.lonlat([[self.width / 2, self.height / 2]])[0, 0]
        return float(lon) if math.isfinite(lon) else 0.0

    @property
    def geod(self) -> pyproj.Geod:
        """Geodesics on the body's sphere or ellipsoid (m)."""
        return self._projection.geod

    @property
    def geographic_crs(self) -> pyproj.CRS:
        """The longitudes and latitudes that `lonlat` gives."""
        return self._projection.geographic

    def rim(self, lon: float, lat: float, diameter_km: float) -> np.ndarray:
        """Outline [n, 2] in px of the circle on the ground around a place.

        Raises:
          ValueError: it holds a pole or leaves what the projection can show.
        """
        azimuths = np.linspace(0, 360, _RIM_POINTS, endpoint=False)
        n = len(azimuths)
        lons, lats, _ = self.geod.fwd(np.full(n, lon), np.full(n, lat), azimuths,
                                      np.full(n, diameter_km * 500.0))
        # The centre decides on which side of the seam the whole rim lies.
        lons = unwrap(lons, float(unwrap(lon, self.middle_longitude)))
        x, y = self._projection.from_lonlat(lons, np.asarray(lats))
        ring = self._to_image(x, y)
        if not np.isfinite(ring).all() or not _turns_once(ring):
            raise ValueError(f"of {diameter_km:g} km around longitude {lon:g}, latitude {lat:g} "
                             "cannot be drawn in the image's projection; leave it out")
        return ring

    def outline(self, lonlat: np.ndarray) -> np.ndarray:
        """A ring [n, 2] of longitude and latitude (deg) in px, kept whole at the seam."""
        lonlat = np.asarray(lonlat, np.float64)
        lon = np.concatenate([lonlat[:1, 0], lonlat[0, 0] + np.cumsum(
            (np.diff(lonlat[:, 0]) + 180.0) % 360.0 - 180.0)])
        middle = float(lon.mean())
        lon = lon + (unwrap(middle, self.middle_longitude) - middle)
        return self._to_image(*self._projection.from_lonlat(lon, lonlat[:, 1]))

    def diameter_km(self, rings: tuple[np.ndarray, ...]) -> float | None:
        """Diameter in km of the circle with the outlines' area on the ground.

        None where a point is off the body.
        """
        total = 0.0
        for ring in rings:
            lonlat = self.lonlat(ring)
            if not np.isfinite(lonlat).all():
                return None
            area, _ = self.geod.polygon_area_perimeter(*lonlat.T)
            total += abs(area)
        return 2.0 * math.sqrt(total / math.pi) / 1000.0

    def _to_image(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        a, b, c, d, e, f = self.transform
        determinant = a * e - b * d
        return np.stack([(e * (x - c) - b * (y - f)) / determinant,
                         (a * (y - f) - d * (x - c)) / determinant], axis=1)

    @property
    def _projection(self) -> _Projection:
        return _projection(self.crs)


def unwrap(lon, middle: float):
    """Longitudes turned by whole circles to within 180 deg of `middle`."""
    return middle + (np.asarray(lon, np.float64) - middle + 180.0) % 360.0 - 180.0


def parse_crs(text: str) -> pyproj.CRS:
    """Raises DataError where pyproj does not know the system."""
    try:
        return pyproj.CRS.from_user_input(text)
    except CRSError as error:
        raise DataError(f"the coordinate system {text[:80]!r} is unknown ({error}); give its WKT "
                        "or a code such as IAU_2015:30100") from None


class _Projection:
    """Map coordinates of one system to longitude and latitude and back."""

    def __init__(self, text: str):
        crs = parse_crs(text)
        geographic = crs.geodetic_crs
        if geographic is None or not (crs.is_projected or crs.is_geographic):
            raise DataError(f"the coordinate system {crs.name!r} has no longitude and latitude; "
                            "give a geographic or projected one")
        self.geographic = geographic
        self.geod = crs.get_geod()
        self._forward = self._inverse = None
        if crs.is_projected:
            # "over": longitudes beyond 180 deg stay there, so that no image is torn apart.
            make = functools.partial(pyproj.Transformer.from_crs, always_xy=True, force_over=True)
            self._forward, self._inverse = make(geographic, crs), make(crs, geographic)

    def to_lonlat(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if self._inverse is not None:
            x, y = _transformed(self._inverse, x, y)
        return np.stack([x, y], axis=1)

    def from_lonlat(self, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._forward is None:
            return np.asarray(lon, np.float64), np.asarray(lat, np.float64)
        return _transformed(self._forward, lon, lat)


@functools.lru_cache(maxsize=64)
def _projection(text: str) -> _Projection:
    return _Projection(text)


def _transformed(transformer: pyproj.Transformer, x, y) -> tuple[np.ndarray, np.ndarray]:
    try:
        x, y = (np.asarray(v, np.float64) for v in transformer.transform(x, y))
    except ProjError as error:
        raise DataError(f"coordinates cannot be projected ({error}); check the image's coordinate "
                        "system") from None
    good = np.isfinite(x) & np.isfinite(y)
    return np.where(good, x, np.nan), np.where(good, y, np.nan)


def _turns_once(ring: np.ndarray) -> bool:
    """Whether the ring is a simple loop, as a circle's picture must be."""
    import shapely

    shape = shapely.Polygon(ring)
    return shape.is_valid and shape.area > outline.MIN_AREA
