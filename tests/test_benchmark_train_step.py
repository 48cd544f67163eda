"""The comparison of trainings: both sides alike, both run, and the verdict on their scores."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from crater_model.records.write import write_records

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SMALL = ("--quick", "--size", "64", "--craters", "4", "--scenes", "8")


@pytest.fixture
def train_step(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import train_step

    return train_step


@pytest.fixture
def train_sides(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import train_sides

    return train_sides


def run(*options: str) -> dict:
    done = subprocess.run([sys.executable, BENCHMARKS / "train_step.py", *SMALL, *options],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # nothing else on stdout


def test_difference_is_noise_up_to_two_standard_errors(train_step):
    # Variances 0.01 and 0.04 of three values each: the error is sqrt(0.05 / 3) = 0.1291.
    low, wide = [0.4, 0.5, 0.6], [0.0, 0.2, 0.4]
    found = train_step.difference(low, wide)
    assert found == {"difference": 0.3, "standard_error": 0.1291, "agree": False}
    assert train_step.difference(wide, low)["difference"] == -0.3
    assert not train_step.difference(wide, low)["agree"]
    assert train_step.difference(low, [0.1, 0.3, 0.5]) == {
        "difference": 0.2, "standard_error": 0.1291, "agree": True}
    assert train_step.difference([0.5], [0.2]) == {
        "difference": 0.3, "standard_error": None, "agree": None}
    assert train_step.difference([], [0.2]) == {}


def test_both_sides_have_the_same_settings(train_sides, tiny_dataset, tmp_path):
    write_records(tiny_dataset, tmp_path / "records", splits=(1, 0, 0))
    ours = train_sides.experiment(str(tmp_path / "records"), 128, steps=40, seed=5)
    garden = train_sides.garden_experiment(ours, "elsewhere")
    assert type(garden.task) is not type(ours.task)
    assert garden.task.model.as_dict() == ours.task.model.as_dict()
    assert garden.task.model.num_classes == 2 and garden.task.model.input_size == [128, 128, 3]
    assert garden.task.losses.as_dict() == ours.task.losses.as_dict()
    assert garden.trainer.as_dict() == ours.trainer.as_dict()
    assert garden.trainer.optimizer_config.learning_rate.cosine.decay_steps == 40
    theirs, data = garden.task.train_data, ours.task.train_data
    for field in dataclasses.fields(theirs.parser):
        assert getattr(theirs.parser, field.name) == getattr(data.parser, field.name), field.name
    assert theirs.parser.rpn_batch_size_per_im == 128 and theirs.parser.max_num_instances == 16
    assert theirs.parser.aug_rand_hflip and theirs.parser.aug_rand_vflip
    assert not (data.parser.aug_rand_rot90 or data.parser.aug_brightness
                or data.parser.aug_contrast)
    assert (theirs.seed, theirs.global_batch_size, theirs.dtype, theirs.shuffle_buffer_size) == (
        5, 4, "float32", 6)


@pytest.mark.slow
def test_speed():
    found = run("--seconds", "0.1")
    for side in ("ours", "model_garden"):
        assert "failed" not in found[side], found[side]
        for kind in ("full", "step"):
            assert found[side][kind]["steps"] == 10
            assert found[side][kind]["seconds_per_step"] > 0
    ours, garden = found["ours"]["full"], found["model_garden"]["full"]
    for name, unit in (("times_model_garden", "seconds_per_step"),
                       ("cpu_times_model_garden", "cpu_seconds_per_step")):
        assert found[name] == pytest.approx(garden[unit] / ours[unit], abs=1e-3)
    assert found["step_times_model_garden"] > 0 and found["memory_share_of_model_garden"] > 0


@pytest.mark.slow
def test_parity_keeps_what_is_finished(tmp_path):
    options = ("--parity", "--steps", "12", "--held-out", "3", "--out", str(tmp_path))
    found = run(*options)
    assert found["same_start"] and found["data"]["held_out"]["scenes"] == 3
    for side in ("ours", "model_garden"):
        result = found["runs"][side]["0"]
        assert "failed" not in result, result
        assert 0 <= result["scores"]["mask_AP"] <= 1
        assert result["last_losses"]["total_loss"] < result["first_losses"]["total_loss"]
        assert found["sides"][side]["trainings"] == 1
    assert found["seconds_times_model_garden"] > 0
    # A mark in a kept result shows that it was read, not made again.
    kept = tmp_path / "ours-0.json"
    content = json.loads(kept.read_text())
    content["result"]["scores"]["mask_AP"] = 0.75
    kept.write_text(json.dumps(content))
    again = run(*options)
    assert again["sides"]["ours"]["mask_AP"]["mean"] == 0.75
    assert again["runs"]["model_garden"] == found["runs"]["model_garden"]
    other = subprocess.run(
        [sys.executable, BENCHMARKS / "train_step.py", *SMALL, *options, "--steps", "13"],
        capture_output=True, text=True)
    assert other.returncode == 1 and "was made with other arguments" in other.stderr
