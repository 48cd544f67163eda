"""GeoJSON (RFC 7946): the outlines, with their measures as properties."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from crater_model.files import write_bytes
from crater_model.imagery.body import Body
from crater_model.mapping.maps import Map, all_rows, one_body

# Decimals: a hundred-millionth of a degree is a third of a millimetre on the Moon.
_DEGREES, _PX = 8, 3


def write(path: Path, maps: Sequence[Map]) -> Path:
    """Writes a feature for each crater, and with a georeference their `bbox`.

    RFC 7946 knows the Earth alone. Its rules are kept: longitude and latitude in degrees,
    shells counter-clockwise, shapes cut at 180 deg, a `bbox` across it with west > east; and
    foreign members say which body it is: `body`, `coordinates`, and `crs` in the form of the
    older GeoJSON of 2008, which GDAL and QGIS read. Without a georeference coordinates are px
    and the file says so.

    Raises:
      ConfigError: the images show several bodies.
    """
    body = one_body(path, maps)
    shapes = np.concatenate([m.shapes for m in maps])
    kept = ~shapely.is_empty(shapes)
    head: dict[str, Any] = {"type": "FeatureCollection", **_about(body)}
    if body is not None and kept.any():
        head["bbox"] = bbox(shapes[kept])
    rows = all_rows(maps).to_dict("records")
    features = _features(shapes, rows, body)
    return write_bytes(path, _text(head, features).encode())


def bbox(shapes: Sequence[shapely.Geometry]) -> list[float]:
    """West, south, east, north (deg) of shapes cut at 180 deg; west > east across it."""
    parts = shapely.bounds(shapely.get_parts(np.asarray(shapes, dtype=object)))
    order = np.argsort(parts[:, 0])
    west, east = parts[order, 0], np.maximum.accumulate(parts[order, 2])
    # The widest stretch of longitudes where there is nothing lies outside.
    gaps = np.append(west[1:] - east[:-1], west[0] + 360.0 - east[-1])
    widest = int(np.argmax(gaps))
    if widest == len(gaps) - 1:
        sides = west[0], east[-1]
    else:
        sides = west[widest + 1], east[widest]
    values = [sides[0], parts[:, 1].min(), sides[1], parts[:, 3].max()]
    return [round(float(value), _DEGREES) for value in values]


def _about(body: Body | None) -> dict[str, Any]:
    if body is None:
        return {"coordinates": "px, x right, y down"}
    about: dict[str, Any] = {"body": body.name,
             "coordinates": f"longitude east and {body.latitudes} latitude in degrees on this body"}
    if body.code is not None:
        authority, code = body.code.split(":")
        name = f"urn:ogc:def:crs:{authority}::{code}"
    elif body.name != "Earth":
        name = body.proj4  # or readers would take it for the Earth
    else:
        return about
    return {**about, "crs": {"type": "name", "properties": {"name": name}}}


def _features(shapes: np.ndarray, rows: list[dict], body: Body | None) -> Iterator[dict]:
    decimals = _PX if body is None else _DEGREES
    for shape, row in zip(shapes, rows, strict=True):
        feature: dict[str, Any] = {"type": "Feature", "id": row["crater_id"]}
        if shape.is_empty:
            feature["geometry"] = None
        else:
            if body is not None:
                feature["bbox"] = bbox([shape])
            if shape.geom_type == "MultiPolygon" and len(shape.geoms) == 1:
                shape = shape.geoms[0]
            rounded = shapely.transform(shape, lambda p: np.round(p, decimals))
            feature["geometry"] = shapely.geometry.mapping(rounded)
        feature["properties"] = {key: _plain(value) for key, value in row.items()}
        yield feature


def _plain(value: Any) -> Any:
    """A value as JSON has it, numbers to ten digits, None for what is none."""
    if isinstance(value, float):
        return float(f"{value:.10g}") if np.isfinite(value) else None
    return value


def _text(head: dict, features: Iterator[dict]) -> str:
    start = json.dumps({**head, "features": []}, allow_nan=False)
    lines = ",\n".join(json.dumps(feature, allow_nan=False) for feature in features)
    return f"{start[:-2]}\n{lines}\n]}}\n"
