"""The real labelled imagery, imported by the real command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shapely

from crater_model.annotations.dataset import load_dataset
from crater_model.cli import main


def imported(capsys, source, out, *options):
    """The data set that the command made, and what it said of it."""
    assert main(["dataset", "import", str(source), str(out), "--json", *map(str, options)]) == 0
    return load_dataset(out), json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name, images, instances, source", [
    ("moon_nac_train", 12, 13449, "box"), ("moon_dem_train", 160, 7254, "catalogue"),
    ("mars_boxes_hirise", 119, 632, "box"), ("divdet_fixtures", 2, 4, "mask")])
def test_folders_with_labels_arrive(real_data, tmp_path, capsys, name, images, instances, source):
    dataset, said = imported(capsys, real_data / name, tmp_path / "out")
    assert (said["images"], said["instances"]) == (images, instances)
    assert said["label_sources"] == {source: instances} and said["problems"] == []
    before = load_dataset(real_data / name)
    assert [s.file_name for s in dataset.scenes] == sorted(s.file_name for s in before.scenes)
    areas = {s.file_name: sum(i.area for i in s.instances) for s in before.scenes}
    for scene in dataset.scenes:
        found = sum(i.area for i in scene.instances)
        assert found == pytest.approx(areas[scene.file_name], rel=1e-3)


def test_divdet_arrives_from_its_masks(real_data, tmp_path, capsys):
    dataset, said = imported(capsys, real_data / "divdet_fixtures", tmp_path / "out", "--format",
                             "masks")
    assert said["format"] == "masks" and said["label_files"] == 4
    assert [len(scene.instances) for scene in dataset.scenes] == [1, 3]
    drawn = load_dataset(real_data / "divdet_fixtures")
    for scene, other in zip(dataset.scenes, drawn.scenes, strict=True):
        for mask in scene.instances:
            one = shapely.Polygon(mask.rings[0])
            others = [shapely.Polygon(i.rings[0]) for i in other.instances]
            overlap = [one.intersection(o).area / one.union(o).area for o in others]
            assert max(overlap) > 0.95


def middles(dataset):
    """Middles of the boxes [n, 2], of the outlines [n, 2], diameters in km and px [n]."""
    (scene,) = dataset.scenes
    boxes = np.array([i.box for i in scene.instances])
    centres = [shapely.Polygon(i.rings[0]).centroid.coords[0] for i in scene.instances]
    whole = (boxes[:, :2] > 0).all(axis=1) & (boxes[:, 2:] < 4096).all(axis=1)
    return ((boxes[:, [1, 0]] + boxes[:, [3, 2]]) / 2, np.array(centres),
            np.array([i.diameter_km or np.nan for i in scene.instances]),
            np.array([i.diameter for i in scene.instances]), whole)


def test_three_ways_agree(real_data, tmp_path, capsys):
    """COCO over a PNG, GeoJSON over a GeoTIFF, a catalogue over the GeoTIFF."""
    folder = real_data / "moon_geo"
    raster = folder / "moon_gld100_hillshade_eqc.tif"
    ways = {
        "coco": imported(capsys, folder, tmp_path / "coco"),
        "vector": imported(capsys, folder / "craters_lonlat.geojson", tmp_path / "vector",
                           "--images", raster, "--diameters-km", "5,400"),
        "catalogue": imported(capsys, folder / "catalogue_global.csv", tmp_path / "catalogue",
                              "--images", raster, "--diameters-km", "5,400")}
    assert [said["format"] for _, said in ways.values()] == ["coco", "vector", "catalogue"]
    found = {name: middles(dataset) for name, (dataset, _) in ways.items()}
    # The annotations keep 28 craters more, whose centres lie outside of the image.
    assert [len(values[0]) for values in found.values()] == [3565, 3537, 3537]
    boxes, centres, km, px, whole = found["coco"]
    for name in ("vector", "catalogue"):
        other = found[name]
        distance = np.linalg.norm(other[0][:, None] - boxes[None], axis=2)
        size = np.abs(np.log(other[3][:, None] / px[None]))
        nearest = (distance + 100 * size).argmin(axis=1)
        assert len(set(nearest)) == 3537  # one to one
        uncut = other[4] & whole[nearest]
        assert uncut.sum() > 3480
        assert distance[np.arange(3537), nearest][uncut].max() < 0.05
        # On the ground a large circle's picture is not quite symmetric: up to 1.4 px at 394 km.
        apart = np.linalg.norm(other[1] - centres[nearest], axis=1)[uncut]
        assert np.quantile(apart, 0.999) < 1.0 and apart.max() < (
            0.05 if name == "vector" else 1.5)
        np.testing.assert_allclose(other[2], km[nearest], rtol=0.01)
