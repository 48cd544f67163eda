"""Dockerfile.serving built, run, asked and pushed with a real Docker engine."""

import json
import shutil
import subprocess

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from crater_model.errors import CraterError, ServingError
from crater_model.serving.image import (
    BaseImageUnavailable,
    build_image,
    find_engine,
    run_image,
    write_context,
)
from tests.serving.blobs import blob_image
from tests.serving.container_engine import registry


def inspect(image: str) -> dict:
    shown = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=True)
    return json.loads(shown.stdout)[0]


@pytest.fixture(scope="module")
def image(docker_base, blob_model):
    return build_image(blob_model, "crater:test", base=docker_base)


@pytest.mark.slow
def test_the_image_answers_a_prediction(image):
    with run_image(image.reference, image.engine, timeout_s=120) as client:
        assert client.status() == {12: "AVAILABLE"}
        found = client.detect([blob_image(50, 80, [(5, 10, 20, 30), (7, 40, 9, 60)])])[0]
        np.testing.assert_array_equal(found.boxes, [[5, 10, 20, 30], [7, 40, 9, 60]])
        with grpc.insecure_channel(client.endpoints[0]) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        names = subprocess.run(["docker", "ps", "--quiet"], capture_output=True, text=True,
                               check=True).stdout.split()
        who = subprocess.run(["docker", "exec", names[0], "busybox", "id", "-u"],
                             capture_output=True, text=True, check=True)
        assert who.stdout.strip() == "65532"
    left = subprocess.run(["docker", "ps", "--all", "--quiet"], capture_output=True, check=True)
    assert left.stdout == b""


def test_the_labels_say_what_is_inside(image, docker_base):
    made = inspect(image.reference)
    assert image.engine == find_engine() == "docker"
    assert made["Id"] == image.digest
    labels = made["Config"]["Labels"]
    assert labels == image.labels
    assert labels["org.opencontainers.image.version"] == "12"
    assert labels["org.opencontainers.image.revision"] == "abc123"
    assert labels["org.opencontainers.image.base.name"] == docker_base
    assert labels["org.opencontainers.image.description"] == 'blobs, "quoted" and $HOME'
    assert json.loads(labels["crater.metrics"]) == {"mask_AP": 0.63, "mask_AP50": 0.98}
    assert labels["crater.data"] == "sha256:00ff"
    assert made["Config"]["User"] == "65532:65532"
    assert sorted(made["Config"]["ExposedPorts"]) == ["8500/tcp", "8501/tcp"]


def test_the_written_context_builds_the_same_image_by_hand(image, docker_base, blob_model,
                                                           tmp_path):
    folder = write_context(blob_model, tmp_path / "context", base=docker_base)
    subprocess.run(["docker", "build", "--tag", "byhand", folder], capture_output=True, check=True)
    assert inspect("byhand")["Config"]["Labels"] == image.labels
    assert inspect("byhand")["Config"]["Entrypoint"] == inspect("crater:test")["Config"][
        "Entrypoint"]


def test_a_base_that_cannot_be_had_is_an_error_of_its_own(docker_base, blob_model):
    with pytest.raises(BaseImageUnavailable, match="127.0.0.1:1/nobody/base:1: this base image"):
        build_image(blob_model, "crater:none", base="127.0.0.1:1/nobody/base:1")


@pytest.mark.slow
def test_a_container_that_ends_says_why(docker_base, blob_model, tmp_path):
    folder = write_context(blob_model, tmp_path / "context", base=docker_base)
    (folder / "models.config").write_text("nonsense")
    subprocess.run(["docker", "build", "--tag", "broken", folder], capture_output=True, check=True)
    with pytest.raises(ServingError, match="has ended.*not a ModelServerConfig"):
        with run_image("broken"):
            pass


@pytest.mark.slow
def test_push_to_a_registry(docker_base, blob_model, tmp_path):
    if not shutil.which("docker-registry"):
        pytest.skip("docker-registry is not installed")
    with registry(tmp_path) as address:
        tag = f"{address}/crater:12"
        pushed = build_image(blob_model, tag, base=docker_base, push=True).pushed
        assert pushed.startswith(f"{address}/crater@sha256:")
        subprocess.run(["docker", "rmi", "--force", tag], capture_output=True, check=True)
        subprocess.run(["docker", "pull", pushed], capture_output=True, check=True)
        assert inspect(pushed)["Config"]["Labels"]["org.opencontainers.image.version"] == "12"
    with pytest.raises(CraterError, match="cannot be pushed"):
        build_image(blob_model, tag, base=docker_base, push=True)
