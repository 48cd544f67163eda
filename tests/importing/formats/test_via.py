"""The fixtures in data/via are written by hand after VIA's own description and source, since
the tool runs only in a browser: version_1 and version_2 after via.js of VIA 1.0 and 2.0,
version_3 after _via_file_annotator.js of VIA 3.1."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import shapely

from crater_model.errors import DataError
from crater_model.importing.formats import via
from crater_model.importing.formats.source import Notes, Source

DATA = Path(__file__).parent / "data" / "via"


def read(path, images=DATA / "images"):
    source, notes = Source(path, images), Notes()
    files = via.recognise(source)
    assert files, "not recognised"
    return via.read(source, files, notes), notes


def read_regions(folder, *regions, filename="a.png"):
    """The labels and problems of an annotation file with these regions of one image."""
    entry = {"filename": filename, "size": 1, "file_attributes": {}, "regions": [
        {"shape_attributes": shape, "region_attributes": attributes}
        for shape, attributes in regions]}
    (folder / "via.json").write_text(json.dumps({"a.png1": entry}))
    reading, notes = read(folder / "via.json")
    return [label for image in reading.images for label in image.labels], notes.problems


def box(label):
    return np.concatenate([label.rings[0].min(axis=0), label.rings[0].max(axis=0)]).tolist()


def area(label):
    return shapely.Polygon(label.rings[0]).area


@pytest.mark.parametrize("file", ["via_export_json.json", "via_export_csv.csv",
                                  "via_project.json"])
def test_version_2(file):
    reading, notes = read(DATA / "version_2" / file)
    first, second = reading.images
    assert [first.path.name, second.path.name] == ["a.png", "b.png"]
    assert second.labels == [] and first.split is None and first.size is None
    polygon, rect, circle, ellipse = first.labels
    assert polygon.rings[0].tolist() == [[10, 8], [30, 8], [30, 20], [10, 20]]
    assert [label.source for label in first.labels] == ["outline", "box", "circle", "ellipse"]
    assert [label.name for label in first.labels] == ["crater", "crater", "boulder", "crater"]
    assert box(rect) == pytest.approx([50, 40, 70, 50])
    assert area(rect) == pytest.approx(np.pi * 10 * 5, rel=0.02)
    assert box(circle) == pytest.approx([55, 15, 65, 25])
    assert polygon.where == f"{file}: image a.png, region 1"
    assert notes.problems == [
        f"{file}: image a.png, region {number} is drawn as {kind}, which is no outline; draw a "
        "polygon, ellipse, circle or rect in its place"
        for number, kind in ((5, "polyline"), (6, "point"))]


def test_theta_is_in_radians_and_clockwise(tmp_path):
    shape = {"name": "ellipse", "cx": 40, "cy": 30, "rx": 12, "ry": 4, "theta": np.pi / 6}
    (label,), problems = read_regions(tmp_path, (shape, {}))
    away = label.rings[0] - (40, 30)
    end = away[np.hypot(*away.T).argmax()]
    end = end if end[0] > 0 else -end
    assert end == pytest.approx([12 * np.cos(np.pi / 6), 12 * np.sin(np.pi / 6)], abs=0.01)
    assert label.source == "ellipse" and not problems


def test_version_1_numbers_its_regions():
    reading, notes = read(DATA / "version_1")
    polygon, ellipse = reading.images[0].labels
    assert polygon.name == "fresh crater" and ellipse.name == "crater"
    assert polygon.rings[0].tolist() == [[10, 8], [30, 8], [30, 20], [10, 20]]  # not closed
    assert box(ellipse) == pytest.approx([28, 26, 52, 34])
    assert len(reading.images) == 2 and not notes.problems


def test_version_3():
    reading, notes = read(DATA / "version_3")
    labels = reading.images[0].labels
    assert [(label.name, label.source) for label in labels] == [
        ("crater", "outline"), ("crater", "box"), ("boulder", "circle"), ("crater", "ellipse"),
        ("crater", "box"), ("crater", "circle")]
    assert area(labels[0]) == 240
    assert box(labels[1]) == box(labels[4]) == pytest.approx([50, 40, 70, 50])
    assert box(labels[2]) == box(labels[5]) == pytest.approx([55, 15, 65, 25])
    assert box(labels[3]) == pytest.approx([28, 26, 52, 34])
    assert len(notes.problems) == 1 and "region 7 is drawn as point" in notes.problems[0]
    assert [image.path.name for image in reading.images] == ["a.png", "b.png"]


def test_version_3_of_a_video_is_refused(tmp_path):
    project = json.loads((DATA / "version_3" / "via_project.json").read_text())
    project["file"]["1"]["type"] = 4
    (tmp_path / "p.json").write_text(json.dumps(project))
    with pytest.raises(DataError, match="view 1, which is not of one image; export the frames"):
        read(tmp_path)


def test_the_same_export_in_three_forms_counts_once():
    reading, notes = read(DATA / "version_2")
    assert len(reading.images[0].labels) == 4
    assert notes.warnings == ["4 image entries repeat another with the same regions and were left "
                              "out, first: via_export_json.json"]


def test_two_sets_of_regions_for_an_image_are_a_problem(tmp_path):
    shutil.copy(DATA / "version_2" / "via_export_json.json", tmp_path / "one.json")
    shutil.copy(DATA / "version_1" / "via_region_data.json", tmp_path / "two.json")
    reading, notes = read(tmp_path)
    assert len(reading.images[0].labels) == 4
    assert ("two.json: image entry 1 is of an image that one.json has other regions for; keep one "
            "of the two entries") in notes.problems


@pytest.mark.parametrize("attributes, name", [
    ({"Class": "pit", "name": "x"}, "pit"),
    ({"label": "", "type": {"pit": True, "dome": False}}, "pit"),
    ({"terrain": "mare"}, "mare"),
    ({"diameter": "17"}, "crater"),
    ({"terrain": "mare", "age": "old"}, "crater"),
    (None, "crater")])
def test_class(tmp_path, attributes, name):
    shape = {"name": "circle", "cx": 60, "cy": 20, "r": 5}
    (label,), _ = read_regions(tmp_path, (shape, attributes))
    assert label.name == name


SQUARE = {"name": "polygon", "all_points_x": [1, 5, 5, 1], "all_points_y": [1, 1, 5, 5]}


@pytest.mark.parametrize("shape, attributes, problem", [
    ({"name": "circle", "cx": "far", "cy": 1, "r": 5}, {}, "has the cx 'far', expected a finite"),
    ({"name": "circle", "cx": 5, "cy": 1}, {}, "has the r 'None'"),
    ({"name": "circle", "cx": 5, "cy": 1, "r": 0}, {}, "axes above 0"),
    ({"name": "circle", "cx": 5, "cy": 1, "r": 10**400}, {}, "expected a finite number"),
    ({"name": "circle", "cx": 5, "cy": 1, "r": 1e300}, {}, "far too large"),
    ({"name": "rect", "x": float("nan"), "y": 1, "width": 3, "height": 3}, {}, "has the x 'nan'"),
    ({**SQUARE, "all_points_y": [1, 1, 5]}, {}, "has no equally long lists"),
    ({**SQUARE, "all_points_x": 7}, {}, "has no equally long lists"),
    ({"name": "polygon", "all_points_x": [1, 5], "all_points_y": [1, 1]}, {}, "of 2 point"),
    (SQUARE, {"class": {"a": True, "b": True}}, "is a and b, expected one class"),
    ([], {}, "has no object shape_attributes"),
    ({}, {}, "is drawn as None")])
def test_a_broken_region_is_named_and_the_others_are_read(tmp_path, shape, attributes, problem):
    labels, problems = read_regions(tmp_path, (shape, attributes), (SQUARE, {}))
    assert len(labels) == 1 and area(labels[0]) == 16
    assert len(problems) == 1 and problem in problems[0]
    assert problems[0].startswith("via.json: image a.png, region 1 ")


@pytest.mark.parametrize("filename", ["../../etc/passwd", "c.png", None, 5])
def test_an_image_that_is_not_there(tmp_path, filename):
    labels, problems = read_regions(tmp_path, (SQUARE, {}), filename=filename)
    assert not labels and len(problems) == 1
    assert problems[0].startswith("via.json: image entry 1 ")


def test_broken_csv_cell(tmp_path):
    text = (DATA / "version_2" / "via_export_csv.csv").read_text()
    (tmp_path / "a.csv").write_text(text.replace('"{""name"":""polygon""', '"{""name"":""polyg'))
    reading, notes = read(tmp_path / "a.csv")
    assert len(reading.images[0].labels) == 3
    assert "region 1 has no object shape_attributes" in notes.problems[0]


@pytest.mark.parametrize("name, text, problem", [
    ("a.json", '{"a": {"filename": "a.png", "regions": [', "is not JSON"),
    ("a.json", '{"_via_img_metadata": []}', "has no object of images"),
    ("a.json", '{"project": {"data_format_version": "3.1.1"}, "view": [], "file": {}, '
               '"metadata": {}}', "lacks an object view"),
    ("a.csv", 'filename,region_shape_attributes,region_attributes\n1,2,3,"4', "is not CSV"),
    ("a.csv", "filename,region_shape_attributes\n1,2", "has no column region_attributes"),
    ("a.csv", "# CSV_HEADER = metadata_id,file_list\n1,2", "export them as JSON")])
def test_a_broken_file_is_refused(tmp_path, name, text, problem):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=problem) as error:
        read(tmp_path)
    assert name in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name, text", [
    ("a.json", '{"images": [{"file_name": "a.png"}], "annotations": [], "categories": []}'),
    ("a.json", '{"shapes": [], "imagePath": "a.png"}'), ("a.json", "["), ("a.json", ""),
    ("a.csv", "name,x,y,diameter\na,1,2,3"), ("a.csv", b"\xff\xfe\x00")])
def test_other_files_are_not_recognised(tmp_path, name, text):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert via.recognise(Source(tmp_path)) == []
