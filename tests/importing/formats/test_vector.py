"""Outlines written by GDAL (through pyogrio) over GeoTIFFs made on the spot."""

from __future__ import annotations

import json
import math
import socketserver
import threading
from pathlib import Path

import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crater_model.errors import DataError
from crater_model.imagery.raster import read_header
from crater_model.importing.formats import vector
from crater_model.importing.formats.source import Notes, Source

WIDTH, HEIGHT = 200, 120
MOON = 1737400.0
DEGREE = MOON * math.pi / 180
LONLAT, EQC, NORTH = "IAU_2015:30100", "IAU_2015:30110", "IAU_2015:30130"
RING = np.array([[1.0, 0.2], [1.4, 0.0], [1.5, 0.5], [1.1, 0.6]])  # not the same either way
DRIVERS = {"a.geojson": "GeoJSON", "a.json": "GeoJSON", "a.gpkg": "GPKG", "a.shp": "ESRI Shapefile"}


def image(path: Path, crs: str | None = LONLAT, west=0.0, north=1.0, step=0.01) -> Path:
    place = {} if crs is None else {
        "crs": crs, "transform": rasterio.Affine(step, 0, west, 0, -step, north)}
    with rasterio.open(path, "w", driver="GTiff", width=WIDTH, height=HEIGHT, count=1,
                       dtype="uint8", **place) as out:
        out.write(np.zeros((1, HEIGHT, WIDTH), np.uint8))
    return path


def write(path: Path, shapes, crs: str | None = LONLAT, kind="Polygon", layer=None, append=False,
          **fields) -> Path:
    values = [np.array(v, dtype=object if isinstance(v[0], str) else None) for v in fields.values()]
    pyogrio.raw.write(path, shapely.to_wkb(np.array(shapes, object)), values, list(fields),
                      driver=DRIVERS["a" + path.suffix], geometry_type=kind, crs=crs, layer=layer,
                      append=append)
    return path


def read(folder: Path):
    source, notes = Source(folder), Notes()
    return vector.read(source, vector.recognise(source), notes), notes


def only(reading):
    assert len(reading.images) == 1
    return reading.images[0].labels


def same_ring(ring: np.ndarray, expected: np.ndarray, within: float = 1e-4) -> None:
    """The rings' areas are the same, whatever their order and direction."""
    a, b = shapely.Polygon(ring), shapely.Polygon(expected)
    assert a.symmetric_difference(b).area < within * b.length
    assert shapely.hausdorff_distance(a, b) < within


@pytest.mark.parametrize("name", DRIVERS)
def test_round_trip(tmp_path, name):
    image(tmp_path / "map.tif")
    write(tmp_path / name, [shapely.Polygon(RING), shapely.Polygon(RING - [0.9, 0])],
          **{"class": ["fresh", "old"], "diam_km": [14.0, 13.0]})
    reading, notes = read(tmp_path)
    first, second = only(reading)
    expected = np.array([[100, 80], [140, 100], [150, 50], [110, 40]])
    same_ring(first.rings[0], expected)
    same_ring(second.rings[0], expected - [90, 0])
    assert first.centre == pytest.approx(np.array(shapely.Polygon(expected).centroid.coords[0]))
    assert [(label.name, label.diameter_km, label.source) for label in (first, second)] == [
        ("fresh", 14.0, "outline"), ("old", 13.0, "outline")]
    assert first.where == f"{name}: feature 1" and not notes.problems


@pytest.mark.parametrize("name", ["a.gpkg", "a.shp"])
def test_polar_stereographic_outlines_over_a_cylindrical_image(tmp_path, name):
    """Against the stereographic formula on the sphere."""
    image(tmp_path / "map.tif", EQC, 10 * DEGREE, 76 * DEGREE, 500.0)
    turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    lon, lat = 12.0, 75.2
    rho = 2 * MOON * math.tan(math.radians(90 - lat) / 2)
    x, y = rho * math.sin(math.radians(lon)), -rho * math.cos(math.radians(lon))
    ring = np.stack([x + 9000 * np.cos(turns), y + 9000 * np.sin(turns)], axis=1)
    write(tmp_path / name, [shapely.Polygon(ring)], NORTH)
    label, = only(read(tmp_path)[0])
    lons = np.degrees(np.arctan2(ring[:, 0], -ring[:, 1]))
    lats = 90 - 2 * np.degrees(np.arctan(np.hypot(*ring.T) / (2 * MOON)))
    same_ring(label.rings[0], np.stack([(lons - 10) * DEGREE, (76 - lats) * DEGREE], axis=1) / 500)
    scale = 2 / (1 + math.sin(math.radians(lat)))
    assert label.diameter_km == pytest.approx(18 / scale, rel=5e-3)
    assert label.centre == pytest.approx(((lon - 10) * DEGREE / 500, (76 - lat) * DEGREE / 500),
                                         abs=0.1)


