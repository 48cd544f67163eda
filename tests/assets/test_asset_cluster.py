"""The Kubernetes Job of every step, rendered from the real definitions and validated."""

import re
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
import yaml

kubernetes = pytest.importorskip("kubernetes")
pytest.importorskip("dagster_k8s")

from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.test_utils import instance_for_test
from dagster._grpc.types import ExecuteStepArgs

from crater_assets.assets import ASSETS
from crater_assets.definitions import defs
from crater_assets.executors import chosen_executor

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "dagster"
IMAGE = "europe-west4-docker.pkg.dev/project/crater/crater-code:1"
GPU, SPOT = "nvidia.com/gpu", "cloud.google.com/gke-spot"
# As the chart's run launcher and code location hand them to a run (deploy/dagster/values.yaml).
LAUNCHER = {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": {
    "service_account_name": "dagster", "dagster_home": "/opt/dagster/dagster_home",
    "instance_config_map": "dagster-instance", "postgres_password_secret": "dagster-postgresql",
    "job_namespace": "dagster"}}
LOCATION = {"k8s": {
    "image_pull_policy": "IfNotPresent", "service_account_name": "dagster", "namespace": "dagster",
    "env": [{"name": "CRATER_STORAGE", "value": "gs://bucket/crater"},
            {"name": "CRATER_EXECUTOR", "value": "kubernetes"}]}}


@pytest.fixture(scope="module")
def jobs():
    """{step key: the Job that dagster-k8s would create, as Kubernetes' JSON}."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRATER_EXECUTOR", "kubernetes")
        patch.delenv("CRATER_IMAGE", raising=False)
        patch.delenv("CRATER_EXECUTOR_SETTINGS", raising=False)
        patch.setattr(kubernetes.config, "load_incluster_config", lambda: None)
        patch.setattr(dg.DagsterEvent, "step_worker_starting", lambda *_, **__: None)
        with instance_for_test({"run_launcher": LAUNCHER}) as instance:
            yield rendered(instance, defs.resolve_job_def("crater_pipeline"))


def rendered(instance, job) -> dict[str, dict]:
    """What the executor that the environment chooses makes of each step of a job."""
    executor = chosen_executor(ASSETS)
    config = executor.apply_config_mapping({"config": {}}).value["config"]
    handler = executor.executor_creation_fn(dg.InitExecutorContext(
        job=InMemoryJob(job), executor_def=executor, executor_config=config,
        instance=instance))._step_handler
    origin = JobPythonOrigin(job.name, RepositoryPythonOrigin(
        executable_path="python",
        code_pointer=ModuleCodePointer("crater_assets.definitions", "defs"),
        container_image=IMAGE, container_context=LOCATION))
    tags = {}
    if job.partitions_def:
        tags["dagster/partition"] = job.partitions_def.get_partition_keys()[0]
    run = instance.create_run_for_job(job, tags=tags, job_code_origin=origin)
    created = []
    handler._api_client = SimpleNamespace(
        create_namespaced_job_with_retries=lambda body, namespace: created.append(
            kubernetes.client.ApiClient().sanitize_for_serialization(body) | {"at": namespace}))
    for step in create_execution_plan(job, tags=run.tags).get_all_steps_in_topo_order():
        list(handler.launch_step(SimpleNamespace(
            dagster_run=run, instance=instance, step_tags={step.key: step.tags},
            get_step_context=lambda key, step=step: SimpleNamespace(step=step),
            execute_step_args=ExecuteStepArgs(
                job_origin=origin, run_id=run.run_id, step_keys_to_execute=[step.key],
                instance_ref=None))))
    return {job["metadata"]["labels"]["dagster/op"]: job for job in created}


def container(job: dict) -> dict:
    found, = job["spec"]["template"]["spec"]["containers"]
    return found


def test_every_step_has_a_job_that_kubernetes_accepts(jobs):
    validate = pytest.importorskip("kubernetes_validate").validate
    assert {asset.op.name for asset in ASSETS} < set(jobs)
    assert any("labels_valid" in name for name in jobs)  # checks are steps too
    for name, job in jobs.items():
        job = dict(job)
        assert job.pop("at") == "dagster"
        validate(job, "1.33", strict=True)
        assert job["kind"] == "Job" and container(job)["image"] == IMAGE
        assert job["spec"]["backoffLimit"] == 0
        pod = job["spec"]["template"]["spec"]
        assert pod["serviceAccountName"] == "dagster" and pod["restartPolicy"] == "Never"
        assert pod["securityContext"] == {"runAsNonRoot": True, "runAsUser": 65532,
                                          "fsGroup": 65532}
        env = {entry["name"]: entry.get("value") for entry in container(job)["env"]}
        assert env["CRATER_STORAGE"] == "gs://bucket/crater"
        assert env["CRATER_CACHE"] == "/scratch/cache"
        mounts = {mount["name"]: mount["mountPath"] for mount in container(job)["volumeMounts"]}
        assert mounts["scratch"] == "/scratch"
        scratch, = [volume for volume in pod["volumes"] if volume["name"] == "scratch"]
        limits = container(job)["resources"]["limits"]
        assert scratch["emptyDir"]["sizeLimit"] == limits["ephemeral-storage"]
        requested = container(job)["resources"]["requests"]
        assert {"cpu", "memory", "ephemeral-storage"} <= set(requested)


def test_only_trainings_get_a_gpu(jobs):
    with_gpu = {name for name, job in jobs.items()
                if GPU in container(job)["resources"].get("limits", {})}
    assert with_gpu == {asset.op.name for asset in ASSETS if asset.op.pool == "gpu"}
    assert "checkpoint" in with_gpu
    for name, job in jobs.items():
        pod = job["spec"]["template"]["spec"]
        env = {entry["name"]: entry.get("value") for entry in container(job)["env"]}
        tolerated = {entry["key"] for entry in pod.get("tolerations", [])}
        if name in with_gpu:
            assert container(job)["resources"] == {
                "limits": {GPU: "1", "memory": "28Gi", "ephemeral-storage": "60Gi"},
                "requests": {"cpu": "6", "memory": "24Gi", "ephemeral-storage": "20Gi"}}
            assert pod["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-l4"}
            assert tolerated == {GPU, SPOT} and env["CRATER_REQUIRE_GPU"] == "1"
            shm, = [v for v in pod["volumes"] if v["name"] == "shm"]
            assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}
        else:
            assert "nodeSelector" not in pod and not tolerated
            assert "CRATER_REQUIRE_GPU" not in env


def test_a_gpu_for_the_best_model_by_choice(jobs, tmp_path, monkeypatch):
    from crater_assets.executors import SETTINGS

    path = tmp_path / "executors.yaml"
    path.write_text(SETTINGS.read_text().replace("gpu_steps: []", "gpu_steps: [best_model]"))
    monkeypatch.setenv("CRATER_EXECUTOR_SETTINGS", str(path))
    with instance_for_test({"run_launcher": LAUNCHER}) as instance:
        found = rendered(instance, defs.resolve_job_def("release"))
    assert container(found["best_model"])["resources"]["limits"][GPU] == "1"
    assert GPU not in container(found["serving_image"])["resources"]["limits"]


def test_the_queue_is_of_one_version_and_leads_to_the_pool_that_the_script_makes():
    """Kueue's schemas are on no package index; its manifests were held against those of 0.19.2."""
    parts = {part["kind"]: part for part in yaml.safe_load_all((DEPLOY / "kueue.yaml").read_text())}
    assert {part["apiVersion"] for part in parts.values()} == {"kueue.x-k8s.io/v1beta2"}
    assert "/kueue/releases/download/v0.19" in (DEPLOY / "README.md").read_text()
    check, = parts["ClusterQueue"]["spec"]["admissionChecksStrategy"]["admissionChecks"]
    assert check["name"] == parts["AdmissionCheck"]["metadata"]["name"]
    parameters = parts["AdmissionCheck"]["spec"]["parameters"]
    assert parameters["name"] == parts["ProvisioningRequestConfig"]["metadata"]["name"]
    flavor = parts["ResourceFlavor"]
    group, = parts["ClusterQueue"]["spec"]["resourceGroups"]
    assert [each["name"] for each in group["flavors"]] == [flavor["metadata"]["name"]]
    assert parts["LocalQueue"]["spec"]["clusterQueue"] == parts["ClusterQueue"]["metadata"]["name"]
    pool, = flavor["spec"]["nodeLabels"].values()
    script = (DEPLOY / "gpu-node-pool.sh").read_text()
    assert 'node-pools create "gpu-$MODE"' in script and pool == "gpu-flex-start"
    assert "--enable-queued-provisioning" in script  # whose nodes GKE taints
    assert [each["key"] for each in flavor["spec"]["tolerations"]] == ["cloud.google.com/gke-queued"]


