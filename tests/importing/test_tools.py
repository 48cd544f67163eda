"""Exports of labelling tools as people have them, imported whole."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from crater_model.annotations.dataset import load_dataset
from crater_model.errors import DataError
from crater_model.importing.dataset import import_dataset

WIDTH, HEIGHT = 96, 64
SQUARE = [[10, 8], [40, 8], [40, 30], [10, 30]]


def pixels(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH), np.uint8)


def png(path: Path, seed=0) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels(seed))
    return path.read_bytes()


def labelme(path: Path, shapes, image="a.png", **more) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "5.5.0", "imagePath": image, "imageData": None, "shapes": [
        {"label": name, "points": ring, "shape_type": "polygon"} for name, ring in shapes], **more}))


def boxes(folder):
    dataset = load_dataset(folder)
    return {scene.file_name: [i.box for i in scene.instances] for scene in dataset.scenes}


def test_images_that_are_only_in_labelme_files(tmp_path):
    for name, seed in (("one", 1), ("two", 2)):
        data = png(tmp_path / "other" / "a.png", seed)
        labelme(tmp_path / "s" / name / "a.json", [("crater", SQUARE)], "..\\x\\a.png",
                imageData=base64.b64encode(data).decode(), imageWidth=WIDTH, imageHeight=HEIGHT)
    png(tmp_path / "s" / "b.png", 3)
    labelme(tmp_path / "s" / "b.json", [("crater", SQUARE)], "b.png")
    report = import_dataset(tmp_path / "s", tmp_path / "out")
    assert (report.images, report.instances) == (3, 3)
    assert "2 image(s) were taken from their label file (imageData)" in report.warnings[0]
    dataset = load_dataset(tmp_path / "out")
    assert [scene.file_name for scene in dataset.scenes][-1] == "b.png"
    for scene, seed in zip(dataset.scenes, (1, 2, 3), strict=True):
        np.testing.assert_array_equal(dataset.read_image(scene), pixels(seed))
    one = tmp_path / "single"
    labelme(one / "a.json", [("crater", SQUARE)], imageData=base64.b64encode(data).decode())
    import_dataset(one, tmp_path / "out2")
    assert boxes(tmp_path / "out2") == {"a.png": [(8, 10, 30, 40)]}


@pytest.mark.parametrize("inside", [False, True])
def test_labelme_files_of_several_people(tmp_path, inside):
    """Each with the image inside, or the image beside them."""
    data = png(tmp_path / ("other" if inside else "s") / "a.png")
    more = {"imageData": base64.b64encode(data).decode()} if inside else {}
    for who, shift in (("anna", 0), ("ben", 1), ("cleo", 2)):
        ring = [[x + shift, y] for x, y in SQUARE]
        others = [("crater", [[60, 40], [80, 40], [80, 60 - shift]])] if who != "ben" else []
        labelme(tmp_path / "s" / who / "a.json", [("crater", ring), *others], "a.png", **more)
    report = import_dataset(tmp_path / "s", tmp_path / "out")
    assert report.annotators == {"anna": 2, "ben": 1, "cleo": 2, "consensus": 2}
    assert (report.images, report.instances) == (1, 2)
    assert list(boxes(tmp_path / "out")) == ["a.png"]


@pytest.mark.parametrize("data", ["aGk=", "!!", 5, ""])
def test_image_data_that_is_no_image(tmp_path, data):
    labelme(tmp_path / "s" / "a.json", [("crater", SQUARE)], imageData=data)
    with pytest.raises(DataError, match="holds no image|a.png"):
        import_dataset(tmp_path / "s", tmp_path / "out")


def coco(path: Path, **more) -> dict:
    value = {"images": [{"id": "000001", "file_name": "sub/a.png", "width": WIDTH, "height": HEIGHT,
                         "split": "val"}],
             "annotations": [{"id": "1", "image_id": "000001", "category_id": "1", "iscrowd": "0",
                              "segmentation": [np.ravel(SQUARE).tolist()]},
                             {"id": 2, "image_id": "000001", "category_id": 1,
                              "segmentation": [[50, 30, 60, 30, 60, 50]]}],
             "categories": [{"id": 1, "name": "crater"}], **more}
    path.write_text(json.dumps(value))
    return value


def test_coco_with_ids_as_text_and_its_own_name_of_the_split(tmp_path):
    png(tmp_path / "s" / "sub" / "a.png")
    coco(tmp_path / "s" / "x.json")
    assert import_dataset(tmp_path / "s", tmp_path / "out").instances == 2
    scene, = load_dataset(tmp_path / "out").scenes
    assert scene.split == "validation"
    coco(tmp_path / "s" / "x.json", categories=[{"id": "1", "name": "crater"}])
    assert import_dataset(tmp_path / "s", tmp_path / "out").instances == 2


def test_holes_are_filled_with_a_word(tmp_path):
    png(tmp_path / "s" / "sub" / "a.png")
    inner = [[20, 14], [30, 14], [30, 24], [20, 24]]
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[40:60, 50:90] = 1
    mask[45:50, 60:70] = 0
    runs = np.diff(np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=2, append=2)), prepend=0)
    value = coco(tmp_path / "s" / "x.json")
    value["annotations"] = [
        {"id": 1, "image_id": "000001", "category_id": 1,
         "segmentation": [np.ravel(SQUARE).tolist(), np.ravel(inner).tolist()]},
        {"id": 2, "image_id": "000001", "category_id": 1,
         "segmentation": {"size": [HEIGHT, WIDTH], "counts": runs.tolist()[1:]}},
        {"id": 3, "image_id": "000001", "category_id": 1, "segmentation": [
            [1, 1, 9, 1, 9, 6], [1, 40, 9, 40, 9, 60]]}]
    (tmp_path / "s" / "x.json").write_text(json.dumps(value))
    report = import_dataset(tmp_path / "s", tmp_path / "out")
    assert [line for line in report.warnings if "hole" in line] == [
        "2 label(s) have a hole, which was filled, first: x.json: annotation 1 (image sub/a.png)"]
    areas = [i.area for i in load_dataset(tmp_path / "out").scenes[0].instances]
    assert areas[:2] == [30 * 22, 20 * 40]


@pytest.fixture(scope="session")
def tools() -> Path:
    folder = os.environ.get("CRATER_CASES")
    if not folder or not (Path(folder) / "tools").is_dir():
        pytest.skip("CRATER_CASES names no folder with cases of labelling tools")
    return Path(folder) / "tools"


@pytest.mark.parametrize("case, images, labels", [
    ("case", 1, 3), ("coco_strid", 1, 1), ("cvat_track", 1, 1), ("lm_data", 1, 1), ("ls_json", 1, 2)])
def test_published_cases(tools, tmp_path, case, images, labels):
    report = import_dataset(tools / case, tmp_path / "out")
    assert (report.images, report.label_map) == (images, {1: "crater"})
    assert report.instances == labels and not report.problems
