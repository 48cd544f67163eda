"""GeoPackage: points and outlines of the craters, and the ground that was searched."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyogrio
import shapely

from crater_model.files import make_folder
from crater_model.imagery.body import Body
from crater_model.mapping.maps import Map, all_rows, one_body

# For images without a place: columns and rows of the image, the latter downwards.
PIXEL_CRS = ('ENGCRS["image px, x right, y down",EDATUM["image"],CS[Cartesian,2],'
             'AXIS["x",unspecified,ORDER[1]],AXIS["y",unspecified,ORDER[2]],LENGTHUNIT["px",1]]')
# Readers of 2020 and later know it.
_VERSION = "1.3"


def write(path: Path, maps: Sequence[Map]) -> Path:
    """Writes the layers `craters` (centres), `outlines` and `mapped_area`.

    Both layers of craters have the table's columns (`measure.measure`), `crater_id` and
    `image`; `mapped_area` has `image` and `area_km2`. The system is the body's ("IAU_2015:30100"
    on the Moon), longitudes -180..180, shapes cut at 180 deg; of images without a georeference
    px (`PIXEL_CRS`).

    Raises:
      ConfigError: the images show several bodies.
    """
    body, rows = one_body(path, maps), all_rows(maps)
    crs, centre = (PIXEL_CRS, ["x_px", "y_px"]) if body is None else (
        body.code or body.crs.to_wkt(), ["lon_deg", "lat_deg"])
    on_map = np.isfinite(rows[centre]).all(axis=1).to_numpy()
    points = shapely.points(rows[centre].to_numpy(np.float64))
    points[~on_map] = None
    outlines = _multi(np.concatenate([m.shapes for m in maps]))
    make_folder(path.parent)
    # In a folder of its own, with the journals that SQLite may need.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        beside = Path(folder) / path.name
        _layer(beside, "craters", "Point", points, rows, crs, body)
        _layer(beside, "outlines", "MultiPolygon", outlines, rows, crs, body)
        _layer(beside, "mapped_area", "MultiPolygon",
               _multi(np.array([m.ground.shape if body else m.searched for m in maps], object)),
               _areas(maps), crs, body)
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    return path


def _layer(path: Path, name: str, kind: str, geometry: np.ndarray, rows: pd.DataFrame, crs: str,
           body: Body | None) -> None:
    about = {"coordinates": "px, x right, y down"} if body is None else {
        "coordinates": f"longitude east, {body.latitudes} latitude, deg", "body": body.name}
    pyogrio.raw.write(
        path, shapely.to_wkb(geometry), [rows[column].to_numpy() for column in rows],
        list(rows.columns), layer=name, driver="GPKG", geometry_type=kind, crs=crs,
        layer_metadata=about, VERSION=_VERSION)


def _multi(shapes: np.ndarray) -> np.ndarray:
    """Each shape as a MultiPolygon, object [n]."""
    made = [s if s.geom_type == "MultiPolygon" else shapely.MultiPolygon([s]) for s in shapes]
    return np.array([*made, None], dtype=object)[:-1]


def _areas(maps: Sequence[Map]) -> pd.DataFrame:
    km2 = [np.nan if m.mapped is None else m.mapped.km2 for m in maps]
    return pd.DataFrame({"image": pd.Series([m.name for m in maps], dtype=object),
                         "area_km2": km2})
