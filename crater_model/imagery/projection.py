"""Map coordinates of any system as degrees east and north on its body, and back."""

from __future__ import annotations

import functools
import math

import numpy as np
import pyproj
from pyproj.exceptions import CRSError, ProjError

from crater_model.errors import DataError

# Bodies whose semi-major axes differ by less are one body, measured twice.
_SAME_BODY = 0.01
_EARTH = 6378137.0  # m


def unwrap(lon, middle: float):
    """Longitudes turned by whole circles to within 180 deg of `middle`."""
    return middle + (np.asarray(lon, np.float64) - middle + 180.0) % 360.0 - 180.0


def unwrap_ring(lon: np.ndarray) -> np.ndarray:
    """Longitudes [..., n] along lines, turned so that no step is longer than half a circle."""
    lon = np.asarray(lon, np.float64)
    steps = unwrap(np.diff(lon, axis=-1), 0.0)
    return np.concatenate([lon[..., :1], lon[..., :1] + np.cumsum(steps, axis=-1)], axis=-1)


def parse_crs(text: str) -> pyproj.CRS:
    """A coordinate system; one whose name says "ocentric" has planetocentric latitudes, though
    WKT 1, GeoTIFF and .prj files can say that by the name alone.

    Raises DataError where pyproj does not know it.
    """
    try:
        return _ocentric(pyproj.CRS.from_user_input(text))
    except CRSError as error:
        raise DataError(f"the coordinate system {text[:80]!r} is unknown ({error}); give its WKT "
                        "or a code such as IAU_2015:30100") from None


def latitudes_unsaid(text: str) -> bool:
    """Whether a system of an ellipsoid (not the Earth's) says by nothing of which kind its
    latitudes are; they are then taken for planetographic."""
    crs = parse_crs(text)
    base = crs.geodetic_crs
    if not _is_flattened(base) or abs(radius(crs) / _EARTH - 1) < _SAME_BODY:
        return False
    assert base is not None and base.coordinate_system is not None
    said = base.coordinate_system.name == "spherical" or base.to_authority() is not None
    return not said and not any(
        word in f"{crs.name} {base.name}".lower() for word in ("ocentric", "ographic", "odetic"))


def _is_flattened(base: pyproj.CRS | None) -> bool:
    """Whether latitudes of several kinds differ on a geodetic system's body."""
    return (base is not None and not base.is_geocentric and base.ellipsoid is not None
            and base.coordinate_system is not None
            and base.ellipsoid.semi_minor_metre < base.ellipsoid.semi_major_metre)


def _ocentric(crs: pyproj.CRS) -> pyproj.CRS:
    """The system with the planetocentric latitudes that its name, or its base's, speaks of."""
    base = crs.geodetic_crs
    if not _is_flattened(base) or not (crs.is_projected or crs.is_geographic) or crs.is_bound:
        return crs
    assert base is not None and base.coordinate_system is not None
    if base.coordinate_system.name == "spherical" or "ocentric" not in (
            f"{base.name} {crs.name}".lower()):
        return crs
    entry = crs.to_json_dict()
    inner = entry.get("base_crs", entry)
    if "coordinate_system" not in inner or "base_crs" in inner:
        return crs
    axes = [("Planetocentric latitude", "U", "north"), ("Planetocentric longitude", "V", "east")]
    inner["coordinate_system"] = {"subtype": "spherical", "axis": [
        {"name": name, "abbreviation": short, "direction": direction, "unit": "degree"}
        for name, short, direction in axes]}
    for part in (inner, entry):
        part.pop("id", None)
    if inner is entry:
        entry["type"] = "GeodeticCRS"
    return pyproj.CRS.from_json_dict(entry)


def planetocentric(crs: str, points: np.ndarray) -> np.ndarray:
    """Points [n, 2] (x, y) of any coordinate system as longitude (east) and planetocentric
    latitude, deg, which mean the same place on every sphere and ellipsoid of a body.

    A geographic system's x is its longitude and y its latitude. NaN off the body.

    Raises:
      DataError: the system is unknown.
    """
    found = projection(crs)
    lonlat = found.to_lonlat(*np.asarray(points, np.float64).reshape(-1, 2).T)
    return latitudes(lonlat, 1.0 - found.geod.es)


def same_body(crs: str, other: str) -> bool:
    """Whether two coordinate systems are of bodies of one size (to a hundredth)."""
    a, b = (projection(text).geod.a for text in (crs, other))
    return abs(a - b) <= _SAME_BODY * max(a, b)


def radius(crs: pyproj.CRS) -> float:
    """The equatorial radius of a system's body, m."""
    assert crs.ellipsoid is not None  # every geodetic or projected system has one
    return crs.ellipsoid.semi_major_metre


def latitudes(lonlat: np.ndarray, factor: float) -> np.ndarray:
    """Latitudes whose tangents are multiplied by `factor`; longitudes as they are."""
    lonlat = np.array(lonlat, np.float64).reshape(-1, 2)
    if factor != 1.0:
        lat = np.radians(lonlat[:, 1])
        inside = np.abs(lonlat[:, 1]) < 90.0
        turned = np.degrees(np.arctan2(factor * np.sin(lat), np.cos(lat)))
        lonlat[:, 1] = np.where(inside, turned, lonlat[:, 1])
    return lonlat


