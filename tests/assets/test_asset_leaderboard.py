"""Which checkpoints take part, in what order; and what the checks say of a training's summary."""

import time

import dagster as dg
import numpy as np
import pytest

from crater_assets.checks import detection_differences, training_problems
from crater_assets.display import INLINE_BYTES, leaderboard_picture
from crater_assets.history import last_failure, last_materialization
from crater_assets.leaderboard import Entry, leaderboard, rows, varied
from crater_model.detections import Detections

CHECK = "loss_finite_and_metric_present"


def train(instance, name, value, metric="mask_AP", records="tfrecords/now", settings=None,
          **metrics):
    """Reports a materialization of one partition, as training gives it."""
    result = {"metric": {"name": metric, "value": value, "objective": "max"},
              "metrics": {metric: value, **metrics}, "loss": 1.0, "steps": 2, "seconds": 3.0}
    instance.report_runless_asset_event(dg.AssetMaterialization(
        "checkpoint", partition=name, metadata={
            "artifact": f"checkpoints/{name}", "records": records, "loss": 1.0,
            "hyperparameters": settings or {}, "result": dg.MetadataValue.json(result)}))


def fail(instance, name, error):
    """Runs an asset `checkpoint` of its own whose partition raises `error`."""
    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
    def checkpoint():
        raise error

    assert not dg.materialize([checkpoint], instance=instance, partition_key=name,
                              raise_on_error=False).success


def check(instance, name, passed, description=""):
    """Reports the blocking check's result on the partition's last materialization."""
    time.sleep(0.01)
    instance.report_runless_asset_event(dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("checkpoint"), check_name=CHECK, passed=passed, metadata={},
        description=description, blocking=True, partition=name))


def board(instance, names, metric="mask_AP", objective="max"):
    return [(entry.partition, entry.score, entry.note)
            for entry in leaderboard(instance, names, "tfrecords/now", metric, objective)]


def test_best_first_and_the_last_materialization_counts(instance):
    train(instance, "a", 0.9)
    train(instance, "b", 0.5)
    train(instance, "c", 0.7)
    train(instance, "a", 0.2)
    assert board(instance, ["a", "b", "c"]) == [("c", 0.7, ""), ("b", 0.5, ""), ("a", 0.2, "")]
    assert [row[0] for row in board(instance, ["a", "b", "c"], objective="min")] == ["a", "b", "c"]


def test_equal_scores_in_the_order_of_names(instance):
    for name in ("b", "a"):
        train(instance, name, 0.0)
    assert [row[0] for row in board(instance, ["b", "a"])] == ["a", "b"]


@pytest.mark.parametrize("value", [None, -1.0])
def test_no_valid_score_takes_no_part(instance, value):
    train(instance, "a", value)
    train(instance, "b", 0.1)
    assert board(instance, ["a", "b", "never"]) == [
        ("b", 0.1, ""), ("a", None, f"no valid mask_AP ({value})"), ("never", None, "not trained")]


def test_other_records_take_no_part(instance):
    train(instance, "a", 0.9, records="tfrecords/old")
    assert board(instance, ["a"]) == [("a", None, "trained on other records")]


def test_another_metric_is_looked_up(instance):
    train(instance, "a", 0.9, metric="box_AP", mask_AP=0.3)
    train(instance, "b", 0.4)
    assert board(instance, ["a", "b"]) == [("b", 0.4, ""), ("a", 0.3, "")]
    assert board(instance, ["a", "b"], metric="box_AP") == [
        ("a", 0.9, ""), ("b", None, "no valid box_AP (None)")]


def test_a_failed_check_counts_for_its_own_materialization_only(instance):
    train(instance, "a", 0.9)
    check(instance, "a", False, "a: the final loss is nan")
    train(instance, "b", 0.4)
    check(instance, "b", True)
    assert board(instance, ["a", "b"]) == [
        ("b", 0.4, ""), ("a", None, "check failed: a: the final loss is nan")]
    assert last_materialization(instance, "checkpoint", "b").check_passed is True
    time.sleep(0.01)
    train(instance, "a", 0.8)
    assert board(instance, ["a", "b"])[0] == ("a", 0.8, "")
    assert last_materialization(instance, "checkpoint", "a").check_passed is None


def test_a_failed_training_takes_no_part_and_says_why(instance):
    fail(instance, "a", dg.Failure("a: the loss is nan at step 2;\n lower the learning rate"))
    fail(instance, "b", ValueError("num_scales"))
    assert board(instance, ["a", "b"]) == [
        ("a", None, "failed: a: the loss is nan at step 2; lower the learning rate"),
        ("b", None, "failed: ValueError: num_scales")]
    # Trained since: the failure is past. Failed again since: the older model does not stand in.
    time.sleep(0.01)
    train(instance, "a", 0.4)
    train(instance, "b", 0.9)
    assert board(instance, ["a", "b"]) == [("b", 0.9, ""), ("a", 0.4, "")]
    fail(instance, "b", ValueError("again"))
    assert board(instance, ["a", "b"]) == [
        ("a", 0.4, ""), ("b", None, "failed: ValueError: again")]


