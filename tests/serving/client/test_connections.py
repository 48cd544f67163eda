"""What stands between a client and its servers: forgotten flows, names, forks, wrong ports."""

import os
import signal
import time

import pytest

from crater_model.errors import ServingError
from crater_model.serving.client import Client, connections, over_grpc, over_rest
from tests.serving.blobs import blob_image
from tests.serving.faults import FaultyServer, ForgetfulProxy, free_port
from tests.serving.name_server import NameServer
from tests.serving.strict_server import StrictServer

ONE = [blob_image(20, 30, [(2, 3, 8, 9)])]

pytestmark = pytest.mark.slow  # servers, and what happens between them and the client


@pytest.fixture
def pool(blob_model):
    """start(host) starts a server on that address of loopback, all on one port; `pool.port`."""
    class Pool:
        port, servers = free_port(), {}

        def start(self, host):
            self.servers[host] = StrictServer({3: blob_model / "3"}, host=host,
                                              port=self.port).start()
            return self.servers[host]

    found = Pool()
    found.servers = {}
    yield found
    for server in found.servers.values():
        server.stop()


def ask(client, times=60):
    for _ in range(times):
        assert client.detect(ONE)[0].boxes.tolist() == [[2, 3, 8, 9]]


def test_a_connection_that_was_forgotten_in_silence_is_replaced(blob_server):
    """The request that is lost on it is asked again within its time."""
    with ForgetfulProxy(blob_server.grpc_port, "--idle", "1") as proxy, \
            Client(proxy.endpoint, timeout_s=12) as client:
        ask(client, 1)
        time.sleep(1.5)
        start = time.monotonic()
        ask(client, 1)
        assert time.monotonic() - start < 9 and proxy.forgotten == 1
        ask(client, 20)


@pytest.mark.parametrize("scheme, port", [("grpc", "grpc_port"), ("http", "rest_port")])
def test_a_probe_does_not_go_over_a_dead_connection(blob_server, scheme, port):
    """Of two endpoints one is behind the proxy; after a try in vain it is used again."""
    direct = f"{scheme}://127.0.0.1:{getattr(blob_server, port)}"
    with ForgetfulProxy(getattr(blob_server, port), "--idle", "1") as proxy, \
            Client([f"{scheme}://{proxy.endpoint}", direct], timeout_s=20, try_timeout_s=1,
                   max_batch=1) as client:
        ask(client, 4)
        time.sleep(1.5)
        ask(client, 4)
        assert proxy.forgotten == 1
        first = client._client._asker.pool.endpoints[0]
        end = time.monotonic() + 10
        while first.failure is not None:
            assert time.monotonic() < end, "it never came back"
            time.sleep(0.05)
        ask(client, 4)
        assert first.failure is None and first.failures == 0


@pytest.mark.parametrize("scheme, port, module", [
    ("grpc", "grpc_port", connections), ("http", "rest_port", over_rest)])
def test_a_connection_that_was_silent_for_long_is_not_used(blob_server, monkeypatch, scheme, port,
                                                           module):
    monkeypatch.setattr(module, "IDLE_S", 1.0)
    with ForgetfulProxy(getattr(blob_server, port), "--idle", "2") as proxy, \
            Client(f"{scheme}://{proxy.endpoint}", timeout_s=30) as client:
        ask(client, 1)
        time.sleep(3)
        start = time.monotonic()
        ask(client, 1)
        assert time.monotonic() - start < 2 and proxy.forgotten == 0


def test_pings_stay_within_what_servers_allow(blob_server):
    """Requests of which each waits as long as it may, at a server that is stricter than gRPC's
    default: one ping too early between two answers is forgiven, not two."""
    def slow(number, context):
        time.sleep(11)

    with FaultyServer(blob_server.grpc_port, slow,
                      options=[("grpc.http2.max_ping_strikes", 1)]) as server, \
            Client(server.endpoint, timeout_s=12, max_batch=1) as client:
        ask(client, 1)
        time.sleep(9)  # without a request there are no pings
        ask(client, 1)
        assert server.predicts == 2 and server.checks == 0  # no GOAWAY, nothing asked again


