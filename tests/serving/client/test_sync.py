"""The client against the real server: what is found, and what is said when it cannot be."""

import itertools
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from crater_model.errors import DataError, ServingError
from crater_model.serving.client import Client
from crater_model.serving.server import Server
from tests.serving.blobs import blob_image
from tests.serving.faults import FaultyServer


@pytest.fixture
def client(blob_server):
    with Client(f"127.0.0.1:{blob_server.grpc_port}", timeout_s=30) as client:
        yield client


def test_arrays_bytes_and_paths_give_the_same_detections(client, tmp_path):
    image = blob_image(50, 80, [(5, 10, 20, 30), (7, 40, 9, 60)])
    colour = np.stack([image, image, image], axis=2)
    file = tmp_path / "scene.png"
    cv2.imwrite(str(file), image)
    found = client.detect([image, colour, file.read_bytes(), file, str(file)])
    assert len(found) == 5
    for each in found:
        np.testing.assert_array_equal(each.boxes, [[5, 10, 20, 30], [7, 40, 9, 60]])
        np.testing.assert_allclose(each.scores, [0.9, 0.8], atol=1e-6)
        assert each.size == (50, 80) and each.classes.tolist() == [1, 1]
        assert each.masks.shape == (2, 7, 7) and each.masks.min() == 255
        assert each.label_map == {1: "crater"}


def test_order_is_kept_over_many_batches_and_endpoints(blob_server):
    images = [blob_image(20, 40 + n, [(1, n, 5, n + 3)]) for n in range(21)]
    port = blob_server.grpc_port
    # Nobody listens on port 1: its share goes to the other endpoint.
    with Client(f"127.0.0.1:{port},127.0.0.1:1", max_batch=4, timeout_s=30) as client:
        found = client.detect(images)
    assert [each.boxes[0, 1] for each in found] == list(range(21))
    assert [each.size for each in found] == [(20, 40 + n) for n in range(21)]


def test_no_images_and_no_detections(client):
    assert client.detect([]) == []
    found = client.detect([blob_image(9, 12, [])])[0]
    assert len(found) == 0 and found.masks.shape == (0, 7, 7) and found.size == (9, 12)


def test_an_answer_above_four_mebibytes(client):
    wide = blob_image(8, 200_000, [(1, x, 3, x + 1) for x in range(0, 200_000, 2)])
    found = client.detect([wide])[0]  # 100,000 masks of 49 bytes
    assert len(found) == 100_000
    assert found.boxes[-1].tolist() == [1, 199_998, 3, 199_999]


def test_the_bad_image_of_a_batch_is_named(client, tmp_path):
    image = blob_image(30, 40, [])
    broken = cv2.imencode(".png", image)[1].tobytes()[:50]
    with pytest.raises(DataError, match="^image 1: the server at .* cannot use this image: "):
        client.detect([image, broken, image])
    text = tmp_path / "notes.png"
    text.write_text("no image")
    with pytest.raises(DataError, match="notes.png: neither a PNG nor a JPEG"):
        client.detect([text])
    with pytest.raises(DataError, match="absent.png: cannot be read"):
        client.detect([tmp_path / "absent.png"])
    with pytest.raises(DataError, match=r"image 0: got float32 \[3, 4\], expected uint8"):
        client.detect([np.zeros((3, 4), np.float32)])


def test_metadata_status_and_version(client, blob_server):
    assert client.status() == {12: "AVAILABLE", 3: "AVAILABLE"}
    described = client.metadata()
    assert (described["model"], described["version"]) == ("crater", 12)
    signature = described["signatures"]["serving_default"]
    assert signature["inputs"] == {"image_bytes": {"dtype": "string", "shape": [-1]}}
    assert signature["outputs"]["detection_masks"] == {"dtype": "uint8", "shape": [-1, -1, 7, 7]}
    with Client(f"127.0.0.1:{blob_server.grpc_port}", version=3) as other:
        assert other.metadata()["version"] == 3


def test_errors_name_the_endpoint_and_the_reason(blob_server):
    image = blob_image(9, 12, [])
    with Client("127.0.0.1:1", timeout_s=0.5) as client:
        with pytest.raises(ServingError, match="127.0.0.1:1: Predict .*UNAVAILABLE: .+"):
            client.detect([image])
        with pytest.raises(ServingError, match="not ready after 0.3 s"):
            client.wait_ready(0.3)
    with Client(f"127.0.0.1:{blob_server.grpc_port}", "rocks") as client:
        with pytest.raises(ServingError, match=r"NOT_FOUND: Servable not found .*Latest\(rocks\)"):
            client.detect([image])
    with pytest.raises(ServingError, match="'nonsense': not an endpoint"):
        Client("nonsense")


