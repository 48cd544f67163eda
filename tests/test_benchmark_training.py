"""The comparison of trainings: both sides alike, and the verdict on their scores."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks import train_sides, training
from crater_model.records.write import write_records

# The network of tests/tiny.py, for both sides.
MODEL = {"min_level": 3, "max_level": 4, "backbone": {"resnet": {"depth_multiplier": 0.25}},
         "decoder": {"fpn": {"num_filters": 16}}, "rpn_head": {"num_filters": 16},
         "detection_head": {"fc_dims": 32}, "mask_head": {"num_convs": 1, "num_filters": 16}}


def test_difference_is_noise_up_to_two_standard_errors():
    # Variances 0.01 and 0.04 of three values each: the error is sqrt(0.05 / 3) = 0.1291.
    low, wide = [0.4, 0.5, 0.6], [0.0, 0.2, 0.4]
    found = training.difference(low, wide)
    assert found == {"difference": 0.3, "standard_error": 0.1291, "agree": False}
    assert training.difference(wide, low)["difference"] == -0.3
    assert not training.difference(wide, low)["agree"]
    assert training.difference(low, [0.1, 0.3, 0.5]) == {
        "difference": 0.2, "standard_error": 0.1291, "agree": True}
    assert training.difference([0.5], [0.2]) == {
        "difference": 0.3, "standard_error": None, "agree": None}
    assert training.difference([], [0.2]) == {}


def test_means_are_over_what_ended_well():
    def run(score: float, seconds: float) -> dict:
        return {"scores": {name: score for name in train_sides.SCORES}, "training_peak_mb": 900,
                **{name: seconds for name in (*training.TIMES, *training.RATES)}}

    found = training.compared({
        "ours": {"0": run(0.5, 10.0), "1": run(0.7, 20.0), "2": {"failed": "ended with 1"}},
        "model_garden": {"0": run(0.4, 30.0)}})
    assert found["sides"]["ours"]["trainings"] == 2 and found["sides"]["ours"]["seconds"] == 15.0
    assert found["sides"]["ours"]["mask_AP"] == {"mean": 0.6, "deviation": 0.1414}
    assert found["sides"]["ours"]["peak_mb"] == 900 and training.summary([]) == {}
    assert found["sides"]["model_garden"]["mask_AP"] == {"mean": 0.4, "deviation": None}
    assert found["differences"]["ours_less_model_garden"]["mask_AP"]["difference"] == 0.2
    assert found["seconds_times_model_garden"] == found["step_seconds_times_model_garden"] == 2.0


def test_both_sides_have_the_same_settings(tiny_dataset, tmp_path):
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
def test_both_sides_start_from_the_same_weights(tiny_records):
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
