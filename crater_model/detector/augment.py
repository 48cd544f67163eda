"""Augmentation: flips, turns by quarters, and changes of brightness and contrast.

Every change is drawn from a seed that is the sample's own, so that a run that is resumed, or
read by any number of threads, sees what an uninterrupted one sees. Keras' preprocessing layers
(RandomFlip, RandomRotation, RandomBrightness, RandomContrast) keep a generator with a state
instead, and move neither boxes nor masks. A mask stays a small grid relative to its box, for
which a flip or a quarter turn is exact.
"""

from __future__ import annotations

import tensorflow as tf

from crater_model.detector.configs import Parser

Sample = dict[str, tf.Tensor]


def augment(sample: Sample, parser: Parser, seed: tf.Tensor) -> Sample:
    """Flips and turns, drawn from `seed` (int64 [2]).

    With `aug_rand_rot90` the four turns are equally likely, and with a flip as well all eight
    ways to lay the image down.

    Args:
      sample: as `records.read.decode_example` gives it: image uint8 [h, w, 3], boxes
        [n, 4] normalised 0..1, grids [n, g, g].

    Returns:
      The sample with the same keys.
    """
    parts = tf.ensure_shape(sample["image"], [None, None, 3]), sample["boxes"], sample["grids"]
    draw = tf.random.stateless_uniform([3], seed)
    turns = tf.cast(draw[2] * 4.0, tf.int32) if parser.aug_rand_rot90 else tf.constant(0)
    # A quarter turn to the left swaps rows and columns, then top and bottom; one to the right
    # swaps rows and columns, then left and right; a half turn does both of the flips.
    vertical, horizontal = (turns == 1) | (turns == 2), turns >= 2
    if parser.aug_rand_hflip:
        horizontal ^= draw[0] < 0.5
    if parser.aug_rand_vflip:
        vertical ^= draw[1] < 0.5
    for wanted, move in ((turns % 2 == 1, transpose), (vertical, flip_vertical),
                         (horizontal, flip_horizontal)):
        parts = _maybe(wanted, move, parts)
    return {**sample, **dict(zip(("image", "boxes", "grids"), parts, strict=True))}


def _maybe(wanted: tf.Tensor, move, parts: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
    moved = tf.cond(wanted, lambda: move(*parts), lambda: parts)
    return tf.ensure_shape(moved[0], [None, None, 3]), *moved[1:]


# tf.reverse mirrors an image more than ten times as fast as a slice with a step of -1.
def flip_horizontal(image, boxes, grids):
    """Mirrors left and right; boxes [n, 4] are normalised 0..1."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=1)
    return (tf.reverse(image, [1]), tf.stack([ymin, 1.0 - xmax, ymax, 1.0 - xmin], axis=1),
            tf.reverse(grids, [2]))


def flip_vertical(image, boxes, grids):
    """Mirrors top and bottom."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=1)
    return (tf.reverse(image, [0]), tf.stack([1.0 - ymax, xmin, 1.0 - ymin, xmax], axis=1),
            tf.reverse(grids, [1]))


def transpose(image, boxes, grids):
    """Swaps rows and columns."""
    return (tf.transpose(image, [1, 0, 2]), tf.gather(boxes, [1, 0, 3, 2], axis=1),
            tf.transpose(grids, [0, 2, 1]))


def relight(image: tf.Tensor, parser: Parser, seed: tf.Tensor) -> tf.Tensor:
    """Changes contrast and brightness, drawn from `seed` (int64 [2]).

    Args:
      image: float32, standardised: before that the change would be taken off again.
    """
    draw = 2.0 * tf.random.stateless_uniform([2], seed) - 1.0
    if parser.aug_contrast:
        image *= 1.0 + parser.aug_contrast * draw[0]
    if parser.aug_brightness:
        image += parser.aug_brightness * draw[1]
    return image
