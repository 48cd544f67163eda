"""Outlines on the map, from files of GDAL's and GeoParquet, over georeferenced images.

GeoJSON (RFC 7946) has longitudes and latitudes and calls them WGS 84 whatever the body:
they are taken for degrees on the image's. Other files say their coordinate system, and
their outlines go through it to longitude and latitude and into the image's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely

from crater_model.errors import DataError
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.projection import (
    latitudes_unsaid,
    parse_crs,
    planetocentric,
    radius,
    same_body,
    unwrap,
    unwrap_ring,
)
from crater_model.importing.classes import CRATER
from crater_model.importing.formats.choosing import choose, enclosing
from crater_model.importing.formats.layers import SUFFIXES, Layer, looks_right, read_layers
from crater_model.importing.formats.once import Group, once
from crater_model.importing.formats.placing import (
    Craters,
    Rows,
    georeferenced_images,
    is_inside,
    place,
)
from crater_model.importing.formats.source import Label, LabelledImage, Notes, Reading, Source
from crater_model.importing.formats.whereabouts import whereabouts

NAME = "vector"
TITLE = "outlines on the map (GeoJSON, GeoPackage, shapefile, KML, FlatGeobuf, GeoParquet)"

# Semi-major axis of WGS 84, m.
_EARTH = 6378137.0
# Parts of an outline are joined where they meet to this many decimals of a degree.
_GRID_DEG = 1e-9
# An attribute that differs by more from what its outline measures is no diameter in km.
_FITTING = 2.0
_POLYGONS, _POINTS = (3, 6), (0, 4)


def recognise(source: Source) -> list[Path]:
    """Files with such a suffix whose beginning fits it."""
    return [path for path in source.with_suffix(*SUFFIXES) if looks_right(path)]


def read(source: Source, files: Sequence[Path], notes: Notes) -> Reading:
    """The outlines, on every image in which their centres lie.

    Raises:
      DataError: no image has a georeference, a file cannot be read or lacks a part, or its
        coordinate system is of another body than an image.
    """
    images = georeferenced_images(source, notes)
    layers = choose([layer for path in files for layer in read_layers(source, path)],
                    source.layers, notes)
    parts: list[tuple[Group, Group]] = []
    for layer in layers:
        layer = _craters_alone(layer, notes) if layer.gazetteer else layer
        refuse_other_bodies(layer.path, layer, images)
        drawn, points = (Group(layer.name, kind, defaultdict(list), bool(source.layers))
                         for kind in (False, True))
        kinds = shapely.get_type_id(layer.shapes)
        outlines(layer, np.isin(kinds, _POLYGONS), images, drawn.labels, notes)
        if layer.has_diameter or not drawn.labels:
            circles(layer, np.isin(kinds, _POINTS), images, points.labels, notes, source)
        elif np.isin(kinds, _POINTS).any():
            notes.count("point(s) without a diameter were not read", layer.name,
                        int(np.isin(kinds, _POINTS).sum()))
        rows = Rows(layer.name, notes, "feature")
        for number in np.flatnonzero(~np.isin(kinds, _POLYGONS + _POINTS)):
            what = "nothing" if kinds[number] < 0 else layer.shapes[number].geom_type
            rows.problem(number + 1, f"is {what}, expected a polygon, a closed line or a point "
                                     "with a diameter; draw it as that or delete it")
        rows.close()
        parts.append((drawn, points))
    if not source.layers:
        parts = _without_areas(layers, parts, notes)
    labels = once([group for pair in parts for group in pair], notes)
    return Reading([LabelledImage(path, labels.get(path, [])) for path, _ in images])


def _craters_alone(layer: Layer, notes: Notes) -> Layer:
    """A gazetteer's craters, without its plains and mountains."""
    other = [name for name in layer.names if name != CRATER]
    if other:
        notes.count("feature(s) of a gazetteer that are no craters were not read",
                    f"{layer.name} ({other[0]})", len(other))
    return layer.select(np.flatnonzero([name == CRATER for name in layer.names]))


def _without_areas(layers: Sequence[Layer], parts: list[tuple[Group, Group]], notes: Notes
                   ) -> list[tuple[Group, Group]]:
    """Without layers that are areas by what they hold."""
    shapes = [[ring for group in pair for labels in group.labels.values() for label in labels
               for ring in label.rings] for pair in parts]
    areas = enclosing(layers, shapes)
    for number in areas:
        notes.count("layer(s) were not read, as they hold areas around the craters of others (name "
                    "those to read with --layer)", layers[number].name)
    return [pair for number, pair in enumerate(parts) if number not in areas]


