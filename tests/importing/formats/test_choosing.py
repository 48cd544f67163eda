"""Layers of craters beside others, and craters that are given twice."""

from __future__ import annotations

import json

import numpy as np
import pyogrio
import pytest
import shapely

from crater_model.errors import DataError
from crater_model.importing.formats import vector
from crater_model.importing.formats.source import Notes, Source
from tests.importing.formats.test_vector import LONLAT, image, only, same_ring, write

PLACES = [(0.3, 0.3), (0.8, 0.7), (1.4, 0.2), (1.7, 0.8), (1.1, 0.5)]
KM = 0.1 * np.pi / 180 * 1737.4  # of a circle with a radius of 0.05 deg
DISCS = [shapely.Point(place).buffer(0.05) for place in PLACES]
AREA = shapely.box(0.05, 0.05, 1.95, 0.95)


def read(folder, layers=()):
    source, notes = Source(folder, layers=layers), Notes()
    return vector.read(source, vector.recognise(source), notes), notes


def points(path, layer=None, count=5, append=False, **fields):
    write(path, [shapely.Point(place) for place in PLACES[:count]], kind="Point", layer=layer,
          append=append, **fields)


@pytest.mark.parametrize("names", [("x_CRATER.shp", "x_AREA.shp"), ("CRATER_a1.shp", "AREA_a1.shp"),
                                   ("one.shp", "study_area.shp"), ("one.shp", "two.shp")])
def test_areas_in_files_beside(tmp_path, names):
    """By name, and the last by what it holds: one outline around all the others."""
    image(tmp_path / "map.tif")
    write(tmp_path / names[0], DISCS)
    write(tmp_path / names[1], [AREA])
    reading, notes = read(tmp_path)
    assert len(only(reading)) == 5 and not notes.problems
    assert any(line.startswith("1 layer(s) were not read") and line.endswith(names[1])
               for line in notes.warnings)
    reading, _ = read(tmp_path, [names[1][:-4]])
    assert [len(label.rings[0]) for label in only(reading)] == [4]


def test_an_area_by_its_attributes(tmp_path):
    image(tmp_path / "map.tif")
    write(tmp_path / "a.gpkg", DISCS, layer="one")
    write(tmp_path / "a.gpkg", [shapely.box(0, 0, 0.5, 0.5)], layer="two", append=True,
          Area_Size=[3.5])
    assert len(only(read(tmp_path)[0])) == 5
    (tmp_path / "a.gpkg").unlink()
    write(tmp_path / "b.shp", [AREA], Area_Name=["a1"])
    with pytest.raises(DataError, match=r"b.shp: holds areas \(Area_Name\) and there is no layer"):
        read(tmp_path)


def test_a_single_layer_is_read_whatever_its_name(tmp_path):
    image(tmp_path / "map.tif")
    write(tmp_path / "study_area.shp", DISCS)
    reading, notes = read(tmp_path)
    assert len(only(reading)) == 5 and not notes.warnings


def test_layers_named_for_craters_come_before_others_of_their_file(tmp_path):
    image(tmp_path / "map.tif")
    write(tmp_path / "a.gpkg", DISCS, layer="small craters")
    write(tmp_path / "a.gpkg", [shapely.box(0, 0, 0.2, 0.2)], layer="ejecta", append=True)
    points(tmp_path / "a.gpkg", "notes", 2, True, text=["a", "b"])
    reading, notes = read(tmp_path)
    assert len(only(reading)) == 5
    assert notes.warnings == [
        "2 layer(s) were not read, as they hold no craters by their names (name those to read "
        "with --layer), first: a.gpkg: layer ejecta"]
    with pytest.raises(DataError, match="no layer 'rims', expected one of ejecta, notes, small"):
        read(tmp_path, ["rims"])


def test_points_and_outlines_of_the_same_craters(tmp_path):
    image(tmp_path / "map.tif")
    write(tmp_path / "a.gpkg", DISCS, layer="one")
    points(tmp_path / "a.gpkg", "two", append=True, diameter_km=[KM] * 5)
    reading, notes = read(tmp_path)
    assert [label.source for label in only(reading)] == ["outline"] * 5
    assert any(line.startswith("5 crater(s) were given twice") for line in notes.warnings)


def test_points_of_which_some_have_no_outline(tmp_path):
    """Deleted, or never drawn? Who names the layers says so."""
    image(tmp_path / "map.tif")
    write(tmp_path / "a.gpkg", DISCS[:3], layer="one")
    points(tmp_path / "a.gpkg", "two", append=True, diameter_km=[KM] * 5)
    with pytest.raises(DataError, match="3 of its 5 points have an outline in another layer and 2"):
        read(tmp_path)
    both = only(read(tmp_path, ["one", "two"])[0])
    assert [label.source for label in both] == ["outline"] * 3 + ["catalogue"] * 2
    assert len(only(read(tmp_path, ["one"])[0])) == 3


def test_points_of_other_craters_stay(tmp_path):
    image(tmp_path / "map.tif")
    write(tmp_path / "a.gpkg", DISCS[:2], layer="one")
    write(tmp_path / "a.gpkg", [shapely.Point(p) for p in PLACES[2:]], kind="Point", layer="two",
          append=True, diameter_km=[KM] * 3)
    assert [label.source for label in only(read(tmp_path)[0])] == ["outline"] * 2 + ["catalogue"] * 3


def test_a_crater_in_a_crater_stays(tmp_path):
    image(tmp_path / "map.tif")
    nested = [shapely.Point(1, 0.5).buffer(r) for r in (0.05, 0.1)]
    write(tmp_path / "a.gpkg", nested[:1], layer="one")
    write(tmp_path / "a.gpkg", nested[1:], layer="two", append=True)
    assert len(only(read(tmp_path)[0])) == 2


