"""TLS, through a process that ends it before the real server."""

import shutil
import subprocess

import grpc
import pytest

from crater_model.errors import ServingError
from crater_model.serving.client import Client
from tests.serving.blobs import blob_image
from tests.serving.faults import Forwarder


@pytest.fixture
def certificate(tmp_path):
    """Files of a certificate of localhost that signs itself, and of its key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificate and is not here")
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", files[0], "-keyout", files[1]],
        check=True, capture_output=True)
    return files


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_a_trusted_certificate_is_needed(blob_server, certificate, monkeypatch, scheme):
    image = blob_image(20, 30, [(2, 3, 8, 9)])
    target = blob_server.grpc_port if scheme == "grpcs" else blob_server.rest_port
    with Forwarder(target, *certificate) as server:
        endpoint = f"{scheme}://localhost:{server.port}"
        with Client(endpoint, timeout_s=1) as client, \
                pytest.raises(ServingError, match="(?i)certificate|handshake"):
            client.detect([image])
        # gRPC reads the variable that names trusted roots once, before any test.
        trusting = grpc.ssl_channel_credentials(certificate[0].read_bytes())
        monkeypatch.setattr(grpc, "ssl_channel_credentials", lambda: trusting)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
        with Client(endpoint, timeout_s=20) as client:
            assert client.detect([image])[0].boxes.tolist() == [[2, 3, 8, 9]]
