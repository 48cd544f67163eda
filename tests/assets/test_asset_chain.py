"""The whole graph with tiny settings in a temporary instance, to a running image."""

import json
from pathlib import Path

import dagster as dg
import pytest

from crater_assets.history import last_materialization
from crater_assets.partitions import hyperparameters
from crater_assets.resources import Crater
from crater_model.annotations.dataset import load_dataset
from crater_model.storage import Storage
from tests.serving.conftest import docker_base  # noqa: F401 (a fixture)

pytestmark = pytest.mark.slow

TINY = {"train_steps": 2}
PARTITIONS = ("baseline", "gentle_learning_rate")


@pytest.fixture(scope="module")
def chain(tmp_path_factory, make_dataset, run_assets):
    """Instance and resource after the chain has run: data, two checkpoints, the best of them."""
    folder = tmp_path_factory.mktemp("chain")
    # The third scene has no crater.
    data = make_dataset(folder / "data", craters=(4, 6, 0, 5, 3, 7, 5, 6))
    crater = Crater(dataset=str(data), storage=str(folder / "storage"))
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        first = run_assets(instance, crater, "annotated_images", "tfrecords", "checkpoint",
                           partition=PARTITIONS[0], checkpoint=TINY)
        assert first.success
        assert run_assets(instance, crater, "checkpoint", partition=PARTITIONS[1],
                          checkpoint=TINY).success
        assert run_assets(instance, crater, "best_model").success
        yield instance, crater


def test_each_partition_was_trained_and_checked(chain):
    instance, crater = chain
    storage = Storage.from_url(crater.storage)
    for name in PARTITIONS:
        made = last_materialization(instance, "checkpoint", name)
        assert made.check_passed is True
        assert made.metadata["steps"] == 2 and made.metadata["score"] >= 0
        assert made.metadata["loss"] > 0
        assert made.metadata["curves"].startswith("![loss and metric over the steps](data:")
        assert (storage.fetch(made.artifact) / "result.json").is_file()
    overrides = last_materialization(instance, "checkpoint", PARTITIONS[1]).metadata
    assert overrides["hyperparameters"] == hyperparameters()[PARTITIONS[1]] != {}


def test_best_model_is_exported_and_scored_on_unseen_scenes(chain):
    instance, crater = chain
    made = last_materialization(instance, "best_model")
    scores = {name: last_materialization(instance, "checkpoint", name).metadata["score"]
              for name in PARTITIONS}
    best = max(sorted(scores), key=scores.get)
    assert made.metadata["partition"] == best
    assert made.metadata["validation_score"] == scores[best]
    assert [entry["partition"] for entry in made.metadata["ranking"]][0] == best
    assert made.metadata["leaderboard"].splitlines()[2].startswith(f"| 1 | {best} | ")
    records = last_materialization(instance, "tfrecords")
    manifest = json.loads((Storage.from_url(crater.storage).fetch(records.artifact)
                           / "manifest.json").read_text())
    tested = set(manifest["splits"]["test"]["scenes"])
    assert made.metadata["test_scenes"] == len(tested) == 1
    truth = [scene for scene in load_dataset(crater.dataset).scenes if scene.scene in tested]
    assert made.metadata["test_metrics"]["instances"] == len(truth[0].instances)
    saved = Path(made.metadata["saved_model"])
    assert saved.name == "1" and (saved / "saved_model.pb").is_file()
    card = json.loads((saved / "assets.extra" / "model_card.json").read_text())
    assert "mask_AP" in json.dumps(card)


def test_the_same_again_is_reused(chain, run_assets):
    instance, crater = chain
    before = last_materialization(instance, "best_model")
    files = {p: p.stat().st_mtime_ns for p in Path(crater.storage).rglob("*.pb")}
    result = run_assets(instance, crater, "checkpoint", partition=PARTITIONS[0], checkpoint=TINY)
    assert result.success and run_assets(instance, crater, "best_model").success
    after = last_materialization(instance, "best_model")
    assert after.artifact == before.artifact and after.metadata["version"] == 1
    assert {p: p.stat().st_mtime_ns for p in Path(crater.storage).rglob("*.pb")} == files


def test_saved_model_check_passes_and_fails(chain, run_check):
    instance, crater = chain
    found = run_check(instance, crater, "saved_model_matches_checkpoint")
    assert found.passed, found.description
    assert found.metadata["detections"].value > 0
    made = last_materialization(instance, "best_model")
    other = next(name for name in PARTITIONS if name != made.metadata["partition"])
    lie = last_materialization(instance, "checkpoint", other).artifact
    instance.report_runless_asset_event(dg.AssetMaterialization(
        "best_model", metadata={**made.metadata, "checkpoint": lie}))
    found = run_check(instance, crater, "saved_model_matches_checkpoint")
    instance.report_runless_asset_event(dg.AssetMaterialization(
        "best_model", metadata=made.metadata))
    assert not found.passed and "SavedModel's" in found.description


def test_without_an_engine_the_context_is_written(chain, run_assets, monkeypatch):
    instance, crater = chain
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    monkeypatch.setenv("PATH", "/nowhere")
    result = run_assets(instance, crater, "serving_image")
    assert result.success
    made = last_materialization(instance, "serving_image").metadata
    assert made["built"] is False and "No container engine answers here" in made["no_image"]
    context = Path(made["context"])
    assert (context / "Dockerfile").is_file()
    assert (context / "model" / "1" / "saved_model.pb").is_file()
    check, = result.get_asset_check_evaluations()
    assert not check.passed and check.severity == dg.AssetCheckSeverity.WARN
    assert check.description.startswith("No image was built.")


def test_the_image_is_built_and_answers(chain, docker_base, run_assets):  # noqa: F811
    instance, crater = chain
    crater = Crater(dataset=crater.dataset, storage=crater.storage, serving_base=docker_base)
    result = run_assets(instance, crater, "serving_image")
    assert result.success
    made = last_materialization(instance, "serving_image").metadata
    assert made["built"] is True and made["engine"] == "docker"
    assert made["image"].startswith("crater-serving:1-")
    assert made["labels"]["org.opencontainers.image.version"] == "1"
    check, = result.get_asset_check_evaluations()
    assert check.passed, check.description
    assert check.metadata["detections"].value > 0


def test_a_base_that_cannot_be_had_is_said_plainly(chain, docker_base, run_assets):  # noqa: F811
    instance, crater = chain
    crater = Crater(dataset=crater.dataset, storage=crater.storage,
                    serving_base="127.0.0.1:1/nothing/here:1")
    result = run_assets(instance, crater, "serving_image")
    assert result.success
    made = last_materialization(instance, "serving_image").metadata
    assert made["built"] is False and "127.0.0.1:1/nothing/here:1" in made["no_image"]
    assert (Path(made["context"]) / "Dockerfile").is_file()
    check, = result.get_asset_check_evaluations()
    assert not check.passed and check.severity == dg.AssetCheckSeverity.WARN


def test_nothing_to_choose_from_is_one_line(instance, crater, run_assets):
    assert run_assets(instance, crater, "annotated_images", "tfrecords").success
    result = run_assets(instance, crater, "best_model")
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert failure.event_specific_data.user_failure_data.description == (
        "no checkpoint can be chosen: baseline: not trained; gentle_learning_rate: not trained")
