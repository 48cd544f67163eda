"""COCO instances as labelling tools write them."""

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image
from pycocotools import mask as coco_mask

from crater_model.annotations.dataset import load_dataset
from crater_model.errors import DataError
from crater_model.importing.dataset import import_dataset
from crater_model.importing.formats import coco, run_lengths
from crater_model.importing.formats.source import Notes, Source

DATA = Path(__file__).parent / "data" / "coco"
SIZE = (60, 40)  # width, height
TRIANGLE = [10, 5, 40, 5, 10, 25]


def picture(path: Path, size=SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, 90).save(path)
    return path


def document(annotations, images=None, categories=None, **more) -> dict:
    return {"images": images or [{"id": 3, "file_name": "a.png", "width": 60, "height": 40}],
            "categories": categories or [{"id": 0, "name": "crater"}],
            "annotations": [{"id": n, "image_id": 3, "category_id": 0, "iscrowd": 0, **annotation}
                            for n, annotation in enumerate(annotations)], **more}


def read(folder: Path, value: dict | None = None, name="labels.json"):
    """Reads the folder's labels (`value` written as `name`): the reading and the notes."""
    if value is not None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(value))
    source, notes = Source(folder), Notes()
    files = coco.recognise(source)
    assert files
    return coco.read(source, files, notes), notes


def read_one(tmp_path, annotation: dict, **more):
    """The one label of an image with this annotation; its problem if there is none."""
    if not (tmp_path / "a.png").exists():
        picture(tmp_path / "a.png")
    reading, notes = read(tmp_path, document([annotation], **more))
    labels = reading.images[0].labels
    assert len(labels) + len(notes.problems) == 1
    return labels[0] if labels else notes.problems[0]


def union(label) -> shapely.Geometry:
    return shapely.union_all([shapely.Polygon(ring) for ring in label.rings])


def ellipse_mask(x, y, rx, ry, size=SIZE) -> np.ndarray:
    yy, xx = np.mgrid[:size[1], :size[0]] + 0.5
    return (((xx - x) / rx) ** 2 + ((yy - y) / ry) ** 2 < 1).astype(np.uint8)


def test_polygons(tmp_path):
    label = read_one(tmp_path, {"segmentation": [TRIANGLE, [50, 30, 58, 30, 54, 39, 50, 30], []]})
    np.testing.assert_array_equal(label.rings[0], [[10, 5], [40, 5], [10, 25]])
    np.testing.assert_array_equal(label.rings[1], [[50, 30], [58, 30], [54, 39]])
    assert (label.name, label.source, label.crowd) == ("crater", "outline", False)
    assert label.where == "labels.json: annotation 0 (image a.png)"


def test_polygon_without_the_list_around_it(tmp_path):
    label = read_one(tmp_path, {"segmentation": TRIANGLE})
    assert union(label).area == 300


@pytest.mark.parametrize("segmentation", [None, [], [[]], ""])
def test_a_bare_box_becomes_an_ellipse(tmp_path, segmentation):
    label = read_one(tmp_path, {"bbox": [10, 20, 30, 8], "segmentation": segmentation})
    shape = union(label)
    assert label.source == "box"
    assert shape.bounds == pytest.approx((10, 20, 40, 28), abs=0.01)
    assert shape.area == pytest.approx(np.pi * 15 * 4, rel=0.01)


def test_a_turned_box(tmp_path):
    label = read_one(tmp_path, {"bbox": [10, 20, 30, 8], "attributes": {"rotation": 90.0}})
    assert union(label).bounds == pytest.approx((21, 9, 29, 39), abs=0.05)


