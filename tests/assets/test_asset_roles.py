"""The GKE recipe's roles: what starts with them, against a server that allows exactly these."""

import re
from pathlib import Path

import dagster as dg
import pytest
import yaml
from google.api_core.exceptions import Forbidden

from crater_assets.resources import Crater
from tests.cloud import BUCKET, Gateway, gcs_server

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "dagster"
# What Cloud Storage's documentation (IAM roles for Cloud Storage, read on 2026-11-25) lists, of
# buckets and objects.
ROLES = {
    "roles/storage.objectAdmin": {f"storage.objects.{verb}" for verb in (
        "create", "delete", "get", "list", "update")},
    "roles/storage.legacyBucketReader": {"storage.buckets.get", "storage.objects.list"},
}


def granted() -> set[str]:
    """The roles that the recipe gives the pods' account on the bucket."""
    text = (DEPLOY / "README.md").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if "buckets add-iam-policy-binding" in line]
    assert lines and all("serviceAccount:crater-dagster@" in line for line in lines)
    return {re.search(r"--role (\S+)", line)[1] for line in lines}


@pytest.fixture(scope="module")
def server():
    with gcs_server() as url:
        yield url


@pytest.fixture
def cluster(server, tmp_path, monkeypatch):
    """cluster(roles): a gateway that allows these, and DAGSTER_HOME with the recipe's compute
    logs."""
    def make(roles):
        logs = yaml.safe_load((DEPLOY / "values.yaml").read_text())["computeLogManager"]
        config = {re.sub(r"([A-Z])", lambda m: f"_{m[1].lower()}", name): value
                  for name, value in logs["config"]["gcsComputeLogManager"].items()}
        (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({
            "telemetry": {"enabled": False}, "compute_logs": {
                "module": "dagster_gcp.gcs.compute_log_manager", "class": logs["type"],
                "config": config | {"bucket": BUCKET, "local_dir": str(tmp_path / "logs")}}}))
        gateway = Gateway(server, allowed=set().union(*(ROLES[role] for role in roles)))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", gateway.url)
        monkeypatch.setenv("CRATER_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
        return gateway
    return make


def test_with_the_recipes_roles_all_that_is_done_is_allowed(cluster, tiny_dataset, run_assets,
                                                            run_check, tmp_path):
    with cluster(granted()) as gateway, dg.DagsterInstance.get() as instance:
        crater = Crater(dataset=str(tiny_dataset), storage=f"gs://{BUCKET}/crater")
        assert run_assets(instance, crater, "annotated_images", "tfrecords").success
        assert run_check(instance, crater, "artifact_in_storage").passed
        storage, key = crater.open_storage(), "checkpoints/r/set-1"
        for owner in ("run 1", "run 2"):  # made, and replaced
            with storage.working(key, owner) as work:
                (storage.path(key)).mkdir(parents=True, exist_ok=True)
                (storage.path(key) / "ckpt-1").write_text(owner)
                work.check()
                storage.publish(key)
        assert storage.verify(key) == []
    used = {name for name in gateway.seen if name.startswith("storage.")}
    assert used >= {"storage.buckets.get", "storage.objects.create", "storage.objects.get",
                    "storage.objects.list", "storage.objects.delete"}
    assert used <= gateway.allowed


def test_without_the_buckets_reader_nothing_starts(cluster):
    """What the second role is for: each of Dagster's processes asks whether the bucket is there."""
    with cluster({"roles/storage.objectAdmin"}), dg.DagsterInstance.get() as instance:
        with pytest.raises(Forbidden, match="storage.buckets.get"):
            _ = instance.compute_log_manager  # made when a web server, daemon, run or step starts
