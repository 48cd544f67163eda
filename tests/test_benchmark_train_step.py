"""The comparison of trainings: both sides alike, and the verdict on their scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from crater_model.records.write import write_records

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
# The network of tests/tiny.py, for both sides.
MODEL = {"min_level": 3, "max_level": 4, "backbone": {"resnet": {"depth_multiplier": 0.25}},
         "decoder": {"fpn": {"num_filters": 16}}, "rpn_head": {"num_filters": 16},
         "detection_head": {"fc_dims": 32}, "mask_head": {"num_convs": 1, "num_filters": 16}}


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
def test_both_sides_start_from_the_same_weights(train_sides, tiny_records):
    ours = train_sides.experiment(str(tiny_records), 96, steps=40, seed=5)
    ours.override({"task": {"model": MODEL}})
    starts = [weights(task, seed=5)
              for task in (ours.task, train_sides.garden_experiment(ours, "elsewhere").task)]
    assert len(starts[0]) > 50
    for one, other in zip(*starts, strict=True):
        np.testing.assert_array_equal(one, other)
    # Drawn, not constant.
    assert all(w.std() > 0 for w in starts[0] if w.ndim == 4)


def weights(task, seed: int) -> list[np.ndarray]:
    import tf_keras
    from official.core import task_factory

    import crater_model.detector.task  # noqa: F401  registers our task

    tf_keras.utils.set_random_seed(seed)
    return task_factory.get_task(task).build_model().get_weights()


def test_steps_a_second_are_compared_by_side(train_step, monkeypatch):
    sides = {"ours": (0.2, 0.3, 1500), "model_garden": (0.5, 0.6, 3000)}

    def in_child(file, task, side=None, **_):
        if task == "prepare":
            return {"scenes": 8}
        wall, cpu, memory = sides[side]
        rate = {"seconds_per_step": wall, "cpu_seconds_per_step": cpu}
        return {"full": {**rate, "peak_mb": memory}, "step": {**rate, "seconds_per_step": 0.2}}

    monkeypatch.setattr(train_step, "in_child", in_child)
    found = train_step.measure(64, 4, 8, 0.1)
    assert (found["times_model_garden"], found["cpu_times_model_garden"]) == (2.5, 2.0)
    assert (found["step_times_model_garden"], found["memory_share_of_model_garden"]) == (1.0, 0.5)


def test_means_and_deviations_of_the_seeds(train_step):
    def run(ap, seconds):
        return {"seconds": seconds, "seconds_without_tracing": 5.0, "cpu_seconds": 9.0,
                "steps_per_second": 4.0, "training_peak_mb": int(100 * seconds),
                "scores": dict.fromkeys(("mask_AP", "mask_AP50", "box_AP", "detections"), ap)}

    found = train_step.summary([run(0.4, 10.0), run(0.6, 14.0)])
    assert found["mask_AP"] == {"mean": 0.5, "deviation": 0.1414}
    assert (found["trainings"], found["seconds"], found["peak_mb"]) == (2, 12.0, 1400)
    assert train_step.summary([run(0.4, 10.0)])["mask_AP"]["deviation"] is None
    assert train_step.summary([]) == {}