def test_a_run_that_failed_elsewhere_says_nothing_of_the_checkpoint(instance):
    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a"]))
    def other():
        raise ValueError

    dg.materialize([other], instance=instance, partition_key="a", raise_on_error=False)
    assert last_failure(instance, "checkpoint", "a") == ""
    assert board(instance, ["a"]) == [("a", None, "not trained")]


def test_a_run_that_crashed_is_named(instance):
    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a"]))
    def checkpoint():
        return 1

    # Its process never came, or was killed: nothing but the daemon's word says so.
    run = instance.create_run_for_job(
        dg.Definitions([checkpoint]).resolve_implicit_global_asset_job_def(),
        tags={"dagster/partition": "a"})
    instance.report_run_failed(run, message="the worker is gone")
    assert board(instance, ["a"]) == [
        ("a", None, f"failed: its run {run.run_id} failed: the worker is gone")]


def test_other_settings_take_no_part(instance):
    train(instance, "a", 0.9, settings={"trainer.train_steps": 2})
    train(instance, "b", 0.5)
    now = {"a": {"trainer.train_steps": 3}, "b": {}}
    found = leaderboard(instance, ["a", "b"], "tfrecords/now", "mask_AP", "max", now)
    assert [(e.partition, e.score, e.note) for e in found] == [
        ("b", 0.5, ""), ("a", None, "trained with other settings")]
    assert [row["rank"] for row in rows(found, "mask_AP")] == [1, None]


def test_settings_that_vary():
    sets = {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 3, "z": 0}}
    assert varied(sets) == {
        "y": {"a": 2, "b": 3, "c": 3}, "z": {"c": 0}}
    assert varied({"a": {}, "b": {}}) == {}


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 8, 300])
def test_the_picture_fits_into_the_event_log(count):
    settings = {f"set_{i}": {"trainer.rate": 10.0 ** -(i % 5), "task.kind": f"kind {i % 3}",
                             f"task.only_{i % 7}": [i]} for i in range(count)}
    entries = [Entry(name, None if i % 4 == 3 else 0.5 / (i + 1), "failed: why", None)
               for i, name in enumerate(settings)]
    png = leaderboard_picture(entries, varied(settings), "mask_AP")
    assert png.startswith(b"\x89PNG") and len(png) <= INLINE_BYTES
    assert int.from_bytes(png[16:20], "big") <= 450  # px: a page of the UI does not shrink it
    none = [Entry(name, None, "not trained", None) for name in settings]
    assert leaderboard_picture(none, varied(settings), "mask_AP", "min").startswith(b"\x89PNG")


def test_training_problems():
    good = {"metric": {"name": "mask_AP", "value": 0.0}, "loss": 1.5}
    assert training_problems("a", good) == []
    for loss in (None, float("nan"), float("inf")):
        line, = training_problems("a", {**good, "loss": loss})
        assert line.startswith(f"a: the final loss is {loss}, expected a finite number")
    for value in (None, -1.0, float("nan")):
        line, = training_problems("a", {**good, "metric": {"name": "mask_AP", "value": value}})
        assert line.startswith(f"a: mask_AP is {value}, expected a number from 0 up")


def detections(*rows):
    boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
    scores = np.array([row[4] for row in rows], np.float32)
    n = len(rows)
    return Detections(boxes, scores, np.ones(n, np.int64), np.zeros((n, 4, 4), np.uint8), (40, 60))


def test_detection_differences():
    one = detections((1, 2, 11, 22, 0.9), (5, 6, 9, 9, 0.5), (0, 0, 4, 4, 0.1))
    # Rounding, and equal detections in another order, are no difference.
    same = detections((5.5, 6, 9, 9, 0.5005), (1, 2, 11, 22.9, 0.9), (0, 0, 4, 4, 0.1))
    assert detection_differences(one, same) == []
    # At the very end of the list one may drop out for another.
    assert detection_differences(one, detections(
        (1, 2, 11, 22, 0.9), (5, 6, 9, 9, 0.5), (30, 30, 35, 35, 0.1005))) == []
    moved = detections((1, 2, 11, 24, 0.9), (5, 6, 9, 9, 0.5), (0, 0, 4, 4, 0.1))
    assert len(detection_differences(one, moved)) == 2
    weaker = detections((1, 2, 11, 22, 0.89), (5, 6, 9, 9, 0.5), (0, 0, 4, 4, 0.1))
    assert len(detection_differences(one, weaker)) == 2
    # A detection given twice is not two.
    twice = detections((1, 2, 11, 22, 0.9), (1, 2, 11, 22, 0.9), (5, 6, 9, 9, 0.5),
                       (0, 0, 4, 4, 0.1))
    line, = detection_differences(one, twice)
    assert line == "box [1.0, 2.0, 11.0, 22.0] with score 0.900 is only in the SavedModel's"
    assert detection_differences(detections(), detections()) == []
    assert len(detection_differences(one, detections())) == 2
