"""An image's way through a registry: pushed, found under its tag, pulled by digest and served."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request

import docker
import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from crater_model.cli import main
from crater_model.errors import CraterError
from crater_model.serving.client import Client
from crater_model.serving.image import TagTaken, build_image
from tests.serving.blobs import blob_image
from tests.serving.container_engine import registry, run_options

METRICS = "/monitoring/prometheus/metrics"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """HOST:PORT of a registry."""
    if not shutil.which("docker-registry"):
        pytest.skip("docker-registry is not installed")
    with registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def another_model(blob_model, tmp_path_factory):
    """Version 3 once more, but not the same model."""
    folder = shutil.copytree(blob_model / "3", tmp_path_factory.mktemp("another") / "3")
    card = folder / "assets.extra" / "model_card.json"
    card.write_text(card.read_text().replace("0.63", "0.64"))
    return folder


def forget(*images: str) -> None:
    subprocess.run(["docker", "rmi", "--force", *images], capture_output=True, check=False)


def image_id(image: str) -> str:
    return subprocess.run(["docker", "image", "inspect", "--format", "{{.Id}}", image], text=True,
                          capture_output=True, check=True).stdout.strip()


def test_a_tag_holds_one_model_for_ever(docker_base, address, blob_model, another_model):
    tag = f"{address}/taken:3"
    first = build_image(blob_model / "3", tag, base=docker_base, push=True)
    # The same again is the same image.
    again = build_image(blob_model / "3", tag, base=docker_base, push=True)
    assert (again.digest, again.image_id) == (first.digest, first.image_id)
    with pytest.raises(TagTaken) as caught:
        build_image(another_model, tag, base=docker_base)
    assert str(caught.value).startswith(
        f"{tag}: this tag holds version 3 ({first.labels['crater.model.sha256']}) on this machine,"
        " and was to hold version 3 (sha256:")
    assert "give another tag" in str(caught.value)
    # Another machine, which does not know the image.
    forget(tag, first.pushed)
    with pytest.raises(TagTaken, match="in the registry, and was to hold version 12"):
        build_image(blob_model / "12", tag, base=docker_base, push=True)
    with pytest.raises(TagTaken, match="holds version 3 .* to hold version 3 .* with canary 12"):
        build_image(blob_model / "3", tag, base=docker_base, canary=blob_model / "12", push=True)
    # The registry still has the first one, and the same model goes on from there.
    forget(tag, first.pushed)
    subprocess.run(["docker", "pull", tag], capture_output=True, check=True)
    assert image_id(tag) == first.image_id
    build_image(another_model, f"{address}/taken:3b", base=docker_base, push=True)


def test_only_latest_goes_on_to_another_version(docker_base, address, blob_model, another_model):
    name = f"{address}/moving"
    old = build_image(blob_model / "3", name, base=docker_base, push=True)
    new = build_image(blob_model / "12", name, base=docker_base, push=True)
    assert old.digest != new.digest and new.pushed == f"{name}@{new.digest}"
    assert image_id(f"{name}:latest") == new.image_id
    build_image(blob_model / "3", name, base=docker_base, push=True)
    with pytest.raises(TagTaken, match="holds version 3 .* was to hold version 3"):
        build_image(another_model, name, base=docker_base, push=True)


def test_an_image_of_something_else_is_not_overwritten(docker_base, address, blob_model):
    tag = f"{address}/else:1"
    subprocess.run(["docker", "tag", docker_base, tag], check=True)
    subprocess.run(["docker", "push", tag], capture_output=True, check=True)
    forget(tag)
    with pytest.raises(TagTaken, match="holds an image without the label crater.model.sha256"):
        build_image(blob_model, tag, base=docker_base, push=True)


def test_a_local_image_stays_when_the_registry_has_another(docker_base, address, blob_model):
    tag = f"{address}/both:1"
    pushed = build_image(blob_model / "3", tag, base=docker_base, push=True)
    forget(tag, pushed.pushed)
    local = build_image(blob_model / "12", tag, base=docker_base)
    with pytest.raises(TagTaken, match="in the registry"):
        build_image(blob_model / "12", tag, base=docker_base, push=True)
    assert image_id(tag) == local.image_id


def test_a_registry_that_does_not_answer_is_no_empty_one(docker_base, blob_model):
    with pytest.raises(CraterError, match="127.0.0.1:1/crater:12: cannot be pulled"):
        build_image(blob_model, "127.0.0.1:1/crater:12", base=docker_base, push=True)


@pytest.fixture(scope="module")
def pushed(docker_base, address, blob_model):
    """What `crater image build --push` says of an image with a canary, which is then forgotten."""
    tag = f"{address}/crater:3-12"
    with pytest.MonkeyPatch.context() as patch:
        said = []
        patch.setattr("builtins.print", lambda *words, file=None, **_: file or said.extend(words))
        assert main(["image", "build", str(blob_model / "3"), "--canary", str(blob_model / "12"),
                     "--tag", tag, "--base", docker_base, "--push", "--json"]) == 0
    made = json.loads(said[-1])
    forget(tag, made["pushed"])
    return made


def test_the_registry_shows_what_the_image_holds(pushed, address):
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed")
    shown = json.loads(subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", f"docker://{address}/crater:3-12"],
        capture_output=True, check=True).stdout)
    assert shown["Digest"] == pushed["digest"]
    assert pushed["pushed"] == f"{address}/crater@{shown['Digest']}"
    assert shown["Labels"] == pushed["labels"]
    assert shown["Labels"]["org.opencontainers.image.version"] == "3"
    assert shown["Labels"]["crater.canary.version"] == "12"


@pytest.fixture(scope="module")
def served(pushed):
    """gRPC and REST port of a container of the image, pulled by its digest."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        ports = first.getsockname()[1], second.getsockname()[1]
    engine = docker.from_env(timeout=120)
    engine.images.pull(pushed["pushed"])
    container = engine.containers.run(
        pushed["pushed"], [f"--port={ports[0]}", f"--rest_api_port={ports[1]}"], detach=True,
        network_mode="host", read_only=True, tmpfs={"/tmp": ""}, cap_drop=["ALL"],
        **run_options())
    try:
        wait_healthy(f"127.0.0.1:{ports[0]}", container)
        yield ports
    finally:
        container.remove(force=True, v=True)
        engine.close()


