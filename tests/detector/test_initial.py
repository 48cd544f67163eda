"""Starting weights: found where they lie, loaded whole or in part, and named where they differ."""

import numpy as np
import pytest
import tensorflow as tf

from crater_model.detector import initial
from crater_model.detector.experiment import load_experiment
from crater_model.detector.model import build_model
from crater_model.errors import ConfigError


def model_of(classes=1, **settings):
    return build_model(load_experiment("demo", {
        "task.model.num_classes": classes + 1, "task.model.input_size": [64, 96, 3],
        "task.model.min_level": 3, "task.model.max_level": 4,
        "task.model.detection_generator.max_num_detections": 100,
        "task.model.backbone.resnet.depth_multiplier": 0.25, **settings}).task)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """(model, a model directory that holds it as its best, a classifier's checkpoints)."""
    folder, model = tmp_path_factory.mktemp("initial"), model_of()
    tf.train.Checkpoint(model=model).write(str(folder / "mine" / "best" / "ckpt-20"))
    tf.train.Checkpoint(backbone=model.backbone, model=model.backbone).save(
        str(folder / "imagenet" / "ckpt"))
    return model, folder / "mine", folder / "imagenet"


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights()))


@pytest.mark.slow
def test_whole_models_and_parts(source):
    model, mine, imagenet = source
    fresh = model_of()
    assert not same(model, fresh)
    assert initial.load_weights(fresh, str(mine), "all") == str(mine / "best" / "ckpt-20")
    assert same(model, fresh)

    other = model_of(classes=3)
    heads = [w.copy() for w in other.mask_head.get_weights()]
    initial.load_weights(other, str(mine / "best" / "ckpt-20"), "backbone,decoder")
    assert same(model.backbone, other.backbone) and same(model.decoder, other.decoder)
    assert all(np.array_equal(a, b) for a, b in zip(heads, other.mask_head.get_weights()))

    third = model_of()
    initial.load_weights(third, str(imagenet), "backbone")
    assert same(model.backbone, third.backbone) and not same(model.decoder, third.decoder)


@pytest.mark.slow
def test_what_does_not_match_is_named(source):
    _, mine, imagenet = source
    with pytest.raises(ConfigError, match=r"_classifier/kernel is \[256, 2\] there, \[256, 4\] "
                       r"here.*task.init_checkpoint_modules=backbone,decoder") as caught:
        initial.load_weights(model_of(classes=3), str(mine), "all")
    assert "\n" not in str(caught.value)
    wide = model_of(**{"task.model.backbone.resnet.depth_multiplier": 0.5})
    with pytest.raises(ConfigError, match=r"layer_with_weights-0/kernel is \[7, 7, 3, 16\] there, "
                       r"\[7, 7, 3, 32\] here, .* and \d+ more; choose the network"):
        initial.load_weights(wide, str(mine), "backbone")
    with pytest.raises(ConfigError, match=r"\d+ of \d+ weights are not in it, decoder"):
        initial.load_weights(model_of(), str(imagenet), "backbone,decoder")


def test_where_nothing_lies(tmp_path):
    with pytest.raises(ConfigError, match="holds no checkpoint; expected a trained model"):
        initial.find_checkpoint(str(tmp_path))


@pytest.mark.slow
def test_the_fingerprint_is_that_of_the_weights(source, tmp_path):
    model, mine, _ = source
    tf.train.Checkpoint(model=model).write(str(tmp_path / "elsewhere"))
    there = initial.fingerprint(str(mine))
    assert there.startswith("sha256:") and there == initial.fingerprint(str(tmp_path / "elsewhere"))
    model.decoder.trainable_variables[0].assign_add(
        tf.ones_like(model.decoder.trainable_variables[0]))
    tf.train.Checkpoint(model=model).write(str(tmp_path / "changed"))
    model.decoder.trainable_variables[0].assign_sub(
        tf.ones_like(model.decoder.trainable_variables[0]))
    assert there != initial.fingerprint(str(tmp_path / "changed"))
