"""Settings by name: the list is that of the configuration classes, and what is wrong is named."""

import subprocess
import sys

import pytest

from crater_model.errors import ConfigError
from crater_model.settings import (
    PRESETS,
    check_experiment,
    check_init_checkpoint,
    check_settings,
    flatten,
    schema,
)

RATE = "trainer.optimizer_config.learning_rate.cosine.initial_learning_rate"


def test_the_list_is_that_of_the_configuration_classes():
    from crater_model.detector.experiment import load_experiment
    from crater_model.detector.schema import all_settings

    for name in PRESETS:
        assert all_settings(load_experiment(name)) == schema(), (
            "run python -m crater_model.detector.schema")


def test_checking_needs_no_tensorflow():
    code = ("import sys; from crater_model.settings import check_settings as c; "
            "c({'trainer.train_steps': 3}); print('tensorflow' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("key, value, typed", [
    ("trainer.train_steps", "40", 40),
    (RATE, "1e-3", 1e-3),
    (RATE, 1, 1.0),
    ("task.model.input_size", "[64, 64, 3]", [64, 64, 3]),
    ("task.model.anchor.aspect_ratios", (0.5, 1.0), [0.5, 1.0]),
    ("task.train_data.parser.aug_rand_hflip", "true", True),
    ("task.backbone", "spinenet49", "spinenet49"),
    ("task.model.backbone.spinenet.model_id", "49", "49"),
    ("task.train_data.seed", None, None),
    ("task.train_data.seed", "null", None),
    ("runtime.loss_scale", "dynamic", "dynamic"),
])
def test_values_take_the_settings_type(key, value, typed):
    found = check_settings({key: value})[key]
    assert found == typed and type(found) is type(typed)


def test_what_the_presets_have_is_in_range():
    from crater_model.detector.experiment import load_experiment

    for name in PRESETS:
        found = {key: value for key, value in flatten(load_experiment(name).as_dict()).items()
                 if key in schema() and value is not None}
        assert len(found) > 100 and set(check_settings(found)) == set(found)


def test_weights_to_start_from_must_be_there(tmp_path):
    (tmp_path / "ckpt-3.index").touch()
    for good in ("", None, "pretrained", "gs://bucket/model", str(tmp_path), f"{tmp_path}/ckpt-3"):
        check_init_checkpoint({"task.init_checkpoint": good}, names=("pretrained",))
    check_init_checkpoint({})
    with pytest.raises(ConfigError, match="'task.init_checkpoint': .*ckpt-4: there is no such pa"):
        check_init_checkpoint({"task.init_checkpoint": f"{tmp_path}/ckpt-4"})
    with pytest.raises(ConfigError, match="or a checkpoint, or pretrained$"):
        check_init_checkpoint({"task.init_checkpoint": "pretraind"}, names=("pretrained",))


@pytest.mark.parametrize("key, value, words", [
    ("trainer.train_step", 5, "'trainer' has no setting 'train_step'; did you mean "
                              "'trainer.train_steps'?"),
    ("trainr.train_steps", 5, "there is no 'trainr'; did you mean 'trainer'?"),
    ("task.model.anchor.anchor_size.x", 5, "'task.model.anchor.anchor_size' has no setting 'x'"),
    ("task.model.anchor", 3, "is a group of settings; name one of anchor_size, "),
    ("trainer.train_steps", 2.5, "got 2.5, expected int"),
    ("trainer.train_steps", True, "got True, expected int"),
    ("trainer.train_steps", None, "got None, expected int"),
    ("task.model.input_size", 256, "got 256, expected list"),
    ("task.init_checkpoint", 3, "got 3, expected str"),
    ("trainer.train_steps", -5, "'trainer.train_steps': got -5, expected 1 or more"),
    ("trainer.checkpoint_interval", 0, "got 0, expected 1 or more"),
    ("task.train_data.global_batch_size", "0", "got 0, expected 1 or more"),
    ("task.model.anchor.anchor_size", 0, "got 0.0, expected more than 0"),
    (RATE, -1e-3, "expected 0 or more"),
    ("task.model.detection_generator.nms_iou_threshold", 1.5, "got 1.5, expected 0 to 1"),
    (RATE, "fast", "got 'fast', expected float"),
    (RATE, float("inf"), "expected a finite number"),
    ("task.backbone", "resnet51", "got 'resnet51', expected one of , resnet10"),
    ("trainer.optimizer_config.optimizer.type", "sdg", "expected one of adafactor"),
])
def test_what_is_wrong_is_named(key, value, words):
    with pytest.raises(ConfigError) as caught:
        check_settings({"trainer.train_steps": 4, key: value})
    assert key in str(caught.value) and words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_experiments_by_name_and_file(tmp_path):
    for name in (*PRESETS, "maskrcnn_crater", "maskrcnn_crater_mine"):
        check_experiment(name)
    with pytest.raises(ConfigError, match="did you mean 'chips_256'"):
        check_experiment("chips_265")
    path = tmp_path / "mine.yaml"
    path.write_text("experiment: demo\ntrainer: {train_steps: 3}\n")
    check_experiment(path)
    for text, words in [("experiment: demon\n", "mine.yaml: experiment 'demon' is unknown"),
                        ("experiment: demo\ntrainer: {train_stepz: 3}\n",
                         "mine.yaml: unknown setting 'trainer.train_stepz'"),
                        ("trainer: {}\n", "the key 'experiment'"), ("a: [", "is not YAML"),
                        ("experiment: other.yaml\n", "'other.yaml' is unknown")]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=words):
            check_experiment(path)


def test_flatten():
    assert flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {
        "a.b": 1, "a.c.d": [2], "e": None}
