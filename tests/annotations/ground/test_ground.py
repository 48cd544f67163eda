"""Scenes of one ground: by name, by place on the map, by looks; and all of them joined."""

import random

import cv2
import numpy as np
import pytest

from crater_model.annotations.dataset import load_dataset, save_dataset
from crater_model.annotations.ground import find_shared_ground, load_previews, shared_ground
from crater_model.annotations.scene import Dataset, Scene
from crater_model.errors import DataError
from crater_model.imagery.georeference import Georeference

SIZE = (120, 90)  # width, height


def terrain(seed):
    width, height = SIZE
    rng = np.random.default_rng(seed)
    ground = cv2.GaussianBlur(rng.normal(0, 1, (height, width)), (0, 0), 1.5)
    return (128 + 120 * ground).clip(1, 255).astype(np.uint8)


def place(west):
    """1.2 x 0.9 deg on the Moon."""
    return Georeference("+proj=longlat +R=1737400", (0.01, 0, west, 0, -0.01, 20), *SIZE)


def scene(number, **more):
    return Scene(number, f"{number}.png", *SIZE, **more)


def saved(folder, pairs):
    return load_dataset(save_dataset(folder, pairs, {1: "crater"}))


def test_the_three_ways_join_into_one_group(tmp_path):
    pixels = {n: terrain(n) for n in range(7)}
    pixels[3] = np.ascontiguousarray(pixels[2][:, ::-1]) // 2 + 70
    more = {0: {"ground": "Linne"}, 1: {"ground": "Linne", "georeference": place(179)},
            2: {"georeference": place(-180.5)}, 4: {"georeference": place(-179.8)}}
    dataset = saved(tmp_path / "d", [(scene(n, **more.get(n, {})), pixels[n]) for n in range(7)])
    # 0 and 1 by name, 1 and 2 and 2 and 4 on the map (1 and 4 only touch), 2 and 3 by looks.
    assert shared_ground(dataset) == [["0.png", "1.png", "2.png", "3.png", "4.png"]]
    found = find_shared_ground(dataset.scenes, load_previews(dataset))
    pairs = {(one.id, other.id) for one, other in found.overlapping}
    assert pairs == {(1, 2), (2, 4)}
    (one, other, likeness), = found.alike
    assert (one.id, other.id) == (2, 3) and likeness > 0.95


def test_the_order_does_not_matter(tmp_path):
    pixels = [terrain(n % 4) for n in range(9)]
    dataset = saved(tmp_path / "d", [(scene(n), pixels[n]) for n in range(9)])
    expected = [["0.png", "4.png", "8.png"], ["1.png", "5.png"], ["2.png", "6.png"],
                ["3.png", "7.png"]]
    for seed in range(3):
        scenes = list(dataset.scenes)
        random.Random(seed).shuffle(scenes)
        mixed = Dataset(dataset.root, dataset.label_map, tuple(scenes))
        assert shared_ground(mixed) == expected


def test_chips_are_compared_with_those_of_other_scenes_only(tmp_path):
    wide = np.hstack([terrain(n) for n in range(3)])
    def chips(name, first, left):
        return [(scene(first + n, scene=name, offset=(float(x), 0.0)),
                 np.ascontiguousarray(wide[:, x:x + SIZE[0]]))
                for n, x in enumerate(range(left, 200, 60))]
    dataset = saved(tmp_path / "d", chips("a", 0, 0) + [(scene(9), terrain(7))])
    assert shared_ground(dataset) == []
    assert find_shared_ground(dataset.scenes, load_previews(dataset)).alike == []
    other = saved(tmp_path / "e", chips("a", 0, 0) + chips("b", 20, 0) + [(scene(9), terrain(7))])
    assert shared_ground(other) == [["a", "b"]]


def test_images_of_one_ground_are_not_read(tmp_path):
    scenes = tuple(scene(n, ground="here") for n in range(3))
    assert load_previews(Dataset(tmp_path / "none", {1: "crater"}, scenes)) == {}
    assert shared_ground(Dataset(tmp_path / "none", {1: "crater"}, scenes)) == [
        ["0.png", "1.png", "2.png"]]
    with pytest.raises(DataError, match="0.png"):
        shared_ground(Dataset(tmp_path / "none", {1: "crater"}, (scene(0), scene(1))))


def test_without_anything_shared_there_is_no_group(tiny_dataset):
    assert shared_ground(load_dataset(tiny_dataset)) == []
