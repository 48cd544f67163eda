"""An experiment's settings are those of the classes, and no TensorFlow is needed a second time."""

import json

import pytest

from crater_assets import experiments
from crater_assets.experiments import chip_size, resolved
from crater_model.detector.experiment import load_experiment
from crater_model.errors import ConfigError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of this test's own."""
    monkeypatch.setenv("CRATER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "experiments"


def test_they_are_those_of_the_classes_each_time(cache, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("experiment: demo\ntrainer: {train_steps: 7}\n")
    for name, overrides in (("demo", {}), ("resnet50_1024", {"trainer.train_steps": 3}),
                            (str(mine), {"task.init_checkpoint": "pretrained/1"})):
        true = json.loads(json.dumps(load_experiment(name, overrides).as_dict(), default=str))
        assert resolved(name, overrides) == resolved(name, overrides) == true
    assert len(list(cache.iterdir())) == 3
    mine.write_text("experiment: demo\ntrainer: {train_steps: 8}\n")
    assert resolved(str(mine))["trainer"]["train_steps"] == 8
    next(cache.iterdir()).write_text("{")  # damaged: made anew
    assert resolved("demo")["trainer"]["train_steps"] > 8
    assert chip_size(resolved("resnet50_1024")) == 1024


def test_other_code_is_asked_again(cache, monkeypatch):
    resolved("demo")
    monkeypatch.setattr(experiments, "_code", lambda: "other")
    resolved("demo")
    assert len(list(cache.iterdir())) == 2


def test_what_does_not_fit_is_never_kept(cache):
    with pytest.raises(ConfigError, match="did you mean 'trainer.train_steps'"):
        resolved("demo", {"trainer.train_step": 3})
    with pytest.raises(ConfigError, match="got 64 x 96, expected a square"):
        chip_size(resolved("demo", {"task.model.input_size": [64, 96, 3]}))
    assert len(list(cache.iterdir())) == 1
