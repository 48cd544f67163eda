"""What cannot be trained is refused by name before it costs time."""

import dataclasses

import pytest

from crater_model.detector import load_experiment
from crater_model.errors import ConfigError, DataError
from crater_model.records.manifest import read_manifest
from crater_model.training.checks import refuse_unfit
from tests.tiny import TINY

EMA = "trainer.optimizer_config.ema.average_decay"


@pytest.mark.parametrize("settings, words", [
    ({"task.model.input_size": [100, 100, 3]},
     r"input_size: got 100 x 100 px, expected a multiple of 16 px .* such as 96"),
    ({"task.model.input_size": [200, 200, 3], "task.model.max_level": 6},
     r"multiple of 64 px .* such as 192"),
    ({"task.model.input_size": [8, 8, 3]}, "such as 16"),
    ({"task.model.input_size": [96, 64, 3]}, "got 96 x 64, expected a square"),
    ({"task.model.include_mask": False}, "include_mask: got False, expected True"),
    ({"task.model.backbone.resnet.model_id": 11}, "model_id: got 11, expected one of 10, 18, .*50"),
    ({EMA: 0.99}, "ema: .* 'adamw_experimental' is none; set .* to one of .*adamw, .*sgd")])
def test_a_setting_that_does_not_fit_is_named(tiny_records, settings, words):
    config = load_experiment("demo", {**TINY, **settings})
    with pytest.raises(ConfigError, match=words):
        refuse_unfit(config, read_manifest(tiny_records))


@pytest.mark.parametrize("kind", ["sgd", "adamw", "lars"])
def test_what_fits_is_let_through(tiny_records, kind):
    config = load_experiment("demo", {
        **TINY, EMA: 0.9, "trainer.optimizer_config.optimizer.type": kind})
    assert config.trainer.optimizer_config.ema.average_decay == 0.9
    assert config.trainer.optimizer_config.ema.dynamic_decay is True  # as by default
    refuse_unfit(config, read_manifest(tiny_records))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_empty_split_is_named(tiny_records, split):
    whole = read_manifest(tiny_records)
    empty = {**whole.splits, split: {**whole.splits[split], "images": 0}}
    with pytest.raises(DataError, match=f"{tiny_records}: split '{split}' holds no image"):
        refuse_unfit(load_experiment("demo", TINY), dataclasses.replace(whole, splits=empty))
