"""Layers of vector files: their shapes, classes and diameters."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from crater_model.errors import DataError
from crater_model.imagery.projection import parse_crs
from crater_model.importing.classes import CRATER, class_columns, class_values, is_gazetteer
from crater_model.importing.formats import geoparquet
from crater_model.importing.formats.columns import size_column
from crater_model.importing.formats.source import Source, head, read_text

SUFFIXES = (".geojson", ".json", ".gpkg", ".shp", ".kml", ".fgb", *geoparquet.SUFFIXES)
_SIDECARS = (".shx", ".dbf")
# The beginnings of the binary files, so that nothing else is opened under their names.
_MAGIC = {".gpkg": b"SQLite format 3\0", ".shp": b"\0\0\x27\x0a", ".fgb": b"fgb\x03",
          **dict.fromkeys(geoparquet.SUFFIXES, geoparquet.MAGIC)}
# A line whose ends are nearer to each other than this share of its length is a rim, if it has
# more corners than a frame.
_CLOSED, _CORNERS = 0.02, 5
# Areas of a count have such attributes (CraterTools).
_AREA_FIELDS = ("areasize", "areaname", "areakm2", "areaid")


@dataclass(frozen=True, eq=False)
class Layer:
    """Features of one layer.

    Attributes:
      name: what messages call it. title: its own name, or its file's.
      path: the file.
      crs: its coordinate system as text, or None.
      shapes: [n] shapely geometries (two dimensions; None where a feature has none); lines that
        are closed have become polygons.
      names: [n] classes. diameters: [n] km, NaN where a feature says none.
      has_diameter: whether there is an attribute for it. unit: whether it says its unit.
      label: what it is called. table: all attributes, a row a feature.
      gazetteer: whether its classes are the IAU's ("Crater, craters").
    """

    name: str
    title: str
    path: Path
    crs: str | None
    shapes: np.ndarray
    names: list[str]
    diameters: np.ndarray
    has_diameter: bool = False
    unit: bool = True
    label: str = "diameter"
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    gazetteer: bool = False

    @property
    def fields(self) -> list[str]:
        """Names of the attributes."""
        return [str(name) for name in self.table.columns]

    def select(self, numbers: np.ndarray) -> Layer:
        """The features at these indices."""
        return replace(self, shapes=self.shapes[numbers], names=[self.names[i] for i in numbers],
                       diameters=self.diameters[numbers], table=self.table.iloc[numbers])

    def joined(self, other: Layer) -> Layer:
        """With the features of another layer of the same file behind."""
        return replace(self, shapes=np.concatenate([self.shapes, other.shapes]),
                       names=self.names + other.names,
                       diameters=np.concatenate([self.diameters, other.diameters]),
                       table=pd.concat([self.table, other.table], ignore_index=True))

    @property
    def is_area(self) -> bool:
        """Whether its attributes are those of an area that was counted, not of craters."""
        keys = {re.sub("[^a-z0-9]", "", field.lower()) for field in self.fields}
        return not self.has_diameter and bool(keys & set(_AREA_FIELDS))


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
    if suffix == ".kml":
        return "<kml" in text
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
    try:
        if suffix in geoparquet.SUFFIXES:
            return [_layer(path, name, path.stem, *geoparquet.read(path))]
        what = _geojson(path) if suffix in (".geojson", ".json") else str(path.absolute())
        # By number: a GeoJSON without a name is another layer each time it is opened.
        found = [(number, layer) for number, (layer, kind) in enumerate(pyogrio.list_layers(what))
                 if kind is not None]
        return [_layer(path, name if len(found) == 1 else f"{name}: layer {layer}",
                       str(layer) if suffix in (".gpkg", ".kml") else path.stem,
                       *_opened(what, number)) for number, layer in found]
    except (DataSourceError, DataLayerError, shapely.GEOSException, UnicodeDecodeError, ValueError,
            MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read ({reason[:200]}), expected a whole "
                        f"{_form(suffix)}; export it again") from None


def _form(suffix: str) -> str:
    return {".kml": "KML file", ".fgb": "FlatGeobuf file", ".gpkg": "GeoPackage",
            ".shp": "shapefile"}.get(suffix, "GeoJSON" if "json" in suffix else "GeoParquet file")


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


def open_layer(path: Path, name: str, title: str) -> Layer:
    """One layer of a GeoPackage by its own name; `name` is what messages call it."""
    try:
        return _layer(path, name, title, *_opened(str(path.absolute()), title))
    except (DataSourceError, DataLayerError, shapely.GEOSException, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: its layer {title!r} cannot be read ({reason}); export it "
                        "again") from None


def _opened(what: str | bytes, layer: int | str
            ) -> tuple[str | None, np.ndarray, list[str], list]:
    """Coordinate system, WKB, names and values of the attributes."""
    meta, _, wkb, values = pyogrio.raw.read(what, layer=layer, force_2d=True)
    return meta["crs"], wkb, [str(field) for field in meta["fields"]], list(values)


def _layer(path: Path, name: str, title: str, crs: str | None, wkb: np.ndarray,
           fields: list[str], values: list) -> Layer:
    shapes = _rims(shapely.from_wkb(wkb, on_invalid="ignore"))
    found = size_column(fields)
    diameters = np.full(len(shapes), np.nan)
    if found is not None:
        said = pd.to_numeric(pd.Series(values[found.diameter]), errors="coerce")
        diameters = said.to_numpy(np.float64) * found.to_km
    if crs is not None and parse_crs(crs).is_engineering:  # "undefined", in a GeoPackage
        crs = None
    classes = _classes(fields, values, len(shapes))
    gazetteer = any(is_gazetteer(values[number]) for number in class_columns(fields))
    table = pd.DataFrame(dict(zip(fields, values, strict=True)))
    if found is None:
        return Layer(name, title, path, crs, shapes, classes, diameters, table=table,
                     gazetteer=gazetteer)
    return Layer(name, title, path, crs, shapes, classes, diameters, True, found.unit, found.label,
                 table, gazetteer)


def _classes(fields: Sequence[str], values: list, count: int) -> list[str]:
    found = (class_values(fields[number], values[number]) for number in class_columns(fields))
    return next((names for names in found if names), [CRATER] * count)


def _rims(shapes: np.ndarray) -> np.ndarray:
    """The shapes, with closed lines as polygons."""
    lines = np.flatnonzero(np.isin(shapely.get_type_id(shapes), (1, 2, 5)))
    for index in lines:
        shape = shapes[index]
        if shape.geom_type == "MultiLineString":
            shape = shapely.line_merge(shape)
        points = shapely.get_coordinates(shape)
        if shape.geom_type == "MultiLineString" or len(points) < _CORNERS + 1:
            continue
        if shapely.distance(*shapely.points(points[[0, -1]])) <= _CLOSED * shape.length:
            shapes[index] = shapely.Polygon(points)
    return shapes