def test_degrees_over_a_polar_image_around_the_pole(tmp_path):
    image(tmp_path / "map.tif", NORTH, -1e5, 6e4, 1000.0)
    lons = np.arange(0, 360, 15.0)
    write(tmp_path / "a.gpkg", [shapely.Polygon(np.stack([lons, np.full(24, 89.0)], axis=1))])
    label, = only(read(tmp_path)[0])
    assert label.centre == pytest.approx((100, 60), abs=1e-6)
    radius = 2 * MOON * math.tan(math.radians(0.5)) / 1000
    assert np.hypot(*(label.rings[0] - [100, 60]).T) == pytest.approx(np.full(24, radius))


def test_geojson_says_wgs84_and_means_the_image_s_body(tmp_path):
    image(tmp_path / "map.tif", EQC, 0, DEGREE, DEGREE / 100)
    write(tmp_path / "a.geojson", [shapely.Polygon(RING), shapely.Polygon(RING - [0.9, 0])],
          "EPSG:4326")
    reading, notes = read(tmp_path)
    same_ring(only(reading)[0].rings[0], np.array([[100, 80], [140, 100], [150, 50], [110, 40]]))
    assert notes.warnings == [
        "2 feature(s) in WGS 84 degrees were taken as longitude and latitude on the image's body, "
        "first: a.geojson"]


def test_geojson_with_the_moon_s_name_needs_no_remark(tmp_path):
    image(tmp_path / "map.tif")
    write(tmp_path / "a.geojson", [shapely.Polygon(RING)], LONLAT)
    assert "30100" in (tmp_path / "a.geojson").read_text()
    reading, notes = read(tmp_path)
    assert len(only(reading)) == 1 and not notes.warnings


def test_the_earth_stays_the_earth(tmp_path):
    image(tmp_path / "map.tif", "EPSG:32633", 5e5, 5e6, 10.0)
    to_lonlat = pyproj.Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    ring = np.array([[500100, 4999900], [500900, 4999900], [500500, 4999300.0]])
    lonlat = np.stack(to_lonlat.transform(*ring.T), axis=1)
    write(tmp_path / "a.geojson", [shapely.Polygon(np.round(lonlat, 9))], "EPSG:4326")
    reading, notes = read(tmp_path)
    same_ring(only(reading)[0].rings[0], np.array([[10, 10], [90, 10], [50, 70]]), 1e-3)
    assert not notes.warnings


def test_mars_ellipsoid_outlines_over_a_spherical_image(tmp_path):
    """The sphere's latitudes are planetocentric, the ellipsoid's geodetic."""
    image(tmp_path / "map.tif", "IAU_2015:49900", 0, 46, 0.01)
    squeeze = (1 - 1 / 169.894447223612) ** 2
    ring = np.array([[0.5, 45.2], [1.0, 45.2], [1.0, 45.6]])
    geodetic = np.degrees(np.arctan(np.tan(np.radians(ring[:, 1])) / squeeze))
    wkt = "+proj=longlat +a=3396190 +rf=169.894447223612"
    write(tmp_path / "a.gpkg", [shapely.Polygon(np.stack([ring[:, 0], geodetic], axis=1))],
          pyproj.CRS(wkt).to_wkt())
    same_ring(only(read(tmp_path)[0])[0].rings[0], np.array([[50, 80], [100, 80], [100, 40]]))


@pytest.mark.parametrize("crs", ["IAU_2015:49900", "IAU_2015:49910", "EPSG:32633"])
def test_another_body_is_refused(tmp_path, crs):
    image(tmp_path / "map.tif")
    write(tmp_path / "a.gpkg", [shapely.Polygon(RING)], crs)
    with pytest.raises(DataError, match=r"a.gpkg: is in .*(33961|63781).*map.tif in .*1737400"):
        read(tmp_path)


def test_without_a_system_the_image_s_own_is_taken(tmp_path):
    image(tmp_path / "map.tif", EQC, 0, DEGREE, DEGREE / 100)
    write(tmp_path / "a.shp", [shapely.Polygon(RING * DEGREE)], None)
    assert not (tmp_path / "a.prj").exists()
    reading, notes = read(tmp_path)
    same_ring(only(reading)[0].rings[0], np.array([[100, 80], [140, 100], [150, 50], [110, 40]]))
    assert notes.warnings == ["1 feature(s) without a coordinate system were taken as in the "
                              "image's, first: a.shp"]


