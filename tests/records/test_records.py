"""Records hold what the data set holds, and Model Garden can read them."""

import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf

from crater_model.annotations.dataset import load_dataset, save_dataset
from crater_model.annotations.scene import Instance, Scene
from crater_model.errors import ConfigError, CraterError, DataError
from crater_model.imagery.pixels import encode_png
from crater_model.records.manifest import read_manifest, verify_manifest
from crater_model.records.masks import full_mask, instance_grid
from crater_model.records.read import read_split, unpack_grids
from crater_model.records.show import grid_outlines, records_picture, summarize
from crater_model.records.write import encode_example, write_records


@pytest.fixture
def records(tiny_dataset, tmp_path):
    write_records(tiny_dataset, tmp_path / "records")
    return tmp_path / "records"


def everything(folder):
    return [record for split in ("train", "validation", "test")
            for record in read_split(folder, split).as_numpy_iterator()]


def test_every_label_comes_back(records, tiny_dataset):
    dataset = load_dataset(tiny_dataset)
    scenes = {str(scene.id): scene for scene in dataset.scenes}
    found = everything(records)
    assert sorted(r["source_id"].decode() for r in found) == sorted(scenes)
    for record in found:
        scene = scenes[record["source_id"].decode()]
        assert record["file_name"].decode() == scene.file_name
        assert (record["height"], record["width"]) == (64, 96)
        image = dataset.read_image(scene)
        np.testing.assert_array_equal(record["image"], np.repeat(image[..., None], 3, axis=2))
        count = len(scene.instances)
        assert record["boxes"].shape == (count, 4) and record["grids"].shape == (count, 32, 32)
        assert record["grids"].dtype == np.uint8 and record["classes"].dtype == np.int64
        for i, instance in enumerate(scene.instances):
            np.testing.assert_allclose(record["boxes"][i] * [64, 96, 64, 96], instance.box,
                                       atol=1e-4)
            np.testing.assert_array_equal(record["grids"][i], instance_grid(instance))
            assert record["areas"][i] == pytest.approx(instance.area, rel=1e-5)
            assert record["classes"][i] == 1 and not record["is_crowd"][i]


def test_six_hundred_craters_and_none(crowded_dataset, tmp_path):
    manifest = write_records(crowded_dataset, tmp_path / "r", splits=(0.5, 0.5, 0))
    assert sorted(
        len(record["classes"]) for split in ("train", "validation")
        for record in read_split(tmp_path / "r", split).as_numpy_iterator()) == [0, 12, 600]
    assert manifest.instances == 612 and manifest.images == 3
    assert max(s["max_instances"] for s in manifest.splits.values()) == 600
    for split in ("train", "validation"):
        assert records_picture(tmp_path / "r", split).startswith(b"\x89PNG")


def test_classes_crowds_and_jpeg_in_colour(tmp_path):
    ring = np.array([[10.0, 5.0], [30.0, 5.0], [30.0, 25.0], [10.0, 25.0]])
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    jpeg = tf.io.encode_jpeg(image).numpy()
    instances = (Instance(1, 2, (ring,), 400.0), Instance(2, 1, (ring + 3,), 400.0, True))
    save_dataset(tmp_path / "d", [(Scene(12, "a.jpg", 60, 40, instances), jpeg)],
                 {1: "rock", 2: "crater"})
    manifest = write_records(tmp_path / "d", tmp_path / "r", splits=(1, 0, 0))
    assert manifest.label_map == {1: "rock", 2: "crater"}
    record, = read_split(tmp_path / "r", "train").as_numpy_iterator()
    assert record["classes"].tolist() == [2, 1] and record["is_crowd"].tolist() == [False, True]
    assert record["image"].shape == (40, 60, 3)
    with pytest.raises(DataError, match="the split 'test' has no image"):
        read_split(tmp_path / "r", "test")
    with pytest.raises(DataError, match="has no split 'holdout', expected one of train"):
        read_split(tmp_path / "r", "holdout")


def test_masks_unpack_in_tensorflow(tiny_dataset):
    instances = load_dataset(tiny_dataset).scenes[0].instances
    data = b"".join(np.packbits(instance_grid(i)).tobytes() for i in instances)
    np.testing.assert_array_equal(unpack_grids(tf.constant(data)),
                                  [instance_grid(i) for i in instances])
    assert unpack_grids(tf.constant(b"")).shape == (0, 32, 32)


@pytest.mark.parametrize("full_masks", [False, True])
def test_model_garden_reads_them(tiny_dataset, full_masks):
    from official.vision.dataloaders.tf_example_decoder import TfExampleDecoder

    dataset = load_dataset(tiny_dataset)
    decoder = TfExampleDecoder(include_mask=full_masks)
    for scene in dataset.scenes:
        data = dataset.image_path(scene).read_bytes()
        found = decoder.decode(encode_example(scene, data, full_masks).SerializeToString())
        assert found["source_id"].numpy() == str(scene.id).encode()
        assert found["image"].shape == (64, 96, 3)
        boxes = np.array([i.box for i in scene.instances]).reshape(-1, 4) / [64, 96, 64, 96]
        np.testing.assert_allclose(found["groundtruth_boxes"], boxes, atol=1e-6)
        assert found["groundtruth_classes"].numpy().tolist() == [1] * len(scene.instances)
        np.testing.assert_allclose(found["groundtruth_area"], [i.area for i in scene.instances],
                                   rtol=1e-5)
        if full_masks:
            masks = np.array([full_mask(i, 64, 96) for i in scene.instances]).reshape(-1, 64, 96)
            np.testing.assert_array_equal(found["groundtruth_instance_masks"], masks)


