"""Layers of vector files: their shapes, classes and diameters."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from crater_model.errors import DataError
from crater_model.imagery.projection import parse_crs
from crater_model.importing.formats.catalogue import columns
from crater_model.importing.formats.source import Source, head, read_text

SUFFIXES = (".geojson", ".json", ".gpkg", ".shp")
_CLASS = ("class", "label", "category")
_SIDECARS = (".shx", ".dbf")
# The beginnings of the binary files, so that nothing else is opened under their names.
_MAGIC = {".gpkg": b"SQLite format 3\0", ".shp": b"\0\0\x27\x0a"}


@dataclass(frozen=True, eq=False)
class Layer:
    """Features of one layer.

    Attributes:
      name: what messages call it.
      crs: its coordinate system as text, or None.
      shapes: [n] shapely geometries (two dimensions; None where a feature has none).
      names: [n] classes. diameters: [n] km, NaN where a feature says none.
      has_diameter: whether there is an attribute for it.
    """

    name: str
    crs: str | None
    shapes: np.ndarray
    names: list[str]
    diameters: np.ndarray
    has_diameter: bool


def looks_right(path: Path) -> bool:
    """Whether the file's beginning fits its suffix."""
    suffix = path.suffix.lower()
    if suffix in _MAGIC:
        try:
            with path.open("rb") as file:
                return file.read(16).startswith(_MAGIC[suffix])
        except OSError:
            return False
    text = head(path)
    if not text.lstrip().startswith("{"):
        return False
    if not re.search(r'"type"\s*:\s*"Feature(Collection)?"', text):
        return False
    return suffix == ".geojson" or bool(re.search(r'"((Multi)?Polygon|Point)"', text))


def read_layers(source: Source, path: Path) -> list[Layer]:
    """Every layer with a geometry.

    Raises:
      DataError: the file cannot be read or lacks a part.
    """
    suffix, name = path.suffix.lower(), source.name(path)
    if suffix == ".shp":
        beside = {p.suffix.lower() for p in path.parent.glob("*") if p.stem == path.stem}
        missing = [end for end in _SIDECARS if end not in beside]
        if missing:
            raise DataError(f"{path}: has no {' nor '.join(missing)} beside it, expected the parts "
                            "of a shapefile; put them there")
    what = _geojson(path) if suffix in (".geojson", ".json") else str(path.absolute())
    try:
        # By number: a GeoJSON without a name is another layer each time it is opened.
        found = [(number, layer) for number, (layer, kind) in enumerate(pyogrio.list_layers(what))
                 if kind is not None]
        return [_layer(what, number, name if len(found) == 1 else f"{name}: layer {layer}")
                for number, layer in found]
    except (DataSourceError, DataLayerError, shapely.GEOSException, UnicodeDecodeError, ValueError,
            MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read ({reason[:200]}), expected a whole GeoJSON, "
                        "GeoPackage or shapefile; export it again") from None


def _geojson(path: Path) -> bytes:
    """The file's text, as UTF-8.

    Raises:
      DataError: it is not JSON, or its coordinate system is an address, which GDAL would
        look up.
    """
    def check(pairs: list[tuple[str, object]]) -> None:
        kinds = [str(value).lower() for key, value in pairs if key == "type"]
        if {"url", "link"} & set(kinds) and any(key == "properties" for key, _ in pairs):
            raise DataError(f"{path}: has a coordinate system of the type {kinds[0]!r}, expected a "
                            "name such as urn:ogc:def:crs:IAU_2015::30100; correct it")

    text = read_text(path)
    try:
        json.loads(text, object_pairs_hook=check)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({error}); export it again") from None
    return text.encode()


def _layer(what: str | bytes, layer: int, name: str) -> Layer:
    meta, _, wkb, values = pyogrio.raw.read(what, layer=layer, force_2d=True)
    shapes = shapely.from_wkb(wkb, on_invalid="ignore")
    fields = [str(field) for field in meta["fields"]]
    classes = next((column for key in _CLASS for field, column in zip(fields, values, strict=True)
                    if field.lower() == key and column.dtype == object), [None] * len(shapes))
    names = [value.strip() if isinstance(value, str) and value.strip() else "crater"
             for value in classes]
    found = columns(["lon", "lat", *fields])
    diameters = np.full(len(shapes), np.nan)
    if found is not None:
        said = pd.to_numeric(pd.Series(values[found.diameter - 2]), errors="coerce")
        diameters = said.to_numpy(np.float64) * found.to_km
    crs = meta["crs"]
    if crs is not None and parse_crs(crs).is_engineering:  # "undefined", in a GeoPackage
        crs = None
    return Layer(name, crs, shapes, names, diameters, found is not None)