@pytest.mark.parametrize("west", [179.0, -181.0])
@pytest.mark.parametrize("turn", [0, 360])
def test_the_seam(tmp_path, west, turn):
    """Whole, cut by the file into two parts, and written in either kind of longitude."""
    image(tmp_path / "map.tif", LONLAT, west)
    whole = shapely.Polygon([[179.5, 0.2], [180.5, 0.2], [180.6, 0.6], [179.4, 0.7]])
    left, right = (shapely.intersection(whole, shapely.box(*b)) for b in (
        (170, -1, 180, 1), (180, -1, 190, 1)))
    wrapped = shapely.transform(right, lambda p: p - [360, 0])
    torn = shapely.transform(whole, lambda p: np.where(p > 180, p - 360, p) + [turn, 0])
    shapes = [shapely.multipolygons([left, wrapped]), shapely.multipolygons([torn])]
    write(tmp_path / "a.gpkg", shapes, kind="MultiPolygon")
    reading, notes = read(tmp_path)
    assert not notes.problems and len(only(reading)) == 2
    for label in only(reading):
        assert len(label.rings) == 1
        same_ring(label.rings[0], np.array([[50, 80], [150, 80], [160, 40], [40, 30]]))


def test_holes_are_filled_and_parts_kept(tmp_path):
    image(tmp_path / "map.tif")
    box = shapely.box(0.2, 0.2, 0.6, 0.6)
    hole = box.difference(shapely.box(0.3, 0.3, 0.4, 0.4))
    two = shapely.multipolygons([hole, shapely.box(1.0, 0.2, 1.4, 0.6)])
    write(tmp_path / "a.gpkg", [box, hole, two], kind="Unknown")
    reading, notes = read(tmp_path)
    assert [len(label.rings) for label in only(reading)] == [1, 1, 2]
    assert [shapely.Polygon(r).area for label in only(reading) for r in label.rings] == (
        pytest.approx([1600] * 4))
    assert only(reading)[2].centre == pytest.approx((80, 60))
    assert notes.warnings == ["2 outline(s) with holes were filled, first: a.gpkg: feature 2"]


def test_each_image_gets_the_outlines_whose_centre_it_holds(tmp_path):
    image(tmp_path / "a.tif")
    image(tmp_path / "b.tif", EQC, 2 * DEGREE, DEGREE, DEGREE / 100)
    image(tmp_path / "c.png.tif", None)
    boxes = [shapely.box(x - 0.2, 0.3, x + 0.2, 0.6) for x in (0.1, 1.9, 2.05, 3.0, 9.0)]
    write(tmp_path / "x.gpkg", boxes)
    reading, notes = read(tmp_path)
    assert [(i.path.name, [label.where[-1] for label in i.labels]) for i in reading.images] == [
        ("a.tif", ["1", "2"]), ("b.tif", ["3", "4"])]
    assert reading.images[1].labels[0].rings[0].min() == pytest.approx(-15)
    assert notes.warnings == [
        "1 image(s) without a georeference were left out, first: c.png.tif",
        "1 outline(s) have their centre in no image, first: x.gpkg: feature 5"]


def test_points_with_a_diameter_are_circles(tmp_path):
    image(tmp_path / "map.tif", EQC, 0, DEGREE, 500.0)
    write(tmp_path / "a.shp", [shapely.Point(DEGREE, 0.5 * DEGREE), shapely.Point(1, 1),
                               shapely.Point(0, 9 * DEGREE)],
          EQC, "Point", diam_m=[9000.0, -1.0, 800.0])
    reading, notes = read(tmp_path)
    label, = only(reading)
    assert label.centre == pytest.approx((DEGREE / 500, DEGREE / 1000))
    assert (label.diameter_km, label.source) == (9.0, "catalogue")
    assert np.ptp(label.rings[0], axis=0) == pytest.approx([18, 18], rel=1e-3)
    assert notes.problems == ["a.shp: feature 2 has the diameter -0.001 km, expected a number "
                              "above 0; correct it"]
    assert notes.warnings == ["1 crater(s) of the catalogue lie in no image, first: a.shp: "
                              "feature 3"]


