"""The anchors' targets are Model Garden's, up to its random sampling."""

import numpy as np
import pytest
import tensorflow as tf
from official.vision.ops import anchor

from crater_model.detector import targets
from crater_model.detector.experiment import load_experiment

HEIGHT, WIDTH = 96, 160
# Image sizes (px) and anchors: scales, aspect ratios, size in strides. The edges of the first
# kind's anchors are whole numbers, so that equal overlaps are equal to the last bit.
CONFIGS = [
    ((96, 160), (1, [1.0], 3.0)),
    ((128, 64), (1, [1.0], 3.0)),
    ((100, 150), (3, [1.0], 3.0)),
    ((64, 208), (1, [0.5, 1.0, 2.0], 8.0)),
    ((67, 201), (2, [0.5, 1.0, 2.0], 4.0)),
]
EXACT = 2  # so many of the configurations


def make_anchors(size=(HEIGHT, WIDTH), scales=1, ratios=(1.0,), anchor_size=3.0):
    model = load_experiment("demo").task.model
    model.anchor.num_scales, model.anchor.aspect_ratios = scales, list(ratios)
    model.anchor.anchor_size = anchor_size
    return targets.anchors_of(model, size)


@pytest.fixture(scope="module")
def anchors():
    return make_anchors()


def flat(anchors):
    return tf.concat([tf.reshape(a, [-1, 4]) for a in anchors.values()], axis=0)


def boxes_of(center, half):
    return np.concatenate([center - half, center + half], axis=1).astype(np.float32)