def test_manifest_says_what_is_there(records, tiny_dataset):
    manifest = read_manifest(records)
    assert manifest.source == load_dataset(tiny_dataset).fingerprint
    assert {k: v["images"] for k, v in manifest.splits.items()} == {
        "train": 4, "validation": 1, "test": 1}
    assert manifest.instances == 25 and manifest.mask_grid == 32
    assert manifest.image_size == (64, 96) and manifest.scales == (1.0,)
    names = [name for split in manifest.splits.values() for name in split["scenes"]]
    assert sorted(names) == [f"scene_{i:03d}.png" for i in range(1, 7)]
    assert [p.name for p in manifest.files("train")] == [
        f"train-0000{i}-of-00004.tfrecord" for i in range(4)]
    for split in manifest.splits:
        for path, entry in zip(manifest.files(split), manifest.split(split)["files"]):
            data = path.read_bytes()
            assert entry["bytes"] == len(data)
            assert entry["sha256"] == hashlib.sha256(data).hexdigest()
    assert verify_manifest(records, tiny_dataset) == []
    assert summarize(records)["splits"]["train"]["files"] == 4
    json.dumps(summarize(records))


def test_same_data_same_bytes(records, tiny_dataset, tmp_path):
    write_records(tiny_dataset, tmp_path / "again")
    files = sorted(p.name for p in records.iterdir())
    assert files == sorted(p.name for p in (tmp_path / "again").iterdir())
    for name in files:
        assert (records / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_shards(tiny_dataset, tmp_path):
    manifest = write_records(tiny_dataset, tmp_path / "r", splits=(1, 0, 0), shards=3)
    assert len(manifest.files("train")) == 3 and manifest.files("test") == []
    assert len(list(read_split(tmp_path / "r", "train"))) == 6
    manifest = write_records(tiny_dataset, tmp_path / "r", splits=(1, 0, 0), shards=50)
    assert len(manifest.files("train")) == 6
    assert len(list((tmp_path / "r").iterdir())) == 7  # the older files are gone
    with pytest.raises(ConfigError, match="shards: got 0"):
        write_records(tiny_dataset, tmp_path / "r", shards=0)


def test_chips_of_one_scene_stay_in_one_split(tmp_path):
    image = encode_png(np.zeros((20, 30), np.uint8))
    save_dataset(tmp_path / "d", ((Scene(i, f"{i}.png", 30, 20, scene=f"s{i % 5}", scale=2.0),
                                   image) for i in range(40)), {1: "crater"})
    manifest = write_records(tmp_path / "d", tmp_path / "r")
    scenes = [set(split["scenes"]) for split in manifest.splits.values()]
    assert sum(map(len, scenes)) == 5 and set.union(*scenes) == {f"s{i}" for i in range(5)}
    assert manifest.scales == (2.0,)


def test_damage_is_found(records, tiny_dataset):
    path = records / "train-00001-of-00004.tfrecord"
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    (records / "test-00000-of-00001.tfrecord").unlink()
    short = records / "validation-00000-of-00001.tfrecord"
    short.write_bytes(short.read_bytes()[:-5])
    problems = verify_manifest(records)
    assert len(problems) == 3
    assert "train-00001-of-00004.tfrecord: has another checksum" in problems[0]
    assert "bytes, expected" in problems[1] and "is missing" in problems[2]


def test_other_data_is_found(records, tiny_dataset):
    path = tiny_dataset / "annotations.json"
    document = json.loads(path.read_text())
    moved = document["annotations"][3]["segmentation"][0]
    document["annotations"][3]["segmentation"][0] = [moved[0] + 0.5, *moved[1:]]
    path.write_text(json.dumps(document))
    assert "its fingerprint differs" in verify_manifest(records, tiny_dataset)[0]
    document["annotations"].pop()
    path.write_text(json.dumps(document))
    assert "has 25 instance(s), but the data set" in verify_manifest(records, tiny_dataset)[0]


@pytest.mark.parametrize("text, expected", [
    (None, "cannot be read"), ("{", "is not JSON"), ("[]", "format version None"),
    ('{"format_version": 99}', "has the format version 99, expected 1"),
    ('{"format_version": 1}', "is incomplete")])
def test_bad_manifests(tmp_path, text, expected):
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match="manifest.json: .*" + expected):
        read_manifest(tmp_path)
    assert expected in verify_manifest(tmp_path)[0]


def test_a_broken_image_stops_the_writing(tiny_dataset, tmp_path):
    path = tiny_dataset / "images" / "scene_005.png"
    path.write_bytes(path.read_bytes()[:2500])
    with pytest.raises(DataError, match="scene_005.png: cannot be read as an image"):
        write_records(tiny_dataset, tmp_path / "r")
    assert [p.name for p in tmp_path.iterdir()] == ["tiny_dataset"]


def test_a_folder_of_something_else_is_not_replaced(tiny_dataset):
    with pytest.raises(CraterError, match="holds other files"):
        write_records(tiny_dataset, tiny_dataset)
    assert (tiny_dataset / "annotations.json").exists()


def test_outlines_of_a_grid_stand_on_the_object():
    grid = np.zeros((32, 32), np.uint8)
    grid[8:24, 4:12] = 1
    ring, = grid_outlines(grid, np.array([100.0, 10.0, 164.0, 42.0]))
    np.testing.assert_allclose([ring.min(axis=0), ring.max(axis=0)], [[14, 116], [22, 148]],
                               atol=0.3)