def test_points_without_a_diameter(tmp_path):
    image(tmp_path / "map.tif")
    write(tmp_path / "a.gpkg", [shapely.Point(1, 1)], kind="Point")
    with pytest.raises(DataError, match=r"a.gpkg: has 1 point\(s\) and no attribute"):
        read(tmp_path)


def test_other_shapes_are_problems(tmp_path):
    image(tmp_path / "map.tif")
    shapes = [shapely.LineString(RING), shapely.Polygon(RING), None, shapely.Polygon()]
    write(tmp_path / "a.gpkg", shapes, kind="Unknown")
    reading, notes = read(tmp_path)
    assert [label.where for label in only(reading)] == ["a.gpkg: feature 2"]
    assert [text.split(",")[0].split(";")[0] for text in notes.problems] == [
        "a.gpkg: feature 4 has no outline of finite longitudes and latitudes",
        "a.gpkg: feature 1 is LineString", "a.gpkg: feature 3 is nothing"]


def test_layers_of_a_geopackage(tmp_path):
    image(tmp_path / "map.tif")
    write(tmp_path / "a.gpkg", [shapely.Polygon(RING)], layer="old")
    moved = RING - [0.9, 0]
    write(tmp_path / "a.gpkg", [shapely.Polygon(ring * DEGREE) for ring in (RING, moved)], EQC,
          layer="new", append=True)
    reading, notes = read(tmp_path)
    assert [label.where for label in only(reading)] == [
        "a.gpkg: layer old: feature 1", "a.gpkg: layer new: feature 2"]
    same_ring(only(reading)[1].rings[0], only(reading)[0].rings[0] - [90, 0])
    assert notes.warnings == ["1 crater(s) were given twice (as point and outline, or in several "
                              "layers) and taken once, first: a.gpkg: layer new: feature 1"]


def test_classes_and_diameters_that_are_none(tmp_path):
    image(tmp_path / "map.tif")
    shapes = [shapely.Polygon(RING)] * 3
    write(tmp_path / "a.gpkg", shapes, Label=["fresh", "", "  "], diameter=[14000.0, np.nan, 13.0])
    reading, notes = read(tmp_path)
    assert [label.name for label in only(reading)] == ["fresh", "crater", "crater"]
    place = read_header(tmp_path / "map.tif").georeference
    measured = place.diameter_km(only(reading)[0].rings)
    assert [label.diameter_km for label in only(reading)] == [measured, measured, 13.0]
    assert 12 < measured < 16
    assert notes.warnings == ["1 diameter(s) do not fit their outlines, which were measured "
                              "instead, first: a.gpkg: feature 1"]
    (tmp_path / "a.gpkg").unlink()
    write(tmp_path / "a.gpkg", shapes, **{"class": [4, 4, 4]})
    assert {label.name for label in only(read(tmp_path)[0])} == {"crater"}


@pytest.mark.parametrize("missing", [".shx", ".dbf"])
def test_a_shapefile_without_a_part(tmp_path, missing):
    image(tmp_path / "map.tif")
    write(tmp_path / "a.shp", [shapely.Polygon(RING)])
    (tmp_path / "a").with_suffix(missing).unlink()
    with pytest.raises(DataError, match=f"a.shp: has no {missing} beside it"):
        read(tmp_path)


def test_a_pole_in_a_cylindrical_image(tmp_path):
    image(tmp_path / "map.tif", LONLAT, -1, 90.0, 0.01)
    lons = np.arange(0, 360, 15.0)
    write(tmp_path / "a.gpkg", [shapely.Polygon(np.stack([lons, np.full(24, 89.9)], axis=1)),
                                shapely.box(-0.5, 89.2, 0.5, 89.6)])
    reading, notes = read(tmp_path)
    assert [label.where for label in only(reading)] == ["a.gpkg: feature 2"]
    assert notes.warnings == ["1 outline(s) were left out that the image's projection cannot show "
                              "whole, first: a.gpkg: feature 1"]


def test_no_degrees_is_a_problem(tmp_path):
    image(tmp_path / "map.tif")
    write(tmp_path / "a.geojson", [shapely.Polygon(RING * 30000)], "EPSG:4326")
    reading, notes = read(tmp_path)
    assert not only(reading)
    assert "feature 1 has no outline of finite longitudes and latitudes" in notes.problems[0]


