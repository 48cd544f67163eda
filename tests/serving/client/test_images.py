"""Encoded images, which of them are sent, and their batches."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from crater_model.errors import DataError
from crater_model.serving.client import Client
from crater_model.serving.client.images import Batcher, Encoded, encoded
from tests.serving.blobs import blob_image


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes whose header promises so many pixels."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(
            ">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b""))


@pytest.mark.parametrize("width, height, megapixels", [
    (12_000, 10_000, "120"), (40_000, 30_000, "1200"), (2**31 - 1, 2, "4295")])
def test_what_would_take_a_servers_memory_is_not_sent(blob_server, width, height, megapixels):
    """Its size is read in its header; some are over Pillow's own limit, which is not asked."""
    bomb = png_bomb(width, height)
    assert len(bomb) < 200
    with Client(f"127.0.0.1:{blob_server.grpc_port}", timeout_s=20) as client:
        found = client.detect([blob_image(20, 30, [(2, 3, 8, 9)]), bomb], keep_going=True)
    assert len(found[0]) == 1
    assert str(found[1]).startswith(f"image 1: {width} x {height} px is {megapixels} megapixels, "
                                    "more than the 100 that a server is sent (max_megapixels)")


def test_the_limit_is_of_jpegs_and_arrays_too_and_can_be_set():
    image = np.zeros((500, 300, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    for each in (image, jpeg):
        assert encoded(each, 0, 0.15).size == (500, 300)
        assert str(encoded(each, 3, 0.1499)).startswith("image 3: 300 x 500 px is 0.15 megapixels")


def test_a_damaged_header_is_named():
    assert str(encoded(b"\x89PNG\r\n\x1a\n" + b"x" * 20, 2, 100.0)) == (
        "image 2: neither a PNG nor a JPEG image (28 bytes)")
    assert str(encoded(b"GIF89a" + b"x" * 20, 2, 100.0)).startswith("image 2: neither a PNG")


def test_a_batch_holds_no_more_pixels_than_one_image_may():
    """The server decodes all images of a request at the same time."""
    batcher = Batcher(8, 10**6, 1.0)
    images = [Encoded("x", b"x", size)
              for size in [(1000, 600), (400, 500), (500, 500), (700, 900)]]
    batches = [batcher.add(image) for image in images] + [batcher.rest()]
    assert [batch for batch in batches if batch] == [images[:2], images[2:]]


def test_batches_obey_both_limits():
    batcher = Batcher(3, 100, 1.0)
    sizes = [40, 40, 40, 500, 10, 10, 10, 10]
    batches = [batcher.add(Encoded("x", b"x" * n, (1, 1))) for n in sizes] + [batcher.rest()]
    assert [[len(i.data) for i in b] for b in batches if b] == [
        [40, 40], [40], [500], [10, 10, 10], [10]]


def test_a_batch_goes_as_soon_as_it_is_full_and_an_error_keeps_its_place():
    batcher, image, error = Batcher(2, 100, 1.0), Encoded("x", b"x", (1, 1)), DataError("bad")
    assert [batcher.add(image), batcher.add(error)] == [[], [image, error]]
    assert Batcher(1, 100, 1.0).add(image) == [image] and batcher.rest() == []
