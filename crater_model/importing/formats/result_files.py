"""The files of `mapping.formats` as tables of craters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from crater_model.errors import DataError
from crater_model.importing.classes import CRATER
from crater_model.importing.formats.craterstats import read_count
from crater_model.importing.formats.layers import Layer, looks_right, open_layer, read_layers
from crater_model.importing.formats.source import Notes, Source, head, is_whole, read_json

# What our tables have and nobody else's do, all together.
_OURS = {"crater_id", "x_px", "y_px", "diameter_px", "score"}
_OUTLINES, _POINTS, _AREA = "outlines", "craters", "mapped_area"
_PX_COLUMNS = ("x_px", "y_px", "ellipse_major_px", "ellipse_minor_px", "ellipse_angle_deg")
_FIRST_LINES = {
    ".scc": ("# Spatial crater count\n#\n# Ellipsoid axes:", "# Longitudes east, -180.."),
    ".diam": ("# Crater diameters for craterstats\n", "longitudes east, -180..180")}
_HEAD = re.compile(
    r'\s*\{"type": "FeatureCollection", ("body": "[^"]*", )?"coordinates": "')


@dataclass(eq=False)
class Found:
    """The craters of one file.

    Attributes:
      path: the file. what: what messages call a crater in it. rows: [n] their numbers.
      names: [n] classes. images: [n] names of images, "" where the file says none.
      lonlat: [n, 2] deg, NaN where there is none. diameter_km: [n], NaN likewise.
      ellipses: [n, 5] x, y, major and minor axis (px) and angle (deg), NaN likewise.
      diameter_px: [n], NaN likewise.
      layer: the outlines' layer, or None. runs: [n] segmentations of COCO results.
      ids: what tells these craters from others, or None where the file has no such thing.
      before: the ids that a corrected file had.
    """

    path: Path
    what: str
    rows: np.ndarray
    names: np.ndarray
    images: np.ndarray
    lonlat: np.ndarray
    diameter_km: np.ndarray
    ellipses: np.ndarray
    diameter_px: np.ndarray
    layer: Layer | None = None
    runs: list[Any] | None = None
    ids: tuple | None = None
    before: frozenset = frozenset()

    def __len__(self) -> int:
        return len(self.rows)

    def on_ground(self) -> np.ndarray:
        """Which craters have a place on a body: bool [n]."""
        return np.isfinite(self.lonlat).all(axis=1)

    @property
    def has_outlines(self) -> bool:
        return self.layer is not None and bool((shapely.get_type_id(self.layer.shapes) > 0).any())

    def is_as_before(self, other: Found) -> bool:
        """Whether this has the craters of another file, or those before it was corrected."""
        return self.ids is None or other.ids is None or self.ids == other.ids or (
            frozenset(self.ids) == other.before)

    def overlaps(self, other: Found) -> bool:
        """Whether both may have craters of one image."""
        one, two = (set(map(_base, found.images)) for found in (self, other))
        return not (one and two) or "" in one | two or bool(one & two)


def is_result(path: Path) -> bool:
    """Whether the file's beginning is that of one of ours, or of COCO results."""
    suffix = path.suffix.lower()
    if suffix == ".gpkg":
        return looks_right(path) and bool(_our_layers(path))
    text = head(path).replace("\r\n", "\n")
    if suffix == ".csv":
        names = re.split("[,;\t]", text.partition("\n")[0])
        return {name.strip('" ').lower() for name in names} >= _OURS
    if _is_object(path):
        return suffix in (".geojson", ".json") and '"FeatureCollection"' in text and (
            all(f'"{name}"' in text for name in _OURS) or bool(_HEAD.match(text)))
    if suffix == ".geojson":
        return False
    if suffix == ".json":
        named = all(f'"{name}"' in text for name in ("image_id", "category_id", "score"))
        return bool(named and re.match(r"\s*\[\s*\{", text)
                    and re.search(r'"(bbox|segmentation)"', text))
    first, other = _FIRST_LINES[suffix]
    return text.startswith(first) and other in text


