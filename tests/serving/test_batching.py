"""Joined requests, the queue's end, and clients that give up; asked over gRPC and REST."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from crater_model.serving.batching import split
from crater_model.serving.server import Server
from crater_model.serving.settings import Batching
from tests.serving.blobs import blob_image
from tests.serving.raw_client import RawClient, png

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
    assert (code, status) == ("RESOURCE_EXHAUSTED", 429)
    assert "3 requests are waiting" in reason and "try again later" in answer["error"]
    for ours, theirs in zip(alone, joined):
        assert sorted(ours) == sorted(theirs)
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name])
    assert joined[1]["detection_masks"].shape == (2, 4, 7, 7)  # not the seven of a neighbour
    assert joined[2]["detection_boxes"].shape == (1, 0, 4)


def test_only_the_guilty_request_of_a_batch_fails(client, gate, until):
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(client.predict, [image(1)])
        until(lambda: gate.runs == [1])
        good = [pool.submit(client.predict, [image(n)]) for n in (2, 5)]
        bad = pool.submit(client.refused, [damaged()])
        time.sleep(0.2)
        gate.set()
        assert [g.result()[1]["num_detections"].tolist() for g in good] == [[2], [5]]
        assert bad.result()[0] == "INVALID_ARGUMENT" and "Invalid PNG data" in bad.result()[1]
        assert first.result()[1]["num_detections"].tolist() == [1]
    assert gate.runs == [1, 3, 1, 1, 1]


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


def test_a_larger_request_runs_alone_and_signatures_are_not_mixed(client, gate, until):
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(client.predict, [image(1)])
        until(lambda: gate.runs == [1])
        many = pool.submit(client.predict, [image(n) for n in range(7)])
        time.sleep(0.05)
        gate.set()
        assert many.result()[1]["num_detections"].tolist() == list(range(7))
        first.result()
    assert gate.runs == [1, 7]


def test_split_leaves_outputs_of_other_names_as_they_are():
    parts = split({"detection_boxes": np.ones((3, 5, 4)), "num_detections": np.array([1, 2, 5]),
                   "other": np.ones((3, 5))}, [2, 1])
    assert [p["detection_boxes"].shape for p in parts] == [(2, 2, 4), (1, 5, 4)]
    assert [p["other"].shape for p in parts] == [(2, 5), (1, 5)]
    with pytest.raises(ValueError, match="another number of rows"):
        split({"total": np.ones(1)}, [2, 1])


def test_a_lone_request_does_not_wait_for_others(blob_model):
    patient = Batching(batch_timeout_ms=5000)
    with Server.of(blob_model / "3", grpc_port=0, rest_port=None, batching=patient) as server:
        with RawClient(server.grpc_port) as client:
            client.predict([image(1)])
            start = time.monotonic()
            client.predict([image(2)])
    assert time.monotonic() - start < 2