def test_a_restart_of_the_server_is_waited_for(blob_model):
    """UNAVAILABLE is tried again until the deadline, with the same client."""
    from threading import Timer

    first = Server.of(blob_model / "3", grpc_port=0, rest_port=None).start()
    image = blob_image(20, 30, [(2, 3, 8, 9)])
    with Client(f"127.0.0.1:{first.grpc_port}", timeout_s=30) as client:
        assert len(client.detect([image])[0]) == 1
        first.stop()
        second = Server.of(blob_model / "3", grpc_port=first.grpc_port, rest_port=None)
        timer = Timer(0.5, second.start)
        timer.start()
        try:
            assert len(client.detect([image])[0]) == 1
        finally:
            timer.join()
            second.stop()


@pytest.mark.slow
def test_importing_the_client_imports_no_tensorflow():
    code = ("import sys, crater_model.serving; assert 'grpc' not in sys.modules; "
            "from crater_model.serving import AsyncClient, Client; import crater_model.serving.image; "
            "Client('http://127.0.0.1:1').close(); sys.exit('tensorflow' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_describe(blob_server):
    with Client(f"127.0.0.1:{blob_server.grpc_port}") as client:
        card = client.describe()
    assert card["chip_size"] == 64 and card["scales"] == [1.0]
    assert client.label_map == {1: "crater"}


def test_a_stream_goes_on_past_bad_images_and_keeps_the_order(client, tmp_path):
    image = blob_image(30, 40, [(2, 3, 8, 9)])
    broken = cv2.imencode(".png", image)[1].tobytes()[:50]
    found = client.detect([image, broken, tmp_path / "absent.png", image, 3], keep_going=True)
    assert [len(found[0]), len(found[3])] == [1, 1]
    assert [type(found[n]) for n in (1, 2, 4)] == [DataError] * 3
    assert str(found[1]).startswith("image 1: the server at ")
    assert "absent.png: cannot be read" in str(found[2])
    assert str(found[4]) == "image 4: got int, expected an array, bytes or a path"
    stream = client.stream([image, broken])
    assert len(next(stream)) == 1  # what was found before the bad one is not lost
    with pytest.raises(DataError, match="^image 1: "):
        next(stream)


def test_polygons_are_the_outlines_in_px_of_a_wide_image(client):
    found = client.detect([blob_image(50, 80, [(5, 10, 20, 30), (7, 40, 9, 60)])])[0]
    first, second = found.polygons()
    # The masks are full, so that the outline is the box but for its cut corners.
    assert first.bounds == pytest.approx((10, 5, 30, 20), abs=0.01)
    assert first.area == pytest.approx(20 * 15, rel=0.02)
    assert (first.centroid.x, first.centroid.y) == pytest.approx((20, 12.5))
    assert second.bounds == pytest.approx((40, 7, 60, 9), abs=0.01)


def test_an_endless_stream_is_read_only_as_far_as_requests_are_under_way(blob_server):
    pulled = []

    def images():
        for n in itertools.count():
            pulled.append(n)
            yield blob_image(20, 40 + n, [(1, n, 5, n + 3)])

    with FaultyServer(blob_server.grpc_port, lambda *_: time.sleep(0.02)) as server, \
            Client(server.endpoint, max_batch=3, concurrency=2) as client:
        assert client.in_flight == 2
        stream = client.stream(images())
        for n in range(30):
            assert next(stream).boxes[0, 1] == n
            assert len(pulled) <= (n + 1) + 2 * 3 + 3
        stream.close()
        seen = len(pulled)
        time.sleep(0.1)
        assert len(pulled) == seen and server.most == 2


def test_many_threads_share_one_client_and_its_limit(blob_server):
    with FaultyServer(blob_server.grpc_port, lambda *_: time.sleep(0.02)) as server, \
            Client(server.endpoint, max_batch=2, concurrency=3) as client, \
            ThreadPoolExecutor(8) as threads:
        def ask(thread):
            images = [blob_image(20, 99, [(1, thread * 5 + n, 5, 90)]) for n in range(5)]
            return [found.boxes[0, 1] - thread * 5 for found in client.detect(images)]

        assert list(threads.map(ask, range(8))) == [[0, 1, 2, 3, 4]] * 8
        assert server.predicts == 24 and server.most == 3


def test_progress_is_shown_on_stderr(client, capsys):
    def images():
        yield blob_image(9, 12, [])
        time.sleep(2.1)  # shorter than that is not worth a line
        yield blob_image(9, 12, [])

    assert len(client.detect(images(), progress=True)) == 2
    assert capsys.readouterr().err.startswith("detecting: 2 ")


def test_a_closed_client_says_so_also_to_who_still_waits(blob_server):
    client = Client("127.0.0.1:1", timeout_s=30)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.detect, [blob_image(9, 12, [])])
        time.sleep(0.3)
        client.close()
        for call in (waiting.result, client.status):
            with pytest.raises(ServingError, match="127.0.0.1:1: this client is closed"):
                call()
        client.close()
