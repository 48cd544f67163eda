"""Experiments: presets, overrides, files, and the capacities that the records need."""

from types import SimpleNamespace

import pytest
from official.core import exp_factory

from crater_model.detector.experiment import chip_size, fit_to_records, load_experiment
from crater_model.detector.presets import BUILDERS
from crater_model.errors import ConfigError
from crater_model.settings import PRESETS

RATE = "trainer.optimizer_config.learning_rate.cosine.initial_learning_rate"


def manifest(most=7, classes=1):
    return SimpleNamespace(
        splits={"train": {"max_instances": most}, "test": {"max_instances": 2}},
        label_map={i: f"class{i}" for i in range(1, classes + 1)}, scales=(2.0,),
        stretch_percentiles=(0.5, 99.5))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_model_garden_experiments(name):
    experiment = fit_to_records(load_experiment(name), manifest())
    experiment.validate()
    assert experiment.task.model.num_classes == 2
    assert chip_size(experiment) == (1024 if name.endswith("_1024") else 256)
    assert tuple(BUILDERS) == PRESETS


def test_the_experiment_is_registered_with_model_garden():
    assert exp_factory.get_exp_config("maskrcnn_crater").task.model.input_size == [1024, 1024, 3]


def test_overrides_take_the_settings_type():
    experiment = load_experiment("demo", {RATE: "3e-4", "trainer.train_steps": "40"})
    assert experiment.trainer.optimizer_config.learning_rate.cosine.initial_learning_rate == 3e-4
    assert experiment.trainer.train_steps == 40
    # The schedule and the intervals follow, unless they are named.
    assert experiment.trainer.optimizer_config.learning_rate.cosine.decay_steps == 40
    assert experiment.trainer.validation_interval == 40
    assert experiment.trainer.optimizer_config.warmup.linear.warmup_steps == 10


@pytest.mark.parametrize("key, value, words", [
    ("trainer.train_step", 5, "did you mean 'trainer.train_steps'"),
    ("task.model.anchr.anchor_size", 3, "did you mean 'task.model.anchor'"),
    ("trainer.train_steps", "many", "'trainer.train_steps': got 'many', expected int"),
    ("trainer.train_steps", 0, "expected 1 or more"),
    ("task.train_data.parser.aug_rand_hflip", 3, "expected bool"),
    ("task.model.anchor", 3, "is a group of settings"),
    (RATE, ".nan", "expected a finite number"),
])
def test_a_wrong_override_is_named(key, value, words):
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")) as caught:
        load_experiment("demo", {key: value})
    assert "\n" not in str(caught.value)


def test_yaml_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("experiment: demo\ntrainer:\n  train_steps: 12\n")
    assert load_experiment(path).trainer.train_steps == 12
    path.write_text("experiment: demo\ntrainer:\n  train_stepz: 12\n")
    with pytest.raises(ConfigError, match="mine.yaml: unknown setting 'trainer.train_stepz'"):
        load_experiment(path)
    path.write_text("trainer: {}\n")
    with pytest.raises(ConfigError, match="the key 'experiment'"):
        load_experiment(path)
    with pytest.raises(ConfigError, match="no such experiment file"):
        load_experiment(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="'nonsense' is unknown; expected one of demo"):
        load_experiment("nonsense")


def test_capacities_follow_the_fullest_image():
    experiment = fit_to_records(load_experiment("demo"), manifest(most=600, classes=3))
    task = experiment.task
    assert task.train_data.parser.max_num_instances == 608
    assert task.model.detection_generator.max_num_detections == 900
    assert task.model.roi_generator.test_num_proposals >= 900
    assert task.model.num_classes == 4
    assert task.class_names == ["class1", "class2", "class3"] and task.scales == [2.0]


def test_a_capacity_below_the_need_is_refused():
    experiment = load_experiment("demo", {"task.train_data.parser.max_num_instances": 100})
    with pytest.raises(ConfigError, match="holds 600 instances"):
        fit_to_records(experiment, manifest(most=600))
    experiment = load_experiment("demo", {"task.model.num_classes": 2})
    with pytest.raises(ConfigError, match="the records name 3 classes"):
        fit_to_records(experiment, manifest(classes=3))
