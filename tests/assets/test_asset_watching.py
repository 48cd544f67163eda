"""What a training shows while it goes on."""

import dagster as dg
import pytest

from crater_assets.watching import LOG, PROGRESS, Watch, log_link

ROWS = [
    {"kind": "train", "step": 2, "total_loss": 3.5, "learning_rate": 1e-3,
     "steps_per_second": 4.0, "images_per_second": 8.0, "seconds_left": 65.0, "seconds": 1.0},
    {"kind": "train", "step": 4, "total_loss": 3.0, "seconds": 2.0},
    {"kind": "validation", "step": 4, "mask_AP": 0.25, "mask_AP50": 0.5, "recall": 0.1,
     "seconds": 3.0},
    {"kind": "validation", "step": 8, "mask_AP": None, "seconds": 4.0},
]


@pytest.fixture
def watch(instance, tmp_path):
    """watch(*rows, every_s): an asset that is watched over these rows; what its page shows."""
    def run(*rows, every_s=20.0):
        @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["small"]))
        def checkpoint(context):
            one = Watch(context, "checkpoint", "small", tmp_path, "mask_AP", every_s)
            one.start()
            for row in rows:
                if isinstance(row, str):
                    one.failed(row) if row else one.finished()
                    continue
                one(row)
                if row["kind"] == "validation":
                    (tmp_path / "rims.png").write_bytes(b"png")
                seen.append(len(observations(instance)))

        seen: list[int] = []
        result = dg.materialize([checkpoint], instance=instance, partition_key="small")
        return observations(instance), seen, result

    return run


def pages(instance):
    """What the partition's page of `training_progress` showed, one after the other."""
    found = instance.fetch_materializations(dg.AssetRecordsFilter(
        asset_key=dg.AssetKey(PROGRESS), asset_partitions=["small"]), limit=100).records
    return [{name: value.value for name, value in record.asset_materialization.metadata.items()}
            for record in reversed(found)]


def observations(instance):
    found = instance.fetch_observations(dg.AssetRecordsFilter(
        asset_key=dg.AssetKey("checkpoint"), asset_partitions=["small"]), limit=100).records
    return [{name: value.value for name, value in record.asset_observation.metadata.items()}
            for record in reversed(found)]


def test_the_start_names_every_place(watch, tmp_path):
    (start,), _, result = watch()
    assert start == {"stage": "started", "run": result.run_id, "model_dir": str(tmp_path),
                     "log": str(tmp_path / LOG), "tensorboard": f"tensorboard --logdir {tmp_path}"}


def test_rows_are_seen_at_once_and_not_too_often(watch):
    shown, seen, _ = watch(*ROWS)
    # The second row of training comes too soon after the first.
    assert [each["stage"] for each in shown] == ["started", "training", "validated", "validated"]
    assert seen == [2, 2, 3, 4]
    assert shown[1] == {"stage": "training", "steps": 2.0, "loss": 3.5, "learning_rate": 1e-3,
                        "steps_per_second": 4.0, "images_per_second": 8.0, "seconds_left": 65.0,
                        "seconds": 1.0}
    assert {name: shown[2][name] for name in ("steps", "score", "mask_AP", "mask_AP50")} == {
        "steps": 4.0, "score": 0.25, "mask_AP": 0.25, "mask_AP50": 0.5}
    assert shown[2]["curves"].startswith("![loss and metric over the steps](data:image/png")
    assert "rims" not in shown[2]
    assert shown[3]["rims"].startswith("![predicted and true rims](data:")
    assert "score" not in shown[3]
    assert len(watch(*ROWS[:2], every_s=0.0)[0]) == len(shown) + 3


def test_the_runs_log_has_a_readable_line(watch, instance):
    _, _, result = watch(*ROWS)
    lines = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert "small: step 2: loss 3.5, 4 steps/s, 1 min 05 s left" in lines
    assert "small: step 4: validation mask_AP 0.2500" in lines
    assert "small: step 8: validation mask_AP none" in lines


def test_the_page_has_all_that_is_known_with_the_result_first(watch, instance):
    _, _, result = watch(*ROWS)
    first, second, third, last = pages(instance)
    captured, = [entry.dagster_event.logs_captured_data for entry in instance.all_logs(
        result.run_id, of_type=dg.DagsterEventType.LOGS_CAPTURED)]
    assert "checkpoint" in captured.step_keys
    log = f"[log](/runs/{result.run_id}?logType=stderr&logFileKey={captured.file_key})"
    run = f"[Its run](/runs/{result.run_id}) says whether it still goes on."
    assert first["summary"] == (
        f"**the training has begun; its first step takes longest** ({log}). {run}")
    assert second["summary"].startswith("**step 2: loss 3.5, 4 steps/s, 1 min 05 s left** (")
    assert third["summary"].startswith("**step 4: validation mask_AP 0.2500** (")
    assert list(third) == [
        "summary", "stage", "score", "curves", "steps", "loss", "learning_rate",
        "steps_per_second", "images_per_second", "seconds_left", "seconds", "mask_AP", "mask_AP50",
        "tensorboard", "log", "run", "model_dir"]
    # What a validation says nothing of stays as it was.
    assert (third["score"], third["steps"], third["loss"]) == (0.25, 4.0, 3.5)
    assert (last["score"], last["steps"], last["seconds"]) == (0.25, 8.0, 4.0)
    assert last["rims"].startswith("![predicted and true rims](data:")


def test_what_failed_keeps_what_it_had_come_to(watch, instance):
    shown, _, result = watch(*ROWS[:3], "DataLossError: truncated record")
    last = pages(instance)[-1]
    assert last["stage"] == "failed" and last["run"] == result.run_id
    assert last["summary"].startswith("**failed: DataLossError: truncated record** (")
    assert "still goes on" not in last["summary"]
    assert (last["score"], last["steps"]) == (0.25, 4.0)
    assert [each["stage"] for each in shown] == ["started", "training", "validated"]


def test_what_is_finished_says_so(watch, instance):
    watch(*ROWS, "")
    last = pages(instance)[-1]
    assert last["stage"] == "finished" and last["score"] == 0.25
    assert last["summary"].startswith("**finished after 8 steps** (")


def test_a_step_of_no_known_log_leads_to_its_run(instance):
    assert log_link(instance, "gone", "checkpoint") == "[log](/runs/gone)"
