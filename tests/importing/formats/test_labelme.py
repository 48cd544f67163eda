"""data/labelme was written by LabelFile.save of labelme 6.3.1."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image

from crater_model.errors import DataError
from crater_model.importing.formats import labelme
from crater_model.importing.formats.source import Notes, Source

DATA = Path(__file__).parent / "data" / "labelme"


def read(path, images=None):
    source, notes = Source(path, images), Notes()
    files = labelme.recognise(source)
    assert files, "not recognised"
    return labelme.read(source, files, notes), notes


def read_shapes(folder, *shapes, **more):
    document = {"version": "5.0.1", "flags": {}, "shapes": list(shapes),
                "imagePath": "..\\images\\shapes.png", "imageData": None, "imageHeight": 64,
                "imageWidth": 96, **more}
    (folder / "a.json").write_text(json.dumps(document))
    reading, notes = read(folder / "a.json", DATA / "images")
    return [label for image in reading.images for label in image.labels], notes.problems


def shape(kind, *points, label="crater", **more):
    return {"label": label, "points": [list(p) for p in points], "group_id": None,
            "shape_type": kind, "flags": {}, **more}


def png(mask, **options):
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG", **options)
    return base64.b64encode(stream.getvalue()).decode()


def box(label):
    points = np.concatenate(label.rings)
    return np.concatenate([points.min(axis=0), points.max(axis=0)]).tolist()


def area(label):
    return sum(shapely.Polygon(ring).area for ring in label.rings)


def test_files_of_labelme():
    reading, notes = read(DATA)
    empty, image = reading.images
    assert [empty.path.name, image.path.name] == ["empty.png", "shapes.png"]
    assert empty.labels == [] and empty.size == image.size == (96, 64)
    polygon, rectangle, circle, turned, mask, group, apart = image.labels
    assert polygon.rings[0].tolist() == [[10, 8], [30, 8], [30, 20], [10, 20]]
    assert box(rectangle) == pytest.approx([50, 40, 70, 50])
    assert area(rectangle) == pytest.approx(np.pi * 10 * 5, rel=0.02)
    assert box(circle) == pytest.approx([55, 15, 65, 25])
    assert box(mask) == pytest.approx([80, 5, 91, 11], abs=0.13)  # pixels 80..90 and 5..10
    assert area(mask) == pytest.approx(11 * 4 + 7 * 2, abs=5)
    assert [label.source for label in image.labels] == [
        "outline", "box", "circle", "box", "mask", "outline", "outline"]
    assert [label.name for label in image.labels] == [
        "crater", "crater", "boulder", "crater", "crater", "crater", "boulder"]
    assert polygon.where == "labels/shapes.json: shape 1"
    assert [problem.split(", which")[0] for problem in notes.problems] == [
        f"labels/shapes.json: shape {number} is drawn as {kind}"
        for number, kind in ((9, "point"), (10, "line"), (11, "linestrip"))]


def test_an_oriented_rectangle_keeps_its_direction():
    reading, _ = read(DATA)
    ring = reading.images[1].labels[3].rings[0]
    assert ring.mean(axis=0) == pytest.approx([22, 36])
    away = ring - (22, 36)
    end = away[np.hypot(*away.T).argmax()]
    assert abs(end) == pytest.approx([4, 4], abs=0.01) and end[0] * end[1] > 0  # down to the right
    assert shapely.Polygon(ring).area == pytest.approx(
        np.pi * np.hypot(8, 8) / 2 * np.hypot(4, 4) / 2, rel=0.02)


def test_shapes_with_a_group_and_a_label_are_one_object():
    reading, _ = read(DATA)
    group, apart = reading.images[1].labels[5:]
    assert len(group.rings) == 2 and group.where.endswith("shape 6, 7")
    assert area(group) == 60 and box(group) == [2, 50, 18, 60]
    assert len(apart.rings) == 1 and apart.name == "boulder"


def test_rectangle_of_four_corners(tmp_path):
    (label,), _ = read_shapes(tmp_path, shape("rectangle", (10, 8), (30, 8), (30, 20), (10, 20)))
    assert box(label) == pytest.approx([10, 8, 30, 20]) and label.source == "box"


def test_split_of_the_folder(tmp_path):
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes((DATA / "images" / "shapes.png").read_bytes())
        (tmp_path / name / "a.json").write_text('{"shapes": [], "imagePath": "a.png"}')
    reading, notes = read(tmp_path)
    assert [image.split for image in reading.images] == ["train", "validation"]
    assert reading.images[0].size is None and not notes.problems


SQUARE = shape("polygon", (1, 1), (5, 1), (5, 5), (1, 5))
FULL = np.full((3, 5), 255, np.uint8)
NAN = float("nan")


@pytest.mark.parametrize("bad, problem", [
    (shape("polygon", (1, 1), (5, 1)), "has an outline of 2 point(s)"),
    (shape("polygon", (1, 1), (5, NAN), (5, 5)), "not a list of finite x, y pairs"),
    (shape("polygon", (1, 1), (10**400, 1), (5, 5)), "not a list of finite"),
    (shape("circle", (1, 1)), "is a circle without its 2 points"),
    (shape("circle", (1, 1), (1, 1)), "axes above 0"),
    (shape("circle", (1, 1), (1e300, 1)), "far too large"),
    (shape("rectangle", (1, 1), ("x", 1)), "has the coordinate 'x'"),
    (shape("oriented_rectangle", (1, 1), (5, 1)), "without its 4 points"),
    (shape("polygon", (1, 1), label=" "), "has the label ' '"),
    (shape("points", (1, 1), (2, 2)), "is drawn as points, which is no outline"),
    ("shape", "is str, expected an object"),
    (shape("mask", (1, 1), (5, 3)), "has a mask that is no PNG image"),
    (shape("mask", (1, 1), (5, 3), mask="!"), "has a mask that is not base64"),
    (shape("mask", (1, 1), (5, 3), mask=7), "has a mask that is not base64"),
    (shape("mask", (1, 1), (5, 4), mask=png(FULL)), "mask of 5x3 px for a box of 5x4 px"),
    (shape("mask", (1, 1), (5, 3), mask=png(FULL)[:40]), "has a mask that is no"),
    (shape("mask", (1, 1), (5, 3), mask=png(FULL * 0)), "has an empty mask")])
def test_a_broken_shape_is_named_and_the_others_are_read(tmp_path, bad, problem):
    labels, problems = read_shapes(tmp_path, bad, SQUARE)
    assert [area(label) for label in labels] == [16]
    assert len(problems) == 1 and problem in problems[0]
    assert problems[0].startswith("a.json: shape 1 ")


def test_a_huge_mask_is_not_decoded(tmp_path):
    huge = png(np.zeros((5000, 5000), np.uint8))
    labels, problems = read_shapes(tmp_path, shape("mask", (0, 0), (4999, 4999), mask=huge))
    assert not labels and "at most 16777216 px" in problems[0]


@pytest.mark.parametrize("more, problem", [
    ({"imagePath": "../../etc/passwd"}, "is of the image '../../etc/passwd', which is not below"),
    ({"imagePath": "b.png", "imageData": "aGk="}, "imageData; save that as an image"),
    ({"imagePath": None}, "names the image None"),
    ({"imageWidth": "wide"}, "has the image size 'wide'"),
    ({"imageWidth": 10**400}, "expected a finite number")])
def test_a_file_without_its_image(tmp_path, more, problem):
    labels, problems = read_shapes(tmp_path, SQUARE, **more)
    assert not labels and len(problems) == 1 and problem in problems[0]


def test_two_files_for_an_image(tmp_path):
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text('{"shapes": [], "imagePath": "shapes.png"}')
    reading, notes = read(tmp_path, DATA / "images")
    assert len(reading.images) == 1
    assert notes.problems == ["b.json is of the image shapes.png, which a.json labels already; "
                              "keep one of the two files"]


@pytest.mark.parametrize("text, problem", [
    ('{"shapes": [{"label": "a", "points": [', "is not JSON"),
    ('{"shapes": {}, "imagePath": "a.png"}', "has no list of shapes")])
def test_a_broken_file_is_refused(tmp_path, text, problem):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=problem) as error:
        read(tmp_path)
    assert "a.json" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", [
    '{"images": [], "annotations": []}', '{"type": "FeatureCollection"}', "[]", "", "\0"])
def test_other_files_are_not_recognised(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    assert labelme.recognise(Source(tmp_path)) == []
