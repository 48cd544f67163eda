"""Splits go by scene, do not depend on order, and leave no split empty."""

from collections import Counter

import pytest

from crater_model.annotations.dataset import Dataset, Scene
from crater_model.annotations.splits import assign_splits, dataset_splits
from crater_model.errors import ConfigError

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


def test_chips_of_a_scene_stay_together_and_its_split_wins():
    scenes = [Scene(i, f"{i}.png", 8, 9, scene=f"s{i % 4}", split="validation" if i == 1 else None)
              for i in range(40)]
    found = dataset_splits(Dataset(None, {1: "crater"}, tuple(scenes)))
    assert set(found) == {"s0", "s1", "s2", "s3"} and found["s1"] == "validation"
    assert Counter(found.values()) == {"train": 2, "validation": 1, "test": 1}


@pytest.mark.parametrize("fractions", [(0.7, 0.3), (0.7, 0.2, 0.2), (1.5, -0.5, 0), ("a", 0, 0)])
def test_bad_shares(fractions):
    with pytest.raises(ConfigError, match="expected three shares"):
        assign_splits(NAMES, fractions)
