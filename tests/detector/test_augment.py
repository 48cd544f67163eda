"""Flips and turns move image, boxes and masks as they move the rims; light by exact values."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from crater_model.detector import augment
from crater_model.detector.configs import Parser
from tests.detector.rims import HEIGHT, RIMS, WIDTH, assert_labels, image, sample

# By name: the image and the rims (x, y) moved with NumPy alone. The turns are to the left.
WAYS = {
    "as it is": (lambda i: i, lambda r: r),
    "quarter": (lambda i: np.rot90(i, 1), lambda r: np.stack([r[:, 1], WIDTH - r[:, 0]], 1)),
    "half": (lambda i: np.rot90(i, 2), lambda r: np.stack([WIDTH - r[:, 0], HEIGHT - r[:, 1]], 1)),
    "three quarters": (lambda i: np.rot90(i, 3),
                       lambda r: np.stack([HEIGHT - r[:, 1], r[:, 0]], 1)),
    "left-right": (lambda i: i[:, ::-1], lambda r: np.stack([WIDTH - r[:, 0], r[:, 1]], 1)),
    "top-bottom": (lambda i: i[::-1], lambda r: np.stack([r[:, 0], HEIGHT - r[:, 1]], 1)),
    "diagonal": (lambda i: i.transpose(1, 0, 2), lambda r: r[:, ::-1]),
    "other diagonal": (lambda i: i[::-1, ::-1].transpose(1, 0, 2),
                       lambda r: np.stack([HEIGHT - r[:, 1], WIDTH - r[:, 0]], 1)),
}
TURNS = {"as it is", "quarter", "half", "three quarters"}


def way_of(picture):
    """The way that the test image was laid down, to the pixel."""
    ways = [name for name, (move, _) in WAYS.items() if np.array_equal(move(image()), picture)]
    assert len(ways) == 1
    return ways[0]


def draws(parser, count):
    """`count` samples with the seeds of a training run, drawn in one pipeline."""
    data = sample()
    return list(tf.data.Dataset.range(count).map(lambda number: augment.augment(
        data, parser, tf.stack([tf.constant(0, tf.int64), number]))))


@pytest.mark.parametrize("move,way", [
    (augment.flip_horizontal, "left-right"), (augment.flip_vertical, "top-bottom"),
    (augment.transpose, "diagonal")])
def test_each_move(move, way):
    data = sample()
    picture, boxes, grids = move(data["image"], data["boxes"], data["grids"])
    assert way_of(picture.numpy()) == way
    height, width = picture.shape[:2]
    assert_labels(boxes.numpy() * [height, width, height, width], grids,
                  [WAYS[way][1](rim) for rim in RIMS], (height, width))


def test_every_way_moves_the_labels_with_the_image():
    parser = Parser(aug_rand_hflip=True, aug_rand_vflip=True, aug_rand_rot90=True)
    seen = {}
    for drawn in draws(parser, 60):
        seen.setdefault(way_of(drawn["image"].numpy()), drawn)
    assert set(seen) == set(WAYS)
    for way, drawn in seen.items():
        height, width = drawn["image"].shape[:2]
        assert drawn["image"].dtype == tf.uint8
        assert_labels(drawn["boxes"].numpy() * [height, width, height, width], drawn["grids"],
                      [WAYS[way][1](rim) for rim in RIMS], (height, width))
        assert drawn["classes"].numpy().tolist() == [1, 2]


@pytest.mark.parametrize("flags,ways", [
    ({"aug_rand_hflip": True, "aug_rand_vflip": True, "aug_rand_rot90": True}, set(WAYS)),
    ({"aug_rand_rot90": True}, TURNS),
    ({"aug_rand_rot90": True, "aug_rand_vflip": True}, set(WAYS)),
    ({"aug_rand_hflip": True, "aug_rand_vflip": True},
     {"as it is", "half", "left-right", "top-bottom"}),
    ({"aug_rand_hflip": True}, {"as it is", "left-right"}),
    ({}, {"as it is"}),
], ids=["all", "turns", "turns_and_flip", "flips", "flip", "none"])
def test_the_ways_are_equally_likely(flags, ways):
    count = 640
    seen = collections.Counter(
        way_of(drawn["image"].numpy()) for drawn in draws(Parser(**flags), count))
    assert set(seen) == ways
    share = 1 / len(ways)
    error = 4 * np.sqrt(count * share * (1 - share))  # four standard deviations
    assert all(abs(times - count * share) <= error for times in seen.values())


def test_the_seed_alone_decides():
    parser = Parser(aug_rand_hflip=True, aug_rand_vflip=True, aug_rand_rot90=True)
    ways = [[way_of(drawn["image"].numpy()) for drawn in draws(parser, 20)] for _ in range(2)]
    assert ways[0] == ways[1]


def test_light_changes_by_what_is_drawn():
    parser = Parser(aug_contrast=0.4, aug_brightness=0.3)
    values = tf.constant(np.linspace(-2, 3, 24).reshape(2, 4, 3), tf.float32)
    factors, shifts = [], []
    for number in range(300):
        seed = tf.constant([0, number], tf.int64)
        changed = augment.relight(values, parser, seed).numpy()
        factor, shift = np.polyfit(values.numpy().ravel(), changed.ravel(), 1)
        np.testing.assert_allclose(changed, values.numpy() * factor + shift, atol=1e-5)
        np.testing.assert_array_equal(changed, augment.relight(values, parser, seed))
        factors.append(factor)
        shifts.append(shift)
    for drawn, low, high in ((factors, 0.6, 1.4), (shifts, -0.3, 0.3)):
        assert low - 1e-5 <= min(drawn) < low + 0.05 and high - 0.05 < max(drawn) <= high + 1e-5
        assert np.mean(drawn) == pytest.approx((low + high) / 2, abs=0.04)
    assert abs(np.corrcoef(factors, shifts)[0, 1]) < 0.2


def test_contrast_alone_and_brightness_alone():
    values, seed = tf.constant([[[-1.0, 0.5, 2.0]]]), tf.constant([3, 4], tf.int64)
    contrast = augment.relight(values, Parser(aug_contrast=0.5), seed).numpy().ravel()
    assert contrast[0] != -1 and contrast / [-1, 0.5, 2] == pytest.approx(np.full(3, -contrast[0]))
    bright = augment.relight(values, Parser(aug_brightness=0.5), seed).numpy().ravel()
    assert bright[0] != -1 and bright - [-1, 0.5, 2] == pytest.approx(np.full(3, bright[0] + 1))
