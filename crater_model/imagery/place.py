"""Where an image lies, as far as its file says; and what is missing where it does not."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pyproj
import rasterio
from pyproj.exceptions import CRSError
from rasterio.errors import CRSError as RasterioCRSError

from crater_model.errors import DataError
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.projection import parse_crs

NO_GEOREFERENCE = "has no georeference"
# Control points fit a transform that is off by less (px).
_FITS = 0.5


def place_of(source: rasterio.DatasetReader, name: str | Path
             ) -> tuple[Georeference | None, str]:
    """The georeference of an open file, or None and what it lacks ("has no georeference").

    Control points are a georeference where a transform fits them to half a pixel.

    Raises:
      DataError: its coordinate system or transform cannot be used.
    """
    crs, transform = source.crs, source.transform
    points, points_crs = source.gcps
    if transform.is_identity and points:
        return _by_points(source, points, points_crs, name)
    text = _text(crs) if crs else _isis(source) if source.driver.startswith("ISIS") else None
    if transform.is_identity:
        if text:
            return None, "has a coordinate system but no transform"
        return None, NO_GEOREFERENCE + (
            " but rational polynomials (RPC)" if source.rpcs else "")
    if text is None:
        projection = _isis_mapping(source).get("ProjectionName")
        return None, (f"has a transform but no coordinate system that is known (its projection is "
                      f"{projection})" if projection else "has a transform but no coordinate "
                      "system")
    if _is_of_no_body(text):
        return None, f"is in the engineering system {crs.to_wkt().split(chr(34))[1]!r}, of no body"
    return _georeference(text, transform, source, name), ""


def _by_points(source: rasterio.DatasetReader, points, crs, name: str | Path
               ) -> tuple[Georeference | None, str]:
    what = f"has {len(points)} ground control points"
    if not crs:
        return None, f"{what} but no coordinate system"
    seen = np.array([[p.col, p.row, 1.0] for p in points])
    on_map = np.array([[p.x, p.y] for p in points])
    middle = on_map.mean(axis=0)
    fitted, _, rank, _ = np.linalg.lstsq(seen, on_map - middle, rcond=None)
    if rank < 3:
        return None, f"{what}, which span no plane,"
    off = np.abs(seen @ fitted + middle - on_map) @ np.abs(np.linalg.inv(fitted[:2]))
    if not off.max() <= _FITS:
        return None, (f"{what}, which no transform fits (up to {off.max():.3g} px off; warp it, "
                      "for example with gdalwarp)")
    (a, d), (b, e), (c, f) = fitted.tolist()
    transform = (a, b, c + float(middle[0]), d, e, f + float(middle[1]))
    return _georeference(_text(crs), transform, source, name), ""


def _georeference(text: str, transform, source: rasterio.DatasetReader, name: str | Path
                  ) -> Georeference:
    try:
        return Georeference(text, tuple(transform)[:6], source.width, source.height)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


@functools.lru_cache(maxsize=64)
def _text(crs: rasterio.crs.CRS) -> str:
    """The system as text. Planetocentric latitudes of an ellipsoid are lost in WKT of a projected
    system, not in its code."""
    try:
        known = crs.to_authority()
    except RasterioCRSError:
        known = None
    if known and known[0].startswith("IAU"):
        code = ":".join(known)
        try:
            found = pyproj.CRS.from_user_input(code)
        except CRSError:
            return crs.to_wkt()
        base = found.geodetic_crs
        if base and base.coordinate_system and base.coordinate_system.name == "spherical":
            return code
    return crs.to_wkt()


def _is_of_no_body(text: str) -> bool:
    return parse_crs(text).type_name == "Engineering CRS"


def _isis(source: rasterio.DatasetReader) -> str | None:
    """PROJ's words for a projection that ISIS names "IProj"."""
    said = _isis_mapping(source).get("ProjStr")
    return said if isinstance(said, str) else None


def _isis_mapping(source: rasterio.DatasetReader) -> dict:
    """The group "Mapping" of an ISIS label, empty where there is none."""
    tags = source.tags(ns="json:ISIS3") if source.driver == "ISIS3" else {}
    try:  # rasterio cuts the one text at its first ":"
        label = json.loads("".join(f"{key}:{value}" for key, value in tags.items()))
        mapping = label["IsisCube"]["Mapping"]
        return mapping if isinstance(mapping, dict) else {}
    except (ValueError, KeyError, TypeError):
        return {}