@pytest.mark.parametrize("text", [True, False], ids=["compressed", "list"])
def test_run_lengths_of_pycocotools(tmp_path, text):
    mask = ellipse_mask(33, 12, 14, 9) | ellipse_mask(10, 30, 5, 4)
    rle = coco_mask.encode(np.asfortranarray(mask))
    if text:
        rle["counts"] = rle["counts"].decode()
    else:
        flat = mask.T.ravel()
        changes = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
        rle["counts"] = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    label = read_one(tmp_path, {"segmentation": rle})
    assert label.source == "mask" and len(label.rings) == 2
    shape = union(label)  # at most an eighth of a px inside the mask's edge
    assert mask.sum() - shape.length / 8 - 0.1 <= shape.area <= mask.sum() + 0.1
    assert union(label).bounds == pytest.approx((5, 3, 47, 34), abs=0.2)


def test_run_lengths_from_polygons_and_at_the_edges(tmp_path):
    rles = coco_mask.frPyObjects([[0.0, 0, 60, 0, 60, 40, 0, 40]], 40, 60)
    label = read_one(tmp_path, {"segmentation": {**rles[0], "counts": rles[0]["counts"].decode()}})
    assert union(label).bounds == pytest.approx((0, 0, 60, 40), abs=0.15)


def test_text_and_list_counts_are_the_same_for_any_mask():
    rng = np.random.default_rng(3)
    for _ in range(50):
        height, width = rng.integers(1, 200, 2)
        mask = (rng.random((height, width)) < rng.random()).astype(np.uint8)
        text = coco_mask.encode(np.asfortranarray(mask))["counts"].decode()
        runs = run_lengths._runs(text)
        again = np.repeat(np.arange(len(runs)) % 2, runs).reshape(width, height).T
        np.testing.assert_array_equal(again, mask)


@pytest.mark.parametrize("rle, word", [
    ({"size": [60, 40], "counts": [0, 10, 2390]}, "[40, 60]"),
    ({"size": [100000, 100000], "counts": [0, 10**10]}, "[40, 60]"),
    ({"size": [40, 60], "counts": [0, 10, 2389]}, "add up"),
    ({"size": [40, 60], "counts": [0, 10**12]}, "add up"),
    ({"size": [40, 60], "counts": [-10, 2410]}, "add up"),
    ({"size": [40, 60], "counts": [0.5, 2399.5]}, "add up"),
    ({"size": [40, 60], "counts": None}, "add up"),
    ({"size": [40, 60], "counts": "05"}, "add up"),
    ({"size": [40, 60], "counts": "0é"}, "compressed text"),
    ({"size": [40, 60], "counts": "o" * 10**6}, "compressed text"),
    ({"size": [40, 60], "counts": "0o"}, "middle of a number"),
    ({"size": [40, 60], "counts": [2400]}, "empty"),
    ({"size": [40, 60], "counts": [2390, 0, 10]}, "empty"),
    ({}, "[40, 60]"),
])
def test_broken_run_lengths(tmp_path, rle, word):
    problem = read_one(tmp_path, {"segmentation": rle})
    assert word in problem and problem.startswith("labels.json: annotation 0 (image a.png) has")
    assert len(problem) < 250


@pytest.mark.parametrize("annotation, word", [
    ({}, "neither a segmentation nor a bbox"),
    ({"bbox": [1, 2, 3]}, "expected x, y, width, height"),
    ({"bbox": [1, 2, -3, 4]}, "above 0"),
    ({"bbox": [1, 2, 1e308, 4]}, "above 0"),
    ({"bbox": [1, float("nan"), 3, 4]}, "finite"),
    ({"bbox": ["left", 2, 3, 4]}, "left"),
    ({"segmentation": [[1, 2, 3, 4]], "bbox": [1, 2, 3, 4]}, "2 point(s)"),
    ({"segmentation": [["x", 2, 3, 4, 5, 6]]}, "not a list x1, y1"),
    ({"segmentation": [TRIANGLE], "category_id": 7}, "expected one of 0 (crater)"),
    ({"segmentation": [TRIANGLE], "category_id": None}, "category_id None"),
    ({"segmentation": [TRIANGLE], "image_id": 4}, "image 4, which is not listed"),
    ({"segmentation": [TRIANGLE], "image_id": [3]}, "image_id [3]"),
    ({"segmentation": [TRIANGLE], "diameter_km": -1}, "diameter_km -1"),
])
def test_what_cannot_be_used_is_named(tmp_path, annotation, word):
    problem = read_one(tmp_path, annotation)
    assert word in problem and "annotation 0" in problem and "\n" not in problem


