"""The anchors' targets are Model Garden's, up to its random sampling."""

import numpy as np
import pytest
import tensorflow as tf
from official.vision.ops import anchor

from crater_model.detector import targets
from crater_model.detector.experiment import load_experiment

HEIGHT, WIDTH = 96, 160


@pytest.fixture(scope="module")
def anchors():
    return targets.anchors_of(load_experiment("demo").task.model, (HEIGHT, WIDTH))


def random_boxes(rng, count):
    center = rng.uniform([0, 0], [HEIGHT, WIDTH], (count, 2))
    half = rng.uniform(3, 30, (count, 2))
    boxes = np.concatenate([center - half, center + half], axis=1)
    return np.clip(boxes, 0, [HEIGHT, WIDTH, HEIGHT, WIDTH]).astype(np.float32)


def padded(boxes, most=24):
    full = np.full((most, 4), -1, np.float32)
    full[:len(boxes)] = boxes
    classes = np.full(most, -1, np.int32)
    classes[:len(boxes)] = 1
    return full, classes


@pytest.mark.parametrize("seed", range(20))
def test_same_assignment_as_model_garden(anchors, seed):
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, int(rng.integers(1, 24)))
    flat = tf.concat([tf.reshape(a, [-1, 4]) for a in anchors.values()], axis=0)
    labeler = anchor.RpnAnchorLabeler()
    similarity = labeler.similarity_calc(flat, tf.constant(boxes))
    expected_index, expected = (v.numpy() for v in labeler.matcher(similarity))
    full, classes = padded(boxes)
    index, labels = targets.match_anchors(flat, tf.constant(full[None]),
                                          tf.constant(classes[None] > 0))
    # Model Garden's indicators: 1 positive, -1 negative, -2 ignored.
    assert np.array_equal(labels.numpy()[0], np.select(
        [expected == 1, expected == -1], [1, 0], -1))
    positive = expected == 1
    assert positive.any()
    assert np.array_equal(index.numpy()[0][positive], expected_index[positive])


def test_same_offsets_as_model_garden(anchors):
    boxes = random_boxes(np.random.default_rng(7), 9)
    labeler = anchor.RpnAnchorLabeler()
    _, expected = labeler.label_anchors(anchors, tf.constant(boxes), tf.ones([9, 1]))
    full, classes = padded(boxes)
    parser = load_experiment("demo").task.train_data.parser
    _, deltas = targets.rpn_targets(anchors, tf.constant(full[None]), tf.constant(classes[None]),
                                    parser)
    for level in anchors:
        np.testing.assert_allclose(deltas[level][0], expected[level], atol=1e-5)


def test_an_image_without_craters_has_negatives_only(anchors):
    full, classes = padded(np.zeros((0, 4)))
    parser = load_experiment("demo").task.train_data.parser
    scores, deltas = targets.rpn_targets(anchors, tf.constant(full[None]),
                                         tf.constant(classes[None]), parser)
    values = np.concatenate([s.numpy().ravel() for s in scores.values()])
    assert (values == 0).sum() == parser.rpn_batch_size_per_im and not (values == 1).any()
    assert all(np.abs(d.numpy()).max() < 1e-6 for d in deltas.values())


def test_sampling_keeps_the_wanted_numbers():
    labels = tf.constant([[1] * 100 + [0] * 300 + [-1] * 50, [1] * 5 + [0] * 445])
    sampled = targets.sample_labels(labels, 128, 0.5).numpy()
    assert [(row == 1).sum() for row in sampled] == [64, 5]
    assert [(row == 0).sum() for row in sampled] == [64, 123]
    # Only what was positive or negative can be sampled as such.
    assert (labels.numpy()[sampled == 1] == 1).all() and (labels.numpy()[sampled == 0] == 0).all()
