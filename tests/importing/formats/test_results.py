"""Every output, written by `mapping` and read back: the same craters, once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyogrio
import pytest
import rasterio
import shapely
from PIL import Image

from crater_model.annotations.dataset import load_dataset
from crater_model.errors import CraterError, DataError
from crater_model.importing.dataset import import_dataset
from crater_model.mapping.formats.coco import Numbers
from crater_model.mapping.maps import Map
from crater_model.mapping.write import write_maps
from tests.mapping.grounds import PLACES, SIZE, crater_map, craters, px_map

WIDTH, HEIGHT = SIZE
PLACED = (".gpkg", ".geojson", ".csv", ".scc", ".diam", ".json")


def picture(path: Path, place: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    crs, transform = PLACES[place]
    with rasterio.open(path, "w", driver="GTiff", width=WIDTH, height=HEIGHT, count=1,
                       dtype="uint8", crs=crs, transform=rasterio.Affine(*transform)) as out:
        out.write(np.random.default_rng(0).integers(0, 255, (1, HEIGHT, WIDTH), np.uint8))
    return path


def read(source: Path, images: Path | None = None, **more):
    """The report, and the instances in the order of the file."""
    out = (source if source.is_dir() else source.parent).parent / "out"
    report = import_dataset(source, out, images=images, **more)
    return report, [i for scene in load_dataset(out).scenes for i in scene.instances]


def middles(instances) -> np.ndarray:
    return np.array([shapely.Polygon(i.rings[0]).centroid.coords[0] for i in instances])


@pytest.mark.parametrize("suffix", PLACED)
@pytest.mark.parametrize("place", ["180", "degrees, 180", "north pole", "Mars, sphere", "Earth"])
def test_placed_results_come_back(tmp_path, suffix, place, monkeypatch):
    monkeypatch.setitem(PLACES, "Earth", ("EPSG:32633", (100.0, 0, 5e5, 0, -100.0, 6e6)))
    made, image = crater_map(place), picture(tmp_path / "in/scene.tif", place)
    path = write_maps(tmp_path / f"in/scene{suffix}", [made])
    report, found = read(path, image)
    assert report.instances == 5 and not report.problems
    assert f"5 crater(s) were read from the results scene{suffix}" in report.warnings
    wanted = np.array([shape.centroid.coords[0] for shape in made.craters.outlines])
    # A centre on the ground is not quite the centre of the picture.
    np.testing.assert_allclose(middles(found), wanted, atol=0.6)
    assert [i.diameter_km for i in found] == pytest.approx(
        made.table["diameter_km"].tolist(), rel=0.06 if suffix == ".json" else 0.02)
    kept = {} if suffix in (".scc", ".diam") else {1: "crater", 2: "rock"}
    assert report.label_map == (kept or {1: "crater"})


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".csv", ".json"])
def test_results_in_px_come_back(tmp_path, suffix):
    made = px_map()
    (tmp_path / "in").mkdir()
    Image.fromarray(np.zeros((60, 100), np.uint8) + np.arange(100, dtype=np.uint8)).save(
        tmp_path / "in/a.png")
    path = write_maps(tmp_path / f"in/a_found{suffix}", [made])
    report, found = read(path, tmp_path / "in/a.png")
    assert (report.images, report.instances) == (1, 2) and not report.problems
    np.testing.assert_allclose(middles(found), [[50, 20], [10, 45]], atol=0.1)
    assert [i.area for i in found] == pytest.approx([800, 100], rel=0.02)
    report, _ = read(tmp_path / "in")  # an overlay is no image to learn from
    assert (report.images, report.instances) == (1, 2)


def test_results_under_another_suffix_or_from_a_spreadsheet(tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(np.arange(60 * 100, dtype=np.uint8).reshape(60, 100)).save(
        tmp_path / "in/a.png")
    path = write_maps(tmp_path / "found.geojson", [px_map()])
    path.rename(tmp_path / "in/found.json")
    assert read(tmp_path / "in/found.json", tmp_path / "in/a.png")[0].label_sources == {
        "outline": 2}
    path = write_maps(tmp_path / "in/found.csv", [px_map()])
    table = pd.read_csv(path)
    table.to_csv(path, sep=";", decimal=",", index=False, encoding="utf-8-sig")
    report, found = read(path, tmp_path / "in/a.png")
    assert report.label_sources == {"ellipse": 2}
    assert [i.area for i in found] == pytest.approx([800, 100], rel=0.02)


def test_a_folder_of_results_is_read_once(tmp_path):
    image = picture(tmp_path / "in/scene.tif", "180")
    for suffix in PLACED:
        write_maps(tmp_path / f"in/scene{suffix}", [crater_map()])
    report, _ = read(tmp_path / "in")
    assert (report.format, report.instances, report.label_files) == ("results", 5, 1)
    assert "5 crater(s) were read from the results scene.gpkg" in report.warnings
    assert any(line.startswith("5 result file(s) hold the craters of another")
               for line in report.warnings)
    assert image.is_file()


def test_labels_come_before_results(tmp_path):
    """What somebody drew is not overruled by what was found."""
    picture(tmp_path / "in/scene.tif", "equator")
    write_maps(tmp_path / "in/scene.gpkg", [crater_map("equator")])
    (tmp_path / "in/drawn.csv").write_text("lon,lat,diameter_km\n0,0,4\n")
    report, _ = read(tmp_path / "in")
    assert (report.format, report.instances) == ("catalogue", 1)
    assert any("results" in line and "not read" in line for line in report.warnings)


def test_files_of_one_name_with_other_craters_are_refused(tmp_path):
    picture(tmp_path / "in/scene.tif", "equator")
    write_maps(tmp_path / "in/scene.gpkg", [crater_map("equator")])
    path = write_maps(tmp_path / "in/scene.geojson", [crater_map("equator")])
    document = json.loads(path.read_text())
    document["features"] = document["features"][:3]
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"holds 5 craters and scene.geojson 3, not the same"):
        read(tmp_path / "in")
    assert read(path, tmp_path / "in/scene.tif")[0].instances == 3


def edited(path: Path, layer: str, keep, added=(), **fields) -> None:
    """Writes a layer of a GeoPackage anew: some features, and new ones without attributes."""
    meta, _, wkb, values = pyogrio.raw.read(path, layer=layer)
    table = pd.DataFrame(dict(zip(meta["fields"], values, strict=True))).iloc[keep]
    new = pd.DataFrame({name: [fields.get(name)] * len(added) for name in table})
    table = pd.concat([table, new], ignore_index=True) if len(added) else table
    shapes = np.concatenate([wkb[keep], shapely.to_wkb(np.array([*added, None], object))[:-1]])
    table["edge"] = table["edge"].fillna(False).astype(bool)
    columns = [table[name].to_numpy() if table[name].dtype != object else np.array(
        [None if value is None or value != value else str(value) for value in table[name]], object)
        for name in table]
    pyogrio.raw.write(path, shapes, columns, list(table), layer=layer, driver="GPKG",
                      geometry_type=meta["geometry_type"], crs=meta["crs"], append=False)


@pytest.mark.parametrize("layer", ["outlines", "craters"])
def test_what_was_deleted_in_either_layer_is_gone(tmp_path, layer):
    image = picture(tmp_path / "in/scene.tif", "equator")
    path = write_maps(tmp_path / "in/scene.gpkg", [crater_map("equator")])
    edited(path, layer, [0, 2, 3])
    report, found = read(path, image)
    assert report.instances == 3 and report.label_sources == {"outline": 3}
    assert "2 crater(s) are deleted in one of the layers outlines and craters, and were not " \
           "read, first: scene.gpkg" in report.warnings
    assert [i.diameter_km for i in found] == pytest.approx([10, 1.6, 2.2], rel=0.01)


def test_what_was_drawn_anew_is_there(tmp_path):
    image = picture(tmp_path / "in/scene.tif", "equator")
    path = write_maps(tmp_path / "in/scene.gpkg", [crater_map("equator")])
    ring = shapely.MultiPolygon([shapely.Point(0.3, 0.3).buffer(0.05)])
    edited(path, "outlines", [0, 1, 2, 3, 4], [ring])
    report, found = read(path, image)
    assert report.instances == 6
    assert found[-1].diameter_km == pytest.approx(0.1 * np.pi / 180 * 1737.4, rel=0.01)
    edited(path, "craters", [0, 1, 2, 3, 4], [shapely.Point(-0.3, -0.3)], diameter_km=3.0)
    report, found = read(path, image)
    assert report.instances == 7 and report.label_sources == {"outline": 6, "catalogue": 1}


def test_a_corrected_geopackage_comes_before_what_it_was(tmp_path):
    """The other files of its folder still have all craters, as its own other layer has."""
    picture(tmp_path / "in/scene.tif", "equator")
    for suffix in (".gpkg", ".geojson", ".csv"):
        write_maps(tmp_path / f"in/scene{suffix}", [crater_map("equator")])
    edited(tmp_path / "in/scene.gpkg", "outlines", [1, 3, 4])
    report, found = read(tmp_path / "in")
    assert report.instances == 3
    assert [i.diameter_km for i in found] == pytest.approx([4, 2.2, 1.8], rel=0.01)


def test_layers_of_other_names_and_other_classes(tmp_path):
    image = picture(tmp_path / "in/scene.tif", "equator")
    path = write_maps(tmp_path / "in/scene.gpkg", [crater_map("equator")])
    meta, _, wkb, values = pyogrio.raw.read(path, layer="outlines")
    values = [np.array(["ghost", *column[1:]], object) if name == "class" else column
              for name, column in zip(meta["fields"], values, strict=True)]
    points = pyogrio.raw.read(path, layer="craters")
    path.unlink()
    for layer, kind, shapes, columns in (("dots", "Point", points[2], points[3]),
                                         ("rims", "MultiPolygon", wkb, values)):
        pyogrio.raw.write(path, shapes, columns, list(meta["fields"]), layer=layer, driver="GPKG",
                          geometry_type=kind, crs=meta["crs"], append=layer == "rims")
    report, _ = read(path, image)
    assert report.label_sources == {"outline": 5}
    assert sorted(report.label_map.values()) == ["crater", "ghost", "rock"]
    assert any(line.startswith("1 crater(s) have another class") for line in report.warnings)


def test_one_layer_by_its_name(tmp_path):
    image = picture(tmp_path / "in/scene.tif", "equator")
    path = write_maps(tmp_path / "in/scene.gpkg", [crater_map("equator")])
    assert read(path, image, layers=["craters"])[0].label_sources == {"catalogue": 5}
    with pytest.raises(DataError, match="has no layer 'rims' of craters, expected one of craters"):
        read(path, image, layers=["rims"])


def test_two_images_keep_their_own(tmp_path):
    """Where both show the same ground each has what was found in it."""
    for name in "ab":
        picture(tmp_path / f"in/{name}.tif", "equator")
    maps = [crater_map("equator", "a.tif"), crater_map("equator", "elsewhere/b.tif")]
    few = craters(list(maps[1].craters.outlines[:2]), size=(HEIGHT, WIDTH))
    path = write_maps(tmp_path / "in/found.gpkg", [maps[0], Map(maps[1].name, few,
                                                               maps[1].georeference)])
    read(path, tmp_path / "in")
    scenes = load_dataset(tmp_path / "out").scenes
    assert [(s.file_name, len(s.instances)) for s in scenes] == [("a.tif", 5), ("b.tif", 2)]


def test_craters_of_two_images_on_a_third_that_shows_both(tmp_path):
    """What was found in both is there once."""
    picture(tmp_path / "mosaic.tif", "equator")
    maps = [crater_map("equator", "a.tif"), crater_map("equator", "b.tif")]
    for suffix in (".gpkg", ".geojson", ".csv"):
        path = write_maps(tmp_path / f"in/found{suffix}", maps)
        report, _ = read(path, tmp_path / "mosaic.tif")
        assert report.instances == 5
        assert any(line.startswith("5 crater(s) were given twice") for line in report.warnings)


def test_other_layers_of_a_result_file_are_named(tmp_path):
    image = picture(tmp_path / "in/scene.tif", "equator")
    path = write_maps(tmp_path / "in/scene.gpkg", [crater_map("equator")])
    pyogrio.raw.write(path, shapely.to_wkb(np.array([shapely.box(0, 0, 1, 1)])), [], [],
                      layer="geology", driver="GPKG", geometry_type="Polygon",
                      crs="IAU_2015:30100", append=True)
    report, _ = read(path, image)
    assert report.instances == 5
    assert any("hold no craters of ours, first: scene.gpkg: layer geology" in line
               for line in report.warnings)


def test_coco_results_of_others(tmp_path):
    """Without names only where there is one image; boxes become ellipses."""
    (tmp_path / "in").mkdir()
    for name in "ab":
        Image.fromarray(np.arange(60 * 100, dtype=np.uint8).reshape(60, 100)).save(
            tmp_path / f"in/{name}.png")
    path = tmp_path / "in/predictions.json"
    path.write_text(json.dumps([{"image_id": 17, "category_id": 3, "score": 0.9,
                                 "bbox": [10, 10, 30, 20]}]))
    report, found = read(path, tmp_path / "in/a.png")
    assert report.label_map == {1: "crater"} and report.label_sources == {"box": 1}
    assert found[0].area == pytest.approx(np.pi * 15 * 10, rel=0.02)
    with pytest.raises(CraterError, match=r"its image is not said, and there are 2"):
        read(path, tmp_path / "in")


def test_results_take_the_ids_of_a_ground_truth(tmp_path):
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({
        "images": [{"id": 71, "file_name": "x/a.png"}, {"id": "b-9", "file_name": "scene.tif"}],
        "categories": [{"id": 5, "name": "Crater"}], "annotations": []}))
    path = write_maps(tmp_path / "found.json", [px_map()], numbers=Numbers.load(truth))
    assert {(r["image_id"], r["file_name"], r["category_id"], r["category"])
            for r in json.loads(path.read_text())} == {(71, "a.png", 5, "crater")}
    with pytest.raises(CraterError, match=r"truth.json: has no category 'rock', which the model"):
        write_maps(tmp_path / "rocks.json", [crater_map()], numbers=Numbers.load(truth))
    with pytest.raises(CraterError, match=r"truth.json: lists 0 images of the name 'c.png'"):
        Numbers.load(truth).image("folder/c.png")
    assert not (tmp_path / "rocks.json").exists()


@pytest.mark.parametrize("data", [b"[{\"image_id\": 1, \"category_id\": null, \"score\": 1, "
                                  b"\"bbox\": 3}]", b"[{\"image_id\": 1, \"category_id\""])
def test_damaged_results_end_in_words(tmp_path, data):
    (tmp_path / "in").mkdir()
    Image.fromarray(np.zeros((60, 100), np.uint8)).save(tmp_path / "in/a.png")
    (tmp_path / "in/found.json").write_bytes(data)
    with pytest.raises(CraterError) as error:
        read(tmp_path / "in/found.json", tmp_path / "in/a.png")
    assert "\n" not in str(error.value)