def refuse_other_bodies(path: Path, layer: Layer,
                        images: Sequence[tuple[Path, Georeference]]) -> None:
    """Raises DataError where a layer is of another body than an image."""
    if layer.crs is None or _is_wgs84(layer.crs):
        return
    for image, georeference in images:
        if not same_body(layer.crs, georeference.crs):
            said, shown = (parse_crs(text) for text in (layer.crs, georeference.crs))
            raise DataError(
                f"{path}: is in {said.name} (radius {radius(said):.0f} m), but "
                f"{image.name} in {shown.name} (radius {radius(shown):.0f} m), "
                "another body; correct the coordinate system or name the right image")


def _is_wgs84(crs: str) -> bool:
    """Whether a system is the Earth's degrees, which files of other bodies claim too."""
    found = parse_crs(crs)
    return found.is_geographic and abs(radius(found) / _EARTH - 1) < 0.01


def _degrees(layer: Layer, georeference: Georeference, points: np.ndarray) -> np.ndarray:
    """The layer's coordinates [n, 2] as longitude and latitude in an image's system."""
    if layer.crs is None:
        return georeference.map_lonlat(points)
    if _is_wgs84(layer.crs) and not same_body(layer.crs, georeference.crs):
        lonlat = georeference.from_degrees(points)
        return np.where((np.abs(lonlat[:, 1]) <= 90)[:, None], lonlat, np.nan)
    return georeference.from_planetocentric(planetocentric(layer.crs, points))


def _remark(layer: Layer, number: int, images: Sequence[tuple[Path, Georeference]],
            notes: Notes) -> None:
    if layer.crs is None:
        notes.count("feature(s) without a coordinate system were taken as in the image's",
                    layer.name, number)
    elif _is_wgs84(layer.crs) and not all(same_body(layer.crs, g.crs) for _, g in images):
        notes.count("feature(s) in WGS 84 degrees were taken as longitude and latitude on the "
                    "image's body", layer.name, number)
    elif latitudes_unsaid(layer.crs) and not all(latitudes_unsaid(g.crs) for _, g in images):
        notes.count("feature(s) are in a system that does not say of which kind its latitudes are; "
                    "they were taken for planetographic", layer.name, number)


def outlines(layer: Layer, chosen: np.ndarray, images: Sequence[tuple[Path, Georeference]],
             labels: dict[Path, list[Label]], notes: Notes) -> None:
    """Adds polygons to the images in which their centroids lie."""
    features = np.flatnonzero(chosen)
    if not len(features):
        return
    _remark(layer, len(features), images, notes)
    parts, owner = shapely.get_parts(layer.shapes[features], return_index=True)
    holes = np.bincount(owner[shapely.get_num_interior_rings(parts) > 0], minlength=len(features))
    if holes.any():
        first = features[np.flatnonzero(holes)[0]] + 1
        notes.count("outline(s) with holes were filled", f"{layer.name}: feature {first}",
                    int((holes > 0).sum()))
    points, part = shapely.get_coordinates(shapely.get_exterior_ring(parts), return_index=True)
    ends = np.searchsorted(part, np.arange(len(parts) + 1))
    first_part = np.searchsorted(owner, np.arange(len(features) + 1))
    rows = Rows(layer.name, notes, "feature")
    somewhere, bad = np.zeros(len(features), bool), np.zeros(len(features), bool)
    known: dict[str, tuple] = {}
    for path, georeference in images:
        if georeference.crs not in known:
            lonlat = _degrees(layer, georeference, points)
            known[georeference.crs] = lonlat, *_middles(lonlat, owner[part], len(features))
        lonlat, middles, broken = known[georeference.crs]
        for index in np.flatnonzero(broken & ~bad):
            rows.problem(features[index] + 1, "has no outline of finite longitudes and latitudes; "
                                              "draw it again or correct the coordinate system")
        bad |= broken
        for index in np.flatnonzero(_is_near(middles, georeference) & ~bad):
            rings = [lonlat[ends[i]:ends[i + 1] - 1]
                     for i in range(first_part[index], first_part[index + 1])]
            where = f"{layer.name}: feature {features[index] + 1}"
            somewhere[index] |= _add(rings, middles[index, 0], where, layer, features[index], path,
                                     georeference, labels, notes)
    rows.close()
    nowhere = np.flatnonzero(~somewhere & ~bad)
    if len(nowhere):
        notes.lose("outline(s) have their centre in no image",
                   f"{layer.name}: feature {features[nowhere[0]] + 1}", len(nowhere))
        if not somewhere.any():
            notes.hints.append(whereabouts(middles, path, georeference))


