"""The REST face of the client."""

import contextlib
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import cv2
import pytest

from crater_model.errors import DataError, ServingError
from crater_model.serving.client import Client
from tests.serving.blobs import blob_image
from tests.serving.faults import Forwarder

ONE = blob_image(20, 30, [(2, 3, 8, 9)])


@pytest.fixture
def client(blob_server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # loopback needs none
    with Client(f"http://127.0.0.1:{blob_server.rest_port}", timeout_s=30) as client:
        yield client


def test_an_image_without_detections_has_masks_of_the_models_size(client):
    found = client.detect([blob_image(9, 12, [])])[0]
    assert (found.boxes.shape, found.masks.shape) == ((0, 4), (0, 7, 7))
    assert found.size == (9, 12)


def test_status_metadata_and_version(client, blob_server):
    with Client(f"127.0.0.1:{blob_server.grpc_port}") as other:
        assert client.status() == other.status()
        assert client.metadata() == other.metadata()
    for options in ({"version": 3}, {"version_label": "stable"}):
        with Client(f"http://127.0.0.1:{blob_server.rest_port}", **options) as chosen:
            assert chosen.metadata()["version"] == options.get("version", 12)
            assert len(chosen.detect([ONE])[0]) == 1


def test_errors_name_the_image_and_the_reason(client, blob_server):
    broken = cv2.imencode(".png", ONE)[1].tobytes()[:50]
    with pytest.raises(DataError, match="^image 1: the server at http://.* cannot use this image"):
        client.detect([ONE, broken, ONE])
    with Client(f"http://127.0.0.1:{blob_server.rest_port}", "rocks") as unknown, \
            pytest.raises(ServingError, match=r"HTTP 404: Servable not found .*Latest\(rocks\)"):
        unknown.detect([ONE])
    with Client("http://127.0.0.1:1", timeout_s=0.5) as nobody, \
            pytest.raises(ServingError, match="http://127.0.0.1:1: Predict .*no connection"):
        nobody.detect([ONE])


def test_an_unknown_label_is_the_requests_fault(blob_server):
    with Client(f"http://127.0.0.1:{blob_server.rest_port}", version_label="unheard") as client, \
            pytest.raises(ServingError, match="HTTP 40[04]: .*unheard"):
        client.detect([ONE] * 3, keep_going=True)


@contextlib.contextmanager
def answering(data: bytes, posted: bytes | None = None):
    """A server that gives this answer to everything, or to POST another; gives its endpoint."""
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self, answer=data):  # noqa: N802
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def do_POST(self):  # noqa: N802
            self.do_GET(data if posted is None else posted)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_the_card_in_tf_servings_form():
    """One output alone stands bare in a row, a string as it is."""
    card = {"label_map": {"1": "rock"}, "chip_size": 64}
    metadata = {"model_spec": {"name": "crater", "signature_name": "", "version": "3"},
                "metadata": {"signature_def": {"signature_def": {}}}}
    with answering(json.dumps(metadata).encode(),
                   json.dumps({"predictions": [json.dumps(card)]}).encode()) as endpoint, \
            Client(endpoint, timeout_s=5) as client:
        assert client.describe() == card and client.label_map == {1: "rock"}


@pytest.mark.parametrize("answer, words", [
    (b"<html>", "it is not JSON; is this TF Serving's REST port"),
    (b"[]", "no status as TF Serving gives it")])
def test_a_server_that_is_no_tf_serving_is_told(answer, words):
    with answering(answer) as endpoint, Client(endpoint, timeout_s=5) as client:
        with pytest.raises(ServingError, match=words):
            client.status()
        with pytest.raises(ServingError, match="failed: wrong answer: "):
            client.detect([ONE])


def test_a_killed_and_a_stopped_process_lose_nothing(blob_server):
    with Forwarder(blob_server.rest_port) as first, Forwarder(blob_server.rest_port) as second, \
            Client([f"http://{first.endpoint}", f"http://{second.endpoint}"], max_batch=1,
                   timeout_s=20, try_timeout_s=1.0) as client:
        images = (blob_image(20, 40 + n, [(1, n, 5, n + 3)]) for n in range(30))
        found, start = [], time.monotonic()
        for each in client.stream(images):
            found.append(int(each.boxes[0, 1]))
            if len(found) == 10:
                first.kill()
            if len(found) == 15:
                first.start()
            if len(found) == 20:
                client.wait_ready(5)
                second.hang()
        assert found == list(range(30)) and time.monotonic() - start < 15
