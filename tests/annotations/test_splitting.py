"""Splits of data sets with fewer scenes than splits: one scene is cut, nothing is shared."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from crater_model.annotations.dataset import load_dataset, save_dataset
from crater_model.annotations.parts import chosen
from crater_model.annotations.scene import Scene
from crater_model.annotations.splitting import split_dataset
from crater_model.annotations.validate import check_dataset
from crater_model.chips import cut_chips
from crater_model.errors import DataError
from crater_model.records.manifest import read_manifest, verify_manifest
from crater_model.records.read import read_split
from crater_model.records.write import write_records
from tests.conftest import ellipse, instance

WIDTH, HEIGHT = 420, 260


def coloured(width=WIDTH, height=HEIGHT, number=0) -> np.ndarray:
    """A picture of noise whose every pixel has a colour of its own, as have all `number`s."""
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    blue = x // 256 + 4 * (y // 256) + 16 * number
    pixels = np.stack([x % 256, y % 256, blue], axis=-1).astype(np.uint8)
    return np.random.default_rng(number).permutation(pixels).reshape(height, width, 3)


def mosaic(number=0, craters=60, width=WIDTH, height=HEIGHT, widest=12.0, seed=0, **more) -> Scene:
    """A scene of that size; the diameter in km tells each crater from all others."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(craters):
        rx, ry = (widest, widest / 2) if i == 0 else rng.uniform(2, widest, 2)
        x, y = rng.uniform(rx, width - rx), rng.uniform(ry, height - ry)
        found.append(replace(instance(ellipse(x, y, rx, ry)), diameter_km=1 + i + 1000.0 * number))
    return Scene(number + 1, f"m{number}.png", width, height, tuple(found), **more)


def save(folder, *scenes):
    return save_dataset(folder, [(scene, coloured(scene.width, scene.height, n))
                                 for n, scene in enumerate(scenes)], {1: "crater"})


def shown(records) -> dict[str, tuple[set, int]]:
    """split -> the colours of its pixels, and how many images it has."""
    found = {}
    for split in ("train", "validation", "test"):
        pixels, images = set(), 0
        for record in read_split(records, split, 1).as_numpy_iterator():
            pixels |= set(map(tuple, record["image"].reshape(-1, 3).astype(int)))
            images += 1
        found[split] = pixels, images
    return found


def disjoint(sets) -> bool:
    sets = list(sets)
    return len(set().union(*sets)) == sum(map(len, sets))


@pytest.mark.parametrize("chips", [False, True])
def test_one_scene_gives_three_splits_that_share_no_pixel_and_no_crater(tmp_path, chips):
    source = save(tmp_path / "d", mosaic())
    if chips:
        report = cut_chips(source, tmp_path / "c", 64, scales=[1.0], splits=(0.7, 0.15, 0.15))
        assert "m0.png is cut into blocks" in report.splitting
    manifest = write_records(tmp_path / ("c" if chips else "d"), tmp_path / "r")
    assert manifest.splitting["by"] == "blocks" and manifest.splitting["gap_px"] == 24
    found = shown(tmp_path / "r")
    assert all(pixels and images for pixels, images in found.values())
    assert disjoint(pixels for pixels, _ in found.values())
    shares = {split: len(pixels) / (WIDTH * HEIGHT) for split, (pixels, _) in found.items()}
    assert 0.5 < shares["train"] < 0.7 and min(shares.values()) > 0.08
    craters = defaultdict(set)
    splits = chips_or_parts(tmp_path, chips)
    for scene in splits:
        craters[scene.split] |= {i.diameter_km for i in scene.instances}
    assert set(craters) == {"train", "validation", "test"} and disjoint(craters.values())
    assert all(manifest.splits[split]["instances"] >= len(ids) for split, ids in craters.items())
    assert verify_manifest(tmp_path / "r", tmp_path / ("c" if chips else "d")) == []


def chips_or_parts(tmp_path, chips):
    if chips:
        return load_dataset(tmp_path / "c").scenes
    return split_dataset(load_dataset(tmp_path / "d")).decided().scenes


def test_the_parts_lie_the_gap_apart_and_are_found_again_by_their_names(tmp_path):
    dataset = load_dataset(save(tmp_path / "d", mosaic()))
    done = split_dataset(dataset)
    assert len(done.dataset.scenes) == 3 and set(done.split_of.values()) == {
        "train", "validation", "test"}
    boxes = [np.array([*s.offset, s.offset[0] + s.width, s.offset[1] + s.height])
             for s in done.dataset.scenes]
    for i, one in enumerate(boxes):
        for other in boxes[i + 1:]:
            apart = np.maximum(one[:2] - other[2:], other[:2] - one[2:]).max()
            assert apart >= done.gap == 24
    again = chosen(dataset, done.split_of)
    assert {s.scene: (s.file_name, s.offset, s.width, s.height, s.part) for s in again.scenes} == {
        s.scene: (s.file_name, s.offset, s.width, s.height, s.part) for s in done.dataset.scenes}
    assert done.dataset.fingerprint == dataset.fingerprint
    part = done.dataset.scenes[1]
    x, y = map(int, part.offset)
    np.testing.assert_array_equal(dataset.read_image(part),
                                  coloured()[y:y + part.height, x:x + part.width])
    assert split_dataset(dataset).split_of == done.split_of
    assert len({tuple(split_dataset(dataset, seed=seed).split_of) for seed in range(6)}) > 1
    assert "cut into blocks" in done.words and "are left out" in done.words


