"""Hyperparameter sets and grids from YAML, and what the environment chooses."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from crater_assets.assets.checkpoint import _tell_other_name
from crater_assets.grids import LONGEST_NAME, short_names, value_text
from crater_assets.partitions import hyperparameters_of, load_hyperparameters, wants_pretrained
from crater_assets.resources import HYPERPARAMETERS, Crater, hyperparameters_file
from crater_model import synthesis
from crater_model.detector.experiment import load_experiment
from crater_model.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[2]
RATE = "trainer.optimizer_config.learning_rate.cosine.initial_learning_rate"
GRID = f"""plain: {{}}
anchors:
  trainer.train_steps: 7
  grid:
    task.model.anchor.num_scales: [1, 2]
    {RATE}: [1e-3, 0.003]
"""


def write(tmp_path, text):
    path = tmp_path / "sets.yaml"
    path.write_text(text)
    return path


def test_sets_in_the_files_order(tmp_path):
    path = write(tmp_path, "z: {}\na:\n  trainer.train_steps: 7\n"
                           "  task: {losses: {l2_weight_decay: 0.5}}\n")
    assert load_hyperparameters(path) == {
        "z": {}, "a": {"trainer.train_steps": 7, "task.losses.l2_weight_decay": 0.5}}
    assert list(load_hyperparameters(path)) == ["z", "a"]


def test_a_set_that_is_gone_is_named():
    with pytest.raises(DataError, match=r"checkpoint\[baselin\]: there is no such .*nearest is "
                                        "'baseline'. Put it back"):
        hyperparameters_of("baselin")
    assert hyperparameters_of("baseline") == {}


def test_a_renamed_set_is_told_its_old_name(instance, crater):
    said = []
    context = SimpleNamespace(instance=instance, partition_key="new",
                              log=SimpleNamespace(warning=said.append))
    for name, stamp in (("old", "1234abcd"), ("other", "00000000")):
        instance.report_runless_asset_event(dg.AssetMaterialization(
            "checkpoint", partition=name,
            metadata={"artifact": f"checkpoints/r/{name}-{stamp}"}))
    _tell_other_name(context, crater.open_storage(), "checkpoints/other/new-1234abcd")
    assert said == []
    _tell_other_name(context, crater.open_storage(), "checkpoints/r/new-1234abcd")
    line, = said
    assert line.startswith("the same settings were trained as 'old' (checkpoints/r/old-1234abcd);")


@pytest.mark.parametrize("entry, words", [
    ("{trainer.train_steps: -5}", "set 'a': 'trainer.train_steps': got -5, expected 1 or more"),
    ("{grid: {trainer.train_steps: [1, 0]}}", "set 'a': 'trainer.train_steps': got 0"),
    ("{task.init_checkpoint: nowhere/model}", "set 'a': 'task.init_checkpoint': nowhere/model: "
                                              "there is no such path")])
def test_what_can_never_train_is_refused_at_load(tmp_path, entry, words):
    path = tmp_path / "sets.yaml"
    path.write_text(f"a: {entry}\n")
    with pytest.raises(ConfigError) as error:
        load_hyperparameters(path)
    assert words in str(error.value)


def test_own_sets_fit_the_demo_experiment():
    sets = load_hyperparameters(HYPERPARAMETERS)
    assert len(sets) >= 2
    for overrides in sets.values():
        load_experiment("demo", overrides)


def test_a_grid_is_every_combination_beside_the_common_settings(tmp_path):
    sets = load_hyperparameters(write(tmp_path, GRID))
    assert list(sets) == ["plain"] + [
        f"anchors-num_scales={scales}-initial_learning_rate={rate}"
        for scales in (1, 2) for rate in ("0.001", "0.003")]
    assert sets["anchors-num_scales=2-initial_learning_rate=0.001"] == {
        "trainer.train_steps": 7, "task.model.anchor.num_scales": 2, RATE: 0.001}
    for name in sets:  # a folder's name, a storage key and a partition
        assert re.fullmatch(r"[A-Za-z0-9_.=+-]+", name)
    assert dg.StaticPartitionsDefinition(list(sets)).get_partition_keys() == list(sets)


def test_names_of_settings_are_as_long_as_they_must_be():
    assert short_names(["task.a.rate", "trainer.b.rate", "task.a.size", "x.a.size"]) == {
        "task.a.rate": "a.rate", "trainer.b.rate": "b.rate", "task.a.size": "task.a.size",
        "x.a.size": "x.a.size"}


@pytest.mark.parametrize("value, text", [
    (True, "true"), (None, "none"), (1e-05, "1e-05"), ([96, 96, 3], "96x96x3"), ("adamw", "adamw"),
    ("/some/where, else", "_some_where_else"), ("a...b", "a_b"), ("", "empty"), ([], "empty")])
def test_values_in_names(value, text):
    assert value_text(value) == text


def test_who_starts_from_the_pretrained_model(tmp_path):
    start = {"task.init_checkpoint": "pretrained"}
    mine = tmp_path / "mine.yaml"
    mine.write_text("experiment: demo\ntask: {init_checkpoint: pretrained}\n")
    assert wants_pretrained("demo", start) and not wants_pretrained("demo", {})
    assert wants_pretrained(str(mine), {})
    assert not wants_pretrained(str(mine), {"task.init_checkpoint": None})


@pytest.mark.parametrize("sets, experiment, words", [
    ("a: {trainer.train_stepz: 3}", "demo", ["sets.yaml", "set 'a'", "trainer.train_steps"]),
    (f"a: {{grid: {{{RATE}: [fast]}}}}", "demo", ["sets.yaml", "set 'a'", RATE, "'fast'"]),
    ("a: {}", "demmo", ["'demmo'", "demo"]),
    ("a: {}", "trainer: {train_stepz: 3}", ["mine.yaml", "trainer.train_steps"]),
])
def test_a_wrong_setting_fails_when_the_definitions_load(tmp_path, sets, experiment, words):
    write(tmp_path, sets)
    if experiment.startswith("trainer"):
        (tmp_path / "mine.yaml").write_text(f"experiment: demo\n{experiment}\n")
        experiment = "mine.yaml"
    code = ("import sys\ntry:\n    import crater_assets.definitions\nfinally:\n"
            "    print('tensorflow' in sys.modules)")
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CRATER_HYPERPARAMETERS": "sets.yaml",
             "CRATER_EXPERIMENT": experiment})
    last = out.stderr.strip().splitlines()[-1]
    assert out.returncode and out.stdout.strip() == "False"
    assert "ConfigError" in last and all(word in last for word in words), last


@pytest.mark.parametrize("text, problem", [
    ("a...b: {}\n", "set 'a...b': expected a name"),
    ("a: {task.model.nothing: 1}\n", "set 'a': unknown setting 'task.model.nothing'"),
    ("a: {trainer.train_steps: many}\n", "set 'a': 'trainer.train_steps': got 'many'"),
    ("a: {grid: 3}\n", "set 'a': grid: got 3, expected {setting: [value, value, ...]}"),
    ("a: {grid: {}}\n", "set 'a': grid: got {}"),
    ("a: {grid: {trainer.train_steps: 3}}\n",
     "set 'a': grid: 'trainer.train_steps': got 3, expected a list"),
    ("a: {grid: {trainer.train_steps: []}}\n", "got [], expected a list"),
    ("a: {grid: {trainer.train_steps: [1, x]}}\n", "'trainer.train_steps': got 'x'"),
    ("a: {grid: {trainer.steps: [1]}}\n", "unknown setting 'trainer.steps'"),
    ("a: {grid: {trainer.train_steps: [1, 2]}, trainer: {train_steps: 3}}\n",
     "'trainer.train_steps' stands in the grid and beside it"),
    (f"a: {{grid: {{{RATE}: [1e-3, 0.001]}}}}\n",
     "gives the name 'a-initial_learning_rate=0.001' to two combinations"),
    (f"a: {{grid: {{trainer.train_steps: {list(range(1, 1002))}}}}}\n", "makes 1001 sets"),
    (f"{'a' * LONGEST_NAME}: {{grid: {{trainer.train_steps: [1]}}}}\n", "choose a shorter name"),
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
