"""What deploy/ holds: strictly against the published schemas, and against one another."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from crater_model.serving.models import Model
from crater_model.serving.server import Server
from crater_model.serving.versions import Policy
from tests.serving.conftest import blob_model, blob_server  # noqa: F401 (fixtures)
from tests.serving.raw_client import RawClient

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = ROOT / "deploy" / "kubernetes"
COMPOSE = ROOT / "deploy" / "compose.yaml"
DOCKERFILE = (ROOT / "Dockerfile.serving").read_text()
GPU = "nvidia.com/gpu"
READY = "/v1/models/crater/labels/stable/metadata"


def documents() -> list[dict]:
    files = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]
    return [document for file in files
            for document in yaml.safe_load_all((MANIFESTS / file).read_text())]


def of_kind(kind: str) -> dict:
    found, = [document for document in documents() if document["kind"] == kind]
    return found


def dockerfile_ports() -> list[int]:
    return [int(port) for port in re.search(r"^EXPOSE (.+)$", DOCKERFILE, re.M)[1].split()]


def pod() -> dict:
    return of_kind("Deployment")["spec"]["template"]


@pytest.mark.parametrize("document", documents(),
                         ids=lambda d: f"{d['kind']}-{d['metadata']['name']}")
def test_manifest_is_strictly_valid(document):
    kubernetes_validate.validate(document, "1.33", strict=True)


def test_the_check_is_strict():
    deployment = of_kind("Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="resource"):
        kubernetes_validate.validate(deployment, "1.33", strict=True)


def test_everything_selects_the_pods():
    labels = pod()["metadata"]["labels"].items()
    spec = of_kind("Deployment")["spec"]
    for selector in (spec["selector"]["matchLabels"],
                     of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
                     *(rule["labelSelector"]["matchLabels"]
                       for rule in pod()["spec"]["topologySpreadConstraints"]),
                     *(document["spec"]["selector"] for document in documents()
                       if document["kind"] == "Service")):
        assert selector and selector.items() <= labels
    target = of_kind("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    deployment = of_kind("Deployment")
    assert target == {"apiVersion": deployment["apiVersion"], "kind": deployment["kind"],
                      "name": deployment["metadata"]["name"]}
    assert "replicas" not in spec  # the autoscaler's
    # The autoscaler counts in shares of the request.
    assert "cpu" in pod()["spec"]["containers"][0]["resources"]["requests"]
    names = [(document["kind"], document["metadata"]["name"]) for document in documents()]
    assert len(set(names)) == len(names)
    files = {path.name for path in MANIFESTS.iterdir()} - {"kustomization.yaml"}
    assert files == set(yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"])


def test_ports_and_probes_are_those_of_the_image():
    container, = pod()["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == dict(zip(("grpc", "http"), dockerfile_ports()))
    assert f'"--port={ports["grpc"]}"' in DOCKERFILE
    assert f'"--rest_api_port={ports["http"]}"' in DOCKERFILE
    assert '"--enable_grpc_healthcheck_service=true"' in DOCKERFILE
    assert container["livenessProbe"]["grpc"] == {"port": ports["grpc"]}
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"port": "http", "path": READY}
    services = {document["metadata"]["name"]: document["spec"] for document in documents()
                if document["kind"] == "Service"}
    headless, rest = services["crater-serving"], services["crater-serving-rest"]
    assert headless["clusterIP"] == "None" and "clusterIP" not in rest
    for spec in (headless, rest):
        port, = spec["ports"]
        assert port["port"] == ports[port["targetPort"]]
    annotations = pod()["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(ports["http"])
    monitoring = (ROOT / "deploy" / "serving" / "monitoring.config").read_text()
    assert f'path: "{annotations["prometheus.io/path"]}"' in monitoring


def test_the_container_is_no_root_and_has_a_gpu():
    container, = pod()["spec"]["containers"]
    user = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.M)
    security = pod()["spec"]["securityContext"]
    assert security["runAsNonRoot"] is True
    assert (security["runAsUser"], security["runAsGroup"]) == (int(user[1]), int(user[2]))
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["resources"]["limits"][GPU] == "1"
    assert [d["kind"] for d in documents() if f"{GPU}: " in yaml.safe_dump(d)] == ["Deployment"]
    grace = pod()["spec"]["terminationGracePeriodSeconds"]
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] < grace
    image, = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["images"]
    assert image["name"] == container["image"]
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", image["digest"])


def test_an_update_and_a_drain_leave_servers():
    rolling = of_kind("Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert (rolling["maxUnavailable"], rolling["maxSurge"]) == (0, 1)
    scaling = of_kind("HorizontalPodAutoscaler")["spec"]
    lost = of_kind("PodDisruptionBudget")["spec"]["maxUnavailable"]
    assert lost < scaling["minReplicas"] < scaling["maxReplicas"]


def test_compose_runs_the_image_on_this_machine_only():
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    assert list(services) == ["serving", "serving-gpu"]
    for service in services.values():
        assert service["image"].startswith("${CRATER_IMAGE:?")
        assert service["ports"] == [f"127.0.0.1:{port}:{port}" for port in dockerfile_ports()]
        assert service["read_only"] is True and service["tmpfs"] == ["/tmp"]
    assert "profiles" not in services["serving"] and "deploy" not in services["serving"]
    assert services["serving-gpu"]["profiles"] == ["gpu"]
    device, = services["serving-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_compose_takes_the_file():
    plugin = shutil.which("docker") and not subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False).returncode
    command = ["docker", "compose"] if plugin else [shutil.which("docker-compose")]
    if not command[0]:
        pytest.skip("docker compose is not installed")

    def config(**environment):
        return subprocess.run([*command, "--file", COMPOSE, "--profile", "gpu", "config"],
                              env={"PATH": "/usr/bin:/bin", "HOME": "/tmp", **environment},
                              capture_output=True, text=True, check=False)

    done = config(CRATER_IMAGE="crater-serving:1")
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert {service["image"] for service in services.values()} == {"crater-serving:1"}
    assert services["serving"]["healthcheck"]["test"][1:3] == ["bash", "-c"]
    assert "the image that crater image build made" in config().stderr


def healthy(port: int, model: str = "crater") -> bool:
    """What compose's health check says of a server."""
    command = yaml.safe_load(COMPOSE.read_text())["services"]["serving"]["healthcheck"]["test"]
    assert command[:3] == ["CMD", "bash", "-c"] and "/8501 " in command[3]
    script = command[3].replace("$$", "$")  # compose's own escape
    script = script.replace("/8501 ", f"/{port} ").replace("/crater/", f"/{model}/")
    return not subprocess.run([*command[1:3], script], capture_output=True, timeout=20,
                              check=False).returncode


