"""What happens by itself when the data set changes, and what does not."""

import os
from pathlib import Path

import dagster as dg
import pytest

from crater_assets.assets import ASSETS
from crater_assets.automation import (
    LEVELS,
    STAMP,
    automatic_assets,
    automation_level,
    automation_sensors,
    new_data,
)
from crater_assets.checks import CHECKS
from crater_assets.history import BLOCKING_CHECKS
from crater_assets.partitions import hyperparameter_sets
from crater_assets.reevaluation import TOLERANCE, compared, weekly_reevaluation
from crater_assets.resources import Crater
from crater_model.errors import ConfigError

SETS = hyperparameter_sets.get_partition_keys()


@pytest.fixture(autouse=True)
def level(monkeypatch):
    monkeypatch.delenv("CRATER_AUTOMATION", raising=False)
    return lambda name: monkeypatch.setenv("CRATER_AUTOMATION", name)


@pytest.fixture
def look(instance, crater):
    """look(): one tick of the sensor, which remembers the cursor; gives its result."""
    cursor = None

    def tick():
        nonlocal cursor
        with dg.build_sensor_context(instance=instance, cursor=cursor,
                                     resources={"crater": crater}) as context:
            result = new_data().evaluate_tick(context)
        cursor = result.cursor or cursor
        return result
    return tick


def made(instance, crater) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(
        "annotated_images", metadata={STAMP: crater.dataset_stamp()}))


def touch(crater) -> None:
    path = Path(crater.dataset) / "annotations.json"
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000_000))


def test_a_new_version_is_offered_once_it_is_complete(instance, crater, look):
    made(instance, crater)
    assert "materialized last" in look().skip_message
    touch(crater)
    assert "the next look" in look().skip_message
    touch(crater)  # it is still being copied
    assert "the next look" in look().skip_message
    offered, = look().asset_events
    assert offered.metadata["to do"].value.startswith("run prepare_data")
    assert offered.metadata[STAMP].value == crater.dataset_stamp()
    again = look()
    assert not again.asset_events and "announced already" in again.skip_message
    made(instance, crater)
    assert "materialized last" in look().skip_message


@pytest.mark.parametrize("name", LEVELS[1:])
def test_records_are_started_where_that_is_wanted(instance, crater, look, level, name):
    level(name)
    assert not look().run_requests
    request, = look().run_requests
    assert request.job_name in (None, "prepare_data")
    assert request.run_key == crater.dataset_stamp()
    assert not look().run_requests


def test_no_data_set_or_one_that_is_gone(instance, tmp_path):
    for dataset, words in (("", "names no folder"), (str(tmp_path / "gone"), "gone")):
        with dg.build_sensor_context(
                instance=instance, resources={"crater": Crater(dataset=dataset)}) as context:
            assert words in new_data().evaluate_tick(context).skip_message


def test_the_sensor_says_what_it_does_and_names_a_job_only_where_it_launches_one(level):
    for name in LEVELS:
        level(name)
        sensor = new_data()
        assert sensor.has_jobs is (name != "offer")
        assert f"CRATER_AUTOMATION={name}" in sensor.description
        assert ("Launches prepare_data" in sensor.description) is (name != "offer")


def test_levels(level):
    assert automation_level() == "offer"
    assert [sensor.name for sensor in automation_sensors()] == ["new_data"]
    level("promotion")
    assert [sensor.name for sensor in automation_sensors()] == ["new_data", "promotion"]
    level("everything")
    with pytest.raises(ConfigError, match="got 'everything', expected one of offer, records"):
        automation_level()


def test_nothing_starts_unasked(level):
    for name in LEVELS:
        level(name)
        assert all(sensor.default_status == dg.DefaultSensorStatus.STOPPED
                   for sensor in automation_sensors())
    assert weekly_reevaluation.default_status == dg.DefaultScheduleStatus.STOPPED


@pytest.fixture
def chain(instance, level):
    """chain(level): the assets of that level, evaluated; gives a function that says what a tick
    would start."""
    def start(name):
        level(name)
        found = dg.Definitions(automatic_assets(ASSETS), asset_checks=CHECKS,
                               resources={"crater": Crater()})
        cursor = None

        def tick() -> set:
            nonlocal cursor
            result = dg.evaluate_automation_conditions(found, instance, cursor=cursor)
            cursor = result.cursor
            return {(key.to_user_string(), partition) for key in found.resolve_asset_graph()
                    .get_all_asset_keys()
                    for partition in result.get_requested_partitions(key)}
        return tick
    return start


def report(instance, asset, partition=None, passed=True) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))
    instance.report_runless_asset_event(dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(asset), check_name=BLOCKING_CHECKS[asset], passed=passed,
        blocking=True, partition=partition))


def test_promotion_goes_from_records_to_the_image(instance, chain):
    tick = chain("promotion")
    assert tick() == set()
    report(instance, "tfrecords", passed=False)
    assert tick() == set()
    report(instance, "tfrecords")
    assert tick() == {("checkpoint", name) for name in SETS}
    assert tick() == set()
    report(instance, "checkpoint", SETS[0])
    assert tick() == set()  # not before the last one
    report(instance, "checkpoint", SETS[1], passed=False)  # best_model leaves it out itself
    assert tick() == {("best_model", None)}
    report(instance, "best_model", passed=False)
    assert tick() == set()  # not better than the one in service
    report(instance, "best_model")
    assert tick() == {("serving_image", None)}
    assert tick() == set()


def test_training_ends_before_the_best_model(instance, chain):
    tick = chain("training")
    tick()
    report(instance, "tfrecords")
    assert len(tick()) == len(SETS)
    for name in SETS:
        report(instance, "checkpoint", name)
    assert tick() == set()


def test_records_train_nothing(instance, chain):
    tick = chain("records")
    tick()
    report(instance, "tfrecords")
    assert tick() == set()


def test_the_materialized_data_set_has_its_stamp(instance, crater, run_assets):
    assert run_assets(instance, crater, "annotated_images").success
    found = instance.get_latest_materialization_event(dg.AssetKey("annotated_images"))
    assert found.asset_materialization.metadata[STAMP].value == crater.dataset_stamp()


def test_what_was_asked_for_settles_it(instance, crater, look, chain, run_assets):
    """With the run itself, in an instance of its own."""
    tick = chain("training")
    assert tick() == set()
    look()
    assert len(look().run_requests) == 1
    assert run_assets(instance, crater, "annotated_images", "tfrecords").success
    assert "materialized last" in look().skip_message
    assert tick() == {("checkpoint", name) for name in SETS}


@pytest.mark.parametrize("now, passed", [(0.5, True), (0.5 - TOLERANCE / 2, True),
                                         (0.5 - 2 * TOLERANCE, False), (0.9, True)])
def test_scores_that_fall_are_said(now, passed):
    found = compared({"mask_AP": 0.5}, {"mask_AP": now}, "mask_AP")
    assert found.passed is passed and f"{now:.4f}, at its release 0.5000" in found.description
    assert ("train on the new data" in found.description) is not passed


def test_nothing_to_compare():
    assert compared({}, {"mask_AP": 0.5}, "mask_AP").passed
