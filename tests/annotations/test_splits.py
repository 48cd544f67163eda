"""Splits go by scene, do not depend on order, and leave no split empty."""

from collections import Counter

import cv2
import numpy as np
import pytest

from crater_model.annotations.dataset import load_dataset, save_dataset
from crater_model.annotations.scene import Dataset, Scene
from crater_model.annotations.splits import assign_splits, dataset_splits
from crater_model.errors import ConfigError, DataError

NAMES = [f"scene_{i}" for i in range(20)]


def test_shares_and_order():
    found = assign_splits(NAMES)
    assert Counter(found.values()) == {"train": 14, "validation": 3, "test": 3}
    assert assign_splits(reversed(NAMES)) == found
    assert assign_splits(NAMES, seed=1) != found


@pytest.mark.parametrize("count, expected", [
    (0, (0, 0, 0)), (1, (1, 0, 0)), (2, (1, 1, 0)), (3, (1, 1, 1)), (4, (2, 1, 1)), (7, (5, 1, 1)),
    (12, (8, 2, 2)), (1000, (700, 150, 150))])
def test_every_split_gets_a_scene_where_it_can(count, expected):
    found = Counter(assign_splits([f"{i}" for i in range(count)]).values())
    assert tuple(found[kind] for kind in ("train", "validation", "test")) == expected


def test_a_zero_share_stays_empty():
    assert Counter(assign_splits(NAMES, (0.8, 0.2, 0)).values()) == {"train": 16, "validation": 4}
    assert set(assign_splits(NAMES, (0, 0, 1)).values()) == {"test"}


def test_decided_scenes_stay_and_the_rest_fills_up():
    fixed = {name: "test" for name in NAMES[:5]}
    found = assign_splits(NAMES, fixed=fixed)
    assert all(found[name] == "test" for name in NAMES[:5])
    assert Counter(found.values()) == {"train": 12, "validation": 3, "test": 5}


def noise(number, size=(48, 40)):
    width, height = size
    return np.random.default_rng(number).integers(0, 256, (height, width), np.uint8)


def test_chips_of_a_scene_stay_together_and_its_split_wins(tmp_path):
    scenes = [Scene(i, f"{i}.png", 48, 40, scene=f"s{i % 4}",
                    split="validation" if i == 1 else None) for i in range(12)]
    save_dataset(tmp_path / "d", [(scene, noise(scene.id)) for scene in scenes], {1: "crater"})
    found = dataset_splits(load_dataset(tmp_path / "d"))
    assert set(found) == {"s0", "s1", "s2", "s3"} and found["s1"] == "validation"
    assert Counter(found.values()) == {"train": 2, "validation": 1, "test": 1}


GROUPS = [["scene_1", "scene_7", "scene_12"], ["scene_2", "scene_19"]]


def test_a_ground_is_given_to_one_split():
    found = assign_splits(NAMES, groups=GROUPS)
    assert Counter(found.values()) == {"train": 14, "validation": 3, "test": 3}
    for group in GROUPS:
        assert len({found[name] for name in group}) == 1
    assert assign_splits(reversed(NAMES), groups=[g[::-1] for g in GROUPS[::-1]]) == found
    assert assign_splits(NAMES, groups=[["elsewhere", "scene_3"]]) == assign_splits(NAMES)


def test_a_decided_scene_pulls_its_ground_along():
    found = assign_splits(NAMES, fixed={"scene_7": "test"}, groups=GROUPS)
    assert {found[name] for name in GROUPS[0]} == {"test"}
    # Two decided ones keep what they say; the third goes with the one that trains most.
    fixed = {"scene_7": "test", "scene_1": "validation"}
    found = assign_splits(NAMES, fixed=fixed, groups=GROUPS)
    assert (found["scene_1"], found["scene_7"], found["scene_12"]) == (
        "validation", "test", "validation")


@pytest.mark.parametrize("groups", [
    [["0", "1"], ["2", "3"], ["4", "5"]], [["0", "1", "2", "3"]], [["0", "1"], ["2", "3"]],
    [["0", "1", "2"]]])
def test_no_split_stays_empty_for_the_size_of_a_ground(groups):
    found = assign_splits(map(str, range(6)), groups=groups)
    assert set(found.values()) == {"train", "validation", "test"}


def test_two_scenes_of_one_ground_train_together(tmp_path):
    """A copy, brightened and smaller, goes where its original goes, whatever the seed."""
    first = cv2.GaussianBlur(noise(1, (120, 90)), (0, 0), 2)
    copy = cv2.resize(first // 2 + 60, (80, 60), interpolation=cv2.INTER_AREA)
    images = {"a.png": first, "b.png": copy}
    images |= {f"{n}.png": cv2.GaussianBlur(noise(n, (120, 90)), (0, 0), 2) for n in range(2, 6)}
    scenes = [(Scene(n, name, pixels.shape[1], pixels.shape[0]), pixels)
              for n, (name, pixels) in enumerate(images.items())]
    save_dataset(tmp_path / "d", scenes, {1: "crater"})
    dataset = load_dataset(tmp_path / "d")
    for seed in range(8):
        found = dataset_splits(dataset, seed=seed)
        assert found["a.png"] == found["b.png"]
    shuffled = Dataset(dataset.root, dataset.label_map, dataset.scenes[::-1])
    assert dataset_splits(shuffled, seed=7) == found


def test_decided_splits_need_no_image(tmp_path):
    scenes = tuple(Scene(n, f"{n}.png", 8, 9, split="test") for n in range(3))
    found = dataset_splits(Dataset(tmp_path / "none", {1: "crater"}, scenes))
    assert found == {"0.png": "test", "1.png": "test", "2.png": "test"}
    with pytest.raises(DataError, match="0.png"):
        dataset_splits(Dataset(tmp_path / "none", {1: "crater"}, (Scene(0, "0.png", 8, 9),
                                                                  *scenes[1:])))


@pytest.mark.parametrize("fractions", [(0.7, 0.3), (0.7, 0.2, 0.2), (1.5, -0.5, 0), ("a", 0, 0)])
def test_bad_shares(fractions):
    with pytest.raises(ConfigError, match="expected three shares"):
        assign_splits(NAMES, fractions)
