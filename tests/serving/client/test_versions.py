"""One version of a model, and no other, from the card to the last answer."""

import shutil
import time
from threading import Timer

import pytest

from crater_model.errors import ServingError, VersionGone
from crater_model.serving.client import Client
from crater_model.serving.server import Server
from tests.serving.blobs import blob_image, write_blob_model
from tests.serving.strict_server import StrictServer

ONE = [blob_image(20, 30, [(2, 3, 8, 9)])]

pytestmark = pytest.mark.slow  # servers, and what happens between them and the client


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The folder of versions 1 and 2, which give the scores 0.9 and 0.6."""
    folder = tmp_path_factory.mktemp("models")
    write_blob_model(folder, 1)
    write_blob_model(folder, 2, best=0.6)
    return folder


def score(client):
    return pytest.approx(float(client.detect(ONE)[0].scores[0]), abs=1e-6)


@pytest.mark.parametrize("tensor_content", [False, True])
def test_the_card_and_detections_in_either_encoding(models, tensor_content):
    with StrictServer({1: models / "1"}, tensor_content=tensor_content) as server, \
            Client(server.endpoint) as client:
        card = client.describe()
        assert card["chip_size"] == 64 and card["version"] == 1 and client.version is None
        found = client.detect([blob_image(50, 80, [(5, 10, 20, 30), (7, 40, 9, 60)]),
                               blob_image(9, 12, [])])
        assert found[0].boxes.tolist() == [[5, 10, 20, 30], [7, 40, 9, 60]]
        assert found[0].masks.shape == (2, 7, 7) and found[0].masks.min() == 255
        assert found[1].masks.shape == (0, 7, 7)
        signature = client.metadata()["signatures"]["serving_default"]
        assert signature["inputs"] == {"image_bytes": {"dtype": "string", "shape": [-1]}}


def test_the_newest_is_asked_unless_one_is_pinned(models):
    with StrictServer({1: models / "1"}) as server, Client(server.endpoint) as client, \
            Client(server.endpoint) as pinned:
        assert pinned.describe(pin=True)["version"] == pinned.version == 1
        server.load(2, models / "2")
        assert 0.6 == score(client) and 0.9 == score(pinned)
        assert pinned.describe()["version"] == 1
        server.unload(1)
        with pytest.raises(VersionGone, match=f"{server.endpoint}: version 1 of model 'crater', "
                                              "which this began with, does not answer any more"):
            pinned.detect(ONE)
        assert 0.6 == score(client)


def test_the_version_behind_a_label_stays_when_the_label_moves(models):
    versions = {number: models / str(number) for number in (1, 2)}
    with StrictServer(versions, labels={"stable": 1}) as server, \
            Client(server.endpoint, version_label="stable") as client:
        assert client.describe(pin=True)["version"] == 1
        server.labels["stable"] = 2
        assert 0.9 == score(client)
        server.labels = {}  # the number needs none
        assert 0.9 == score(client)


def test_another_versions_answer_is_not_taken(models, monkeypatch):
    predict = StrictServer.predict

    def other(self, request):
        response = predict(self, request)
        if request.model_spec.signature_name == "serving_default":
            response.model_spec.version.value = 2
        return response

    with StrictServer({1: models / "1"}) as server, Client(server.endpoint) as client, \
            Client(server.endpoint, version=1) as named:
        client.describe(pin=True)
        monkeypatch.setattr(StrictServer, "predict", other)
        with pytest.raises(VersionGone, match="version 2 answered, and not 1"):
            client.detect(ONE)
        with pytest.raises(ServingError, match="wrong version: version 2 answered, and not 1"):
            named.detect(ONE)


def test_two_servers_with_two_models_under_one_number_are_told_apart(models, tmp_path):
    write_blob_model(tmp_path, 1, best=0.3, description="another")
    with StrictServer({1: models / "1"}) as first, \
            StrictServer({1: tmp_path / "1"}) as second, \
            Client([first.endpoint, second.endpoint], max_batch=1, concurrency=1) as client:
        client.describe(pin=True)
        with pytest.raises(VersionGone, match="version 1 .* has another model card"):
            client.detect(ONE * 4)
        assert second.asked == []


def test_a_server_without_the_version_is_left_out_while_another_has_it(models):
    """As in a rolling update."""
    with StrictServer({1: models / "1"}) as first, StrictServer({1: models / "1"}) as second, \
            Client([first.endpoint, second.endpoint], max_batch=1, timeout_s=30) as client:
        client.describe(pin=True)
        client.detect(ONE * 8)
        first.load(2, models / "2")
        first.unload(1)
        asked = len(first.asked)
        found = client.detect(ONE * 20)
        assert [float(each.scores[0]) for each in found] == [pytest.approx(0.9)] * 20
        assert len(first.asked) == asked
        second.unload(1)
        start = time.monotonic()
        with pytest.raises(VersionGone):
            client.detect(ONE)
        assert time.monotonic() - start < 5


def test_a_server_that_comes_back_with_another_model_is_told(models, tmp_path):
    write_blob_model(tmp_path, 1, best=0.3, description="another")
    server = StrictServer({1: models / "1"}).start()
    with Client(server.endpoint, timeout_s=20) as client:
        client.describe(pin=True)
        assert 0.9 == score(client)
        server.stop()
        with StrictServer({1: tmp_path / "1"}, port=server.port), \
                pytest.raises(VersionGone, match="has another model card"):
            client.detect(ONE)


def test_over_rest_the_version_is_in_the_address(models, tmp_path, until):
    folder = tmp_path / "served"
    shutil.copytree(models / "1", folder / "1")
    with Server.of(folder, grpc_port=0, rest_port=0) as server, \
            Client(f"http://127.0.0.1:{server.rest_port}") as client:
        assert client.describe(pin=True)["version"] == client.version == 1
        assert 0.9 == score(client)
        shutil.copytree(models / "2", tmp_path / "2")
        (tmp_path / "2").rename(folder / "2")
        with Client(f"http://127.0.0.1:{server.rest_port}") as other:
            until(lambda: other.status().get(2) == "AVAILABLE" and 1 not in {
                number for number, state in other.status().items() if state == "AVAILABLE"})
            assert 0.6 == score(other)
        with pytest.raises(VersionGone, match="version 1 of model 'crater', which this began"):
            client.detect(ONE)


def test_ready_means_that_the_label_that_will_be_asked_answers(models):
    """TF Serving: GetModelStatus does not look at labels, and says AVAILABLE."""
    with StrictServer({1: models / "1"}, labels=None) as server, \
            Client(server.endpoint, version_label="stable") as client:
        for labels, words in [(None, "UNAVAILABLE: Model labels does not init yet"),
                              ({}, "INVALID_ARGUMENT: Unrecognized servable version label: stable"),
                              ({"stable": 2}, r"NOT_FOUND: Servable not found .*crater, 2")]:
            server.labels = labels
            with pytest.raises(ServingError, match=f"is not ready after 0.5 s: .*{words}"):
                client.wait_ready(0.5)
        timer = Timer(1.0, server.load, (2, models / "2"))
        timer.start()
        client.wait_ready(20)
        timer.join()
        assert 0.6 == score(client)


def test_an_endpoint_comes_back_only_with_the_version_that_is_asked(models):
    """The label's version is still on its way when the server is up again."""
    first = StrictServer({1: models / "1"}, labels={"stable": 1}).start()
    with StrictServer({1: models / "1"}, labels={"stable": 1}) as second, \
            Client([first.endpoint, second.endpoint], max_batch=1, timeout_s=20,
                   version_label="stable") as client:
        client.detect(ONE * 4)
        first.stop()
        client.detect(ONE * 4)
        with StrictServer({}, labels={"stable": 1}, port=first.port) as young:
            time.sleep(2.5)  # it is probed meanwhile
            client.detect(ONE * 8)
            assert young.asked == []
            young.load(1, models / "1")
            end = time.monotonic() + 15
            while not young.asked:
                assert time.monotonic() < end
                client.detect(ONE)
                time.sleep(0.05)
