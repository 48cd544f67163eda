"""What deploy/dagster says agrees with itself and with the rest."""

import re
import subprocess
from importlib.metadata import requires
from pathlib import Path

import yaml

from crater_assets.automation import LEVELS
from crater_assets.executors import EXECUTORS, SETTINGS

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "dagster"

# The keys of Dagster's chart 1.13 that are used here, as its documentation and its schema have
# them; None: whatever Kubernetes or Dagster takes there. The chart itself is on no package index.
CHART = {
    "global": {"serviceAccountName": None, "postgresqlSecretName": None},
    "generatePostgresqlPasswordSecret": None,
    "serviceAccount": {"create": None, "annotations": None},
    "dagster-user-deployments": {"enabled": None, "enableSubchart": None, "deployments": {
        "name": None, "image": {"repository": None, "tag": None, "pullPolicy": None},
        "dagsterApiGrpcArgs": None, "port": None, "includeConfigInLaunchedRuns": {"enabled": None},
        "env": {"name": None, "value": None}, "resources": None}},
    "runLauncher": {"type": None, "config": {"k8sRunLauncher": {
        "imagePullPolicy": None, "loadInclusterConfig": None, "failPodOnRunFailure": None,
        "runK8sConfig": {"jobSpecConfig": None}}}},
    "concurrency": {"enabled": None, "pools": {"defaultLimit": None, "granularity": None},
                    "runs": {"maxConcurrentRuns": None,
                             "tagConcurrencyLimits": {"key": None, "limit": None}}},
    "dagsterDaemon": {
        "enabled": None,
        "runCoordinator": {"enabled": None, "type": None, "config": {"queuedRunCoordinator": {}}},
        "runMonitoring": {name: None for name in (
            "enabled", "startTimeoutSeconds", "cancelTimeoutSeconds", "maxResumeRunAttempts",
            "pollIntervalSeconds", "freeSlotsAfterRunEndSeconds")},
        "runRetries": {"enabled": None, "maxRetries": None, "retryOnAssetOrOpFailure": None}},
    "computeLogManager": {"type": None, "config": {"gcsComputeLogManager": {
        "bucket": None, "prefix": None, "uploadInterval": None}}},
    "postgresql": {"enabled": None, "postgresqlUsername": None, "postgresqlDatabase": None,
                   "existingSecret": None},
    "telemetry": {"enabled": None},
}


def unknown(values, known, at="") -> list[str]:
    """The dotted names of the keys that are not known."""
    if known is None:
        return []
    if isinstance(values, list):
        return [key for value in values for key in unknown(value, known, at)]
    if not isinstance(values, dict):
        return [f"{at}: {values}"] if known else []
    return [name for key, value in values.items()
            for name in (unknown(value, known[key], f"{at}.{key}") if key in known
                         else [f"{at}.{key}"])]


def test_values_have_the_charts_keys_only():
    values = yaml.safe_load((DEPLOY / "values.yaml").read_text())
    assert unknown(values, CHART) == []
    assert unknown({"telemetry": {"enable": True}}, CHART) == [".telemetry.enable"]


def test_values_fit_the_code():
    values = yaml.safe_load((DEPLOY / "values.yaml").read_text())
    deployment, = values["dagster-user-deployments"]["deployments"]
    assert deployment["dagsterApiGrpcArgs"] == ["-m", "crater_assets.definitions"]
    env = {entry["name"]: entry["value"] for entry in deployment["env"]}
    assert env["CRATER_EXECUTOR"] in EXECUTORS and env["CRATER_AUTOMATION"] in LEVELS
    assert env["CRATER_STORAGE"].startswith("gs://")
    assert values["dagsterDaemon"]["runRetries"] == {
        "enabled": True, "maxRetries": 1, "retryOnAssetOrOpFailure": False}
    # Each value says why: a comment at it, or above its section.
    text = (DEPLOY / "values.yaml").read_text()
    for section in re.split(r"\n(?=\S.*:$)", text)[1:]:
        assert "#" in section or section.startswith(("telemetry", "serviceAccount")), section


def test_the_compute_logs_settings_are_dagster_gcps():
    from dagster_gcp.gcs.compute_log_manager import GCSComputeLogManager

    values = yaml.safe_load((DEPLOY / "values.yaml").read_text())["computeLogManager"]
    assert values["type"] == GCSComputeLogManager.__name__
    names = {re.sub(r"([A-Z])", lambda m: f"_{m[1].lower()}", name)
             for name in values["config"]["gcsComputeLogManager"]}
    assert names <= set(GCSComputeLogManager.config_type())


def test_the_node_pool_is_what_trainings_select_and_tolerate():
    script = DEPLOY / "gpu-node-pool.sh"
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text()
    pod = yaml.safe_load(SETTINGS.read_text())["kubernetes"]["gpu_step"]["pod_spec_config"]
    assert f'GPU:={pod["node_selector"]["cloud.google.com/gke-accelerator"]}' in text
    spot, = [t for t in pod["tolerations"] if "spot" in t["key"]]
    assert f"--node-taints {spot['key']}={spot['value']}:{spot['effect']}" in text
    values = yaml.safe_load((DEPLOY / "values.yaml").read_text())
    assert f"MAX_NODES:={values['concurrency']['pools']['defaultLimit']}" in text


def test_the_gpu_lock_has_every_cuda_package_with_hashes():
    text = (DEPLOY / "requirements-gpu.lock").read_text()
    locked = re.findall(r"^(nvidia-[\w-]+)==\S+ \\\n    --hash=sha256:", text, re.M)
    wanted = {re.match(r"[\w-]+", line)[0] for line in requires("tensorflow")
              if "and-cuda" in line}
    assert set(locked) == wanted and len(wanted) > 8


def test_the_dockerfile_takes_what_the_context_holds():
    """.dockerignore leaves out all else; the image itself is built in test_asset_containers."""
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines()
            if line.startswith("!")}
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            assert set(line.split()[1:-1]) <= kept, line
    assert all((ROOT / name).exists() for name in kept)
