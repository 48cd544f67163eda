"""Sizes read from headers, within a graph, before anything is decoded."""

import struct

import cv2
import numpy as np
import pytest
import tensorflow as tf

from crater_model.detector.decoding import check_sizes, decode, image_size
from crater_model.imagery.pixels import encode_png

GREY = np.random.default_rng(0).integers(0, 255, (50, 80), np.uint8)


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
def sizes(files):
    return tf.map_fn(image_size, files, fn_output_signature=tf.TensorSpec([2], tf.int64))


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
def shapes(files):
    files, pixels = check_sizes(files, 0.5)
    return tf.map_fn(lambda file: tf.shape(decode(file)), files,
                     fn_output_signature=tf.TensorSpec([3], tf.int32)), pixels


def jpeg(image, *options):
    return cv2.imencode(".jpg", image, options)[1].tobytes()


def png_header(width: int, height: int) -> bytes:
    return (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR"
            + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0) + b"\0" * 40)


def jpeg_header(width: int, height: int) -> bytes:
    """A JPEG whose frame header (after the marker FFC0) is made to say another size."""
    data = bytearray(jpeg(GREY))
    place = data.index(b"\xff\xc0") + 5
    data[place:place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def test_the_header_says_what_decoding_gives():
    colour = np.dstack([GREY[:30], GREY[:30], GREY[:30]])
    deep = cv2.imencode(".png", GREY.astype(np.uint16) * 256)[1].tobytes()
    files = [encode_png(GREY), encode_png(colour), deep, jpeg(colour), jpeg(GREY),
             jpeg(GREY, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)]
    found, pixels = shapes(tf.constant(files))
    assert sizes(tf.constant(files)).numpy().tolist() == found[:, :2].numpy().tolist() == [
        [50, 80], [30, 80], [50, 80], [30, 80], [50, 80], [50, 80]]
    assert pixels == 4 * 50 * 80 + 2 * 30 * 80
    assert [array.shape for array in shapes(tf.constant([], tf.string))] == [(0, 3), ()]


@pytest.mark.parametrize("file, width, height", [
    (png_header(30_000, 20_000), 30_000, 20_000), (png_header(1001, 500), 1001, 500),
    (png_header(2**32 - 1, 2**32 - 1), 2**32 - 1, 2**32 - 1), (png_header(2**31, 2), 2**31, 2),
    (jpeg_header(65_000, 64_000), 65_000, 64_000)],
    ids=lambda value: None if isinstance(value, int) else value[1:4].hex())
def test_an_image_that_is_too_large_is_refused_with_its_size(file, width, height):
    good = encode_png(GREY)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        shapes(tf.constant([good, file, good]))
    assert f"an image has {width} x {height} px, this model takes 0.5 megapixels an image" in (
        caught.value.message)


@pytest.mark.parametrize("file, words", [
    (b"", "expected PNG or JPEG"), (b"garbage" * 9, "expected PNG or JPEG"),
    (encode_png(GREY)[:20], "expected PNG or JPEG"), (b"GIF89a" + b"\xff" * 60, "PNG or JPEG"),
    (jpeg(GREY)[:30], "Invalid JPEG"), (b"\xff\xd8\xff", "Invalid JPEG"),
    (encode_png(GREY)[:200], "Invalid PNG")])
def test_what_is_no_whole_image_is_refused(file, words):
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        shapes(tf.constant([file]))
