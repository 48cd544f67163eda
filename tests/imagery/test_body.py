"""Bodies are told apart by what they are, not by what they are called."""

from __future__ import annotations

import json

import pyogrio
import pyproj
import pytest

from crater_model.errors import ConfigError
from crater_model.imagery.body import body_of
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.raster import read_header
from crater_model.mapping.craters import Craters
from crater_model.mapping.maps import Map
from crater_model.mapping.write import write_maps
from tests.mapping.grounds import circle, craters

CERES = 'GEOGCS["GCS_{}",DATUM["D",SPHEROID["S",{},0]],PRIMEM["P",0],UNIT["degree",0.0174532925]]'


def place(text: str, width=300, height=200) -> Georeference:
    return Georeference(text, (0.01, 0, 10.0, 0, -0.01, 10.0), width, height)


def found(text: str, name="a.tif") -> Map:
    georeference = place(text)
    shape = circle(georeference, 11.0, 9.0, 0.2 * georeference.geod.a / 1e5)
    return Map(name, craters([shape], size=(200, 300)), georeference)


@pytest.mark.parametrize("one, other, same", [
    ("+proj=longlat +R=245", "+proj=longlat +R=50000", False),
    ("+proj=longlat +R=470000", CERES.format("CERES", 469700), True),
    (CERES.format("CERES", 470000), CERES.format("1_Ceres", 470000), True),
    ("IAU_2015:30100", "+proj=eqc +R=1737400", True), ("IAU_2015:30110", "IAU_2015:49910", False),
    ("IAU_2015:49900", "IAU_2015:49912", True), ("EPSG:4326", "EPSG:32633", True),
    ("IAU_2015:30100", "+proj=longlat +R=470000", False)])
def test_same(one, other, same):
    bodies = [body_of(place(text)) for text in (one, other)]
    assert bodies[0].is_same(bodies[1]) is same and bodies[1].is_same(bodies[0]) is same


def test_two_unknown_bodies_are_not_merged_and_two_names_of_one_are(tmp_path):
    small, large = found("+proj=longlat +R=245"), found("+proj=longlat +R=50000", "b.tif")
    for suffix in (".gpkg", ".geojson", ".scc", ".diam", ".html"):
        with pytest.raises(ConfigError, match=r"a.tif shows unknown .radius 0.245 km. and b.tif "
                                              r"unknown .radius 50 km.; write a file for each"):
            write_maps(tmp_path / f"a{suffix}", [small, large])
    both = [found(CERES.format(name, 470000), name) for name in ("CERES", "1_Ceres")]
    write_maps(tmp_path / "a.geojson", both)
    assert len(json.loads((tmp_path / "a.geojson").read_text())["features"]) == 2
    unplaced = Map("c.png", Craters.empty((200, 300)))
    with pytest.raises(ConfigError, match="c.png no known place"):
        write_maps(tmp_path / "a.gpkg", [small, unplaced])


@pytest.mark.parametrize("text, radii", [
    (CERES.format("CERES", 470000), (470000, 470000)),
    ("+proj=longlat +a=482000 +b=446000", (482000, 446000)), ("+proj=longlat +R=245", (245, 245)),
    ("+proj=stere +lat_0=-90 +R=50000 +units=m", (50000, 50000))])
def test_no_reader_takes_an_unnamed_body_for_the_earth(tmp_path, text, radii):
    made = Map("a.tif", Craters.empty((200, 300)), place(text)) if "stere" in text else found(text)
    for suffix in (".geojson", ".gpkg"):
        path = write_maps(tmp_path / f"a{suffix}", [made])
        layer = None if suffix == ".geojson" else "outlines"
        ellipsoid = pyproj.CRS(pyogrio.read_info(path, layer=layer)["crs"]).ellipsoid
        assert (ellipsoid.semi_major_metre, ellipsoid.semi_minor_metre) == pytest.approx(radii)
    said = json.loads((tmp_path / "a.geojson").read_text())
    assert said["body"] and "on this body" in said["coordinates"]


def test_the_case_of_ceres(cases, tmp_path):
    place = read_header(cases / "bodies" / "ceresA.tif").georeference
    path = write_maps(tmp_path / "a.geojson", [Map("a", Craters.empty((768, 768)), place)])
    assert pyproj.CRS(pyogrio.read_info(path)["crs"]).ellipsoid.semi_major_metre == 470000
