"""Training: what a run leaves, what can be watched, and what it refuses."""

import gc
import json
import math
import re
import time

import numpy as np
import pytest
import tensorflow as tf
import yaml

from crater_model.detector import Detector, initial
from crater_model.detector.detector import best_checkpoint
from crater_model.errors import ConfigError, CraterError
from crater_model.storage.locks import held
from crater_model.training import LOG, RIMS, TrainingError, read_history, train
from tests.tiny import TINY, UNCOMPILED


@pytest.fixture
def records(tiny_records):
    return tiny_records


@pytest.fixture
def run(tiny_model):
    return tiny_model, returned(tiny_model)


def returned(model_dir):
    """What the training in this folder returned."""
    return json.loads((model_dir.parent / "returned.json").read_text())


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
    before = time.process_time()
    assert train(records, folder, "demo", TINY) == result
    assert time.process_time() - before < 5


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


def test_wrong_settings_are_refused_before_training(records, tmp_path):
    for name, arguments, words in [
            ("a", {"eval_checkpoint_metric": "mask_ap"}, "there is no score 'mask_ap'"),
            ("b", {"metric_objective_type": "best"}, "expected max or min"),
            ("c", {"overrides": {**TINY, "task.model.min_level": 7}}, "inconsistency between key .task.model.min_level"),
            ("d", {"overrides": {**TINY, "task.init_checkpoint": str(tmp_path)}},
             "holds no checkpoint"),
            ("e", {"overrides": {**TINY, "runtime.distribution_strategy": "tpu"}},
             "'runtime.distribution_strategy': got 'tpu', expected one of one_device")]:
        with pytest.raises(ConfigError, match=words):
            train(records, tmp_path / name, "demo", **{"overrides": TINY, **arguments})
        assert not list((tmp_path / name).glob("ckpt*"))


@pytest.mark.slow
def test_stopping_early_watched_from_outside(records, tmp_path):
    """The lowest score is wanted, and the first is 0: no later one is better."""
    seen = []

    def watch(row):
        seen.append(row)
        if row["kind"] == "validation":
            png = (tmp_path / "model" / RIMS).read_bytes()
            assert png.startswith(b"\x89PNG") and len(png) < 75_000

    left = training_graphs()
    result = train(records, tmp_path / "model", "demo", {
        **TINY, "trainer.train_steps": 20, "trainer.early_stop_validations": 1},
        metric_objective_type="min", on_row=watch)
    assert result["stopped_early"] and result["steps"] == 4
    assert result["best_checkpoint"] == "best/ckpt-2"
    assert seen == read_history(tmp_path / "model")
    assert [row["step"] for row in seen] == [2, 2, 4, 4]
    last = [row for row in seen if row["kind"] == "train"][-1]
    assert last["images_per_second"] == pytest.approx(2 * last["steps_per_second"], rel=0.01)
    assert last["seconds_left"] is None  # tracing took longer than all that came after it
    tags = {folder: event_tags(tmp_path / "model" / folder) for folder in ("train", "validation")}
    assert {"total_loss", "rpn_box_loss", "frcnn_cls_loss", "mask_loss",
            "learning_rate"} <= tags["train"]
    assert {"mask_AP", "rims"} <= tags["validation"]
    assert training_graphs() <= left  # many trainings fit into one process


def training_graphs() -> int:
    """How many graphs of training loops this process holds."""
    gc.collect()
    return sum(isinstance(thing, tf.Graph) and getattr(thing, "name", "") == "loop_fn"
               for thing in gc.get_objects())


def event_tags(folder) -> set[str]:
    return {value.tag for file in folder.glob("events*")
            for event in tf.compat.v1.train.summary_iterator(str(file))
            for value in event.summary.value}


@pytest.mark.slow
def test_fine_tuning_starts_from_a_finished_model(tiny_model, tuned_model):
    result = returned(tuned_model)
    assert result["init"] == initial.fingerprint(str(tiny_model))
    assert str(tiny_model) not in (tuned_model / "params.yaml").read_text()
    assert math.isfinite(result["loss"])  # in bfloat16
    before, after = (tf.train.load_checkpoint(str(best_checkpoint(d)))
                     for d in (tiny_model, tuned_model))
    kernels = [name for name in before.get_variable_to_shape_map()
               if name.endswith("kernel/.ATTRIBUTES/VARIABLE_VALUE")]
    assert len(kernels) > 20
    for name in kernels:
        np.testing.assert_array_equal(before.get_tensor(name), after.get_tensor(name))