def geojson(crs=None, **more) -> dict:
    feature = {"type": "Feature", "properties": {}, "geometry": {
        "type": "Polygon", "coordinates": [[*RING.tolist(), RING[0].tolist()]]}}
    return {"type": "FeatureCollection", **({"crs": crs} if crs else {}), "features": [feature],
            **more}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_geojson_in_any_encoding(tmp_path, encoding):
    image(tmp_path / "map.tif")
    text = json.dumps(geojson(name="Größe"), ensure_ascii=False)
    (tmp_path / "a.geojson").write_bytes(text.encode(encoding))
    assert len(only(read(tmp_path)[0])) == 1


@pytest.mark.parametrize("kind, key", [("url", "url"), ("link", "href"), ("URL", "url")])
def test_a_system_s_address_is_not_looked_up(tmp_path, kind, key):
    asked = []

    class Ear(socketserver.BaseRequestHandler):
        def handle(self):
            asked.append(self.request.recv(100))

    image(tmp_path / "map.tif")
    with socketserver.TCPServer(("127.0.0.1", 0), Ear) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/crs"
        text = json.dumps(geojson({"type": kind, "properties": {key: address}}))
        hidden = text.replace(f'"type": "{kind}"', f'"t\\u0079pe": "{kind}"')
        twice = text.replace(f'"type": "{kind}"', f'"type": "{kind}", "type": "name"')
        for form in (text, text.replace("crs", "\\u0063rs", 1), hidden, twice):
            (tmp_path / "a.geojson").write_text(form)
            with pytest.raises(DataError, match="has a coordinate system of the type"):
                read(tmp_path)
        server.shutdown()
    assert not asked


@pytest.mark.parametrize("name, data, known", [
    ("a.json", json.dumps(geojson()), True), ("a.json", '{"images": [], "annotations": []}', False),
    ("a.json", '{"type": "Topology"}', False), ("a.geojson", "[]", False),
    ("a.geojson", "<OGRVRTDataSource/>", False), ("a.gpkg", "<OGRVRTDataSource/>", False),
    ("a.shp", "x" * 200, False), ("a.gpkg", "", False), ("a.shp", "", False),
    ("a.json", '{"type": "FeatureCollection", "features": []}', False)])
def test_recognised_by_its_beginning(tmp_path, name, data, known):
    image(tmp_path / "map.tif")
    (tmp_path / name).write_text(data)
    assert bool(vector.recognise(Source(tmp_path))) is known


@pytest.mark.parametrize("name", ["a.geojson", "a.gpkg", "a.shp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_files_end_in_words(tmp_path, name, share):
    image(tmp_path / "map.tif")
    path = write(tmp_path / name, [shapely.Polygon(RING)] * 50)
    data = path.read_bytes()
    path.write_bytes(data[:int(len(data) * share)])
    try:
        reading, _ = read(tmp_path)
    except DataError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert all(np.isfinite(r).all() for label in only(reading) for r in label.rings)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(), st.floats(-400, 400)), max_size=8))
@example([(0.0, 0.0)] * 4)
def test_any_coordinates(tmp_path_factory, points):
    folder = tmp_path_factory.mktemp("any")
    image(folder / "map.tif")
    found = geojson()
    found["features"][0]["geometry"]["coordinates"] = [points]
    found["features"] += geojson()["features"]
    (folder / "a.geojson").write_text(json.dumps(found))
    try:
        reading, notes = read(folder)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert "a.geojson: feature 2" in [label.where for label in only(reading)]


def test_the_moon_s_outlines_are_its_annotations(real_data):
    folder = real_data / "moon_geo"
    source = Source(folder / "craters_lonlat.geojson", folder / "moon_gld100_hillshade_eqc.tif")
    notes = Notes()
    reading = vector.read(source, vector.recognise(source), notes)
    labels = [label for label in only(reading) if label.diameter_km <= 400]
    assert not notes.problems and len(notes.warnings) == 1
    truth = json.loads((folder / "annotations.json").read_text())["annotations"]
    places = np.array([[(a["lon_e360"] - 190) * 64, (32 - a["lat"]) * 64] for a in truth])
    off, seen = [], set()
    for label in labels:
        distance = np.hypot(*(places - label.centre).T)
        annotation = truth[distance.argmin()]
        assert distance.min() < 0.02 and annotation["diameter_km"] == label.diameter_km
        seen.add(annotation["id"])
        ring = label.rings[0]
        if ring.min() > 0 and ring.max() < 4096:
            left, top, width, height = annotation["bbox"]
            off.append(np.abs(np.concatenate([ring.min(axis=0) - [left, top], np.ptp(
                ring, axis=0) - [width, height]])).max())
    assert len(seen) == len(labels) == 3537 and len(off) > 3300 and max(off) < 0.02
