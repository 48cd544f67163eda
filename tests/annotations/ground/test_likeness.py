"""Copies of a picture are found however they were changed; other terrain never is."""

import json

import cv2
import numpy as np
import pytest

from crater_model.annotations.dataset import load_dataset
from crater_model.annotations.ground import likeness as module
from crater_model.annotations.ground.likeness import look_alikes, side_for
from crater_model.imagery.previews import preview
from crater_model.imagery.raster import ArrayRaster
from crater_model.synthesis.dataset import synthesize


@pytest.fixture(scope="module")
def terrain(tmp_path_factory):
    """120 pictures of different synthetic terrain, not square."""
    folder = tmp_path_factory.mktemp("terrain") / "d"
    synthesize(folder, scenes=120, size=(240, 180), seed=5)
    dataset = load_dataset(folder)
    return [dataset.read_image(scene) for scene in dataset.scenes]


def small(pixels):
    return preview(ArrayRaster(np.ascontiguousarray(pixels)), 256)


def found(pictures, known=lambda i, j: False):
    pictures = [small(picture) for picture in pictures]
    return [(pair.first, pair.second) for pair in look_alikes(
        pictures, range(len(pictures)), known)]


def recompressed(pixels, quality=50):
    return cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0)


def resized(pixels, factor):
    return cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


CHANGES = {
    "same": lambda p: p,
    "half the size": lambda p: resized(p, 0.5),
    "stretched": lambda p: cv2.resize(p, (200, 200), interpolation=cv2.INTER_AREA),
    "brighter, less contrast": lambda p: (p * 0.6 + 80).astype(np.uint8),
    "recompressed": lambda p: recompressed(p, 30),
    "mirrored": lambda p: p[:, ::-1], "upside down": lambda p: p[::-1],
    "half a turn": lambda p: p[::-1, ::-1],
    "a quarter left": lambda p: np.rot90(p), "a quarter right": lambda p: np.rot90(p, 3),
    "transposed": lambda p: p.T, "transposed the other way": lambda p: p[::-1, ::-1].T,
    "everything": lambda p: recompressed(resized(p[::-1].T, 0.7) // 2 + 40)}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_whole_picture_is_found_again(terrain, change):
    copies = [np.ascontiguousarray(CHANGES[change](picture)) for picture in terrain[:10]]
    pairs = found(terrain[:20] + copies)
    assert set(pairs) == {(n, 20 + n) for n in range(10)}


@pytest.mark.slow
@pytest.mark.parametrize("share, least", [(0.9, 39), (0.75, 38), (0.6, 36)])
def test_most_crops_are_found(terrain, share, least):
    rng = np.random.default_rng(1)
    height, width = (round(side * share) for side in terrain[0].shape)
    crops = []
    for picture in terrain[:40]:
        y = rng.integers(0, picture.shape[0] - height + 1)
        x = rng.integers(0, picture.shape[1] - width + 1)
        crops.append(recompressed(picture[y:y + height, x:x + width], 80))
    pairs = found(terrain + crops)
    right = {(n, 120 + n) for n in range(40)}
    assert len(right & set(pairs)) >= least and set(pairs) <= right


def test_pictures_that_overlap_by_half_are_found(terrain):
    wide = [np.hstack([one, other]) for one, other in zip(terrain[:10], terrain[10:20])]
    left = [p[:, 60:300] for p in wide]
    right = [p[:, 180:420] for p in wide]
    assert len(set(found(left + right)) & {(n, 10 + n) for n in range(10)}) >= 9


def test_different_terrain_is_not_alike(terrain):
    assert found(terrain) == []


def test_flat_tiny_and_black_pictures_are_nothing():
    flat = [np.full((40, 60), grey, np.uint8) for grey in (0, 0, 90, 90, 255)]
    tiny = [np.zeros(shape, np.uint8) + 7 for shape in ((1, 1), (1, 1), (1, 300), (300, 1), (3, 2))]
    half = [np.zeros((90, 120), np.uint8) for _ in range(6)]
    rng = np.random.default_rng(0)
    for number, picture in enumerate(half):  # equal black margins, other ground
        mask = cv2.fillPoly(np.zeros_like(picture), [np.array([[30, 0], [119, 20], [90, 89],
                                                               [5, 70]])], 1)
        ground = cv2.GaussianBlur(rng.normal(0, 1, picture.shape), (0, 0), 2)
        half[number] = (mask * (140 + 200 * ground)).clip(0, 255).astype(np.uint8)
    assert found(flat + tiny + half) == []


def test_what_is_known_is_not_compared(terrain):
    pictures = [small(p) for p in (terrain[0], terrain[0], terrain[1], terrain[1])]
    asked = []
    pairs = list(look_alikes(pictures, [0, 0, 1, 2], lambda i, j: asked.append((i, j))))
    assert [(p.first, p.second) for p in pairs][0] == (2, 3) and set(asked) == {(2, 3)}
    assert pairs[0].likeness > 0.99
    assert list(look_alikes(pictures, [0, 0, 1, 2], lambda i, j: True)) == []
    assert list(look_alikes(pictures, [4, 4, 4, 4], lambda i, j: False)) == []
    assert list(look_alikes([], [], lambda i, j: False)) == []


def test_of_many_only_whole_pictures_are_compared(terrain, monkeypatch):
    monkeypatch.setattr(module, "MOST_WITH_PARTS", 20)
    assert (side_for(20), side_for(21)) == (256, 96)
    pictures = [preview(ArrayRaster(p), side_for(31)) for p in
                terrain[:29] + [terrain[3][:150, 30:], np.ascontiguousarray(terrain[4][:, ::-1])]]
    pairs = list(look_alikes(pictures, range(31), lambda i, j: False))
    assert [(p.first, p.second) for p in pairs] == [(4, 30)]


def alike(report):
    return {tuple(sorted(names)) for *names, _ in report["look_alikes"]}


def test_near_duplicates_of_real_images(real_data, checked):
    folder = real_data / "mars_boxes_hirise"
    entries = json.loads((folder / "annotations.json").read_text())["images"]
    marked = {tuple(sorted((e["file_name"], e["near_duplicate_of"])))
              for e in entries if "near_duplicate_of" in e}
    assert len(marked) == 7 and alike(checked("mars_boxes_hirise")) == marked


@pytest.mark.parametrize("name", ["moon_dem_train", "moon_nac_train"])
def test_real_images_of_different_ground_are_not_alike(checked, name):
    report = checked(name)
    assert alike(report) == set() and report["statistics"]["compared"] == "whole images and parts"