def test_two_scenes_and_one_that_says_train_fill_every_split(tmp_path):
    save(tmp_path / "two", mosaic(), mosaic(1, seed=1))
    manifest = write_records(tmp_path / "two", tmp_path / "r")
    assert [manifest.splits[s]["images"] for s in ("train", "validation", "test")] == [1, 1, 1]
    found = shown(tmp_path / "r")
    assert disjoint(pixels for pixels, _ in found.values())
    assert len(found["train"][0]) == WIDTH * HEIGHT  # a whole scene
    save(tmp_path / "said", mosaic(split="train"), mosaic(1, seed=1))
    done = split_dataset(load_dataset(tmp_path / "said"))
    assert done.split_of["m0.png"] == "train" and len(done.dataset.scenes) == 3


def test_scenes_without_labels_are_no_split_of_their_own(tmp_path):
    empty = [replace(mosaic(n, craters=0), split=None) for n in (1, 2, 3)]
    done = split_dataset(load_dataset(save(tmp_path / "d", mosaic(), *empty)))
    with_labels = {done.split_of[s.scene] for s in done.dataset.scenes if s.instances}
    assert with_labels == {"train", "validation", "test"} and done.by == "blocks"
    assert len(done.dataset.scenes) == 6
    # Enough scenes with labels: none is cut, though a plain assignment would leave a split bare.
    scenes = [mosaic(n, craters=0 if n > 2 else 9, width=90, height=50) for n in range(8)]
    for seed in range(8):
        done = split_dataset(load_dataset(save(tmp_path / "e", *scenes)), seed=seed)
        assert done.by == "scenes" and len(done.split_of) == 8
        assert {done.split_of[s.scene] for s in done.dataset.scenes if s.instances} == {
            "train", "validation", "test"}


def test_craters_too_wide_for_gaps_are_left_out_or_the_scene_refused(tmp_path):
    wide = mosaic(craters=40, widest=11)
    giant = replace(instance(ellipse(210, 130, 190, 100)), diameter_km=9999.0)
    wide = replace(wide, instances=(*wide.instances, giant))
    done = split_dataset(load_dataset(save(tmp_path / "d", wide)))
    assert done.gap == 22 and "wider ones are left out" in done.words
    assert all(i.diameter_km != 9999 for s in done.dataset.scenes for i in s.instances)
    assert all(s.scene.endswith("&widest=22") for s in done.dataset.scenes)
    save(tmp_path / "small", mosaic(craters=5, width=96, height=64, widest=20))
    for work in (lambda: write_records(tmp_path / "small", tmp_path / "r"),
                 lambda: cut_chips(tmp_path / "small", tmp_path / "c", 32, [1.0],
                                   splits=(0.7, 0.15, 0.15))):
        with pytest.raises(DataError, match=r"1 scene\(s\) with labels for train and validation and "
                                            r"test, and m0.png \(96x64 px, 5 label.*--splits"):
            work()
    assert not (tmp_path / "r").exists() and not (tmp_path / "c").exists()
    # What is asked for can be had.
    assert write_records(tmp_path / "small", tmp_path / "r", (1, 0, 0)).splits["train"]["images"] == 1


def test_chips_of_one_scene_that_were_cut_before_are_refused(tmp_path):
    save(tmp_path / "d", mosaic())
    cut_chips(tmp_path / "d", tmp_path / "c", 64, [1.0])
    with pytest.raises(DataError, match="cut anew by crater dataset chips"):
        write_records(tmp_path / "c", tmp_path / "r")


def test_the_check_says_what_will_be_done(tmp_path):
    one = check_dataset(save(tmp_path / "d", mosaic()))
    assert one.ok and any("m0.png is cut into blocks" in line for line in one.warnings)
    small = check_dataset(save(tmp_path / "s", mosaic(craters=5, width=96, height=64, widest=20)))
    assert any("no room for blocks" in line for line in small.warnings)
    enough = check_dataset(save(tmp_path / "e", *(
        mosaic(n, 5, 90, 50, seed=n) for n in range(4))))
    assert not any("blocks" in line for line in enough.warnings)


def test_a_split_that_all_images_rule_out_is_named_before_training(tmp_path):
    from crater_model.training import train

    save(tmp_path / "d", *(mosaic(n, 5, 90, 50, seed=n, split="train") for n in range(3)))
    manifest = write_records(tmp_path / "d", tmp_path / "r")
    assert "no image with labels is left for validation and test" in manifest.splitting["words"]
    with pytest.raises(DataError, match="split 'validation' holds no image .*all say their split"):
        train(tmp_path / "r", tmp_path / "m")
    assert read_manifest(tmp_path / "r").splitting == manifest.splitting