def wait_healthy(address: str, container) -> None:
    """What the probes in deploy/kubernetes do."""
    deadline = time.monotonic() + 90
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        while True:
            try:
                answer = health.Check(health_pb2.HealthCheckRequest(), timeout=2)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
                return
            except grpc.RpcError:
                container.reload()
                if time.monotonic() > deadline or container.status != "running":
                    raise AssertionError(container.logs().decode()) from None
                time.sleep(0.2)


@pytest.mark.slow
def test_stable_and_canary_answer(served):
    image = blob_image(50, 80, [(5, 10, 20, 30)])
    for label, version in (("stable", 3), ("canary", 12)):
        with Client(f"127.0.0.1:{served[0]}", version_label=label) as client:
            assert client.metadata()["version"] == version
            assert client.status() == {3: "AVAILABLE", 12: "AVAILABLE"}  # whatever the label
            np.testing.assert_array_equal(client.detect([image])[0].boxes, [[5, 10, 20, 30]])
    with Client(f"127.0.0.1:{served[0]}") as client:
        assert client.status() == {3: "AVAILABLE", 12: "AVAILABLE"}


@pytest.mark.slow
def test_prometheus_reads_the_metrics(served):
    with Client(f"127.0.0.1:{served[0]}", version_label="stable") as client:
        client.detect([blob_image(50, 80, [(5, 10, 20, 30)])])
    with urllib.request.urlopen(f"http://127.0.0.1:{served[1]}{METRICS}", timeout=10) as answer:
        text = answer.read().decode()
    counted = [line for line in text.splitlines()
               if line.startswith(":tensorflow:serving:request_count{")]
    assert any('model_name="crater"' in line and float(line.split()[-1]) >= 1 for line in counted)