@pytest.mark.slow
@pytest.mark.parametrize("settings, error, words", [
    ({"trainer.optimizer_config.learning_rate.cosine.initial_learning_rate": 1e30,
      "trainer.optimizer_config.warmup.linear.warmup_steps": 1, "trainer.steps_per_loop": 1,
      "trainer.train_steps": 8}, TrainingError, "(the loss is|the weights are) .* at step .*lower "
                                                "the learning rate"),
    ({"task.model.anchor.aspect_ratios": []}, ConfigError, "cannot be built or run: .*train.log"),
    ({"task.model.detection_head.fc_dims": 40_000_000}, TrainingError,
     r"out of memory; lower task.train_data.global_batch_size \(now 2\), "
     r"task.model.input_size \(now 96 x 96 px\)"),
])
def test_what_cannot_be_trained_says_why_in_a_line(records, tmp_path, settings, error, words):
    with pytest.raises(error, match=words) as caught:
        train(records, tmp_path / "model", "demo", {**TINY, **settings})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model" / "result.json").exists()
    latest = tf.train.latest_checkpoint(str(tmp_path / "model"))
    if latest:  # only of a state that can go on
        reader = tf.train.load_checkpoint(latest)
        for name, shape in reader.get_variable_to_shape_map().items():
            if "kernel" in name:
                assert np.isfinite(reader.get_tensor(name)).all()


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_averaged_weights_that_were_scored_are_the_ones_that_are_kept(records, tmp_path, optimizer):
    folder = tmp_path / "model"
    result = train(records, folder, "demo", {
        **TINY, **UNCOMPILED, "trainer.train_steps": 2, "trainer.steps_per_loop": 2,
        "trainer.optimizer_config.optimizer.type": optimizer,
        "trainer.optimizer_config.ema.average_decay": 0.5,
        "trainer.optimizer_config.warmup.linear.warmup_steps": 1})
    assert result["best_checkpoint"] == "best/ckpt-2"
    assert Detector.load(folder).chip_size == 96
    kept, last = values(folder / "best" / "ckpt-2"), values(folder / "ckpt-2")
    slot = "/.OPTIMIZER_SLOT/optimizer/average"
    averages = {name.replace(slot, ""): value for name, value in last.items() if slot in name}
    assert len(averages) > 40
    for name, value in averages.items():
        np.testing.assert_allclose(kept[name], value, atol=1e-6)
    assert sum(not np.allclose(last[name], averages[name], atol=1e-5) for name in averages) > 20


def values(checkpoint):
    """{name: value}, the same name whatever else is in the checkpoint."""
    reader = tf.train.load_checkpoint(str(checkpoint))
    return {re.sub("_config_dict/|^model/|(?<=detection_head/)0/", "", name): reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")}


def test_two_at_once_in_one_folder_are_refused(tiny_records, tmp_path):
    with held(tmp_path / "model" / ".training.lock", "process 7 on elsewhere", "it"), \
            pytest.raises(CraterError, match="is being made by process 7 on elsewhere"):
        train(tiny_records, tmp_path / "model", "demo", TINY)


def test_a_folder_in_which_nothing_was_learnt_takes_other_parameters(tiny_records, tmp_path):
    """The first start is refused when its network is built, the second one as well, for itself."""
    wrong = {**TINY, "task.model.anchor.aspect_ratios": []}
    for settings in (wrong, {**wrong, "trainer.train_steps": 6}):
        with pytest.raises(ConfigError, match="cannot be built or run"):
            train(tiny_records, tmp_path / "model", "demo", settings)


def test_a_full_disk_is_named(tiny_records, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / LOG).symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=f"{tmp_path}/model: no space is left on its disk"):
        train(tiny_records, tmp_path / "model", "demo", TINY)