def test_ids_of_any_kind_and_classes_in_order(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    reading, notes = read(tmp_path, {
        "categories": [{"id": 90, "name": "pit"}, {"id": "x", "name": "ejecta"},
                       {"id": 0, "name": "crater"}],
        "images": [{"id": "second", "file_name": "b.png"}, {"id": 0, "file_name": "a.png"}],
        "annotations": [{"image_id": "second", "category_id": 90, "segmentation": [TRIANGLE]},
                        {"image_id": 0.0, "category_id": 0, "bbox": ["10", "4", "20", "8"]}]})
    assert reading.classes == ("pit", "ejecta", "crater") and not notes.problems
    assert [image.path.name for image in reading.images] == ["a.png", "b.png"]
    assert [image.labels[0].name for image in reading.images] == ["crater", "pit"]
    assert reading.images[0].size is None


def test_the_class_above_the_others_is_dropped(tmp_path):
    picture(tmp_path / "train" / "a.png")
    picture(tmp_path / "valid" / "b.png")
    categories = [{"id": 0, "name": "craters-x1", "supercategory": "none"},
                  {"id": 1, "name": "crater", "supercategory": "craters-x1"},
                  {"id": 2, "name": "unused", "supercategory": "craters-x1"}]
    for folder, name in ("train", "a"), ("valid", "b"):
        value = document([{"category_id": 1, "bbox": [3, 4, 9, 7]}], categories=categories,
                         images=[{"id": 3, "file_name": f"{name}.png"}])
        (tmp_path / folder / "_annotations.coco.json").write_text(json.dumps(value))
    reading, _ = read(tmp_path)
    assert reading.classes == ("crater", "unused")
    assert [image.split for image in reading.images] == ["train", "validation"]
    value = document([{"category_id": 0, "bbox": [3, 4, 9, 7]}], categories=categories,
                     images=[{"id": 3, "file_name": "a.png"}])
    (tmp_path / "train" / "_annotations.coco.json").write_text(json.dumps(value))
    assert read(tmp_path)[0].classes == ("craters-x1", "crater", "unused")


@pytest.mark.parametrize("name, split", [
    ("instances_train.json", "train"), ("instances_val2017.json", "validation"),
    ("validation.json", "validation"), ("My-Test.json", "test"), ("latest.json", None),
    ("train_val.json", None), ("test/labels.json", "test")])
def test_split_by_name(tmp_path, name, split):
    picture(tmp_path / "a.png")
    reading, _ = read(tmp_path, document([]), name)
    assert reading.images[0].split == split and reading.images[0].labels == []
    assert reading.images[0].size == SIZE


def test_own_keys(tmp_path):
    picture(tmp_path / "a.png")
    value = document(
        [{"segmentation": [TRIANGLE], "diameter_km": 1.25, "label_source": "circle"},
         {"segmentation": [TRIANGLE]}, {"bbox": [1, 2, 3, 4]},
         {"segmentation": [TRIANGLE], "iscrowd": 1, "label_source": "who knows"}],
        images=[{"id": 3, "file_name": "a.png", "split": "test"}],
        info={"label_source": "catalogue circle"})
    reading, notes = read(tmp_path, value, "instances_train.json")
    image = reading.images[0]
    assert image.split == "test"
    assert [label.source for label in image.labels] == ["circle", "catalogue", "box", "outline"]
    assert [label.diameter_km for label in image.labels] == [1.25, None, None, None]
    assert [label.crowd for label in image.labels] == [False, False, False, True]
    assert any("1 annotation(s) are crowds" in text for text in notes.warnings)
    assert any("label_source" in text for text in notes.warnings)


@pytest.mark.parametrize("said", [
    "a b.png", "images/a b.png", "../../a b.png", "C:\\data\\a b.png", "/abs/a b.png",
    "/data/local-files/?d=some/folder/a%20b.png", "s3://bucket/x/a%20b.png",
    "https://host/x/a%20b.png?token=1/2", "A B.PNG", "a b.tif"])
def test_names_of_images(tmp_path, said):
    path = picture(tmp_path / "images" / "a b.png")
    reading, notes = read(tmp_path, document([], images=[{"id": 1, "file_name": said}]))
    assert not notes.problems and reading.images[0].path == path


@pytest.mark.parametrize("said", [
    "../../etc/passwd", "/etc/passwd", "b.png", "", None, 7, "a\0.png", "x\ny.png", ["a.png"]])
def test_names_of_no_image(tmp_path, said):
    picture(tmp_path / "a.png")
    value = document([{"bbox": [1, 2, 3, 4]}], images=[{"id": 3, "file_name": said}])
    reading, notes = read(tmp_path, value)
    assert reading.images == [] and len(notes.problems) == 1
    assert "image 3" in notes.problems[0] and notes.problems[0].isprintable()
    assert notes.warnings[0].startswith("1 annotation(s) are of images that cannot be used")


def test_several_files_about_the_same_image(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "more.json").write_text(json.dumps(
        document([{"segmentation": [TRIANGLE]}], categories=[{"id": 0, "name": "pit"}])))
    reading, notes = read(tmp_path, document([{"segmentation": [TRIANGLE]}]))
    assert [label.name for label in reading.images[0].labels] == ["crater", "pit"]
    assert reading.classes == ("crater", "pit") and "listed twice" in notes.warnings[0]
    (tmp_path / "more.json").rename(tmp_path / "test.json")
    _, notes = read(tmp_path)
    assert "split test" in notes.problems[0] and len(notes.problems) == 1


def test_ids_that_are_there_twice(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    value = document([{"segmentation": [TRIANGLE], "id": 5}] * 2,
                     images=[{"id": 3, "file_name": "a.png"}, {"id": 3, "file_name": "b.png"}],
                     categories=[{"id": 0, "name": "crater"}, {"id": 0, "name": "pit"}])
    reading, notes = read(tmp_path, value)
    assert notes.problems == [
        "labels.json: category 0 (pit) has the id of the category crater; give each its own",
        "labels.json: image 3 (b.png) has the id of the image a.png; give each image its own, "
        "also as the image_id of its annotations"]
    assert len(reading.images[0].labels) == 2 and "1 annotation(s) have the id" in notes.warnings[0]


def test_upright_rectangles_are_pointed_out(tmp_path):
    picture(tmp_path / "a.png")
    reading, notes = read(tmp_path, document([{"segmentation": [[1, 2, 9, 2, 9, 7, 1, 7]]},
                                              {"segmentation": [TRIANGLE]},
                                              {"segmentation": [[1, 2, 9, 7, 9, 2, 1, 7]]}]))
    assert reading.images[0].labels[0].source == "outline"
    assert [text[:38] for text in notes.warnings] == ["1 outline(s) are upright rectangles (i"]


def test_what_datumaro_writes(tmp_path):
    for name in "train/a", "train/c", "val/b", "val/a":
        picture(tmp_path / "images" / f"{name}.png")
    for path in (DATA / "datumaro").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    reading, notes = read(tmp_path)
    assert reading.classes == ("crater", "rock") and not notes.problems
    assert [str(image.path.relative_to(tmp_path / "images")) for image in reading.images] == [
        "train/a.png", "train/c.png", "val/b.png"]
    assert [image.split for image in reading.images] == ["train", "train", "validation"]
    polygon, mask, box = reading.images[0].labels
    assert union(polygon).area == 135 and polygon.name == "crater"
    assert (mask.name, mask.source, mask.crowd) == ("rock", "mask", True)
    assert union(mask).bounds == pytest.approx((30, 10, 42, 16), abs=0.15)
    assert box.source == "box" and union(box).area == pytest.approx(np.pi * 24, rel=0.02)
    assert reading.images[1].labels == [] and reading.images[2].labels[0].name == "rock"


def test_what_supervision_writes_is_imported(tmp_path):
    for name in "first", "second":
        picture(tmp_path / "in" / "images" / f"{name}.png")
    text = (DATA / "supervision" / "annotations.json").read_text()
    (tmp_path / "in" / "annotations.json").write_text(text)
    report = import_dataset(tmp_path / "in", tmp_path / "out")
    assert (report.format, report.images, report.instances) == ("coco", 2, 4)
    assert report.label_sources == {"outline": 2, "mask": 1, "box": 1}
    first, second = load_dataset(tmp_path / "out").scenes
    assert [i.class_id for i in first.instances] == [1, 2, 1]
    assert first.instances[2].area == pytest.approx(64, abs=6)
    assert second.instances[0].box == pytest.approx((4, 10, 14, 30), abs=0.01)


@pytest.mark.parametrize("value, taken", [
    ({"images": [], "annotations": [], "categories": []}, True),
    ({"info": {"x": ["long"] * 20000}, "annotations": [], "images": []}, True),
    ({"images": [], "categories": []}, False),
    ({"version": "5.0", "shapes": [], "imagePath": "a.png", "info": {}}, False),
    ({"_via_img_metadata": {"a.png1": {"regions": []}}, "images": [], "info": {}}, False),
    ({"type": "FeatureCollection", "features": [{"properties": {"info": [], "images": []}}]},
     False),
    ([{"images": [], "annotations": []}], False),
    ({"annotations": {"images": 3}, "images": 4}, False),
])
def test_recognises_its_own(tmp_path, value, taken):
    (tmp_path / "labels.json").write_text(json.dumps(value))
    assert bool(coco.recognise(Source(tmp_path))) is taken


def test_recognises_what_is_cut_short_and_says_so(tmp_path):
    picture(tmp_path / "a.png")
    text = json.dumps(document([{"segmentation": [TRIANGLE]}]))
    (tmp_path / "labels.json").write_text(text[:-30])
    source = Source(tmp_path)
    with pytest.raises(DataError, match="labels.json: is not JSON") as error:
        coco.read(source, coco.recognise(source), Notes())
    assert "\n" not in str(error.value)


def test_large_files_are_known_by_their_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(coco, "_PARSE_BYTES", 10)
    monkeypatch.setattr(coco, "read_json", lambda path: pytest.fail("was read"))
    (tmp_path / "labels.json").write_text('{"info": {}, "images": [ ')
    (tmp_path / "via.json").write_text('{"images": [], "_via_settings": {}}')
    assert [p.name for p in coco.recognise(Source(tmp_path))] == ["labels.json"]


@pytest.mark.slow
def test_masks_of_a_large_image_take_only_their_columns(tmp_path):
    size = (30000, 20000)
    picture(tmp_path / "a.png", size)
    first = 29000 * size[1] + 500
    counts = [first] + [100, size[1] - 100] * 49 + [100]
    counts.append(size[0] * size[1] - sum(counts))
    label = read_one(tmp_path, {"segmentation": {"size": [20000, 30000], "counts": counts}},
                     images=[{"id": 3, "file_name": "a.png"}])
    assert union(label).bounds == pytest.approx((29000, 500, 29050, 600), abs=0.15)
    problem = read_one(tmp_path, {"segmentation": {"size": [20000, 30000],
                                                   "counts": [0, size[0] * size[1]]}},
                       images=[{"id": 3, "file_name": "a.png"}])
    assert "too large to be traced" in problem


def test_real_boxes_and_outlines(real_data, tmp_path):
    for name, count, kind in ("mars_boxes_hirise", 632, "box"), ("divdet_fixtures", 4, "mask"):
        reading, notes = read(real_data / name)
        labels = [label for image in reading.images for label in image.labels]
        assert len(labels) == count and not notes.problems
        assert {label.source for label in labels} == {kind}
