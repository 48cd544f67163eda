"""Dockerfile.serving built, run and asked with a real Docker engine."""

import json
import subprocess

import numpy as np
import pytest

from crater_model.errors import ConfigError, ServingError
from crater_model.serving.image import (
    BaseImageUnavailable,
    build_image,
    find_engine,
    run_image,
    write_context,
)
from tests.serving.blobs import blob_image


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
    assert made["Id"] == image.image_id
    assert (image.digest, image.pushed) == (None, None)
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
    by_hand, built = inspect("byhand"), inspect("crater:test")
    assert by_hand["RootFS"] == built["RootFS"]  # the very same layers
    assert by_hand["Config"]["Labels"] == image.labels
    assert by_hand["Config"]["Entrypoint"] == built["Config"]["Entrypoint"]


def test_another_base_by_build_arguments(docker_base, blob_model, tmp_path):
    subprocess.run(["docker", "tag", docker_base, "local/other:2"], check=True)
    folder = write_context(blob_model, tmp_path / "context", base="local/nowhere:1")
    subprocess.run(["docker", "build", "--tag", "other", "--build-arg", "BASE_IMAGE=local/other",
                    "--build-arg", "BASE_VERSION=2", folder], capture_output=True, check=True)
    assert inspect("other")["RootFS"]["Layers"][0] == inspect(docker_base)["RootFS"]["Layers"][0]


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


def test_run_options_must_be_json(docker_base, monkeypatch):
    monkeypatch.setenv("CRATER_DOCKER_RUN_OPTIONS", "--gpus all")
    with pytest.raises(ConfigError, match="--gpus all: expected a JSON object"):
        with run_image("crater:test"):
            pass