def load(source: Source, path: Path, notes: Notes) -> Found:
    """Raises DataError where the file cannot be read."""
    suffix = path.suffix.lower()
    if suffix == ".gpkg":
        return _geopackage(source, path, notes)
    if _is_object(path):
        return _of_layer(read_layers(source, path)[0])
    if suffix == ".csv":
        return _table(path)
    if suffix == ".json":
        return _results(path)
    count = read_count(path)
    number, lon, lat, diameter = count.numbers.T
    return Found(path, "line", number.astype(int), _texts(len(number), CRATER), _texts(len(number)),
                 np.stack([lon, lat], axis=1), diameter, np.full((len(number), 5), np.nan),
                 np.full(len(number), np.nan))


def _is_object(path: Path) -> bool:
    return head(path, 100).lstrip().startswith("{")


def _our_layers(path: Path) -> list[str]:
    """Names of the layers that have our columns."""
    try:
        return [name for name in _layers(path)
                if {str(f) for f in pyogrio.read_info(path, layer=name)["fields"]} >= _OURS]
    except (DataSourceError, DataLayerError, ValueError):
        return []


def _layers(path: Path) -> list[str]:
    return [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]


def _geopackage(source: Source, path: Path, notes: Notes) -> Found:
    """The outlines, and points that were added; without craters that one of the layers `outlines`
    and `craters` lacks."""
    name, ours = source.name(path), _our_layers(path)
    wanted = source.layers or ((_OUTLINES, _POINTS) if _OUTLINES in ours else tuple(ours))
    missing = [layer for layer in source.layers if layer not in ours]
    if missing:
        raise DataError(f"{path}: has no layer {missing[0]!r} of craters, expected one of "
                        f"{', '.join(ours)}; name another (--layer)")
    for layer in _layers(path):
        if layer not in (*ours, _AREA):
            notes.count("layer(s) of a result file were not read, as they hold no craters of ours",
                        f"{name}: layer {layer}")
    parts = [_of_layer(open_layer(path, f"{name}: layer {layer}", layer))
             for layer in ours if layer in wanted]
    if len(parts) == 1:
        return parts[0]
    parts.sort(key=lambda part: not part.has_outlines)
    outlines, points = parts[:2]
    drawn, marked = (np.array([*(part.ids or ()), ""], object)[:-1] for part in (outlines, points))
    gone = ~np.isin(drawn, marked) & (drawn != "")
    deleted = int(gone.sum()) + int((~np.isin(marked, drawn) & (marked != "")).sum())
    if deleted:
        notes.count("crater(s) are deleted in one of the layers outlines and craters, and were not "
                    "read", name, deleted)
    added = marked == ""
    if added.any():
        notes.count("point(s) without a crater_id were taken as added craters", name,
                    int(added.sum()))
    classes = dict(zip(marked[~added], points.names[~added], strict=True))
    other = sum(classes.get(key, text) != text
                for key, text in zip(drawn, outlines.names, strict=True))
    if other:
        notes.count("crater(s) have another class in the layer craters than in outlines, whose was "
                    "taken", name, other)
    left = _joined(_select(outlines, ~gone), _select(points, added))
    left.before = frozenset(drawn) | frozenset(marked) - {""}
    return left


def _of_layer(layer: Layer) -> Found:
    """A layer with our columns; in px where it has no longitudes."""
    table, n = layer.table, len(layer.shapes)
    empty = pd.Series(np.full(n, np.nan))

    def numbers(*names: str) -> np.ndarray:
        return np.stack([pd.to_numeric(table.get(name, empty), errors="coerce").to_numpy(np.float64)
                         for name in names], axis=1)
    lonlat = numbers("lon_deg", "lat_deg")
    kinds = shapely.get_type_id(layer.shapes)
    if "lon_deg" in table:  # what was drawn anew has a place, if not these columns
        bare = np.flatnonzero(~np.isfinite(lonlat).all(axis=1) & (kinds >= 0))
        bare = bare[~shapely.is_empty(layer.shapes[bare])]
        lonlat[bare] = shapely.get_coordinates(shapely.centroid(layer.shapes[bare]))
    ids = table.get("crater_id", empty).astype(object)
    # A copy of a crater has its id and is another one, as is what was drawn without any.
    ids = ids.where(ids.notna() & ~ids.duplicated(), "")
    images = table.get("image", pd.Series([""] * n, dtype=object))
    only = set(images.dropna()) - {""}
    images = images.fillna(only.pop() if len(only) == 1 else "").to_numpy(object)
    return Found(layer.path, "feature", np.arange(1, n + 1), _array(layer.names), images, lonlat,
                 numbers("diameter_km")[:, 0], numbers(*_PX_COLUMNS),
                 numbers("diameter_px")[:, 0], layer, ids=tuple(ids))


