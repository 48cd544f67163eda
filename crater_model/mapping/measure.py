"""From outlines to measured craters: px, and degrees and km where the image has a place.

What is measured on the ground is measured there: areas between geodesics on the body's
sphere or ellipsoid; centres and ellipses in the plane around each crater whose distances and
directions from the crater's centre are true. So they hold at any latitude, at the poles and
where longitudes begin again.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from crater_model.imagery.body import body_of
from crater_model.imagery.georeference import Georeference
from crater_model.mapping.craters import Craters
from crater_model.mapping.ground import segmented, wrapped
from crater_model.mapping.moments import Moments, moments

# Craters whose points are in memory at once.
_AT_ONCE = 2000


def measure(craters: Craters, georeference: Georeference | None = None) -> pd.DataFrame:
    """The table of an image's craters, a row for each, in their order.

    Columns:
      x_px, y_px: centroid of the outline, px.
      diameter_px: of the circle of the outline's area.
      ellipse_major_px, ellipse_minor_px: axes of the ellipse with the outline's moments.
      ellipse_angle_deg: 0..180, of the major axis, from the image's x axis towards its y
        axis (clockwise as seen).
      ellipticity: major / minor axis, 1 for a circle; on the ground where there is a
        georeference.
      score: 0..1. class: its name. scale: network px per image px of the pass that found
        it. edge: whether the image's edge cuts it.

    With a georeference, NaN for a crater that is not all on the body:
      lon_deg: -180..180, east. lat_deg: planetocentric (see `body.Body`). Of the centroid
        on the ground.
      diameter_km: of the flat circle with the outline's area on the ground.
      ellipse_major_km, ellipse_minor_km: as above, along the ground.
      ellipse_azimuth_deg: 0..180, of the major axis, from north towards east.
    """
    points, ring = segmented(craters.outlines)
    seen = moments(points, ring, len(craters))
    names = {number: craters.label_map.get(number, str(number))
             for number in np.unique(craters.classes).tolist()}
    table = pd.DataFrame({
        "x_px": seen.centre[:, 0], "y_px": seen.centre[:, 1], "diameter_px": _diameter(seen.area),
        "ellipse_major_px": seen.major, "ellipse_minor_px": seen.minor,
        "ellipse_angle_deg": seen.angle, "ellipticity": _ratio(seen),
        "score": _plain(craters.scores),
        "class": pd.Series([names[int(number)] for number in craters.classes], dtype=object),
        "scale": _plain(craters.scales), "edge": craters.edge.astype(bool)})
    if georeference is None:
        return table
    parts = []
    for start in range(0, len(craters), _AT_ONCE):
        count = min(_AT_ONCE, len(craters) - start)
        low, high = np.searchsorted(ring, [start, start + count])
        parts.append(_on_ground(points[low:high], ring[low:high] - start,
                                seen.centre[start:start + count], georeference))
    ground = pd.concat(parts or [_on_ground(points, ring, seen.centre, georeference)],
                       ignore_index=True)
    table["ellipticity"] = ground.pop("ellipticity")
    return pd.concat([table, ground], axis=1)


def _on_ground(points: np.ndarray, ring: np.ndarray, centres: np.ndarray,
               georeference: Georeference) -> pd.DataFrame:
    """The columns of the ground, of rings [m, 2] in px around the centres [n, 2] px."""
    n, geod = len(centres), georeference.geod
    lonlat, middle = georeference.lonlat(points), georeference.lonlat(centres)
    good = np.isfinite(middle).all(axis=1)
    good[ring[~np.isfinite(lonlat).all(axis=1)]] = False
    kept = good[ring]
    lonlat, ring = lonlat[kept], ring[kept]
    for _ in range(2):  # the second time around the centroid that the first has found
        plane = _plane(lonlat, middle[ring], geod)
        found = moments(plane, ring, n)
        before, (east, north) = middle, found.centre.T
        middle = np.stack(geod.fwd(before[:, 0], before[:, 1], np.degrees(np.arctan2(east, north)),
                                   np.hypot(east, north))[:2], axis=1)
    area = np.full(n, np.nan)
    bounds = np.searchsorted(ring, np.arange(n + 1))
    for number in np.flatnonzero(good):
        piece = lonlat[bounds[number]:bounds[number + 1] - 1]
        area[number] = abs(geod.polygon_area_perimeter(*piece.T)[0])
    place = body_of(georeference).from_geodetic(middle, georeference)
    place[~good] = np.nan
    return pd.DataFrame({
        "lon_deg": wrapped(place[:, 0]), "lat_deg": place[:, 1],
        "diameter_km": _diameter(area) / 1000, "ellipse_major_km": found.major / 1000,
        "ellipse_minor_km": found.minor / 1000,
        "ellipse_azimuth_deg": (90.0 - found.angle) % 180.0, "ellipticity": _ratio(found)})


def _plane(lonlat: np.ndarray, middle: np.ndarray, geod) -> np.ndarray:
    """Places [m, 2] as metres east and north [m, 2] of the places `middle` [m, 2]."""
    azimuth, _, distance = geod.inv(*middle.T, *lonlat.T)
    azimuth = np.radians(azimuth)
    return np.stack([distance * np.sin(azimuth), distance * np.cos(azimuth)], axis=1)


def _diameter(area: np.ndarray) -> np.ndarray:
    return 2.0 * np.sqrt(area / math.pi)


def _plain(values: np.ndarray) -> np.ndarray:
    """float32 as float64 without the digits that it does not have."""
    return np.round(values.astype(np.float64), 6)


def _ratio(found: Moments) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return found.major / found.minor