def test_an_outline_around_the_image_is_an_area(tmp_path):
    image(tmp_path / "map.tif")
    write(tmp_path / "a.gpkg", [*DISCS, shapely.box(-1, -1, 3, 2)])
    reading, notes = read(tmp_path)
    assert len(only(reading)) == 5
    assert any("around the whole of an image" in line for line in notes.warnings)


def test_rims_drawn_as_lines(tmp_path):
    """Closed ones, and with a gap of a hundredth; an arc and a frame are no rims."""
    image(tmp_path / "map.tif")
    ring = shapely.get_coordinates(DISCS[0].exterior)
    near = np.concatenate([shapely.get_coordinates(DISCS[1].exterior)[:-1], [[0.85, 0.697]]])
    two = shapely.MultiLineString([ring[:20] + [1, 0], ring[19:] + [1, 0]])
    lines = [shapely.LineString(ring), shapely.LineString(near), two,
             shapely.LineString(ring[:40]), shapely.LineString(AREA.exterior)]
    write(tmp_path / "a.gpkg", lines, kind="Unknown")
    reading, notes = read(tmp_path)
    assert [label.where[-1] for label in only(reading)] == ["1", "2", "3"]
    same_ring(only(reading)[0].rings[0], ring * [100, -100] + [0, 100])
    assert [line.split(",")[0] for line in notes.problems] == [
        "a.gpkg: feature 4 is LineString", "a.gpkg: feature 5 is LineString"]


@pytest.mark.parametrize("name, driver", [("a.kml", "LIBKML"), ("a.fgb", "FlatGeobuf")])
def test_other_files_of_gdal(tmp_path, name, driver):
    if driver not in pyogrio.list_drivers():
        pytest.skip(f"GDAL was built without {driver}")
    image(tmp_path / "map.tif")
    pyogrio.raw.write(tmp_path / name, shapely.to_wkb(np.array(DISCS)), [np.array([KM] * 5)],
                      ["diam_km"], driver=driver, geometry_type="Polygon",
                      crs="EPSG:4326" if driver == "LIBKML" else LONLAT)
    reading, notes = read(tmp_path)
    assert [label.diameter_km for label in only(reading)] == pytest.approx([KM] * 5)
    centres = sorted(label.centre for label in only(reading))  # FlatGeobuf has its own order
    assert centres[0] == pytest.approx((30, 70), abs=1e-3) and not notes.problems


@pytest.mark.parametrize("crs, words", [(None, "WGS 84"), ("null", "without a coordinate system"),
                                        (LONLAT, "")])
def test_geoparquet(tmp_path, crs, words):
    pyarrow = pytest.importorskip("pyarrow")
    import pyproj
    from pyarrow import parquet

    image(tmp_path / "map.tif")
    column = {"encoding": "WKB", "geometry_types": ["Polygon"]}
    if crs is not None:
        column["crs"] = None if crs == "null" else pyproj.CRS(crs).to_json_dict()
    about = {"version": "1.0.0", "primary_column": "shape", "columns": {"shape": column}}
    table = pyarrow.table({"shape": shapely.to_wkb(np.array(DISCS)).tolist(),
                           "diam_km": [KM] * 5, "Type": ["old", "new", "old", "new", None]})
    parquet.write_table(table.replace_schema_metadata({"geo": json.dumps(about)}),
                        tmp_path / "a.parquet")
    reading, notes = read(tmp_path)
    assert [label.name for label in only(reading)] == ["old", "new", "old", "new", "crater"]
    assert only(reading)[1].centre == pytest.approx((80, 30), abs=1e-3)
    assert [words in line for line in notes.warnings] == ([True] if words else [])
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-40])
    with pytest.raises(DataError, match="a.parquet: cannot be read"):
        read(tmp_path)


def test_classes_of_a_layer(tmp_path):
    image(tmp_path / "map.tif")
    write(tmp_path / "a.gpkg", DISCS, Type=["crater", "boulder", "", "boulder", "Crater"])
    assert [label.name for label in only(read(tmp_path)[0])] == [
        "crater", "boulder", "crater", "boulder", "Crater"]
    (tmp_path / "a.gpkg").unlink()
    write(tmp_path / "a.gpkg", DISCS, **{"class": [1, 2, 2, 1, 1]})
    assert [label.name for label in only(read(tmp_path)[0])] == ["1", "2", "2", "1", "1"]
    (tmp_path / "a.gpkg").unlink()
    write(tmp_path / "a.gpkg", DISCS, type=["Polygon"] * 5)
    assert {label.name for label in only(read(tmp_path)[0])} == {"crater"}


def test_a_gazetteer_as_a_layer(tmp_path):
    image(tmp_path / "map.tif")
    points(tmp_path / "a.shp", diameter=[KM] * 5, type=["Crater, craters", "Mons, montes"] * 2 + [
        "Crater, craters"])
    reading, notes = read(tmp_path)
    assert [label.name for label in only(reading)] == ["crater"] * 3
    assert "2 feature(s) of a gazetteer that are no craters were not read, first: a.shp (Mons, " \
           "montes)" in notes.warnings


@pytest.mark.parametrize("name, values, km", [
    ("Radius", [1500.0] * 5, 3), ("diameter", [3000.0] * 5, 3), ("Diam_m", [3000.0] * 5, 3),
    ("diameter", [9.0] * 5, 9)])
def test_metres_of_points(tmp_path, name, values, km):
    image(tmp_path / "map.tif")
    points(tmp_path / "a.geojson", **{name: values})
    reading, _ = read(tmp_path)
    assert [label.diameter_km for label in only(reading)] == pytest.approx([km] * 5)