def scene(seed, height, width):
    """Boxes px of every kind: none, one, hundreds; small, huge, narrow, equal, outside."""
    rng = np.random.default_rng(seed)
    count = (0, 1, 6, 30, 400)[seed % 5]
    center = rng.uniform([-0.1 * height, -0.1 * width], [1.1 * height, 1.1 * width], (count, 2))
    kind = seed // 5 % 5
    if kind == 0:
        half = rng.uniform(3, 30, (count, 1)).repeat(2, axis=1)
    elif kind == 1:
        half = rng.uniform(0.05, 3, (count, 2))
    elif kind == 2:  # on whole pixels, where overlaps are often equal
        center, half = center.round(), rng.integers(1, 25, (count, 2))
    else:
        half = np.exp(rng.uniform(np.log(0.3), np.log(height), (count, 2)))
    boxes = boxes_of(center, half)
    if kind == 4:  # cut by the image: no extent where it lies outside
        boxes = np.clip(boxes, 0, [height, width, height, width]).astype(np.float32)
    if count > 4:
        boxes[count // 2], boxes[-1] = boxes[0], boxes[1]
        boxes[2] = [-90, -90, -60, -70]
        boxes[3] = [-1.5 * height, -width, 2.5 * height, 2 * width]
    return boxes


def padded(boxes, most=24):
    full = np.full((most, 4), -1, np.float32)
    full[:len(boxes)] = boxes
    classes = np.full(most, -1, np.int32)
    classes[:len(boxes)] = 1
    return full, classes


def model_garden(anchors, boxes):
    """Its overlaps [a, n], and instance and label of each anchor (-1: ignored)."""
    labeler = anchor.RpnAnchorLabeler()
    iou = labeler.similarity_calc(flat(anchors), tf.constant(boxes))
    index, indicators = (v.numpy() for v in labeler.matcher(iou))
    # Its indicators: 1 positive, -1 negative, -2 ignored.
    return iou.numpy(), index, np.select([indicators == 1, indicators == -1], [1, 0], -1)


@pytest.mark.parametrize("config", range(len(CONFIGS)))
def test_same_assignment_as_model_garden(config):
    size, kind = CONFIGS[config]
    anchors = make_anchors(size, *kind)
    match = tf.function(lambda b, v: targets.match_anchors(anchors, b, v), autograph=False)
    for seed in range(50):
        boxes = scene(seed, *size)
        full, classes = padded(boxes, most=402)
        iou, expected_index, expected = model_garden(anchors, boxes)
        index, labels = (v.numpy()[0] for v in match(
            tf.constant(full[None]), tf.constant(classes[None] > 0)))
        assert (expected == 1).any() == (len(boxes) > 0)
        wrong = (labels != expected) | ((labels == 1) & (index != expected_index))
        if config >= EXACT and len(boxes):
            # Of an instance's best anchors another may be taken where they differ by rounding.
            wrong &= ~np.isclose(iou, iou.max(axis=0), rtol=1e-6, atol=0).any(axis=1)
        assert not wrong.any(), (seed, np.flatnonzero(wrong)[:5])


def test_a_batch_is_assigned_image_by_image(anchors):
    images = [padded(scene(seed, HEIGHT, WIDTH), most=40) for seed in (2, 3, 0, 8)]
    boxes, valid = np.stack([b for b, _ in images]), np.stack([c > 0 for _, c in images])
    together = targets.match_anchors(anchors, tf.constant(boxes), tf.constant(valid))
    for i in range(4):
        alone = targets.match_anchors(
            anchors, tf.constant(boxes[i:i + 1]), tf.constant(valid[i:i + 1]))
        for one, many in zip(alone, together):
            assert np.array_equal(one[0], many[i])


def test_an_instance_far_from_every_anchor_takes_the_first(anchors):
    full, classes = padded(np.array([[-90, -90, -60, -70]]))
    _, labels = targets.match_anchors(anchors, tf.constant(full[None]),
                                      tf.constant(classes[None] > 0))
    assert np.flatnonzero(labels[0] == 1).tolist() == [0]


@pytest.mark.parametrize("match,unmatch", [(0.5, 0.5), (0.8, 0.6), (0.3, 0.1)])
def test_other_thresholds(anchors, match, unmatch):
    boxes = scene(23, HEIGHT, WIDTH)
    labeler = anchor.RpnAnchorLabeler(match, unmatch)
    iou = labeler.similarity_calc(flat(anchors), tf.constant(boxes))
    _, indicators = labeler.matcher(iou)
    full, classes = padded(boxes, most=30)
    _, labels = targets.match_anchors(
        anchors, tf.constant(full[None]), tf.constant(classes[None] > 0), match, unmatch)
    assert np.array_equal(labels[0] == 1, indicators == 1)
    assert np.array_equal(labels[0] == 0, indicators == -1)


def test_the_compiled_assignment_is_the_same(anchors):
    images = [padded(scene(seed, HEIGHT, WIDTH), most=40) for seed in (2, 3, 0, 13)]
    boxes = tf.constant(np.stack([b for b, _ in images]))
    valid = tf.constant(np.stack([c > 0 for _, c in images]))
    plain = targets.match_anchors(anchors, boxes, valid)
    compiled = tf.function(lambda b, v: targets.match_anchors(anchors, b, v),
                           autograph=False, jit_compile=True)(boxes, valid)
    for one, other in zip(plain, compiled):
        assert np.array_equal(one, other)


def test_the_compiled_targets_keep_the_wanted_numbers(anchors):
    parser = load_experiment("demo").task.train_data.parser
    full, classes = padded(scene(3, HEIGHT, WIDTH), most=40)
    scores, deltas = tf.function(
        lambda b, c: targets.rpn_targets(anchors, b, c, parser), autograph=False, jit_compile=True)(
            tf.constant(full[None]), tf.constant(classes[None]))
    values = np.concatenate([s.numpy().ravel() for s in scores.values()])
    assert (values >= 0).sum() == parser.rpn_batch_size_per_im
    assert 0 < (values == 1).sum() <= parser.rpn_batch_size_per_im * parser.rpn_fg_fraction
    assert all(deltas[level].shape == anchors[level][None].shape for level in anchors)


def test_no_tensor_holds_all_pairs():
    """262,000 anchors and 400 instances in 4 images: 419 million pairs."""
    anchors = make_anchors((1024, 1024), scales=3)
    count = flat(anchors).shape[0]
    parser = load_experiment("demo").task.train_data.parser
    graph = tf.function(lambda b, c: targets.rpn_targets(anchors, b, c, parser)) \
        .get_concrete_function(tf.TensorSpec([4, 400, 4]), tf.TensorSpec([4, 400], tf.int32)).graph
    sizes = [output.shape.num_elements() for op in graph.get_operations() for output in op.outputs]
    assert None not in sizes and count == 261_888
    assert max(sizes) <= 4 * count * 4  # the offsets of every anchor


def test_same_offsets_as_model_garden(anchors):
    boxes = np.clip(scene(2, HEIGHT, WIDTH), 0, [HEIGHT, WIDTH] * 2).astype(np.float32)
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
    labeler = anchor.RpnAnchorLabeler()
    _, expected = labeler.label_anchors(anchors, tf.constant(boxes), tf.ones([len(boxes), 1]))
    full, classes = padded(boxes)
    parser = load_experiment("demo").task.train_data.parser
    _, deltas = targets.rpn_targets(anchors, tf.constant(full[None]), tf.constant(classes[None]),
                                    parser)
    assert max(np.abs(d).max() for d in expected.values()) > 0.1
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
    labels = tf.constant([[1] * 100 + [0] * 300 + [-1] * 50, [1] * 5 + [0] * 445,
                          [1] * 80 + [-1] * 360 + [0] * 10])
    sampled = targets.sample_labels(labels, 128, 0.5).numpy()
    assert [(row == 1).sum() for row in sampled] == [64, 5, 64]
    assert [(row == 0).sum() for row in sampled] == [64, 123, 10]
    # Only what was positive or negative can be sampled as such.
    assert (labels.numpy()[sampled == 1] == 1).all() and (labels.numpy()[sampled == 0] == 0).all()


def test_sampling_takes_all_of_few_anchors():
    labels = tf.constant([[1, 0, -1, 0]])
    assert targets.sample_labels(labels, 256, 0.5).numpy().tolist() == [[1, 0, -1, 0]]


def test_sampling_prefers_none():
    tf.random.set_seed(3)
    draws = 4000
    sampled = targets.sample_labels(tf.constant([[1, 0, 0, -1, 1] * 4] * draws), 10, 0.3).numpy()
    labels = np.array([1, 0, 0, -1, 1] * 4)
    kept = (sampled >= 0).mean(axis=0)
    # 3 of 8 positives and 7 of 8 negatives; five standard errors.
    for label, share in ((1, 3 / 8), (0, 7 / 8), (-1, 0)):
        error = 5 * np.sqrt(share * (1 - share) / draws)
        np.testing.assert_allclose(kept[labels == label], share, atol=error)
