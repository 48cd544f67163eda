"""Checks run by themselves, as the Checks tab does, and after what somebody reported by hand."""

import dagster as dg
import pytest

from crater_assets.assets import ASSETS
from crater_assets.checks import CHECKS
from crater_assets.history import last_materialization
from crater_assets.partitions import hyperparameters
from crater_model.files import write_json

SETS = list(hyperparameters())


@pytest.fixture
def trained(instance, crater):
    """trained(set, loss): a stored checkpoint of a set, and its materialization."""
    def make(name: str, loss: float):
        storage, key = crater.open_storage(), f"checkpoints/r/{name}-1"
        write_json(storage.path(key) / "result.json", {"loss": loss})
        storage.publish(key)
        instance.report_runless_asset_event(dg.AssetMaterialization(
            "checkpoint", partition=name, metadata={
                "artifact": key, "artifact_files": "1 files, 13 bytes",
                "result": {"loss": loss, "metric": {"name": "mask_AP", "value": 0.5}}}))
        return storage.path(key) / "result.json"
    return make


def execute_all(instance, crater, asset, tags=None):
    """The evaluations of all checks of an asset, run without it and without a partition:
    {(check, partition or None): evaluation}."""
    checks = [check for check in CHECKS
              if {key.asset_key for key in check.check_keys} == {dg.AssetKey(asset)}]
    result = dg.materialize(ASSETS + checks, instance=instance, resources={"crater": crater},
                            selection=dg.AssetSelection.checks(*checks), raise_on_error=False, tags=tags)
    assert result.success or asset != "checkpoint"
    return {(found.check_name, found.partition): found
            for found in result.get_asset_check_evaluations()}


def test_without_a_partition_each_is_checked(instance, crater, trained):
    file = trained(SETS[0], 1.5)
    found = execute_all(instance, crater, "checkpoint")
    names = ("loss_finite_and_metric_present", "artifact_in_storage")
    assert {key: each.passed for key, each in found.items()} == {
        (name, SETS[0]): True for name in names}
    assert found[names[1], SETS[0]].description == (
        "checkpoints/r/baseline-1: 1 files, 13 bytes are there")
    trained(SETS[1], None)
    file.write_text("other")
    found = execute_all(instance, crater, "checkpoint")
    assert {key: each.passed for key, each in found.items()} == {
        (names[0], SETS[0]): True, (names[0], SETS[1]): False,
        (names[1], SETS[0]): False, (names[1], SETS[1]): True}
    assert f"{SETS[1]}: the final loss is None" in found[names[0], SETS[1]].description
    assert "baseline-1: result.json has" in found[names[1], SETS[0]].description
    # They count as those that follow a training do.
    assert last_materialization(instance, "checkpoint", SETS[0]).check_passed is True
    assert last_materialization(instance, "checkpoint", SETS[1]).check_passed is False


def test_before_anything_is_materialized_they_say_so(instance, crater):
    assert execute_all(instance, crater, "checkpoint") == {}
    for asset in ("annotated_images", "tfrecords", "best_model", "serving_image"):
        for (name, _), each in execute_all(instance, crater, asset).items():
            if name == "labels_valid":
                assert each.passed
            else:
                assert not each.passed and f"{asset} has not been materialized" in each.description


def test_with_a_partition_that_one_is_checked(instance, crater, trained):
    trained(SETS[0], 1.5)
    trained(SETS[1], 1.5)
    found = execute_all(instance, crater, "checkpoint", {"dagster/partition": SETS[1]})
    assert {key: each.passed for key, each in found.items()} == {
        ("loss_finite_and_metric_present", SETS[1]): True, ("artifact_in_storage", SETS[1]): True}


def report(instance, *assets):
    """As *Report materialization events* in the UI does."""
    for asset in assets:
        partition = SETS[0] if asset == "checkpoint" else None
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))


@pytest.mark.parametrize("asset, key", [
    ("tfrecords", "artifact"), ("checkpoint", "artifact"), ("best_model", "artifact"),
    ("serving_image", "artifact")])
def test_checks_of_what_somebody_reported_fail_in_words(instance, crater, asset, key):
    report(instance, asset)
    title = f"checkpoint[{SETS[0]}]" if asset == "checkpoint" else asset
    found = execute_all(instance, crater, asset)
    assert len(found) >= 2
    for each in found.values():
        assert not each.passed
        assert title in each.description and "was reported by hand; materialize" in (
            each.description), each


@pytest.mark.parametrize("reported, asset, words", [
    (("annotated_images",), "tfrecords", "annotated_images: its last materialization has no "
                                         "'fingerprint': it was reported by hand; materialize"),
    (("tfrecords",), "checkpoint", "tfrecords: its last materialization has no 'artifact'"),
    (("tfrecords",), "best_model", "tfrecords: its last materialization has no 'artifact'"),
    (("best_model",), "serving_image", "best_model: its last materialization has no 'artifact'")])
def test_assets_after_what_somebody_reported_fail_in_words(instance, crater, run_assets, reported,
                                                           asset, words):
    report(instance, *reported)
    result = run_assets(instance, crater, asset,
                        partition=SETS[0] if asset == "checkpoint" else None)
    failed, = [event for event in result.all_events if event.is_step_failure]
    assert words in failed.event_specific_data.user_failure_data.description
