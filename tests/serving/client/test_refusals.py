"""Who is blamed when a server that joins requests, as TF Serving does, refuses one."""

import threading
import time

import cv2
import numpy as np
import pytest

from crater_model.errors import DataError, ServingError
from crater_model.serving.client import Client, refusals
from tests.serving.blobs import blob_image
from tests.serving.raw_client import RawClient
from tests.serving.strict_server import Refused, StrictServer

IMAGE = blob_image(20, 30, [(2, 3, 8, 9)])
BROKEN = cv2.imencode(".png", IMAGE)[1].tobytes()[:50]


@pytest.fixture
def strict(blob_model):
    """strict(**options): a running server of version 3 in the blob model."""
    servers = []

    def start(**options):
        servers.append(StrictServer({3: blob_model / "3"}, **options).start())
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


class BadNeighbour:
    """Another client, that sends broken images without end; gives how many were refused."""

    def __init__(self, port, together=1):
        self.refused, self._end = 0, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(port,)) for _ in range(together)]

    def _ask(self, port):
        with RawClient(port) as client:
            while not self._end.is_set():
                code, _ = client.refused([BROKEN])
                assert code == "INVALID_ARGUMENT"
                self.refused += 1

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("max_batch", [1, 4])
def test_a_neighbours_bad_image_is_not_ours(strict, max_batch):
    """Joined with it, nearly all of our requests are refused at first."""
    server = strict(join_s=0.05)
    images = [blob_image(20, 40 + n, [(1, n, 5, n + 3)]) for n in range(12)]
    with BadNeighbour(server.port, together=3) as neighbour, \
            Client(server.endpoint, max_batch=max_batch, timeout_s=30) as client:
        time.sleep(0.2)
        found = client.detect(images, keep_going=True)
    assert [int(each.boxes[0, 1]) for each in found] == list(range(12))
    assert [each.scores.tolist() for each in found] == [[pytest.approx(0.9)]] * 12
    assert neighbour.refused > 5 and len(server.asked) > 12 // max_batch + neighbour.refused


def test_a_bad_image_is_named_beside_a_bad_neighbour(strict):
    server = strict(join_s=0.05)
    with BadNeighbour(server.port), Client(server.endpoint, timeout_s=30) as client:
        found = client.detect([IMAGE, BROKEN, IMAGE], keep_going=True)
    assert [len(found[0]), len(found[2])] == [1, 1]
    assert isinstance(found[1], DataError)
    assert str(found[1]).startswith("image 1: the server at 127.0.0.1:")


def test_a_neighbour_of_another_shape_fails_the_batch_too(strict, monkeypatch):
    """batching_session.cc gives FAILED_PRECONDITION to all where shapes do not fit."""
    server = strict()
    refused = []
    predict = StrictServer.predict

    def once(self, request):
        if not refused:
            refused.append(True)
            raise Refused("FAILED_PRECONDITION", "Tensors with name 'image_bytes' from different "
                          "tasks have different shapes and padding is turned off.")
        return predict(self, request)

    monkeypatch.setattr(StrictServer, "predict", once)
    with Client(server.endpoint, timeout_s=20) as client:
        assert len(client.detect([IMAGE])[0]) == 1
    assert refused


@pytest.mark.parametrize("options, words", [
    ({"version_label": "unheard"}, "Unrecognized servable version label: unheard"),
    ({"version": 7}, r"NOT_FOUND: Servable not found for request: Specific\(crater, 7\)"),
    ({"model": "rocks"}, r"NOT_FOUND: Servable not found for request: Latest\(rocks\)")])
def test_what_is_unknown_is_the_requests_fault_at_once(strict, options, words):
    server = strict(labels={"stable": 3})
    with Client(server.endpoint, timeout_s=60, **options) as client:
        start = time.monotonic()
        for ask in (lambda: client.detect([IMAGE] * 20, keep_going=True), client.describe,
                    client.metadata):
            with pytest.raises(ServingError, match=words) as caught:
                ask()
            assert not isinstance(caught.value, DataError)
        assert time.monotonic() - start < 5


def test_an_unknown_signature_is_the_models_fault(tmp_path):
    """FAILED_PRECONDITION over gRPC."""
    import tensorflow as tf

    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def other(image_bytes):
        return {"length": tf.strings.length(image_bytes)}

    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"other": other})
    with StrictServer({1: tmp_path / "1"}) as server, Client(server.endpoint) as client:
        with pytest.raises(ServingError, match='Serving signature key "serving_default" not found'):
            client.detect([IMAGE], keep_going=True)
        with pytest.raises(ServingError, match="'crater' does not describe itself .*describe"):
            client.describe()


def test_a_batch_over_the_servers_limit_is_said(strict):
    """And not quietly sent as one image a request."""
    server = strict(max_batch_size=4)
    with Client(server.endpoint, max_batch=8, timeout_s=30) as client, pytest.raises(
            ServingError, match=r"8 images in a request are refused, where one is not: give a "
                                r"smaller max_batch \(Task size 8 is larger than maximum input "
                                r"batch size 4\)"):
        client.detect([IMAGE] * 8)
    with Client(server.endpoint, max_batch=4, timeout_s=30) as client:
        assert len(client.detect([IMAGE] * 8)) == 8


def test_a_batch_over_the_limit_with_a_bad_image_in_it(strict):
    server = strict(max_batch_size=4)
    with Client(server.endpoint, max_batch=8, timeout_s=30) as client:
        found = client.detect([IMAGE] * 7 + [BROKEN], keep_going=True)
    assert [type(each).__name__ for each in found] == ["Detections"] * 7 + ["DataError"]


def test_the_plain_image_is_one():
    image = cv2.imdecode(np.frombuffer(refusals.plain(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert image.shape == (64, 80) and (image == 128).all()
