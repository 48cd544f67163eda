"""Decoding of images within the graph that is served.

A PNG of a few kB can stand for gigabytes of pixels. Its header says so, and is read here first,
with TensorFlow's own operations: TF Serving has no such limit of its own.
"""

from __future__ import annotations

import tensorflow as tf

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_PNG_SIZE = 16  # where a PNG's width and height stand, four bytes each, highest first
_HEADER = 24


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """uint8 [h, w, 3] of a PNG or JPEG file."""
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.ensure_shape(image, [None, None, 3])


def image_size(encoded: tf.Tensor) -> tf.Tensor:
    """int64 [2], (height, width) px, from the header of a PNG or JPEG file.

    A file of another kind, or one too short to say, is an InvalidArgumentError.
    """
    is_png = tf.strings.substr(encoded, 0, len(_PNG)) == _PNG
    is_jpeg = tf.strings.substr(encoded, 0, len(_JPEG)) == _JPEG
    length = tf.strings.length(encoded)
    whole = (is_png & (length >= _HEADER)) | is_jpeg
    check = tf.debugging.Assert(whole, [
        "Unknown image file format, expected PNG or JPEG; the number of its bytes is", length])

    def of_png():
        size = tf.strings.substr(encoded, _PNG_SIZE, _HEADER - _PNG_SIZE)
        size = tf.io.decode_raw(size, tf.int32, little_endian=False)
        # A size of 2^31 px or more is none, but must not pass for a small one.
        return tf.cast(tf.bitcast(size, tf.uint32), tf.int64)[::-1]

    def of_jpeg():
        return tf.cast(tf.image.extract_jpeg_shape(encoded)[:2], tf.int64)

    with tf.control_dependencies([check]):
        return tf.cond(is_png, of_png, of_jpeg)


def check_sizes(encoded: tf.Tensor, max_megapixels: float) -> tuple[tf.Tensor, tf.Tensor]:
    """The files string [n], to be decoded after this check, and the pixels of all together.

    An image of more than `max_megapixels` is an InvalidArgumentError that tells its size.
    """
    sizes = tf.map_fn(image_size, encoded, fn_output_signature=tf.TensorSpec([2], tf.int64))
    # As floats: the product of two numbers of 32 bits may be over 2^63.
    pixels = tf.reduce_prod(tf.cast(sizes, tf.float64), axis=1)
    largest = tf.argmax(tf.concat([pixels, [0.0]], 0))  # 0: also of no images
    height, width = tf.unstack(tf.concat([sizes, [[0, 0]]], 0)[largest])
    message = tf.strings.format(
        "an image has {} x {} px, this model takes " + f"{max_megapixels:g} megapixels an image "
        "(max_megapixels); send smaller images", [width, height])
    check = tf.debugging.Assert(tf.reduce_all(pixels <= max_megapixels * 1e6), [message])
    with tf.control_dependencies([check]):
        return tf.identity(encoded), tf.reduce_sum(pixels)
