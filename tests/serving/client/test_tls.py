"""TLS, certificates of either side, and tokens: real handshakes on loopback."""

import grpc
import pytest

from crater_model.errors import ServingError
from crater_model.serving.client import Client
from tests.serving.blobs import blob_image
from tests.serving.faults import Forwarder
from tests.serving.strict_server import StrictServer, TokenAsked

IMAGE = blob_image(20, 30, [(2, 3, 8, 9)])


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_a_trusted_certificate_is_needed(blob_server, certificate, scheme):
    target = blob_server.grpc_port if scheme == "grpcs" else blob_server.rest_port
    with Forwarder(target, *certificate) as server:
        endpoint = f"{scheme}://localhost:{server.port}"
        with Client(endpoint, timeout_s=20) as client:
            for ask in (lambda: client.detect([IMAGE]), lambda: client.wait_ready(20)):
                with pytest.raises(ServingError, match=r"not trusted: name its authority \(ca\)"):
                    ask()
        with Client(endpoint, timeout_s=20, ca=certificate[0]) as client:
            assert client.detect([IMAGE])[0].boxes.tolist() == [[2, 3, 8, 9]]


@pytest.mark.parametrize("scheme, target", [("grpcs", "grpc_port"), ("https", "rest_port")])
def test_tls_to_a_server_without_it_is_said_at_once(blob_server, scheme, target):
    endpoint = f"{scheme}://127.0.0.1:{getattr(blob_server, target)}"
    plain = {"grpcs": "grpc", "https": "http"}[scheme]
    with Client(endpoint, timeout_s=60) as client, \
            pytest.raises(ServingError, match=f"does not speak TLS: name it {plain}://"):
        client.detect([IMAGE])


def test_a_server_that_asks_who_the_client_is(blob_model, certificate):
    pem = [file.read_bytes() for file in certificate]
    mutual = grpc.ssl_server_credentials([(pem[1], pem[0])], pem[0], True)
    shown = {"certificate": certificate[0], "key": certificate[1]}
    with StrictServer({3: blob_model / "3"}, credentials=mutual) as server:
        # A CA makes a bare HOST:PORT and a target of gRPC's own use TLS.
        for endpoint in (f"localhost:{server.port}", f"dns:///localhost:{server.port}",
                         f"grpcs://localhost:{server.port}"):
            with Client(endpoint, timeout_s=20, ca=certificate[0], **shown) as client:
                assert client.detect([IMAGE])[0].boxes.tolist() == [[2, 3, 8, 9]]
        with Client(f"localhost:{server.port}", timeout_s=1, ca=certificate[0]) as client, \
                pytest.raises(ServingError, match="UNAVAILABLE"):
            client.detect([IMAGE])


def test_what_does_not_fit_together_is_said_before_the_first_request(certificate, tmp_path):
    for options, words in [
            ({"certificate": certificate[0]}, "a client's certificate was given and no key"),
            ({"key": certificate[1]}, "a client's key was given and no certificate"),
            ({"ca": tmp_path / "absent.pem"}, "absent.pem: cannot be read as the ca: No such"),
            ({"token": tmp_path / "absent"}, "a:1: the token would go over the network in the "
                                             "clear")]:
        with pytest.raises(ServingError, match=words):
            Client("a:1", **options)


def test_a_token_is_sent_and_read_anew_from_its_file(blob_model, tmp_path):
    file, asked = tmp_path / "token", TokenAsked("one")
    with StrictServer({3: blob_model / "3"}, interceptors=[asked]) as server:
        with Client(server.endpoint, timeout_s=20, token="one") as client:
            assert len(client.detect([IMAGE])[0]) == 1
        file.write_text("one\n")
        with Client(server.endpoint, timeout_s=20, token=file) as client:
            client.wait_ready(20)
            asked.token = "two"
            with pytest.raises(ServingError, match="UNAUTHENTICATED: who is there"):
                client.detect([IMAGE])
            file.write_text("two\n")
            assert len(client.detect([IMAGE])[0]) == 1
            file.unlink()
            with pytest.raises(ServingError, match="no token: .*token: cannot be read"):
                client.detect([IMAGE])


def test_over_rest_the_token_goes_before_what_a_netrc_says(tmp_path, monkeypatch):
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            seen.append(self.headers["Authorization"])
            self.send_error(401, "who is there?")

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        with Client(f"http://127.0.0.1:{server.server_port}", token="one", timeout_s=5) as client, \
                pytest.raises(ServingError, match="HTTP 401: who is there"):
            client.metadata()
        server.shutdown()
    assert seen == ["Bearer one"]
