"""Requests that are too large, and images that are none; metrics of all of them."""

import struct
import zlib

import grpc
import numpy as np
import pytest
from tensorflow.core.framework import tensor_pb2

from crater_model.serving.server import Server
from crater_model.serving.settings import Batching, Limits
from tests.serving.blobs import blob_image
from tests.serving.raw_client import RawClient, png, request

GOOD = png(blob_image(20, 30, [(2, 3, 8, 9)]))
LIMITS = Limits(max_request_mb=1, max_images=6, max_megapixels=10, max_posts=3)


def bomb(width: int, height: int) -> bytes:
    """A valid PNG of one bit a pixel, all black: its size is a thousandth of its pixels'."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(
            ">I", zlib.crc32(kind + data))
    row = b"\0" * (1 + (width + 7) // 8)
    packer, packed = zlib.compressobj(9), b""
    for _ in range(height):
        packed += packer.compress(row)
    return (b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
            + chunk(b"IDAT", packed + packer.flush()) + chunk(b"IEND", b""))


@pytest.fixture(scope="module")
def client(blob_model):
    with Server.of(blob_model / "3", grpc_port=0, rest_port=0, limits=LIMITS,
                   batching=Batching(max_batch_size=6)) as server:
        with RawClient(server.grpc_port, server.rest_port) as client:
            yield client


@pytest.mark.parametrize("images, code, words", [
    ([GOOD, bomb(30_000, 20_000)], "INVALID_ARGUMENT",
     "image 1 has 30000 x 20000 px, with those before it 600.0 megapixels; this server takes 10 a"),
    ([bomb(3000, 2000)] * 2, "INVALID_ARGUMENT", "image 1 has 3000 x 2000 px"),
    ([GOOD] * 7, "INVALID_ARGUMENT",
     "Task size 7 is larger than maximum input batch size 6"),
    ([b"\0" * (2 << 20)], "RESOURCE_EXHAUSTED", "larger than max"),
    ([GOOD, b"garbage"], "INVALID_ARGUMENT", "image 1: Unknown image file format"),
    ([b""], "INVALID_ARGUMENT", "image 0: Unknown image file format"),
    ([GOOD, GOOD, GOOD[:-20]], "INVALID_ARGUMENT", "image 2: the PNG file ends before its pixels"),
    ([GOOD[:12]], "INVALID_ARGUMENT", "image 0: the PNG header cannot be read"),
    ([b"\xff\xd8\xff\xe0\0\x10JFIF"], "INVALID_ARGUMENT", "image 0: the JPEG header"),
])
def test_what_is_refused_and_why(client, images, code, words):
    got, reason = client.refused(images)
    assert got == code and words in reason
    assert client.predict([GOOD])[1]["num_detections"].tolist() == [1]


def test_rest_refuses_the_same(client):
    code, answer = client.rest_predict([GOOD, bomb(30_000, 20_000)])
    assert code == 400 and "image 1 has 30000 x 20000 px" in answer["error"]
    code, answer = client.rest_predict([GOOD] * 7)
    assert code == 400 and "maximum input batch size 6" in answer["error"]
    code, answer = client.rest("/v1/models/crater:predict", b" " * (3 << 20))
    assert code == 413 and "the body has over 1 MiB (max_request_mb)" in answer


def test_without_batching_a_request_may_hold_as_many_images_as_the_limit(blob_model):
    with Server.of(blob_model / "3", grpc_port=0, rest_port=None, limits=LIMITS,
                   batching=Batching(max_batch_size=1)) as server, \
            RawClient(server.grpc_port) as client:
        assert client.predict([GOOD] * 6)[1]["num_detections"].tolist() == [1] * 6
        code, reason = client.refused([GOOD] * 7)
    assert code == "RESOURCE_EXHAUSTED" and "holds 7 entries, this server takes 6" in reason


def test_a_small_message_cannot_stand_for_gigabytes(client):
    """A TensorProto may give one value for all of its elements."""
    message = request({})
    message.inputs["image_bytes"].CopyFrom(tensor_pb2.TensorProto(dtype=4, int_val=[7]))
    for size in (100_000, 100_000, 3):
        message.inputs["image_bytes"].tensor_shape.dim.add(size=size)
    with pytest.raises(grpc.RpcError) as caught:
        client.prediction.Predict(message, timeout=20)
    assert caught.value.code().name == "INVALID_ARGUMENT"
    assert "has shape [100000, 100000, 3], which is more than 10 megapixels" in (
        caught.value.details())


def test_a_jpeg_is_taken_whole_and_with_bytes_behind_its_end(client):
    import cv2
    data = cv2.imencode(".jpg", blob_image(40, 60, []))[1].tobytes()
    assert client.predict([data, GOOD + b"\n"])[1]["num_detections"].tolist() == [0, 1]


def test_metrics_count_requests_by_status_and_time_them(client):
    def value(line_start):
        code, text = client.rest("/monitoring/prometheus/metrics")
        assert code == 200 and text.endswith("\n")
        found = [line for line in text.splitlines() if line.startswith(line_start)]
        return float(found[0].rsplit(" ", 1)[1]) if found else 0.0

    ok = ':tensorflow:serving:request_count{model_name="crater",status="OK"}'
    bad = ':tensorflow:serving:request_count{model_name="crater",status="INVALID_ARGUMENT"}'
    count = ":tensorflow:serving:request_latency_count" \
            '{model_name="crater",API="Predict",entrypoint="GRPC"}'
    last = count.replace("count{", "bucket{")[:-1] + ',le="+Inf"}'
    before = [value(name) for name in (ok, bad, count)]
    client.predict([GOOD])
    client.refused([b"x"])
    client.refused([GOOD], name="rocks")
    assert np.subtract([value(name) for name in (ok, bad, count)], before).tolist() == [1, 1, 2]
    assert value(last) == value(count)
    micros = value(count.replace("count{", "sum{"))
    assert 100 < micros / value(count) < 60e6
    assert value(':tensorflow:serving:runtime_latency_count{model_name="crater"') > 0
    assert client.rest("/monitoring/else")[0] == 404
