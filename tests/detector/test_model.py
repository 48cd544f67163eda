"""The Keras model: exact sampling, and outputs no longer than what was found."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from crater_model.detector import build_model, fit_to_records, load_experiment
from crater_model.detector.model import AlignedROIAligner, crop_grids
from tests.tiny import TINY


def test_features_are_read_where_they_are():
    """A feature map whose value is its cell's middle (px) gives the sample points' places."""
    features = {}
    for level in (2, 3):
        stride = 2**level
        y = (np.arange(64 // stride) + 0.5) * stride
        x = (np.arange(96 // stride) + 0.5) * stride
        features[str(level)] = tf.constant(
            np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1)[None], tf.float32)
    boxes = tf.constant([[[16, 24, 44, 80]]], tf.float32)
    crops = AlignedROIAligner(crop_size=7)(features, boxes)[0, 0].numpy()
    np.testing.assert_allclose(crops[:, 0, 0], 16 + (np.arange(7) + 0.5) * 4, atol=1e-3)
    np.testing.assert_allclose(crops[0, :, 1], 24 + (np.arange(7) + 0.5) * 8, atol=1e-3)


def test_mask_targets_are_read_where_they_are():
    """Left half of a box set: read on boxes of other places, the edge stays where it is."""
    grid = np.zeros((1, 1, 32, 32), np.float32)
    grid[..., :16] = 1.0
    boxes = tf.constant([[[0, 0, 20, 40]]], tf.float32)
    same = crop_grids(tf.constant(grid), boxes, boxes, 28)[0, 0].numpy()
    assert (same[:, :14] >= 0.5).all() and (same[:, 14:] <= 0.5).all()
    # A target 10 px further right and 20 px wide: the edge at x = 20 is its middle.
    moved = crop_grids(tf.constant(grid), boxes, tf.constant([[[0, 10, 20, 30]]], tf.float32), 10)
    middle = moved[0, 0].numpy()[5]
    np.testing.assert_allclose(middle, [1, 1, 1, 1, 1, 0, 0, 0, 0, 0], atol=0.31)
    outside = crop_grids(tf.constant(grid), boxes, tf.constant([[[30, 50, 40, 60]]], tf.float32), 4)
    assert not outside.numpy().any()


def tiny_model(**overrides):
    manifest = SimpleNamespace(splits={"train": {"max_instances": 9}}, label_map={1: "crater"},
                               scales=(1.0,), stretch_percentiles=(0.5, 99.5))
    experiment = fit_to_records(load_experiment("demo", {**TINY, **overrides}), manifest)
    return experiment, build_model(experiment.task)


@pytest.mark.slow
def test_outputs_are_as_long_as_the_fullest_image():
    experiment, model = tiny_model()
    images = tf.random.stateless_normal([3, 96, 96, 3], [1, 2])
    found = model(images, image_shape=tf.constant([[96.0, 96.0]] * 3), training=False)
    most = int(tf.reduce_max(found["num_detections"]))
    assert 0 < most <= experiment.task.model.detection_generator.max_num_detections
    assert found["detection_boxes"].shape == (3, most, 4)
    assert found["detection_masks"].shape == (3, most, 28, 28)
    # A threshold that nothing passes gives no detection, and no mask is computed.
    _, strict = tiny_model(**{"task.model.detection_generator.pre_nms_score_threshold": 0.9999})
    none = strict(images, image_shape=tf.constant([[96.0, 96.0]] * 3), training=False)
    assert none["detection_boxes"].shape == (3, 0, 4)
    assert none["detection_masks"].shape == (3, 0, 28, 28)


def test_mixed_precision_runs():
    import tf_keras

    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        _, model = tiny_model()
        found = model(tf.zeros([1, 96, 96, 3]), image_shape=tf.constant([[96.0, 96.0]]),
                      training=False)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert np.isfinite(found["detection_boxes"].numpy()).all()
