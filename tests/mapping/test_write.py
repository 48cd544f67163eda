"""Map files, each read back by the tool that it is for."""

from __future__ import annotations

import csv
import importlib
import json
import math
import shutil
import sqlite3
import subprocess

import cv2
import numpy as np
import pyogrio
import pytest
import scipy.integrate
import shapely
from pycocotools.coco import COCO

from crater_model.errors import ConfigError
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.raster import ArrayRaster, open_raster
from crater_model.importing.formats import catalogue
from crater_model.mapping.craters import Craters
from crater_model.mapping.formats.geojson import bbox
from crater_model.mapping.maps import Map
from crater_model.mapping.sizes import size_frequencies
from crater_model.mapping.write import SUFFIXES, write_maps
from tests.mapping.grounds import MOON, RADII, SIZE, crater_map, craters, image, px_map


@pytest.fixture
def craterstats(monkeypatch):
    """The package of that name, which asks SciPy for a function by the name that it had before
    version 1.14."""
    monkeypatch.setattr(scipy.integrate, "simps", scipy.integrate.simpson, raising=False)
    try:
        return importlib.import_module("craterstats")
    except ImportError as error:
        pytest.skip(f"craterstats is not installed ({error})")


def ogrinfo(path) -> str:
    if shutil.which("ogrinfo") is None:
        pytest.skip("ogrinfo is not installed (gdal-bin)")
    done = subprocess.run(["ogrinfo", "-al", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "ERROR" not in done.stderr, done.stderr
    return done.stdout


def test_geopackage(tmp_path):
    made = crater_map()
    path = write_maps(tmp_path / "new" / "found.gpkg", [made])
    assert [p.name for p in path.parent.iterdir()] == ["found.gpkg"]
    assert pyogrio.list_layers(path)[:, 0].tolist() == ["craters", "outlines", "mapped_area"]
    meta, _, geometry, fields = pyogrio.raw.read(path, layer="craters")
    table = dict(zip(meta["fields"], fields))
    points = shapely.get_coordinates(shapely.from_wkb(geometry))
    np.testing.assert_allclose(points, made.table[["lon_deg", "lat_deg"]], atol=1e-9)
    assert table["diameter_km"] == pytest.approx(2 * np.array(RADII), rel=1e-3)
    assert list(table["class"]) == ["crater"] * 4 + ["rock"] and list(table["edge"])[:2] == [1, 0]
    assert table["crater_id"][4] == "1-000005" and table["image"][0] == "scene.tif"
    outlines = shapely.from_wkb(pyogrio.raw.read(path, layer="outlines")[2])
    assert [len(shape.geoms) for shape in outlines] == [2, 1, 1, 1, 1]
    area = pyogrio.raw.read(path, layer="mapped_area")[3]
    assert area[1][0] == pytest.approx(made.mapped.km2) == pytest.approx(
        1500 * math.cos(math.radians(20)), rel=1e-4)
    with sqlite3.connect(path) as base:
        systems = base.execute("select organization, organization_coordsys_id from "
                               "gpkg_spatial_ref_sys where srs_id > 0").fetchall()
        layers = base.execute("select distinct srs_id from gpkg_contents").fetchall()
    assert ("IAU_2015", 30100) in systems and len(layers) == 1


def test_ogrinfo_reads_the_geopackage(tmp_path):
    said = ogrinfo(write_maps(tmp_path / "a.gpkg", [crater_map(), crater_map("north pole", "b")]))
    for layer, count in (("craters", 10), ("outlines", 10), ("mapped_area", 2)):
        assert f"Layer name: {layer}" in said and f"Feature Count: {count}\n" in said
    assert said.count('GEOGCRS["Moon (2015) - Sphere / Ocentric"') == 3
    assert said.count(",30100]]") == 3 and "diameter_km (Real) = 9.9999" in said
    mars = ogrinfo(write_maps(tmp_path / "m.gpkg", [crater_map("Mars, ellipsoid")]))
    assert mars.count('GEOGCRS["Mars (2015) - Sphere / Ocentric"') == 3
    px = ogrinfo(write_maps(tmp_path / "px.gpkg", [px_map()]))
    assert px.count('ENGCRS["image px, x right, y down"') == 3 and "POINT (50 20)" in px
    none = Map("e", Craters.empty((300, 500)), image("180"))
    assert "Feature Count: 0" in ogrinfo(write_maps(tmp_path / "e.gpkg", [none]))


def test_geojson_is_rfc_7946(tmp_path):
    path = write_maps(tmp_path / "a.geojson", [crater_map()])
    found = json.loads(path.read_text())
    assert found["body"] == "Moon" and "planetocentric" in found["coordinates"]
    assert found["crs"]["properties"]["name"] == "urn:ogc:def:crs:IAU_2015::30100"
    west, south, east, north = found["bbox"]
    assert 179 < west and east < -179 and 19 < south < 20 < north < 21
    first, second = found["features"][:2]
    assert first["geometry"]["type"] == "MultiPolygon" and second["geometry"]["type"] == "Polygon"
    assert first["bbox"][0] > 179 > -179 > first["bbox"][2]
    assert second["properties"]["diameter_km"] == pytest.approx(4, rel=1e-3)
    for feature in found["features"]:
        shape = shapely.geometry.shape(feature["geometry"])
        for part in shapely.get_parts(shape):
            assert shapely.is_ccw(part.exterior) and part.is_valid
    assert 'GEOGCS["Moon (2015) - Sphere / Ocentric"' in pyogrio.read_info(path)["crs"]
    px = json.loads(write_maps(tmp_path / "px.geojson", [px_map()]).read_text())
    assert px["coordinates"] == "px, x right, y down" and "bbox" not in px and "body" not in px
    assert shapely.geometry.shape(px["features"][0]["geometry"]).bounds == (30, 10, 70, 30)


def test_a_table_of_images_of_every_kind(tmp_path):
    """With and without craters, with and without a place."""
    none = Map("none", Craters.empty((300, 500)), image("180"))
    path = write_maps(tmp_path / "a.csv", [px_map(), none, crater_map()])
    rows = list(csv.DictReader(path.open()))
    assert [row["CRATER_ID"] for row in rows] == ["1-000001", "1-000002"] + [
        f"3-00000{n}" for n in range(1, 6)]
    assert rows[0]["DIAM_CIRC_IMG"] == "" and float(rows[2]["DIAM_CIRC_IMG"]) > 9.99
    assert rows[0]["edge"] == "0" and rows[2]["edge"] == "1"


def test_craters_off_the_body_have_no_place(tmp_path, craterstats):
    """Of two outlines in a disc of the Moon one is beside it: rows for both, one place."""
    disc = Georeference(f"+proj=ortho +R={MOON}", (4000.0, 0, -2e6, 0, -4000.0, 12e5), 1000, 600)
    shapes = [shapely.Point(500, 300).buffer(20), shapely.box(0, 0, 20, 20)]
    made = Map("disc", craters(shapes, size=(600, 1000)), disc,
               open=lambda: ArrayRaster(np.zeros((600, 1000), np.uint8)))
    for suffix in SUFFIXES:
        write_maps(tmp_path / f"a{suffix}", [made])
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert features[1]["geometry"] is None and features[1]["properties"]["lon_deg"] is None
    points = pyogrio.raw.read(tmp_path / "a.gpkg", layer="craters")[2]
    assert points[0] is not None and points[1] is None
    assert len(list(csv.DictReader((tmp_path / "a.csv").open()))) == 2
    assert len(craterstats.Cratercount(str(tmp_path / "a.diam")).diam) == 1


def test_boxes_across_180():
    boxes = [shapely.box(170, 0, 180, 5), shapely.box(-180, 0, -175, 6),
             shapely.box(-170, 1, -160, 2)]
    assert bbox(boxes) == [170, 0, -160, 6]
    assert bbox(boxes[1:]) == [-180, 0, -160, 6]
    assert bbox([shapely.box(-180, 60, 180, 90)]) == [-180, 60, 180, 90]
    assert bbox([shapely.box(10, 0, 20, 5), shapely.box(-30, 0, -20, 5)]) == [-30, 0, 20, 5]


def test_robbins_csv_and_our_own_reader(tmp_path):
    made = crater_map()
    path = write_maps(tmp_path / "a.csv", [made])
    rows = list(csv.DictReader(path.open()))
    assert rows[0]["CRATER_ID"] == "1-000001" and rows[0]["edge"] == "1"
    assert float(rows[0]["LON_CIRC_IMG"]) == pytest.approx(180, abs=1e-3)
    assert float(rows[0]["DIAM_CIRC_IMG"]) == pytest.approx(10, rel=1e-3)
    assert float(rows[1]["DIAM_ELLI_ELLIP_IMG"]) == pytest.approx(1, abs=1e-3)
    assert float(rows[1]["DIAM_ELLI_ECCEN_IMG"]) < 0.05
    read = catalogue.load(path)
    places = np.stack([made.table["lon_deg"] % 360, made.table["lat_deg"]], axis=1)
    np.testing.assert_allclose(read.places, places, atol=1e-6)
    np.testing.assert_allclose(read.diameter_km, made.table["diameter_km"], rtol=1e-8)
    px = list(csv.DictReader(write_maps(tmp_path / "px.csv", [px_map()]).open()))
    assert "LAT_CIRC_IMG" not in px[0] and float(px[0]["ellipticity"]) == pytest.approx(2)


@pytest.mark.parametrize("suffix", [".scc", ".diam"])
@pytest.mark.parametrize("place", ["180", "north pole", "Mars, ellipsoid"])
def test_craterstats_reads_counts(tmp_path, craterstats, suffix, place):
    made = crater_map(place)
    count = craterstats.Cratercount(str(write_maps(tmp_path / f"a{suffix}", [made])))
    assert sorted(count.diam) == pytest.approx(sorted(made.table["diameter_km"]), abs=1e-8)
    assert count.area == pytest.approx(made.mapped.km2, abs=1e-6) and set(count.fraction) == {1.0}
    ours = size_frequencies(made.table["diameter_km"], made.mapped.km2)
    ours = ours[ours["n"] > 0]
    for presentation, name in (("cumulative", "cumulative_km2"), ("R-plot", "r")):
        theirs = count.getplotdata(presentation, "root-2")
        assert theirs["y"] == pytest.approx(ours[name].to_numpy(), rel=1e-6)
        assert theirs["err"] == pytest.approx(ours[f"{name}_error"].to_numpy(), rel=1e-6)


def test_the_boundary_of_an_scc(tmp_path, craterstats):
    """An area across 180 deg is two closed rings, and a hole a third; craters outside of the
    area do not count."""
    area = shapely.box(0, 0, 400, 300).difference(shapely.box(20, 20, 40, 40))
    made = crater_map(area=area)
    path = write_maps(tmp_path / "a.scc", [made])
    read = craterstats.gm.read_textstructure(str(path))
    edge = read["unit_boundary"]
    places = np.array([edge["lon"], edge["lat"]], float).T
    rings = {n: places[np.array(edge["sub_area"]) == n] for n in sorted(set(edge["sub_area"]))}
    assert len(rings) == 3 and sorted(set(edge["tag"])) == ["ext", "int"]
    assert all((ring[0] == ring[-1]).all() and np.abs(ring[:, 0]).max() <= 180
               for ring in rings.values())
    assert read["a_axis_radius"].startswith("1737.4") and "IAU_2015:30100" in str(read)
    count = craterstats.Cratercount(str(path))
    assert len(count.diam) == 3 and count.area == pytest.approx(made.mapped.km2, abs=1e-6)
    geod = made.georeference.geod
    areas = [abs(geod.polygon_area_perimeter(*ring.T)[0]) / 1e6 for ring in rings.values()]
    assert sum(areas) - 2 * min(areas) == pytest.approx(count.area, rel=1e-3)


def test_pycocotools_reads_the_results(tmp_path):
    truth = {"images": [{"id": n, "width": SIZE[0], "height": SIZE[1]} for n in (1, 2)],
             "categories": [{"id": 1, "name": "crater"}, {"id": 2, "name": "rock"}],
             "annotations": []}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    made = [crater_map(), crater_map("equator")]
    read = COCO(tmp_path / "truth.json").loadRes(str(write_maps(tmp_path / "a.json", made)))
    found = read.loadAnns(read.getAnnIds(imgIds=[2]))
    assert [f["category_id"] for f in found] == [1, 1, 1, 1, 2]
    for result, outline in zip(found, made[1].craters.outlines):
        mask = read.annToMask(result)
        assert mask.shape == SIZE[::-1] and mask.sum() == pytest.approx(outline.area, rel=0.05)
        assert result["bbox"][0] == pytest.approx(outline.bounds[0])


def test_picture_in_full_and_reduced(tmp_path):
    grey = np.full((60, 100), 90, np.uint8)
    path = write_maps(tmp_path / "a.png", [px_map(open=lambda: ArrayRaster(grey))])
    picture = cv2.imread(str(path))
    assert picture.shape == (240, 400, 3)
    assert picture[10 * 4, 50 * 4].max() > 150 and (picture[20 * 4, 50 * 4] == 90).all()
    wide = craters([shapely.box(4000, 10, 6000, 500)], size=(600, 8192))
    large = Map("w", wide, open=lambda: ArrayRaster(np.full((600, 8192), 90, np.uint8)))
    picture = cv2.imread(str(write_maps(tmp_path / "w.png", [large])))
    assert picture.shape == (300, 4096, 3) and picture[100, 2000].max() > 150
    with pytest.raises(ConfigError, match="a picture shows one image, got 2"):
        write_maps(tmp_path / "b.png", [large, large])
    with pytest.raises(ConfigError, match="needs the pixels of scene.tif"):
        write_maps(tmp_path / "b.png", [crater_map()])


def test_wrong_requests_leave_nothing(tmp_path):
    for suffix in (".scc", ".diam"):
        with pytest.raises(ConfigError, match=f"a {suffix} file needs km, but a.png has no georef"):
            write_maps(tmp_path / f"a{suffix}", [px_map()])
    for suffix in (".gpkg", ".geojson", ".scc", ".html"):
        for other in (px_map(), crater_map("Mars, sphere", "m.tif")):
            with pytest.raises(ConfigError, match="scene.tif shows Moon"):
                write_maps(tmp_path / f"a{suffix}", [crater_map(), other])
    with pytest.raises(ConfigError, match="expected one of .gpkg, .geojson, .csv"):
        write_maps(tmp_path / "a.shp", [px_map()])
    with pytest.raises(ConfigError, match="no image is given"):
        write_maps(tmp_path / "a.csv", [])
    assert list(tmp_path.iterdir()) == []
    for suffix in SUFFIXES:
        (tmp_path / f"old{suffix}").write_text("old")
    write_maps(tmp_path / "old.gpkg", [crater_map()])
    assert len(pyogrio.list_layers(tmp_path / "old.gpkg")) == 3


def test_moon_geo_in_every_format(real_data, tmp_path, craterstats):
    """A piece of the real raster with its labels as what was found."""
    folder = real_data / "moon_geo"
    if not folder.is_dir():
        pytest.skip("the real data have no moon_geo")
    raster_file = folder / "moon_gld100_hillshade_eqc.tif"
    entries = json.loads((folder / "annotations.json").read_text())["annotations"]
    shapes = [shapely.Polygon(np.reshape(e["segmentation"][0], (-1, 2))) for e in entries[:400]]
    with open_raster(raster_file) as raster:
        place = raster.georeference
    made = Map("moon", craters(shapes, size=(4096, 4096)), place,
               open=lambda: open_raster(raster_file))
    known = catalogue.load(folder / "catalogue_global.csv")
    for suffix in SUFFIXES:
        write_maps(tmp_path / f"a{suffix}", [made], catalogue=known)
    count = craterstats.Cratercount(str(tmp_path / "a.scc"))
    assert len(count.diam) == made.counted().sum() and count.area == pytest.approx(
        made.mapped.km2, abs=1e-6)
    assert ogrinfo(tmp_path / "a.gpkg").count("Feature Count: 400") == 2
    page = (tmp_path / "a.html").read_text()
    assert len(page) < 2e6 and "by outline" in page


def craterpy_size(columns) -> str:
    """The column that craterpy (0.11) takes for the size: the first that is called exactly so,
    then the first with such a word in it."""
    names = ["radius", "diameter", "rad", "diam", "r_km", "d_km", "r_m", "d_m", "r", "d"]
    lower = [column.lower() for column in columns]
    exact = [column for name in names for column in lower if column == name]
    parts = [column for name in names[:-2] for column in lower if name in column]
    return (exact + parts)[0]


@pytest.mark.parametrize("suffix", [".csv", ".geojson", ".gpkg"])
def test_craterpy_takes_the_diameter_in_km(tmp_path, suffix):
    made = crater_map("equator")
    path = write_maps(tmp_path / f"a{suffix}", [made])
    meta, _, _, values = pyogrio.raw.read(path, **({"layer": "craters"} if suffix == ".gpkg" else {}))
    column = craterpy_size(meta["fields"])
    assert column == "diameter_km"
    sizes = np.array(dict(zip(meta["fields"], values))[column], float)
    np.testing.assert_allclose(sizes, made.table["diameter_km"], rtol=1e-8)


def test_craterpy_itself(tmp_path):
    """Of Mars: its release of 2026 has lost the Moon."""
    craterpy = pytest.importorskip("craterpy")
    made = crater_map("Mars, sphere")
    for suffix in (".csv", ".geojson"):
        path = write_maps(tmp_path / f"a{suffix}", [made])
        found = craterpy.CraterDatabase(str(path), "Mars", units="km")
        np.testing.assert_allclose(found.rad, made.table["diameter_km"] * 500, rtol=1e-6)
        np.testing.assert_allclose(found.lat, made.table["lat_deg"], atol=1e-6)
