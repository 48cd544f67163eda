"""Training: what a run leaves, going on after a kill, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from crater_model.detector import Detector
from crater_model.errors import ConfigError
from crater_model.records.write import write_records
from crater_model.training import TrainingError, read_history, train
from tests.tiny import TINY


@pytest.fixture(scope="module")
def records(tmp_path_factory, make_dataset):
    folder = tmp_path_factory.mktemp("training")
    make_dataset(folder / "data", craters=(4, 6, 0, 5, 3, 7, 2, 6))
    write_records(folder / "data", folder / "records", splits=(0.5, 0.25, 0.25))
    return folder / "records"


@pytest.fixture(scope="module")
def run(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "model"
    return folder, train(records, folder, "demo", TINY)


@pytest.mark.slow
def test_what_a_run_leaves(run):
    folder, result = run
    assert result == json.loads((folder / "result.json").read_text())
    assert result["steps"] == 4 and result["loss"] > 0
    assert result["metric"]["name"] == "mask_AP" and 0 <= result["metric"]["value"] <= 1
    assert (folder / f"{result['best_checkpoint']}.index").exists()
    params = yaml.safe_load((folder / "params.yaml").read_text())
    assert params["task"]["train_data"]["parser"]["max_num_instances"] == 16
    assert params["data"] == result["data"]
    history = read_history(folder)
    assert [row["step"] for row in history if row["kind"] == "train"] == [2, 4]
    validation = [row for row in history if row["kind"] == "validation"]
    assert [row["step"] for row in validation] == [2, 4]
    assert validation[0]["images"] == 2  # both, with and without labels
    assert result["metrics"]["mask_AP"] == result["metric"]["value"] == max(
        row["mask_AP"] for row in validation)
    for events in ("train", "validation"):
        assert list((folder / events).glob("events.out.tfevents.*"))
    assert list(folder.glob("ckpt-4.index"))


@pytest.mark.slow
def test_a_finished_run_is_returned_as_it_is(run, records):
    folder, result = run
    before = time.monotonic()
    assert train(records, folder, "demo", TINY) == result
    assert time.monotonic() - before < 5


@pytest.mark.slow
def test_two_runs_do_not_mix(run, records):
    folder, _ = run
    with pytest.raises(ConfigError, match="holds a training with other parameters"):
        train(records, folder, "demo", {**TINY, "trainer.train_steps": 6})


@pytest.mark.slow
def test_the_trained_detector_loads(run, records):
    import numpy as np

    folder, _ = run
    detector = Detector.load(folder)
    assert detector.chip_size == 96 and detector.label_map == {1: "crater"}
    found = detector.detect([np.full((50, 80), 90, np.uint8), np.full((96, 64, 3), 9, np.uint8)])
    assert [d.size for d in found] == [(50, 80), (96, 64)]
    for detections in found:
        assert (detections.boxes >= 0).all()
        assert (detections.boxes[:, 2:] <= [detections.size]).all()


@pytest.mark.slow
def test_a_diverging_run_stops_and_says_so(records, tmp_path):
    wild = {**TINY, "trainer.train_steps": 8, "trainer.steps_per_loop": 1,
            "trainer.optimizer_config.learning_rate.cosine.initial_learning_rate": 1e30,
            "trainer.optimizer_config.warmup.linear.warmup_steps": 1}
    with pytest.raises(TrainingError, match="the loss is .*lower the learning rate"):
        train(records, tmp_path / "model", "demo", wild)
    assert not (tmp_path / "model" / "result.json").exists()


def test_wrong_metrics_are_refused_before_training(records, tmp_path):
    with pytest.raises(ConfigError, match="there is no score 'mask_ap'"):
        train(records, tmp_path / "a", "demo", TINY, eval_checkpoint_metric="mask_ap")
    with pytest.raises(ConfigError, match="expected max or min"):
        train(records, tmp_path / "b", "demo", TINY, metric_objective_type="best")


@pytest.mark.slow
def test_killed_and_resumed_to_the_same_end(records, tmp_path):
    """SIGKILL in the middle: the same command goes on, and ends where it would have."""
    settings = {**TINY, "trainer.train_steps": 12}
    command = [sys.executable, "-m", "crater_model.cli", "train", str(records), "--json",
               "--model-dir", str(tmp_path / "killed")]
    command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not any(row["step"] >= 4 for row in read_history(tmp_path / "killed")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "result.json").exists()

    done = subprocess.run(command, capture_output=True, text=True, check=True)
    resumed = json.loads(done.stdout)
    undisturbed = train(records, tmp_path / "whole", "demo", settings)
    assert resumed["steps"] == undisturbed["steps"] == 12
    def steps(result):
        return [(row["kind"], row["step"]) for row in result["history"]]
    assert steps(resumed) == steps(undisturbed)
    assert resumed["loss"] == pytest.approx(undisturbed["loss"], rel=0.25)
    assert (tmp_path / "killed" / f"{resumed['best_checkpoint']}.index").exists()
    assert os.listdir(tmp_path / "killed" / "best")
    assert "restored from checkpoint" in (tmp_path / "killed" / "train.log").read_text()
