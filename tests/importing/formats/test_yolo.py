"""data/yolo/darknet and data/yolo/ultralytics were written by datumaro 1.13.12 (exports to
"yolo" and "yolo_ultralytics"), data/yolo/supervision by supervision 0.31.2
(DetectionDataset.as_yolo)."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
from PIL import Image

from crater_model.errors import DataError
from crater_model.importing.formats import yolo
from crater_model.importing.formats.source import Notes, Source

DATA = Path(__file__).parent / "data" / "yolo"


def read(path, images=None):
    source, notes = Source(path, images), Notes()
    files = yolo.recognise(source)
    assert files, "not recognised"
    return yolo.read(source, files, notes), notes


def write(folder, files, images=("a.png",)):
    for name in images:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (96, 64)).save(folder / name)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def box(label):
    return np.concatenate([label.rings[0].min(axis=0), label.rings[0].max(axis=0)]).tolist()


def area(label):
    return shapely.Polygon(label.rings[0]).area


@pytest.mark.parametrize("kind", ["darknet", "ultralytics"])
def test_files_of_datumaro(kind):
    reading, notes = read(DATA / kind)
    assert [(image.path.name, image.split) for image in reading.images] == [
        ("a.png", "train"), ("empty.png", "train"), ("b.png", "validation")]
    assert tuple(reading.classes) == ("boulder", "crater")
    first, second = reading.images[0].labels
    assert box(first) == pytest.approx([10, 8, 30, 20], abs=1e-3)
    assert area(first) == pytest.approx(np.pi * 10 * 6, rel=0.02)
    assert box(second) == pytest.approx([48, 40, 72, 52], abs=1e-3)
    assert (first.name, first.source) == ("crater", "box") and second.name == "boulder"
    assert first.where.endswith("a.txt: line 1")
    assert reading.images[1].labels == []
    assert box(reading.images[2].labels[0]) == pytest.approx([0, 0, 8, 4], abs=1e-3)
    assert not notes.problems and not notes.warnings


def test_outlines_of_supervision():
    reading, notes = read(DATA / "supervision")
    image, empty = reading.images
    (label,) = image.labels
    assert label.rings[0] == pytest.approx(np.array([[20, 10], [20, 30], [60, 30], [60, 10]]),
                                           abs=1e-3)
    assert (label.name, label.source) == ("crater", "outline")
    assert image.split == empty.split == "validation" and empty.labels == []
    assert not notes.problems


def test_splits_of_a_list_outweigh_those_of_folders(tmp_path):
    shutil.copytree(DATA / "ultralytics", tmp_path / "d")
    (tmp_path / "d" / "train.txt").write_text("./images/train/a.png\n/elsewhere/other.png\n")
    (tmp_path / "d" / "test.txt").write_text("./images/train/empty.png\n./images/train/a.png\n")
    reading, notes = read(tmp_path / "d")
    assert {image.path.name: image.split for image in reading.images} == {
        "a.png": "test", "empty.png": "test", "b.png": "validation"}
    assert notes.problems == ["train.txt: line 1 puts the image a.png into train, but another list "
                              "into test; keep it in one"]


def test_splits_of_the_yaml_file(tmp_path):
    yaml = ("path: ../d\ntrain: ./images\nval: [images/east, ../images/west]\ntest:\n"
            "names: [crater]\n")
    images = ["images/north/a.png", "images/east/b.png", "images/west/c.png", "x/d.png"]
    write(tmp_path, {"data.yaml": yaml, "labels/north/a.txt": "0 .5 .5 .1 .1",
                     "x/d.txt": "0 .5 .5 .1 .1"}, images)
    reading, notes = read(tmp_path)
    assert {image.path.name: image.split for image in reading.images} == {
        "a.png": "train", "b.png": "validation", "c.png": "validation", "d.png": None}
    assert not notes.problems


def test_label_files_find_the_image_of_their_own_split(tmp_path):
    write(tmp_path, {"labels/train/a.txt": "0 .5 .5 .1 .1", "labels/val/a.txt": "",
                     "test/labels/a.txt": "0 .5 .5 .1 .1\n0 .2 .2 .1 .1"},
          ["images/train/a.png", "images/val/a.png", "test/images/a.png"])
    reading, notes = read(tmp_path)
    assert [(image.split, len(image.labels)) for image in reading.images] == [
        ("train", 1), ("validation", 0), ("test", 2)]
    assert not notes.problems


def test_images_without_a_label_file_are_kept_but_strangers_are_not(tmp_path):
    write(tmp_path, {"images/a.txt": "0 .5 .5 .1 .1"},
          ["images/a.png", "images/b.png", "results.png", "masks/a2.png"])
    reading, _ = read(tmp_path)
    assert [image.path.name for image in reading.images] == ["a.png", "b.png"]


def test_a_flat_folder(tmp_path):
    write(tmp_path, {"a.txt": "0 .5 .5 .1 .1"}, ["a.png", "b.png", "masks/c.png"])
    reading, _ = read(tmp_path)
    assert [(image.path.name, len(image.labels)) for image in reading.images] == [
        ("a.png", 1), ("b.png", 0)]


def test_one_file_with_images_apart(tmp_path):
    write(tmp_path, {"l/a.txt": "0 .5 .5 .5 .25"}, ["i/a.png", "i/b.png"])
    reading, _ = read(tmp_path / "l" / "a.txt", tmp_path / "i")
    (image,) = reading.images
    assert box(image.labels[0]) == pytest.approx([24, 24, 72, 40])


@pytest.mark.parametrize("files, names, classes", [
    ({}, ["crater", "crater"], ()),
    ({"b.txt": "3 .5 .5 .1 .1"}, ["class_0", "class_0", "class_3"], ()),
    ({"classes.txt": "pit\n\ndome\n"}, ["pit", "pit"], ("pit", "dome")),
    ({"d.yaml": "nc: 2\nnames: {1: dome, 0: pit}"}, ["pit", "pit"], ("pit", "dome")),
    ({"d.yaml": "names: ['pit', 'dome']", "obj.names": "pit\ndome"}, ["pit", "pit"],
     ("pit", "dome")),
    ({"other.yaml": "lr: 0.1"}, ["crater", "crater"], ())])
def test_names_of_classes(tmp_path, files, names, classes):
    write(tmp_path, {"a.txt": "0 .5 .5 .1 .1\n0 .2 .2 .1 .1\n", **files}, ["a.png", "b.png"])
    reading, notes = read(tmp_path)
    assert [label.name for image in reading.images for label in image.labels] == names
    assert tuple(reading.classes) == classes and not notes.problems


@pytest.mark.parametrize("files, problem", [
    ({"d.yaml": "names: [a]", "classes.txt": "b"}, "names other classes than"),
    ({"d.yaml": "names: crater"}, "expected a list of the classes' names"),
    ({"d.yaml": "names: [[a], b]"}, "expected a list of the classes' names"),
    ({"d.yaml": "names: {x: a}"}, "expected a list of the classes' names"),
    ({"d.yaml": "names: [a"}, "cannot be read as YAML"),
    ({"d.yaml": "names: " + "[" * 5000}, "cannot be read as YAML"),
    ({"d.yaml": "names: !!python/object/apply:os.getcwd []"}, "cannot be read as YAML"),
    ({"d.yaml": "names: [a]\nkpt_shape: [4, 2]"}, "is of key points")])
def test_broken_names_are_refused(tmp_path, files, problem):
    write(tmp_path, {"a.txt": "0 .5 .5 .1 .1", **files})
    with pytest.raises(DataError, match=problem) as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("line, problem", [
    ("0 .5 .5 .1 .1 .98", "has six values, a detection with its confidence"),
    ("0 .5 .5 .1", "has 4 values, expected a class and x, y, width, height"),
    ("0 .5 .5 .1 .1 .2 .2 .3", "has 8 values"),
    ("0 .5 .5 nan .1", "has the coordinate 'nan'"),
    ("0 .5 .5 .1 1e999", "has the coordinate '1e999'"),
    ("0 48 32 20 10", "has the coordinate 48, expected a share of the image's width"),
    ("0 .5 .5 0 .1", "axes above 0"),
    ("crater .5 .5 .1 .1", "has the class 'crater', expected a finite number"),
    ("-1 .5 .5 .1 .1", "has the class -1, expected a whole number from 0"),
    ("0.5 .5 .5 .1 .1", "has the class 0.5"),
    ("7 .5 .5 .1 .1", "has the class 7, but only 0, 1 have names"),
    ("0 .1 .1 .1 .1 .1 .1", None)])  # encloses nothing, which the import says
def test_a_broken_line_is_named_and_the_others_are_read(tmp_path, line, problem):
    write(tmp_path, {"a.txt": f"1 .5 .5 .25 .5\n\n{line}\n", "b.txt": "0 .5 .5 .1 .1",
                     "classes.txt": "crater\npit"}, ["a.png", "b.png"])
    reading, notes = read(tmp_path)
    assert box(reading.images[0].labels[0]) == pytest.approx([36, 16, 60, 48])
    if problem:
        assert len(reading.images[0].labels) == 1 and len(notes.problems) == 1
        assert notes.problems[0].startswith("a.txt: line 3 ") and problem in notes.problems[0]


def test_problems_of_whole_files(tmp_path):
    write(tmp_path, {"labels/a.txt": "0 .5 .5 .1 .1", "images/a.txt": "0 .5 .5 .1 .1",
                     "labels/gone.txt": "0 .5 .5 .1 .1", "labels/broken.txt": "0 .5 .5 .1 .1"},
          ["images/a.png"])
    (tmp_path / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    reading, notes = read(tmp_path)
    assert [image.path.name for image in reading.images] == ["a.png", "broken.png"]
    twice, gone = [[p for p in notes.problems if p.startswith(f"labels/{n}")][0]
                   for n in ("a", "gone")]
    assert twice == ("labels/a.txt is of the image a.png, which images/a.txt labels already; keep "
                     "one of the two files")
    assert "is of the image 'images/gone', which is not below" in gone
    assert any("broken.txt is of an image that cannot be read" in p for p in notes.problems)
    assert len(notes.problems) == 3


@pytest.mark.parametrize("name, text", [
    ("README.txt", "0 .5 .5 .1 .1"), ("requirements.txt", "numpy==2.0\n"), ("a.txt", "a crater"),
    ("a.txt", "1 2 3 4 5"), ("a.txt", ""), ("a.txt", "0 0.5"), ("classes.txt", "0 0 0 0 0"),
    ("labels/notes.txt", "drawn in 2020 by hand"), ("a.txt", "nan 0 0 0 0"),
    ("a.txt", "inf 0 0 0 0")])
def test_other_text_is_not_recognised(tmp_path, name, text):
    write(tmp_path, {name: text})
    assert yolo.recognise(Source(tmp_path)) == []


def turned(x, y, rx, ry, degrees):
    """The corners of a turned box in shares of 96 x 64 px."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    corners = np.array([(-rx, -ry), (rx, -ry), (rx, ry), (-rx, ry)]) @ [[cos, sin], [-sin, cos]]
    return " ".join(f"{v:.6f}" for v in ((corners + (x, y)) / (96, 64)).ravel())


def test_turned_boxes_get_ellipses_and_outlines_of_four_points_do_not(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((64, 96), np.uint8))
    (tmp_path / "a.txt").write_text(f"0 {turned(40, 30, 20, 8, 30)}\n0 {turned(70, 40, 9, 9, 0)}\n")
    reading, notes = read(tmp_path)
    first, second = reading.images[0].labels
    assert (first.source, second.source) == ("box", "box") and "2 turned box(es)" in notes.warnings[0]
    shape = shapely.Polygon(first.rings[0])
    assert shape.area == pytest.approx(np.pi * 20 * 8, rel=0.01)
    far = first.rings[0] - (40, 30)
    far = far[np.hypot(*far.T).argmax()]
    assert far[1] / far[0] == pytest.approx(np.tan(np.radians(30)), rel=0.02)
    # Among outlines of more points a rectangle is an outline.
    (tmp_path / "a.txt").write_text(f"0 {turned(40, 30, 20, 8, 30)}\n0 .1 .1 .2 .1 .25 .2 .2 .3 .1 .2\n")
    reading, notes = read(tmp_path)
    assert [label.source for label in reading.images[0].labels] == ["outline"] * 2
    assert not notes.warnings
