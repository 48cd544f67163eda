"""An import that comes to nothing is refused with counts and causes, and takes no older one's place."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest
import rasterio

from crater_model.annotations.dataset import load_dataset
from crater_model.errors import DataError
from crater_model.importing.dataset import import_dataset

WIDTH, HEIGHT = 120, 80
DEGREE = 1737400 * np.pi / 180


@pytest.fixture
def moon(tmp_path):
    """An image of the Moon from 10 to 11.2 deg east and 4.2 to 5 deg north."""
    path = tmp_path / "moon.tif"
    values = np.random.default_rng(0).integers(0, 255, (1, HEIGHT, WIDTH), np.uint8)
    with rasterio.open(path, "w", driver="GTiff", count=1, height=HEIGHT, width=WIDTH,
                       dtype="uint8", crs=rasterio.CRS.from_proj4("+proj=eqc +R=1737400"),
                       transform=rasterio.Affine(DEGREE / 100, 0, 10 * DEGREE, 0, -DEGREE / 100,
                                                 5 * DEGREE)) as file:
        file.write(values)
    return path


def outlines(path, places):
    rings = [[[x, y], [x + .2, y], [x + .2, y + .1], [x, y]] for x, y in places]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [r]}}
        for r in rings]}))
    return path


def labels_of(folder):
    return sum(len(scene.instances) for scene in load_dataset(folder).scenes)


def test_outlines_outside_every_image_leave_the_older_data_set(moon, tmp_path):
    out = tmp_path / "out"
    import_dataset(outlines(tmp_path / "l.geojson", [(10.5, 4.5)]), out, images=moon)
    assert labels_of(out) == 1
    source = outlines(tmp_path / "l.geojson", [(-10.5 - i / 10, 4.5) for i in range(14)])
    with pytest.raises(DataError) as caught:
        import_dataset(source, out, images=moon)
    text = str(caught.value)
    assert "none of its labels can be used: 14 outline(s) have their centre in no image" in text
    assert re.search(r"labels lie at longitude -11\.7\d* to -10\.4\d*, latitude 4\.5", text)
    assert "moon.tif shows longitude 10 to 11.2, latitude 4.2 to 5 deg" in text
    assert "direction of longitudes" in text and text.endswith(f"{out} is left as it was")
    assert "\n" not in text and labels_of(out) == 1
    with pytest.raises(DataError, match="14 outline"):
        import_dataset(source, tmp_path / "new", images=moon)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("rows, limits, words", [
    ("-10.5,4.5,3", None, "1 crater.s. of the catalogue lie in no image.*which images"),
    ("10.5,4.5,0.01\n10.6,4.5,0.02", None, "2 crater.s. of less than a pixel across.*unit of the"),
    ("10.5,4.5,3\n10.6,4.5,4", (5.0, 400.0), "2 label.s. outside 5 to 400 km.*unit of the diam")])
def test_rows_that_all_fall_out(moon, tmp_path, rows, limits, words):
    (tmp_path / "c.csv").write_text(f"lon,lat,diameter_km\n{rows}\n")
    with pytest.raises(DataError, match=words):
        import_dataset(tmp_path / "c.csv", tmp_path / "out", images=moon, diameters_km=limits)
    assert not (tmp_path / "out").exists()


def test_skipped_labels_replace_none(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    cv2.imwrite(str(source / "a.png"), np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 251)
    (source / "a.txt").write_text("0 0.5 0.5 0.2 0.1 0.9\n0 0.1 0.5 0.2 0.1 0.9\n")
    report = import_dataset(source, tmp_path / "new", format="yolo", skip_bad=True)
    assert (report.images, report.instances, len(report.problems)) == (1, 0, 2)
    (source / "a.txt").write_text("0 0.5 0.5 0.2 0.1\n")
    import_dataset(source, out)
    (source / "a.txt").write_text("0 0.5 0.5 0.2 0.1 0.9\n0 0.1 0.5 0.2 0.1 0.9\n")
    with pytest.raises(DataError, match=r"none of its labels can be used: a.txt: line 1 has six "
                                        r"values.*\(and 1 more\).*left as it was"):
        import_dataset(source, out, format="yolo", skip_bad=True)
    assert labels_of(out) == 1


def test_a_source_without_labels_is_taken_but_never_over_labels(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    cv2.imwrite(str(source / "a.png"), np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 251)
    (source / "a.json").write_text(json.dumps({"shapes": [], "imagePath": "a.png"}))
    report = import_dataset(source, out)
    assert (report.images, report.instances) == (1, 0) and "no label was found" in report.warnings[0]
    import_dataset(source, out)  # nothing over nothing
    (source / "a.json").write_text(json.dumps({"imagePath": "a.png", "shapes": [
        {"label": "crater", "points": [[5, 5], [30, 6], [20, 40]], "shape_type": "polygon"}]}))
    assert import_dataset(source, out).instances == 1
    (source / "a.json").write_text(json.dumps({"shapes": [], "imagePath": "a.png"}))
    with pytest.raises(DataError, match="holds no label, and .*out is a data set that has some"):
        import_dataset(source, out)
    assert labels_of(out) == 1
