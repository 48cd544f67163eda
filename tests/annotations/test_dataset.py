"""A data set comes back from disk as it was written."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from crater_model.annotations.dataset import load_dataset, save_dataset
from crater_model.annotations.scene import Instance, Scene
from crater_model.errors import CraterError, DataError
from crater_model.imagery.pixels import decode_image, encode_png

RING = np.array([[10.0, 20.0], [30.5, 20.0], [30.5, 26.25], [10.0, 26.25]])
SCENE = Scene(7, "a/b.png", 60, 40, (Instance(1, 2, (RING,), 128.125),), "mosaic", "test",
              (5.0, 2.0), 2.0)
IMAGE = np.arange(2400, dtype=np.uint8).reshape(40, 60)


def test_what_is_saved_is_loaded_again(tmp_path):
    empty = Scene(3, "c.png", 31, 17)
    colour = np.random.default_rng(0).integers(0, 256, (17, 31, 3), np.uint8)
    save_dataset(tmp_path / "d", [(SCENE, IMAGE), (empty, encode_png(colour))],
                 {1: "rock", 2: "crater"})
    dataset = load_dataset(tmp_path / "d")
    assert dataset.label_map == {1: "rock", 2: "crater"}
    first, second = dataset.scenes
    assert (first.id, first.scene, first.split) == (7, "mosaic", "test")
    assert (first.offset, first.scale) == ((5.0, 2.0), 2.0)
    found = first.instances[0]
    assert found.class_id == 2 and not found.crowd
    np.testing.assert_array_equal(found.rings[0], RING)
    assert found.box == (20.0, 10.0, 26.25, 30.5)
    assert found.area == pytest.approx(20.5 * 6.25)
    assert found.diameter == pytest.approx(2 * np.sqrt(20.5 * 6.25 / np.pi))
    assert (second.scene, second.split, second.instances) == ("c.png", None, ())
    np.testing.assert_array_equal(dataset.read_image(first), IMAGE)
    np.testing.assert_array_equal(dataset.read_image(second), colour)
    np.testing.assert_allclose(first.to_scene([[10, 20]]), [[10.0, 12.0]])


def test_fingerprint_follows_labels_and_pixels(tmp_path):
    def fingerprint(scene, image):
        save_dataset(tmp_path / "d", [(scene, image)], {1: "rock", 2: "crater"})
        return load_dataset(tmp_path / "d").fingerprint
    first = fingerprint(SCENE, IMAGE)
    assert first.startswith("sha256:") and len(first) == 71
    assert fingerprint(SCENE, IMAGE) == first
    assert fingerprint(SCENE, IMAGE + 1) != first
    assert fingerprint(Scene(7, "a/b.png", 60, 40), IMAGE) != first


def test_several_rings_are_their_union(tmp_path):
    rings = (RING, RING + (10, 0))
    scene = Scene(1, "a.png", 60, 40, (Instance(1, 1, rings, 0.0),))
    save_dataset(tmp_path / "d", [(scene, IMAGE)], {1: "crater"})
    found = load_dataset(tmp_path / "d").scenes[0].instances[0]
    assert len(found.rings) == 2
    assert found.area == pytest.approx(30.5 * 6.25)
    assert found.box == (20.0, 10.0, 26.25, 40.5)


def test_run_length_masks_become_outlines(tmp_path):
    from pycocotools import mask as coco_mask

    save_dataset(tmp_path / "d", [(Scene(1, "a.png", 60, 40), IMAGE)], {1: "crater"})
    mask = np.zeros((40, 60), np.uint8, order="F")
    mask[10:20, 30:45] = 1
    packed = coco_mask.encode(mask)
    runs = {"size": [40, 60], "counts": _runs(mask)}
    path = tmp_path / "d" / "annotations.json"
    document = json.loads(path.read_text())
    document["annotations"] = [
        {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 1, "segmentation": runs},
        {"id": 2, "image_id": 1, "category_id": 1,
         "segmentation": {"size": [40, 60], "counts": packed["counts"].decode()}}]
    path.write_text(json.dumps(document))
    for found, crowd in zip(load_dataset(tmp_path / "d").scenes[0].instances, (True, False)):
        assert found.crowd is crowd
        np.testing.assert_allclose(found.box, (10, 30, 20, 45), atol=0.13)
        assert found.area == pytest.approx(150, rel=0.05)


def _runs(mask):
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    return np.diff([0, *edges, flat.size]).tolist()


def test_saving_is_whole_or_not_at_all(tmp_path):
    save_dataset(tmp_path / "d", [(SCENE, IMAGE)], {1: "rock", 2: "crater"})
    def broken():
        yield SCENE, IMAGE
        raise RuntimeError("stop")
    with pytest.raises(RuntimeError):
        save_dataset(tmp_path / "d", broken(), {1: "rock"})
    assert len(load_dataset(tmp_path / "d").scenes[0].instances) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["d"]
    with pytest.raises(DataError, match="a/b.png: image 7 was given twice"):
        save_dataset(tmp_path / "d", [(SCENE, IMAGE)] * 2, {1: "rock"})


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CraterError, match="holds other files"):
        save_dataset(tmp_path, [(SCENE, IMAGE)], {1: "rock"})
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_images_of_many_kinds(tmp_path):
    grey = Image.fromarray(IMAGE)
    for mode, shape in (("1", (40, 60)), ("LA", (40, 60)), ("P", (40, 60, 3)),
                        ("RGBA", (40, 60, 3))):
        path = tmp_path / f"{mode}.png"
        grey.convert(mode).save(path)
        assert decode_image(path.read_bytes(), path).shape == shape
    deep = tmp_path / "deep.png"
    Image.fromarray(IMAGE.astype(np.uint16) * 200).save(deep)
    with pytest.raises(DataError, match="deep.png: has more than 8 bits a pixel"):
        decode_image(deep.read_bytes(), deep)
    bitmap = tmp_path / "a.bmp"
    grey.save(bitmap)
    with pytest.raises(DataError, match="a.bmp: is a BMP image, expected PNG or JPEG"):
        decode_image(bitmap.read_bytes(), bitmap)


def test_importing_needs_no_tensorflow():
    code = ("import sys, crater_model.annotations.validate, crater_model.chips, "
            "crater_model.annotations.pictures, crater_model.records.manifest; "
            "sys.exit('tensorflow' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
