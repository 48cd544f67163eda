"""`annotated_images` from labels of any form: imported once, and anew when they change."""

import json

import dagster as dg
import pytest

from crater_assets.assets import annotated_images
from crater_assets.history import last_materialization
from crater_assets.resources import Crater
from crater_model.annotations.dataset import load_dataset

HILLSHADE = "moon_gld100_hillshade_eqc.tif"


@pytest.fixture
def labelme(tmp_path, tiny_dataset):
    """The tiny data set's images with LabelMe files beside them."""
    folder = tmp_path / "labelme"
    folder.mkdir()
    for scene in load_dataset(tiny_dataset).scenes:
        (folder / scene.file_name).write_bytes(
            (tiny_dataset / "images" / scene.file_name).read_bytes())
        shapes = [{"label": "crater", "shape_type": "polygon", "points": i.rings[0].tolist()}
                  for i in scene.instances]
        (folder / scene.file_name).with_suffix(".json").write_text(json.dumps(
            {"imagePath": scene.file_name, "shapes": shapes}))
    return folder


def test_labels_are_imported_into_the_storage(instance, run_assets, labelme, tmp_path):
    crater = Crater(dataset=str(labelme), storage=str(tmp_path / "storage"))
    assert run_assets(instance, crater, "annotated_images", "tfrecords").success
    made = last_materialization(instance, "annotated_images")
    assert made.metadata["instances"] == 25 and made.metadata["images"] == 6
    assert made.metadata["source"]["format"] == "labelme"
    assert last_materialization(instance, "tfrecords").metadata["train_instances"] > 0
    folder = crater.dataset_folder()
    assert folder.is_relative_to(tmp_path / "storage") and crater.dataset_folder() == folder
    # Another label is another data set; what was made before stays.
    path = labelme / "scene_001.json"
    document = json.loads(path.read_text())
    document["shapes"].pop()
    path.write_text(json.dumps(document))
    assert crater.dataset_folder() != folder and folder.exists()
    result = run_assets(instance, crater, "tfrecords")
    assert not result.success


def test_labels_that_cannot_be_used_stop_the_asset(instance, run_assets, labelme, tmp_path):
    path = labelme / "scene_002.json"
    document = json.loads(path.read_text())
    document["shapes"][0]["points"] = [[1, 1], [2, 2]]
    path.write_text(json.dumps(document))
    crater = Crater(dataset=str(labelme), storage=str(tmp_path / "storage"))
    result = run_assets(instance, crater, "annotated_images")
    assert not result.success
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert "scene_002.json: shape 1" in str(failure.event_specific_data)


@pytest.mark.parametrize("labels, images, instances", [
    ("moon_geo", "", 3565), ("moon_geo/craters_lonlat.geojson", HILLSHADE, 3539),
    ("moon_geo/catalogue_global.csv", HILLSHADE, 3539),
    ("moon_nac_train", "", 13449), ("moon_dem_train", "", 7254), ("mars_boxes_hirise", "", 632),
    ("divdet_fixtures", "", 4)])
def test_real_labels_arrive_through_the_asset(real_data, tmp_path, labels, images, instances):
    crater = Crater(dataset=str(real_data / labels), storage=str(tmp_path / "storage"),
                    images=str(real_data / "moon_geo" / images) if images else "")
    result = annotated_images(dg.build_asset_context(), crater=crater)
    assert result.metadata["instances"] == instances and result.metadata["problems"] == 0
    assert len(result.metadata["labels"].value) < 140_000
    assert ("look_alike_images" in result.metadata) == (labels == "mars_boxes_hirise")
    assert ("diameter_km_median" in result.metadata) == labels.startswith(
        ("moon_geo", "moon_dem"))