def test_the_health_check_tells_a_server_from_none(blob_server):  # noqa: F811
    assert healthy(blob_server.rest_port)
    assert not healthy(blob_server.rest_port, "another")
    assert not healthy(1)


def test_a_server_is_ready_when_the_version_that_clients_ask_for_answers(blob_model,  # noqa: F811
                                                                        tmp_path):
    """An image whose stable version cannot be loaded: TF Serving runs with the canary alone, and
    gRPC's health service is content with it."""
    for version in ("3", "12"):
        shutil.copytree(blob_model / version, tmp_path / version)
    (tmp_path / "3" / "saved_model.pb").write_bytes(b"half")
    model = Model("crater", tmp_path, Policy(specific=frozenset({3, 12})),
                  {"stable": 3, "canary": 12})
    with Server([model], grpc_port=0, rest_port=0, poll_s=0.1) as server, \
            RawClient(server.grpc_port, server.rest_port) as client:
        assert client.healthy()
        assert client.rest(READY.replace("stable", "canary"))[0] == 200
        assert client.rest(READY)[0] == 404 and not healthy(server.rest_port)
        shutil.copy(blob_model / "3" / "saved_model.pb", tmp_path / "3")
        end = time.monotonic() + 30
        while not healthy(server.rest_port):
            assert time.monotonic() < end
        assert client.rest(READY)[0] == 200