def _add(rings: list[np.ndarray], around: float, where: str, layer: Layer, number: int,
         path: Path, georeference: Georeference, labels: dict[Path, list[Label]],
         notes: Notes) -> bool:
    """Adds one feature to the image's labels where its centroid lies inside."""
    try:
        if len(rings) > 1:
            rings = _joined(rings, around)
        side = float(unwrap(around, georeference.middle_longitude))
        drawn = tuple(georeference.outline(ring, side) for ring in rings)
    except ValueError:
        notes.lose("outline(s) were left out that the image's projection cannot show whole", where)
        return True
    shape = shapely.union_all([shapely.make_valid(shapely.Polygon(ring)) for ring in drawn])
    if shape.contains(shapely.box(0, 0, georeference.width, georeference.height)):
        notes.lose("outline(s) around the whole of an image were taken for areas and left out",
                   where)
        return True
    centre = shapely.get_coordinates(shape.centroid)
    if not len(centre) or not is_inside(centre, georeference)[0]:
        return False
    said, measured = float(layer.diameters[number]), georeference.diameter_km(drawn)
    if (np.isfinite(said) and measured
            and not 1 / _FITTING < said / measured < _FITTING):
        notes.count("diameter(s) do not fit their outlines, which were measured instead", where)
        said = measured
    labels[path].append(Label(
        drawn, layer.names[number], "outline", where,
        diameter_km=said if np.isfinite(said) else measured,
        centre=(float(centre[0, 0]), float(centre[0, 1]))))
    return True


def _joined(rings: list[np.ndarray], around: float) -> list[np.ndarray]:
    """Rings of one feature on one side of the seam, joined where a file has cut it there."""
    turned = []
    for ring in rings:
        lon = unwrap_ring(ring[:, 0])
        lon += unwrap(lon.mean(), around) - lon.mean()
        turned.append(np.stack([lon, ring[:, 1]], axis=1))
    shape = shapely.union_all([shapely.make_valid(shapely.Polygon(ring)) for ring in turned],
                              grid_size=_GRID_DEG)
    found = [part for part in shapely.get_parts(shapely.get_parts(shape))
             if part.geom_type == "Polygon"]
    return [shapely.get_coordinates(part.exterior)[:-1] for part in found] or turned


def _middles(lonlat: np.ndarray, feature: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean places of features [n, 2], taken in space so that seam and poles do no harm, and
    which features [n] have none."""
    lon, lat = np.radians(lonlat).T
    space = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    x, y, z = (np.bincount(feature, weights=values, minlength=number) for values in space)
    middles = np.degrees(np.stack([np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))], axis=1))
    used = np.bincount(feature, minlength=number)
    return middles, ~np.isfinite(middles).all(axis=1) | (used < 4)


def _is_near(middles: np.ndarray, georeference: Georeference) -> np.ndarray:
    """Which places lie in the image or within its own size beside it: an outline's centroid
    is not quite its mean."""
    size = np.array([georeference.width, georeference.height])
    with np.errstate(invalid="ignore"):
        points = georeference.pixels(middles)
        return np.all((points >= -size) & (points < 2 * size), axis=1)


def circles(layer: Layer, chosen: np.ndarray, images: Sequence[tuple[Path, Georeference]],
            labels: dict[Path, list[Label]], notes: Notes, source: Source) -> None:
    """Adds points with a diameter, as a catalogue's craters."""
    features = np.flatnonzero(chosen)
    if not len(features):
        return
    if not layer.has_diameter:
        raise DataError(f"{layer.name}: has {len(features)} point(s) and no attribute for their "
                        "diameter, expected one such as diameter_km; add it or draw outlines")
    _remark(layer, len(features), images, notes)
    rows = Rows(layer.name, notes, "feature")
    diameters = layer.diameters[features]
    good = (diameters > 0) & (diameters < np.inf)
    rows.add(features[~good] + 1, diameters[~good], "has the diameter {:g} km, expected a number "
                                                    "above 0; correct it")
    rows.close()
    parts, owner = shapely.get_parts(layer.shapes[features[good]], return_index=True)
    diameters = diameters[good][owner]
    place(Craters(layer.name, features[good][owner] + 1, shapely.get_coordinates(parts), diameters,
                  lambda georeference, places: _degrees(layer, georeference, places), "feature",
                  layer.unit, layer.label, np.array(layer.names, object)[features[good][owner]]),
          images, labels, notes, source.diameters_km)
