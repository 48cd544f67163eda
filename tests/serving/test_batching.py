"""Joined requests, the queue's end, and clients that give up; asked over gRPC and REST."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from crater_model.serving.joining import join, rows_of, split
from crater_model.serving.servable import RequestError
from crater_model.serving.server import Server
from crater_model.serving.settings import Batching
from tests.serving.blobs import blob_image
from tests.serving.raw_client import RawClient, png, request

ONE_THREAD = Batching(max_batch_size=5, batch_timeout_ms=20, num_batch_threads=1, max_queued=3)


def image(count, width=90):
    """An image with `count` blobs."""
    return png(blob_image(20, width, [(2, 4 * n, 9, 4 * n + 2 + n % 2) for n in range(count)]))


def damaged():
    """A PNG whose header and end are whole and whose pixels are not."""
    data = bytearray(image(3))
    data[len(data) // 2] ^= 255
    return bytes(data)


@pytest.fixture(scope="module")
def server(blob_model):
    with Server.of(blob_model / "3", grpc_port=0, rest_port=0, batching=ONE_THREAD) as server:
        yield server


@pytest.fixture
def client(server):
    with RawClient(server.grpc_port, server.rest_port) as client:
        yield client


def test_joined_requests_get_what_they_would_alone(client, gate, until):
    requests = [[image(1)], [image(4), image(2, 60)], [image(0)], [image(7)], [image(3)]]
    gate.set()
    alone = [client.predict(images)[1] for images in requests]
    gate.clear(), gate.runs.clear()
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(client.predict, requests[0])
        until(lambda: gate.runs == [1])
        rest = []
        for images in requests[1:4]:  # three wait: the queue is full
            rest.append(pool.submit(client.predict, images))
            time.sleep(0.05)
        code, reason = client.refused(requests[4], timeout=5)
        status, answer = client.rest_predict(requests[4])
        gate.set()
        joined = [each.result()[1] for each in (first, *rest)]
    assert gate.runs == [1, 4]
    assert (code, status) == ("UNAVAILABLE", 503)
    full = "The batch scheduling queue to which this task was submitted is full; 3 requests"
    assert reason.startswith(full) and answer["error"].startswith(full)
    for ours, theirs in zip(alone, joined):
        assert sorted(ours) == sorted(theirs)
        most = max(ours["num_detections"])
        for name, array in ours.items():  # the padding may be that of a fuller neighbour
            cut = theirs[name][:, :most] if array.ndim > 1 else theirs[name]
            np.testing.assert_array_equal(array, cut)
    assert joined[1]["detection_masks"].shape == (2, 7, 7, 7)


def test_what_is_joined_fails_together(client, gate, until):
    """TF Serving gives one status to all requests of a batch."""
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(client.predict, [image(1)])
        until(lambda: gate.runs == [1])
        sent = [pool.submit(client.refused, images)
                for images in ([image(2)], [image(5)], [damaged()])]
        time.sleep(0.2)
        gate.set()
        for each in sent:
            code, reason = each.result()
            assert code == "INVALID_ARGUMENT" and "Invalid PNG data" in reason
        assert first.result()[1]["num_detections"].tolist() == [1]
    assert gate.runs == [1, 3]
    assert client.predict([image(2)])[1]["num_detections"].tolist() == [2]


def test_requests_for_different_outputs_are_not_joined(client, gate, until):
    def ask(name):
        message = request({"image_bytes": [image(2)]})
        message.output_filter.append(name)
        return client.prediction.Predict(message, timeout=20)

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(client.predict, [image(1)])
        until(lambda: gate.runs == [1])
        answers = [pool.submit(ask, name) for name in ("num_detections", "detection_boxes")]
        time.sleep(0.2)
        gate.set()
        assert [list(answer.result().outputs) for answer in answers] == [
            ["num_detections"], ["detection_boxes"]]
        first.result()
    assert gate.runs == [1, 1, 1]


def test_a_client_that_gave_up_is_not_computed(client, gate, until, server):
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.predict, [image(1)])
        until(lambda: gate.runs == [1])
        code, _ = client.refused([image(2), image(2)], timeout=0.2)
        assert code == "DEADLINE_EXCEEDED"
        until(lambda: not server._core.batcher._queue, 2)  # its place is free at once
        gate.set()
        first.result()
    client.predict([image(3)])
    assert gate.runs == [1, 1]


def test_a_request_larger_than_a_batch_is_refused(client, gate):
    code, reason = client.refused([image(1)] * 7)
    assert code == "INVALID_ARGUMENT"
    assert reason == "Task size 7 is larger than maximum input batch size 5"
    assert gate.runs == []


def arrays(*shapes):
    return [{"pixels": np.full(shape, number, np.uint8)} for number, shape in enumerate(shapes)]


def test_sizes_that_differ_fail_all_or_are_filled_up():
    with pytest.raises(RequestError, match="'pixels' from different tasks have diff") as caught:
        join(arrays((1, 3, 5), (2, 3, 4)))
    assert caught.value.code.name == "FAILED_PRECONDITION"
    joined = join(arrays((1, 3, 5), (2, 4, 2)), padded=True)["pixels"]
    assert joined.shape == (3, 4, 5)
    np.testing.assert_array_equal(joined[0], 0)
    np.testing.assert_array_equal(joined[1], 1)
    with pytest.raises(RequestError, match="Got empty tensor"):
        join(arrays((1, 3, 5), (2, 0, 2)), padded=True)
    with pytest.raises(RequestError, match="must have equal 0th-dimension size"):
        rows_of({"one": np.zeros(2), "other": np.zeros(3)})
    with pytest.raises(RequestError, match="must have at least one dimension"):
        rows_of({"one": np.zeros(())})


def test_each_request_gets_its_rows():
    parts = split({"detection_boxes": np.arange(60).reshape(3, 5, 4),
                   "num_detections": np.array([1, 2, 5])}, [2, 1])
    assert [p["detection_boxes"].shape for p in parts] == [(2, 5, 4), (1, 5, 4)]
    assert parts[1]["detection_boxes"][0, 0].tolist() == [40, 41, 42, 43]
    assert [p["num_detections"].tolist() for p in parts] == [[1, 2], [5]]
    with pytest.raises(RequestError, match="0th dimension does not equal the sum") as caught:
        split({"total": np.ones(1)}, [2, 1])
    assert caught.value.code.name == "FAILED_PRECONDITION"


def test_a_lone_request_does_not_wait_for_others(blob_model):
    patient = Batching(batch_timeout_ms=5000)
    with Server.of(blob_model / "3", grpc_port=0, rest_port=None, batching=patient) as server:
        with RawClient(server.grpc_port) as client:
            client.predict([image(1)])
            start = time.monotonic()
            client.predict([image(2)])
    assert time.monotonic() - start < 2
