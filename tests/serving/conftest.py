"""A small SavedModel in two versions and a running server of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving import container_engine
from tests.serving.blobs import write_blob_model


@pytest.fixture(scope="session")
def blob_model(tmp_path_factory) -> Path:
    """The folder of two versions, 3 and 12, of the blob model."""
    folder = tmp_path_factory.mktemp("blob") / "crater"
    write_blob_model(folder, 3)
    write_blob_model(folder, 12)
    return folder


@pytest.fixture(scope="session")
def blob_server(blob_model):
    """A running server of the blob model on free ports."""
    from crater_model.serving.server import Server

    with Server.of(blob_model, keep_versions=2, grpc_port=0, rest_port=0) as server:
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Files of a certificate of localhost that signs itself, and of its key."""
    import shutil
    import subprocess

    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificate and is not here")
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", files[0], "-keyout", files[1]],
        check=True, capture_output=True)
    return files


@pytest.fixture(scope="session")
def docker_base():
    """A running Docker engine of its own, DOCKER_HOST set to it, with the stand-in base image;
    gives the base image's name. CRATER_DOCKER_RUN_OPTIONS lends Python to containers."""
    import json

    if reason := container_engine.why_no_engine():
        pytest.skip(reason)
    try:
        with container_engine.docker_engine() as host, pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", host)
            patch.setenv("DOCKER_BUILDKIT", "0")  # the plain builder does
            patch.setenv("CRATER_DOCKER_RUN_OPTIONS", json.dumps(container_engine.run_options()))
            container_engine.import_base("local/base:1")
            yield "local/base:1"
    except RuntimeError as error:
        pytest.skip(f"dockerd does not start here: {error}")


@pytest.fixture
def gate(monkeypatch):
    """Holds back every run of a model until `gate.set()`; `gate.runs` has the number of rows
    of each run that began."""
    import threading

    from crater_model.serving.servable import ModelVersion

    event, run = threading.Event(), ModelVersion.run
    event.runs = []

    def held(self, inputs, signature_name=""):
        event.runs.append(len(next(iter(inputs.values()))))
        assert event.wait(30)
        return run(self, inputs, signature_name)

    monkeypatch.setattr(ModelVersion, "run", held)
    yield event
    event.set()


@pytest.fixture
def until():
    """Waits until a condition holds."""
    import time

    def wait(condition, seconds=120.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.01)
    return wait
