"""Endpoints that fail, one way or the other: nothing is lost, the order is kept."""

import time

import grpc
import pytest

from crater_model.errors import ServingError
from crater_model.serving.client import Client, connections
from tests.serving.blobs import blob_image
from tests.serving.faults import FaultyServer, Forwarder

ONE = [blob_image(20, 30, [(2, 3, 8, 9)])]


def numbered(count):
    for n in range(count):
        yield blob_image(20, 40 + n, [(1, n, 5, n + 3)])


def number_of(found):
    return int(found.boxes[0, 1])


def abort_first(count, code, details="as told"):
    def fault(number, context):
        if number <= count:
            context.abort(code, details)
    return fault


@pytest.mark.parametrize("code, probes", [
    (grpc.StatusCode.UNAVAILABLE, True), (grpc.StatusCode.CANCELLED, True),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, False), (grpc.StatusCode.ABORTED, False)])
def test_what_passes_is_asked_again(blob_server, code, probes):
    with FaultyServer(blob_server.grpc_port, abort_first(2, code)) as server, \
            Client(server.endpoint, timeout_s=20) as client:
        assert len(client.detect(ONE)[0]) == 1
        assert server.predicts == 3 and (server.checks == 2) == probes


@pytest.mark.parametrize("code", [
    grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL])
def test_what_would_fail_again_fails_at_once(blob_server, code):
    with FaultyServer(blob_server.grpc_port, abort_first(9, code)) as server, \
            Client(server.endpoint, timeout_s=20) as client:
        with pytest.raises(ServingError, match=f"{server.endpoint}: Predict of model 'crater' "
                                               f"failed: {code.name}: as told"):
            client.detect(ONE)
        assert server.predicts == 1


def test_a_message_over_a_limit_fails_at_once_and_says_whose(blob_server, monkeypatch):
    with FaultyServer(blob_server.grpc_port,
                      options=[("grpc.max_receive_message_length", 100)]) as server, \
            Client(server.endpoint, timeout_s=20) as client, \
            pytest.raises(ServingError, match="larger than the server's limit .* max_batch"):
        client.detect(ONE)
    monkeypatch.setattr(connections, "MAX_MESSAGE_BYTES", 200)
    with Client(f"127.0.0.1:{blob_server.grpc_port}", timeout_s=20) as client, \
            pytest.raises(ServingError, match="larger than the client's limit .* max_batch"):
        client.detect(ONE)


def test_without_the_health_service_the_models_answer_brings_an_endpoint_back(blob_server):
    fault = abort_first(1, grpc.StatusCode.UNAVAILABLE)
    with FaultyServer(blob_server.grpc_port, fault, with_health=False) as server, \
            Client(server.endpoint, timeout_s=20) as client:
        assert len(client.detect(ONE)[0]) == 1
        assert (server.predicts, server.metadatas) == (2, 1)


def test_a_busy_server_is_not_left_out_and_the_other_is_asked(blob_server):
    fault = abort_first(10**6, grpc.StatusCode.RESOURCE_EXHAUSTED)
    with FaultyServer(blob_server.grpc_port, fault) as busy, \
            FaultyServer(blob_server.grpc_port) as free, \
            Client([busy.endpoint, free.endpoint], max_batch=1, timeout_s=20) as client:
        found = [number_of(each) for each in client.stream(numbered(12))]
        assert found == list(range(12))
        assert busy.predicts > 2 and busy.checks == 0 and free.predicts == 12


def test_an_endpoint_whose_requests_hang_is_left_out(blob_server):
    """It takes requests and its health is good, yet it answers none."""
    with FaultyServer(blob_server.grpc_port, lambda *_: time.sleep(2)) as hung, \
            FaultyServer(blob_server.grpc_port) as well, \
            Client([hung.endpoint, well.endpoint], max_batch=1, timeout_s=20,
                   try_timeout_s=0.5) as client:
        start = time.monotonic()
        found = [number_of(each) for each in client.stream(numbered(20))]
        assert found == list(range(20))
        assert time.monotonic() - start < 5 and well.predicts >= 18


def test_a_stopped_process_is_left_out_and_used_again(blob_server):
    with FaultyServer(blob_server.grpc_port) as behind, Forwarder(behind.port) as stopped, \
            Client(f"{stopped.endpoint},127.0.0.1:{blob_server.grpc_port}", max_batch=1,
                   timeout_s=30, try_timeout_s=0.5) as client:
        client.wait_ready(10)
        stopped.hang()
        found = [number_of(each) for each in client.stream(numbered(10))]
        assert found == list(range(10)) and behind.predicts == 0
        stopped.go_on()
        used_again(client, behind)


def test_a_process_killed_and_restarted_in_the_middle_of_a_stream(blob_server):
    with FaultyServer(blob_server.grpc_port) as behind, Forwarder(behind.port) as killed, \
            Client(f"{killed.endpoint},127.0.0.1:{blob_server.grpc_port}", max_batch=2,
                   timeout_s=30) as client:
        found = []
        for each in client.stream(numbered(60)):
            found.append(number_of(each))
            if len(found) == 20:
                killed.kill()
            if len(found) == 40:
                killed.start()
        assert found == list(range(60))
        before = behind.predicts
        assert before >= 4
        used_again(client, behind)


def test_the_only_server_killed_is_waited_for(blob_server):
    with Forwarder(blob_server.grpc_port) as only, \
            Client(only.endpoint, max_batch=2, timeout_s=30) as client:
        found = []
        for each in client.stream(numbered(40)):
            found.append(number_of(each))
            if len(found) == 20:
                only.kill()
                only.start()
        assert found == list(range(40))


def test_all_endpoints_down_ends_at_the_deadline_with_the_reason():
    with Client("127.0.0.1:1,127.0.0.1:2", timeout_s=1.0) as client:
        for _ in range(2):  # the second time all are out from the start
            start = time.monotonic()
            with pytest.raises(ServingError, match=r"127.0.0.1:[12]: Predict of model 'crater' "
                                                   "failed: UNAVAILABLE: .+"):
                client.detect(ONE)
            assert 0.9 < time.monotonic() - start < 2.0


def used_again(client, behind):
    """Asks until the endpoint before `behind` answers again."""
    before, deadline = behind.predicts, time.monotonic() + 15
    while behind.predicts < before + 2:
        assert time.monotonic() < deadline
        assert len(client.detect(ONE)[0]) == 1
        time.sleep(0.05)
