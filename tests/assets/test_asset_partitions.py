"""Hyperparameter sets from YAML, and what the environment chooses."""

import functools

import pytest

from crater_assets.partitions import load_hyperparameters
from crater_assets.resources import HYPERPARAMETERS, Crater, hyperparameters_file
from crater_model import synthesis
from crater_model.detector.experiment import load_experiment
from crater_model.errors import ConfigError


def write(tmp_path, text):
    path = tmp_path / "sets.yaml"
    path.write_text(text)
    return path


def test_sets_in_the_files_order(tmp_path):
    path = write(tmp_path, "z: {}\na:\n  trainer.train_steps: 7\n  task: {losses: {l2: 0.5}}\n")
    assert load_hyperparameters(path) == {
        "z": {}, "a": {"trainer.train_steps": 7, "task.losses.l2": 0.5}}
    assert list(load_hyperparameters(path)) == ["z", "a"]


def test_own_sets_fit_the_demo_experiment():
    sets = load_hyperparameters(HYPERPARAMETERS)
    assert len(sets) >= 2
    for overrides in sets.values():
        load_experiment("demo", overrides)


@pytest.mark.parametrize("text, problem", [
    ("", "expected at least one"),
    ("- a\n", "expected at least one"),
    ("a: 3\n", "set 'a': got 3"),
    ("a/b: {}\n", "set 'a/b': expected a name"),
    ("1: {}\n", "set 1: expected a name"),
    ("a: {}\na: {}\n", "'a' is given twice"),
    ("a: [\n", "is not YAML"),
])
def test_bad_files_are_named(tmp_path, text, problem):
    with pytest.raises(ConfigError) as error:
        load_hyperparameters(write(tmp_path, text))
    assert problem in str(error.value) and "sets.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="nothing.yaml: cannot be read"):
        load_hyperparameters(tmp_path / "nothing.yaml")


def test_environment_chooses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("DATASET", "STORAGE", "EXPERIMENT", "SERVING_BASE", "HYPERPARAMETERS"):
        monkeypatch.delenv(f"CRATER_{name}", raising=False)
    plain = Crater.from_environment()
    assert (plain.dataset, plain.experiment) == ("", "demo")
    assert plain.storage == str(tmp_path / "storage")
    assert hyperparameters_file() == HYPERPARAMETERS
    monkeypatch.setenv("CRATER_DATASET", "images/moon")
    monkeypatch.setenv("CRATER_STORAGE", "gs://bucket/craters")
    monkeypatch.setenv("CRATER_EXPERIMENT", "mine.yaml")
    monkeypatch.setenv("CRATER_HYPERPARAMETERS", "sets.yaml")
    chosen = Crater.from_environment()
    assert chosen.dataset == str(tmp_path / "images" / "moon")
    assert chosen.storage == "gs://bucket/craters"
    assert chosen.experiment == str(tmp_path / "mine.yaml")
    assert hyperparameters_file() == tmp_path / "sets.yaml"


def test_embedded_data_is_rendered_once(tmp_path, monkeypatch):
    few = functools.partial(synthesis.synthesize, scenes=2, size=(64, 48))
    monkeypatch.setattr(synthesis, "synthesize", few)
    crater = Crater(storage=str(tmp_path / "s"))
    folder = crater.dataset_folder()
    made = (folder / "annotations.json").stat().st_mtime_ns
    assert len(list((folder / "images").iterdir())) == 2
    assert crater.dataset_folder() == folder
    assert (folder / "annotations.json").stat().st_mtime_ns == made