def test_trainings_wait_in_a_queue_of_kueue_by_choice(jobs, tmp_path, monkeypatch):
    """The label that the settings and the README name puts the Job, and nothing else, in it."""
    from crater_assets.executors import SETTINGS

    validate = pytest.importorskip("kubernetes_validate").validate
    label = "kueue.x-k8s.io/queue-name"
    queue, = [part for part in yaml.safe_load_all((DEPLOY / "kueue.yaml").read_text())
              if part["kind"] == "LocalQueue"]
    offered, = re.findall(r"    # (job_metadata: .*)", SETTINGS.read_text())
    assert f"labels: {{{label}: {queue['metadata']['name']}}}" in (DEPLOY / "README.md").read_text()
    path = tmp_path / "executors.yaml"
    path.write_text(SETTINGS.read_text().replace(f"# {offered}", offered))
    monkeypatch.setenv("CRATER_EXECUTOR_SETTINGS", str(path))
    with instance_for_test({"run_launcher": LAUNCHER}) as instance:
        found = rendered(instance, defs.resolve_job_def("crater_pipeline"))
    for name, job in found.items():
        waits = name in {asset.op.name for asset in ASSETS if asset.op.pool == "gpu"}
        assert job["metadata"]["labels"].get(label) == (queue["metadata"]["name"] if waits else None)
        assert job["spec"]["backoffLimit"] == 0
        assert job.pop("at") == queue["metadata"]["namespace"]
        validate(job, "1.33", strict=True)