def test_sixty_requests_land_on_both_servers_behind_a_name(pool):
    first, second = pool.start("127.0.0.2"), pool.start("127.0.0.3")
    with NameServer(pods=["127.0.0.2", "127.0.0.3"]) as names, \
            Client(names.target("pods", pool.port), max_batch=1, timeout_s=20) as client:
        ask(client)
        assert min(len(first.asked), len(second.asked)) >= 20
        assert len(first.asked) + len(second.asked) == 60


def test_of_two_addresses_one_goes_and_another_comes(pool):
    pool.start("127.0.0.2"), pool.start("127.0.0.3")
    with NameServer(pods=["127.0.0.2", "127.0.0.3"]) as names, \
            Client(names.target("pods", pool.port), max_batch=1, timeout_s=20) as client:
        ask(client, 10)
        new = pool.start("127.0.0.4")
        names.addresses["pods"] = ["127.0.0.3", "127.0.0.4"]
        time.sleep(2)  # a name is not looked up more often
        pool.servers.pop("127.0.0.2").stop()
        ask(client)
        assert len(new.asked) >= 15


def test_a_server_that_is_added_is_found_though_nothing_breaks(pool, monkeypatch):
    monkeypatch.setattr(over_grpc, "RENEW_S", 1.0)
    first = pool.start("127.0.0.2")
    with NameServer(pods=["127.0.0.2"]) as names, \
            Client(names.target("pods", pool.port), max_batch=1, timeout_s=20) as client:
        ask(client, 5)
        new = pool.start("127.0.0.3")
        names.addresses["pods"] = ["127.0.0.2", "127.0.0.3"]
        end = time.monotonic() + 15
        while len(new.asked) < 10:
            assert time.monotonic() < end
            ask(client, 5)
            time.sleep(0.05)
        assert len(first.asked) >= 10


def test_lists_of_addresses_and_sockets(pool, blob_model, tmp_path):
    first, second = pool.start("127.0.0.2"), pool.start("127.0.0.3")
    with Client(f"ipv4:127.0.0.2:{pool.port},127.0.0.3:{pool.port}", max_batch=1) as client:
        ask(client, 20)
    assert min(len(first.asked), len(second.asked)) >= 5
    with StrictServer({3: blob_model / "3"}, host=f"unix:{tmp_path}/socket") as server, \
            Client(f"unix:{tmp_path}/socket") as client:
        client.wait_ready(10)
        ask(client, 1)
        assert server.asked == [(3, 1)]


@pytest.mark.parametrize("scheme, port, words", [
    ("grpc", "rest_port", "does not speak gRPC: is this its REST port"),
    ("http", "grpc_port", "does not speak HTTP/1.1: is this its gRPC port")])
def test_the_other_apis_port_is_said_at_once(blob_server, scheme, port, words):
    with Client(f"{scheme}://127.0.0.1:{getattr(blob_server, port)}", timeout_s=60) as client:
        start = time.monotonic()
        for asked in (lambda: client.detect(ONE), client.describe, lambda: client.wait_ready(60)):
            with pytest.raises(ServingError, match=words):
                asked()
        assert time.monotonic() - start < 5


def test_after_a_fork_it_says_so_and_a_new_one_works(blob_server):
    endpoint = f"127.0.0.1:{blob_server.grpc_port}"
    with Client(endpoint, timeout_s=20) as client:
        ask(client, 1)
        read, write = os.pipe()
        child = os.fork()
        if not child:
            signal.alarm(30)  # a hang ends by itself
            said = []
            try:
                for asked in (client.status, lambda: client.detect(ONE)):
                    try:
                        asked()
                    except ServingError as error:
                        said.append(str(error))
                client.close()
                with Client(endpoint, timeout_s=20) as other:
                    said.append(str(len(other.detect(ONE)[0])))
                os.write(write, "\n".join(said).encode())
            finally:
                os._exit(0)
        os.close(write)
        assert os.waitpid(child, 0)[1] == 0
        with os.fdopen(read) as lines:
            first, second, found = lines.read().splitlines()
        for line in (first, second):
            assert line.startswith(f"{endpoint}: this client was made before the process was")
        assert found == "1"
        ask(client, 1)  # the parent's is as it was
