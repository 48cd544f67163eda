"""CSV with the column names of Robbins (2019), "A New Global Database of Lunar Impact Craters
>1-2 km: 1. Crater Locations and Sizes", JGR Planets 124, and the rest of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from crater_model.files import write_bytes
from crater_model.mapping.maps import Map, all_rows

_OTHERS = ("image", "class", "score", "scale", "edge", "x_px", "y_px", "diameter_px",
           "ellipse_major_px", "ellipse_minor_px", "ellipse_angle_deg")


def write(path: Path, maps: Sequence[Map]) -> Path:
    """Writes a row for each crater.

    His columns, without what was not measured (his standard deviations, the arc and the
    number of rim points), and only where an image has a georeference:
      CRATER_ID: "1-000001", image and crater; his too are numbers in order.
      LAT_CIRC_IMG, LON_CIRC_IMG: centre, deg, planetocentric and 0..360 east.
      LAT_ELLI_IMG, LON_ELLI_IMG: the ellipse's, here the same.
      DIAM_CIRC_IMG: km; his of the circle fitted to the rim, here of the circle of its area.
      DIAM_ELLI_MAJOR_IMG, DIAM_ELLI_MINOR_IMG: whole axes of the ellipse, km.
      DIAM_ELLI_ECCEN_IMG: sqrt(1 - minor^2 / major^2).
      DIAM_ELLI_ELLIP_IMG: major / minor.
      DIAM_ELLI_ANGLE_IMG: 0..180 deg, of the major axis, here from east towards north (his
        way of counting is not documented).
    Ours, in small letters: diameter_km, the same as DIAM_CIRC_IMG, before any diameter in px, as
    craterpy and others take the first column with that word; the others as in `measure.measure`.
    Of images without a georeference there are only those, with CRATER_ID.
    """
    rows = all_rows(maps)
    table = pd.DataFrame({"CRATER_ID": rows["crater_id"]})
    if "lon_deg" in rows:
        table = table.assign(**_robbins(rows))
    for column in _OTHERS:
        table[column] = rows[column]
    table["edge"] = table["edge"].astype(int)
    if "lon_deg" not in rows:
        table["ellipticity"] = rows["ellipticity"]
    text = table.to_csv(index=False, float_format="%.10g", lineterminator="\n")
    return write_bytes(path, text.encode())


def _robbins(rows: pd.DataFrame) -> dict[str, pd.Series]:
    lat, lon = rows["lat_deg"].round(7), rows["lon_deg"].round(7) % 360.0
    ratio = rows["ellipse_minor_km"] / rows["ellipse_major_km"]
    return {
        "LAT_CIRC_IMG": lat, "LON_CIRC_IMG": lon, "LAT_ELLI_IMG": lat, "LON_ELLI_IMG": lon,
        "DIAM_CIRC_IMG": rows["diameter_km"], "diameter_km": rows["diameter_km"],
        "DIAM_ELLI_MAJOR_IMG": rows["ellipse_major_km"],
        "DIAM_ELLI_MINOR_IMG": rows["ellipse_minor_km"],
        "DIAM_ELLI_ECCEN_IMG": np.sqrt(1.0 - ratio**2), "DIAM_ELLI_ELLIP_IMG": 1.0 / ratio,
        "DIAM_ELLI_ANGLE_IMG": (90.0 - rows["ellipse_azimuth_deg"]) % 180.0}