def _table(path: Path) -> Found:
    try:
        first = head(path).partition("\n")[0]
        separator = max(",;\t", key=first.count)  # a spreadsheet may have written it again
        table = pd.read_csv(path, dtype={"CRATER_ID": str, "image": str, "class": str},
                            sep=separator, decimal="," if separator == ";" else ".",
                            encoding_errors="replace")
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: cannot be read as a table ({' '.join(str(error).split())}); "
                        "export it again") from None
    n, empty = len(table), pd.Series(np.full(len(table), np.nan))

    def numbers(*names: str) -> np.ndarray:
        return np.stack([pd.to_numeric(table.get(name, empty), errors="coerce").to_numpy(np.float64)
                         for name in names], axis=1)
    ids = table["CRATER_ID"].fillna("")
    names, images = (table[column].fillna(other).to_numpy(object) if column in table else
                     _texts(n, other) for column, other in (("class", CRATER), ("image", "")))
    return Found(path, "row", np.arange(2, n + 2), names, images,
                 numbers("LON_CIRC_IMG", "LAT_CIRC_IMG"), numbers("DIAM_CIRC_IMG")[:, 0],
                 numbers(*_PX_COLUMNS), numbers("diameter_px")[:, 0], ids=tuple(ids))


def _results(path: Path) -> Found:
    """COCO results; classes by `category` where they say it, else "crater" where there is one."""
    entries = read_json(path)
    bad = next((number for number, entry in enumerate(entries, start=1)
                if not isinstance(entry, dict) or not is_whole(entry.get("category_id"))), None)
    if bad is not None:
        raise DataError(f"{path}: result {bad} is no object with a category_id, expected COCO "
                        "results; export them again")
    categories = {entry["category_id"] for entry in entries}

    def name(entry: dict) -> str:
        said = entry.get("category")
        if isinstance(said, str) and said.strip():
            return said
        return CRATER if len(categories) == 1 else f"class {entry['category_id']}"
    numbers = {key: number for number, key in enumerate(dict.fromkeys(
        str(entry.get("image_id")) for entry in entries))}
    several = len(numbers) > 1
    images = [str(entry.get("file_name")
                  or (f"image_id {entry.get('image_id')}" if several else ""))
              for entry in entries]
    n = len(entries)
    return Found(path, "result", np.arange(1, n + 1), _array([name(entry) for entry in entries]),
                 _array(images), np.full((n, 2), np.nan), np.full(n, np.nan),
                 np.array([_of_box(entry.get("bbox")) for entry in entries]).reshape(-1, 5),
                 np.full(n, np.nan),
                 runs=[entry.get("segmentation") for entry in entries])


def _of_box(box: Any) -> list[float]:
    """The ellipse in a box; NaN for what is none."""
    try:
        x, y, width, height = (float(value) for value in box)
    except (TypeError, ValueError):
        return [np.nan] * 5
    return [x + width / 2, y + height / 2, width, height, 0.0]


def _select(found: Found, keep: np.ndarray) -> Found:
    layer = found.layer
    assert layer is not None and found.ids is not None
    numbers = np.flatnonzero(keep)
    return Found(found.path, found.what, found.rows[keep], found.names[keep], found.images[keep],
                 found.lonlat[keep], found.diameter_km[keep], found.ellipses[keep],
                 found.diameter_px[keep], layer.select(numbers),
                 ids=tuple(found.ids[i] for i in numbers))


def _joined(one: Found, two: Found) -> Found:
    if not len(two):
        return one
    assert one.layer is not None and two.layer is not None and one.ids is not None
    join = np.concatenate
    return Found(one.path, one.what, join([one.rows, two.rows]), join([one.names, two.names]),
                 join([one.images, two.images]), join([one.lonlat, two.lonlat]),
                 join([one.diameter_km, two.diameter_km]), join([one.ellipses, two.ellipses]),
                 join([one.diameter_px, two.diameter_px]),
                 one.layer.joined(two.layer), ids=one.ids + (two.ids or ()))


def _texts(n: int, text: str = "") -> np.ndarray:
    return _array([text] * n)


def _array(texts: list[str]) -> np.ndarray:
    return np.array([*texts, None], dtype=object)[:-1]


def _base(name: object) -> str:
    return str(name).replace("\\", "/").rpartition("/")[2]


