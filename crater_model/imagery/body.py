"""Which body an image shows, and the coordinate system in which its maps are written."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pyproj
from pyproj.database import query_crs_info
from pyproj.enums import PJType

from crater_model.imagery.georeference import Georeference
from crater_model.imagery.projection import latitudes, radius

# Radii of one body that differ by less were measured at different times.
_SAME_RADIUS = 0.005
_SUFFIX = " - Sphere / Ocentric"


@dataclass(frozen=True)
class Body:
    """A body and the system of longitudes and latitudes on it.

    Attributes:
      name: "Moon"; what the image's own system is called where the body is not known.
      crs: the IAU's sphere with longitudes to the east and planetocentric latitudes, or the
        image's own geographic system with geodetic latitudes where that names no body of
        the IAU's list, or the Earth.
      code: "IAU_2015:30100", or None for an image's own system.
    """

    name: str
    crs: pyproj.CRS
    code: str | None

    def __str__(self) -> str:
        return f"{self.name} (radius {self._radius_km:.6g} km)"

    @property
    def _radius_km(self) -> float:
        return radius(self.crs) / 1000

    def is_same(self, other: Body) -> bool:
        """Whether both are one body: by the IAU's code, or by their size where none has one,
        since systems of no known body are called anything."""
        if self.code is not None or other.code is not None:
            return self.code == other.code
        one, two = self._radius_km, other._radius_km
        return abs(one - two) <= _SAME_RADIUS * max(one, two)

    @property
    def proj4(self) -> str:
        """Its system in PROJ's words, which programs read that know no name for it."""
        assert self.crs.ellipsoid is not None
        a, b = self.crs.ellipsoid.semi_major_metre, self.crs.ellipsoid.semi_minor_metre
        size = f"+R={a:.10g}" if a == b else f"+a={a:.10g} +b={b:.10g}"
        return f"+proj=longlat {size} +no_defs"

    @property
    def planetocentric(self) -> bool:
        return self.code is not None

    @property
    def latitudes(self) -> str:
        """What the latitudes are called."""
        return "planetocentric" if self.planetocentric else "geodetic"

    def from_geodetic(self, lonlat: np.ndarray, georeference: Georeference) -> np.ndarray:
        """Places [n, 2] as `Georeference.lonlat` gives them, in this body's system."""
        return latitudes(lonlat, 1.0 - georeference.geod.es if self.planetocentric else 1.0)


def body_of(georeference: Georeference) -> Body:
    """The body that an image's coordinate system names, or that has its radius."""
    return _body(georeference.crs)


@functools.lru_cache(maxsize=64)
def _body(text: str) -> Body:
    crs = pyproj.CRS.from_user_input(text)
    size, words = radius(crs), crs.to_wkt().lower()
    near = [(abs(sphere - size), name, code) for name, code, sphere in _spheres()
            if abs(sphere - size) <= _SAME_RADIUS * size]
    named = [entry for entry in near if entry[1].lower() in words]
    chosen = min(named or near, default=None)
    if chosen is None or chosen[1] == "Earth":
        own = Georeference(text, (1.0, 0, 0, 0, -1.0, 0), 1, 1).geographic_crs
        return Body("Earth" if chosen else own.name, own, None)
    _, name, code = chosen
    return Body(name, pyproj.CRS.from_user_input(code), code)


@functools.cache
def _spheres() -> list[tuple[str, str, float]]:
    """Name, code and radius (m) of the IAU's bodies."""
    found = []
    for info in query_crs_info(auth_name="IAU_2015", pj_types=[PJType.GEOGRAPHIC_2D_CRS]):
        if info.name.endswith(_SUFFIX):
            code = f"IAU_2015:{info.code}"
            name = info.name.removesuffix(_SUFFIX).removesuffix(" (2015)")
            found.append((name, code, radius(pyproj.CRS.from_user_input(code))))
    return found