class Projection:
    """Map coordinates of one system to longitude and latitude and back.

    Attributes:
      plain: the geographic system of the longitudes and latitudes.
      planetocentric: whether the system itself counts latitudes from the body's centre.
      geod: geodesics on its body.
      poles_are_points: the projection goes around them without a seam.
    """

    def __init__(self, text: str):
        crs = parse_crs(text)
        base, projected = crs.geodetic_crs, crs.is_projected
        if base is None or base.is_geocentric or not (
                projected or base == crs or crs.is_geographic):
            raise DataError(f"the coordinate system {crs.name!r} has no longitude and latitude; "
                            "give a geographic or projected one")
        geod, counted = crs.get_geod(), base.coordinate_system
        assert geod is not None and counted is not None  # it is geodetic
        self.geod, self.planetocentric = geod, counted.name == "spherical"
        meridian = crs.prime_meridian
        # In degrees: pyproj gives the meridian in its own unit.
        self._meridian = 0.0 if meridian is None else math.degrees(
            meridian.longitude * float(meridian.unit_conversion_factor))
        same, self.plain = _plain(base, text), base
        if not _is_plain(base) or self._meridian:
            self.plain = _plain(base, text, from_prime=True)
        # "over": longitudes beyond 180 deg stay there, so that no image is torn apart.
        make = functools.partial(pyproj.Transformer.from_crs, always_xy=projected, force_over=True)
        self._forward = self._inverse = None
        # A geographic image's x is the longitude, whatever the order of the system's axes.
        axes = [axis.direction for axis in crs.axis_info[:2]]
        self._swapped = not projected and axes[0] in ("north", "south")
        if projected or not _is_plain(crs):
            try:
                self._forward, self._inverse = make(same, crs), make(crs, same)
            except ProjError as error:
                raise DataError(f"the coordinate system {crs.name!r} cannot be projected "
                                f"({error}); give another one") from None
        self.poles_are_points = False
        west, east = (np.array(self.from_lonlat(np.full(2, lon), np.array([80.0, -80.0])))
                      for lon in (-170.0, 190.0))
        shown = np.isfinite([west, east]).all(axis=(0, 1))
        self.poles_are_points = bool(shown.any() and np.allclose(west[:, shown], east[:, shown]))

    def to_lonlat(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if self._inverse is not None:
            x, y = _transformed(self._inverse, *((y, x) if self._swapped else (x, y)))
        lon, lat = np.asarray(x, np.float64) + self._meridian, np.asarray(y, np.float64)
        good = np.isfinite(lon) & (np.abs(lat) <= 90.0)
        return np.where(good[:, None], np.stack([lon, lat], axis=1), np.nan)

    def from_lonlat(self, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lon, lat = np.asarray(lon, np.float64) - self._meridian, np.asarray(lat, np.float64)
        good = np.isfinite(lon) & (np.abs(lat) <= 90.0)
        lon, lat = np.where(good, lon, np.nan), np.where(good, lat, np.nan)
        if self.poles_are_points:
            lon = unwrap(lon, 0.0)  # PROJ takes no more than 573 deg
        if self._forward is None:
            return lon, lat
        x, y = _transformed(self._forward, lon, lat)
        return (y, x) if self._swapped else (x, y)


def _is_plain(crs: pyproj.CRS) -> bool:
    """Whether a system's two axes are degrees north and degrees east, in either order."""
    axes = crs.axis_info
    return (len(axes) == 2 and not crs.is_derived
            and crs.coordinate_system is not None and crs.coordinate_system.name == "ellipsoidal"
            and {axis.direction for axis in axes} == {"north", "east"}
            and all(math.isclose(axis.unit_conversion_factor, math.pi / 180) for axis in axes))


def _plain(base: pyproj.CRS, text: str, from_prime: bool = False) -> pyproj.CRS:
    """Degrees east and north on a geodetic system's datum (from its own meridian, or from
    the body's)."""
    entry = base.to_json_dict()
    while "base_crs" in entry:
        entry = entry["base_crs"]
    datum = {key: dict(entry[key]) for key in ("datum", "datum_ensemble") if key in entry}
    if from_prime and "datum" in datum:
        datum["datum"].pop("prime_meridian", None)
    axes = [{"name": "Longitude", "abbreviation": "lon", "direction": "east", "unit": "degree"},
            {"name": "Latitude", "abbreviation": "lat", "direction": "north", "unit": "degree"}]
    try:
        return pyproj.CRS.from_json_dict({
            "type": "GeographicCRS", "name": entry.get("name", "unknown"), **datum,
            "coordinate_system": {"subtype": "ellipsoidal", "axis": axes}})
    except CRSError as error:
        raise DataError(f"the coordinate system {text[:80]!r} cannot be used ({error}); give "
                        "another one") from None


@functools.lru_cache(maxsize=64)
def projection(text: str) -> Projection:
    return Projection(text)


def _transformed(transformer: pyproj.Transformer, x, y) -> tuple[np.ndarray, np.ndarray]:
    try:
        x, y = (np.asarray(v, np.float64) for v in transformer.transform(x, y))
    except ProjError as error:
        raise DataError(f"coordinates cannot be projected ({error}); check the image's coordinate "
                        "system") from None
    good = np.isfinite(x) & np.isfinite(y)
    return np.where(good, x, np.nan), np.where(good, y, np.nan)
