"""`annotated_images` and `tfrecords`, with their checks passing and failing."""

import json

import dagster as dg
import pytest

from crater_assets.assets import annotated_images
from crater_assets.assets.best_model import test_scenes as scenes_of_test
from crater_assets.checks import STORAGE_CHECK
from crater_assets.history import last_materialization, upstream
from crater_assets.resources import Crater
from crater_model.annotations.dataset import load_dataset
from crater_model.annotations.parts import chosen
from crater_model.errors import DataError
from crater_model.storage import open_storage
from tests.storage.conftest import cloud, server  # noqa: F401 (fixtures)

DATA = ("annotated_images", "tfrecords")


def evaluations(result):
    return {e.check_name: e for e in result.get_asset_check_evaluations()}


def change(folder, edit):
    """Edits annotations.json in place."""
    path = folder / "annotations.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def test_annotated_images_called_as_a_function(crater):
    result = annotated_images(dg.build_asset_context(), crater=crater)
    data = load_dataset(crater.dataset)
    assert result.data_version.value == data.fingerprint
    assert result.metadata["images"] == 6 and result.metadata["instances"] == 25
    assert result.metadata["empty_images"] == 1 and result.metadata["problems"] == 0
    assert 5 < result.metadata["diameter_px_median"] < 20
    for name in ("labels", "diameters"):
        text = result.metadata[name].value
        assert "data:image/png;base64," in text and len(text) < 140_000


def test_records_from_chips(instance, crater, run_assets):
    result = run_assets(instance, crater, *DATA)
    assert result.success
    assert all(e.passed for e in evaluations(result).values())
    made = last_materialization(instance, "tfrecords")
    assert made.check_passed is True
    storage = open_storage(crater.storage)
    assert storage.exists(made.artifact)
    # Craters of 12 px are scaled up to about 20, so chips were cut.
    chips = load_dataset(storage.fetch(made.metadata["chips"]))
    assert {scene.scale for scene in chips.scenes} == {2.0}
    counts = [made.metadata[f"{split}_instances"] for split in ("train", "validation", "test")]
    assert sum(counts) == sum(len(scene.instances) for scene in chips.scenes) == 25
    assert sum(made.metadata[f"{split}_images"] for split in ("train", "validation", "test")) == 6


def test_records_from_whole_scenes_and_reuse(instance, crater, run_assets):
    config = {"scales": [1.0]}
    assert run_assets(instance, crater, *DATA, tfrecords=config).success
    first = last_materialization(instance, "tfrecords")
    assert first.metadata["chips"].startswith("none") and not first.metadata["reused"]
    assert run_assets(instance, crater, *DATA, tfrecords=config).success
    second = last_materialization(instance, "tfrecords")
    assert second.artifact == first.artifact and second.metadata["reused"]
    # Another setting is another artifact, and the first one stays.
    assert run_assets(instance, crater, *DATA, tfrecords={"scales": [1.0], "seed": 1}).success
    assert last_materialization(instance, "tfrecords").artifact != first.artifact
    assert open_storage(crater.storage).exists(first.artifact)


@pytest.mark.parametrize("scales", [[], [1.0]])
def test_records_of_one_mosaic(instance, crater, run_assets, make_dataset, tmp_path, scales):
    """A scene alone is cut into blocks: its chips (of 96 px) are in three splits, and its test
    scene is a part that is found again in the mosaic."""
    make_dataset(tmp_path / "mosaic", craters=(70,), size=(300, 200))
    crater = Crater(dataset=str(tmp_path / "mosaic"), storage=crater.storage,
                    experiment=crater.experiment)
    result = run_assets(instance, crater, *DATA, tfrecords={"scales": scales})
    assert result.success and all(e.passed for e in evaluations(result).values())
    made = last_materialization(instance, "tfrecords").metadata
    assert all(made[f"{split}_instances"] > 0 for split in ("train", "validation", "test"))
    assert "scene_001.png is cut into blocks" in made["splits_by"]
    scenes = scenes_of_test(open_storage(crater.storage), made["artifact"])
    part, = chosen(load_dataset(tmp_path / "mosaic"), scenes).scenes
    assert part.part[0] == "scene_001.png" and part.instances


def test_one_scene_that_cannot_be_cut_is_refused_before_training(instance, crater, run_assets,
                                                                 make_dataset, tmp_path):
    make_dataset(tmp_path / "small", craters=(4,))
    crater = Crater(dataset=str(tmp_path / "small"), storage=crater.storage,
                    experiment=crater.experiment)
    result = run_assets(instance, crater, *DATA)
    assert not result.success
    assert "has no room for blocks" in str(result.failure_data_for_node("tfrecords"))


