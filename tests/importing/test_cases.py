"""Files as people have them, from the folder that CRATER_CASES names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from crater_model.annotations.dataset import load_dataset
from crater_model.importing.dataset import import_dataset


def imported(out: Path, labels: Path, images: Path | None = None, **more):
    report = import_dataset(labels, out, images=images, **more)
    instances = [i for scene in load_dataset(out).scenes for i in scene.instances]
    return report, instances


@pytest.mark.parametrize("name, count", [
    ("moon.geojson", 34), ("moon.gpkg", 34), ("moon.csv", 34), ("moon.scc", 34),
    ("moon.diam", 34), ("moon_edited.gpkg", 24), ("plain.geojson", 34), ("plain.gpkg", 34),
    ("plain.csv", 34), ("plain_coco.json", 34)])
def test_our_own_results_come_back_once(cases, tmp_path, name, count):
    image = "moon.tif" if name.startswith("moon") else "plain.png"
    report, instances = imported(tmp_path / "out", cases / "roundtrip" / name,
                                 cases / "roundtrip" / image)
    assert (report.instances, len(instances), report.images) == (count, count, 1)
    assert f"{count} crater(s) were read from the results {name}" in report.warnings
    if count == 24:
        assert any("10 crater(s) are deleted" in line for line in report.warnings)


@pytest.mark.parametrize("stem, image", [("moon", "moon.tif"), ("plain", "plain.png")])
def test_a_results_folder_has_each_crater_once(cases, tmp_path, stem, image):
    folder = tmp_path / "results"
    folder.mkdir()
    for path in (cases / "roundtrip").glob(f"{stem}[._]*"):
        if "edited" not in path.name:
            shutil.copy(path, folder)
    report, _ = imported(tmp_path / "out", folder)
    assert (report.instances, report.label_files) == (34, 1)
    assert f"34 crater(s) were read from the results {stem}.gpkg" in report.warnings


def test_the_whole_folder_says_what_was_read(cases, tmp_path):
    report, _ = imported(tmp_path / "out", cases / "roundtrip", cases / "roundtrip" / "moon.tif")
    assert report.instances == 34
    assert "34 crater(s) were read from the results moon.gpkg" in report.warnings
    assert any("moon_edited.gpkg with 24 (moon.gpkg with 34 was read)" in w for w in report.warnings)


@pytest.mark.parametrize("name, layers, words", [
    ("two", (), "two.gpkg: layer study_area"), ("layers", (), "layers.gpkg: layer study_area"),
    ("layers", ("craters",), ""), ("lines", (), "")])
def test_layers(cases, tmp_path, name, layers, words):
    folder = cases / "vector"
    report, instances = imported(tmp_path / "out", folder / f"{name}.gpkg", folder / "moon.tif",
                                 layers=layers)
    truth = sorted(crater["d_km"] for crater in json.loads((folder / "moon.json").read_text()))
    assert sorted(i.diameter_km for i in instances) == pytest.approx(truth, rel=0.03)
    assert any(words in line for line in report.warnings) or not words


@pytest.mark.parametrize("name", ["type", "classint"])
def test_classes(cases, tmp_path, name):
    report, _ = imported(tmp_path / "out", cases / f"vector/{name}.gpkg", cases / "vector/moon.tif")
    assert report.instances == 14 and len(report.label_map) == 2


@pytest.mark.parametrize("labels, image, truth", [
    ("vector/pts_m.gpkg", "vector/moon.tif", "vector/moon.json"),
    ("metres/lagain.geojson", "metres/mars.tif", "metres/mars.json")])
def test_metres_are_no_kilometres(cases, tmp_path, labels, image, truth):
    report, instances = imported(tmp_path / "out", cases / labels, cases / image)
    known = sorted(crater["d_km"] for crater in json.loads((cases / truth).read_text()))
    assert sorted(i.diameter_km for i in instances) == pytest.approx(known, rel=0.002)
    assert any("were taken as m" in line for line in report.warnings)


def test_longitudes_to_the_west(cases, tmp_path):
    report, instances = imported(tmp_path / "out", cases / "directions/mars_west.csv",
                                 cases / "directions/global.tif")
    assert report.instances == 3
    georeference = load_dataset(tmp_path / "out").scenes[0].georeference
    lon = [georeference.lonlat([np.mean(i.rings[0], axis=0)])[0, 0] % 360 for i in instances]
    assert sorted(lon) == pytest.approx([16.8, 55.6, 137.8], abs=0.3)