def test_records_in_a_bucket(instance, crater, run_assets, cloud, tmp_path,  # noqa: F811
                             monkeypatch):
    monkeypatch.setenv("CRATER_CACHE", str(tmp_path / "one"))
    crater = Crater(dataset=crater.dataset, storage="gs://craters/assets")
    result = run_assets(instance, crater, *DATA)
    assert result.success and all(e.passed for e in evaluations(result).values())
    made = last_materialization(instance, "tfrecords").metadata
    assert made["url"] == f"gs://craters/assets/{made['artifact']}"
    # Another machine, with nothing of its own, takes them from the bucket.
    monkeypatch.setenv("CRATER_CACHE", str(tmp_path / "two"))
    folder = open_storage(crater.storage).fetch(made["artifact"])
    assert folder.is_relative_to(tmp_path / "two") and list(folder.glob("train-*.tfrecord"))


def remove_image(folder):
    (folder / "images" / "scene_002.png").unlink()


def cut_png(folder):
    path = folder / "images" / "scene_002.png"
    path.write_bytes(path.read_bytes()[:200])


def polygon_outside(folder):
    def edit(document):
        document["annotations"][3]["segmentation"] = [[500, 10, 520, 10, 510, 30]]
    change(folder, edit)


def polygon_of_two_points(folder):
    change(folder, lambda d: d["annotations"][3].update(segmentation=[[1, 1, 9, 9]]))


def duplicate_image_id(folder):
    change(folder, lambda d: d["images"][1].update(id=d["images"][0]["id"]))


def unknown_category(folder):
    change(folder, lambda d: d["annotations"][3].update(category_id=9))


@pytest.mark.parametrize("spoil, words", [
    (remove_image, ["scene_002.png"]),
    (cut_png, ["scene_002.png", "cannot be read"]),
    (polygon_outside, ["annotation 4", "leaves its image"]),
    (polygon_of_two_points, ["annotation 4", "point"]),
    (duplicate_image_id, ["id 1", "scene_002.png"]),
    (unknown_category, ["annotation 4", "9"]),
])
def test_bad_data_stops_before_training(instance, crater, tiny_dataset, run_assets, spoil, words):
    spoil(tiny_dataset)
    result = run_assets(instance, crater, *DATA, "checkpoint", partition="baseline")
    assert not result.success
    found = evaluations(result)
    assert not found["labels_valid"].passed and found[STORAGE_CHECK].passed
    assert len(found) == 2  # nothing after it was even looked at
    line = found["labels_valid"].description
    assert all(word in line for word in words), line
    assert "\n" not in line
    made = {e.asset_key.to_user_string() for e in result.get_asset_materialization_events()}
    assert made == {"annotated_images"}
    # Nor does a later run go on from there.
    with pytest.raises(DataError, match="annotated_images failed its check"):
        upstream(dg.build_asset_context(instance=instance), "annotated_images")
    assert not run_assets(instance, crater, "tfrecords").success


def test_a_file_that_is_no_labels_in_the_place_of_the_data_set(instance, crater, tiny_dataset,
                                                                run_assets):
    file = tiny_dataset / "images" / "scene_001.png"
    crater = Crater(dataset=str(file), storage=crater.storage)
    result = run_assets(instance, crater, *DATA)
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert f"{file}: holds no labels of a known form" in str(failure.event_specific_data)


def test_data_that_changes_after_the_check(instance, crater, tiny_dataset, run_assets):
    assert run_assets(instance, crater, "annotated_images").success
    change(tiny_dataset, lambda d: d["annotations"].pop())
    result = run_assets(instance, crater, "tfrecords")
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert "has changed since annotated_images was materialized" in str(
        failure.event_specific_data.user_failure_data.description)


def test_records_check_finds_damage_and_change(instance, crater, tiny_dataset, run_assets,
                                               run_check):
    assert run_assets(instance, crater, *DATA, tfrecords={"scales": [1.0]}).success
    name = "records_agree_with_the_data_set"
    assert run_check(instance, crater, name).passed
    records = open_storage(crater.storage).path(
        last_materialization(instance, "tfrecords").artifact)
    file = next(records.glob("train-*.tfrecord"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    found = run_check(instance, crater, name)
    assert not found.passed and file.name in found.description
    assert last_materialization(instance, "tfrecords").check_passed is False
    file.write_bytes(whole)
    assert run_check(instance, crater, name).passed
    change(tiny_dataset, lambda d: d["annotations"].pop())
    found = run_check(instance, crater, name)
    assert not found.passed and "instance" in found.description
    # A manifest that puts one scene in two splits.
    manifest = records / "manifest.json"
    document = json.loads(manifest.read_text())
    document["splits"]["test"]["scenes"] = document["splits"]["train"]["scenes"][:1]
    manifest.write_text(json.dumps(document))
    problems = run_check(instance, crater, name).metadata["problems"].value
    assert "is in another split too" in problems and "in no split" in problems
