"""The assets on a bucket: a real server, TensorFlow's own gs://, faults in between, a kill."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
import yaml

from crater_assets.checks import STORAGE_CHECK
from crater_assets.history import last_materialization
from crater_assets.resources import Crater
from crater_model.storage import open_storage
from tests.cloud import Gateway, gcs_server
from tests.tiny import TINY, UNCOMPILED

ROOT = Path(__file__).resolve().parents[2]
SET, STEPS = "baseline", 4


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """A `Gateway` to a server, in the environment of this process and of TensorFlow's gs://."""
    folder = tmp_path_factory.mktemp("cloud")
    with (gcs_server() as server, Gateway(server, refused=0.05, reset=0.02, stalls=3,
                                          stalled=40) as gateway,
          pytest.MonkeyPatch.context() as patch):
        environment = {
            "STORAGE_EMULATOR_HOST": gateway.url, "CRATER_GCS_TIMEOUT": "1",
            "CRATER_LEASE_SECONDS": "6", "CRATER_CACHE": str(folder / "one"),
            "no_proxy": "127.0.0.1", **gateway.tensorflow_env(folder)}
        for name, value in environment.items():
            patch.setenv(name, value)
        yield gateway


@pytest.fixture(scope="module")
def home(cloud, tmp_path_factory, make_dataset, run_assets):
    """Folder, Dagster instance and resource, with the data set and records in the bucket."""
    folder = tmp_path_factory.mktemp("home")
    make_dataset(folder / "data", craters=(4, 6, 0, 5, 3, 7, 5, 6))
    (folder / "tiny.yaml").write_text(yaml.safe_dump(
        {"experiment": "demo", **TINY, **UNCOMPILED}))
    crater = Crater(dataset=str(folder / "data"), storage="gs://craters/assets", records="direct",
                    experiment=str(folder / "tiny.yaml"))
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        assert run_assets(instance, crater, "annotated_images", "tfrecords").success
        yield folder, instance, crater


def check_storage(instance, crater, asset):
    """The evaluation of an asset's check of the storage."""
    from crater_assets.assets import ASSETS
    from crater_assets.checks import CHECKS

    key = dg.AssetCheckKey(dg.AssetKey(asset), STORAGE_CHECK)
    checks = [check for check in CHECKS if key in check.check_keys]
    result = dg.materialize(ASSETS + checks, instance=instance, resources={"crater": crater},
                            selection=dg.AssetSelection.checks(*checks))
    return result.get_asset_check_evaluations()[0]


def test_files_are_listed_and_a_missing_one_is_named(home):
    _, instance, crater = home
    made = last_materialization(instance, "tfrecords")
    storage = open_storage(crater.storage)
    manifest = storage.manifest(made.artifact)
    kilobytes = sum(file["bytes"] for file in manifest["files"]) / 1000
    assert made.metadata["artifact_files"] == f"{len(manifest['files'])} files, {kilobytes:.3g} kB"
    assert made.metadata["artifact_manifest"] == f"gs://craters/assets/{made.artifact}/artifact.json"
    assert check_storage(instance, crater, "tfrecords").passed
    name = f"assets/{made.artifact}/{manifest['folder']}/manifest.json"
    data = storage.objects.bucket.blob(name).download_as_bytes()
    storage.objects.delete([name])
    found = check_storage(instance, crater, "tfrecords")
    storage.objects.put(name, data)
    assert not found.passed
    assert found.description.startswith(
        f"gs://craters/assets/{made.artifact}: manifest.json is missing; put it back, or remove")
    assert check_storage(instance, crater, "tfrecords").passed


def test_the_data_set_is_found_on_another_machine(home, monkeypatch, tmp_path):
    folder, instance, crater = home
    made = last_materialization(instance, "annotated_images")
    assert made.artifact.startswith("datasets/imported-")
    assert check_storage(instance, crater, "annotated_images").passed
    monkeypatch.setenv("CRATER_CACHE", str(tmp_path))
    shutil.move(folder / "data", folder / "away")
    try:
        found = crater.dataset_folder()
    finally:
        shutil.move(folder / "away", folder / "data")
    assert found.is_relative_to(tmp_path)
    assert (found / "annotations.json").read_bytes() == (
        folder / "data" / "annotations.json").read_bytes()


@pytest.mark.slow
def test_a_killed_training_goes_on_on_another_machine_and_the_chain_ends(
        home, cloud, run_assets, monkeypatch, tmp_path):
    folder, instance, crater = home
    storage = open_storage(crater.storage)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.assets.train_partition", str(folder),
         crater.model_dump_json(), SET, str(STEPS)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    config = {"train_steps": STEPS}
    try:
        copy = wait_for_checkpoint(storage, 2, process)
        # Meanwhile another run wants the same.
        monkeypatch.setenv("CRATER_CACHE", str(tmp_path / "two"))
        result = run_assets(instance, crater, "checkpoint", partition=SET, checkpoint=config)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait(20)
    assert ": is being made by run " in failure_of(result)
    assert "; wait for it, or cancel it" in failure_of(result)
    copied = storage.objects.list(copy)
    assert {"train.log", "params.yaml", "checkpoint", "metrics.jsonl"} <= set(copied)
    assert any(name.startswith("train/events") for name in copied)
    reached = step_of(copied["checkpoint"])
    rows = [row for row in map(json.loads, copied["metrics.jsonl"].download_as_bytes().splitlines())
            if row["step"] <= reached]
    time.sleep(6)  # it is taken for dead
    result = run_assets(instance, crater, "checkpoint", partition=SET, checkpoint=config)
    assert result.success
    evaluation, = [e for e in result.get_asset_check_evaluations() if e.check_name == STORAGE_CHECK]
    assert evaluation.passed, evaluation.description
    made = last_materialization(instance, "checkpoint", SET)
    history = [json.loads(line) for line in (
        open_storage(crater.storage).fetch(made.artifact) / "metrics.jsonl").read_text().splitlines()]
    assert reached == 2 and rows and history[:len(rows)] == rows
    for kind in ("train", "validation"):  # nothing is lost, nothing is done twice
        assert [row["step"] for row in history if row["kind"] == kind] == [
            *range(2, STEPS + 1, 2)]
    place = f"{made.artifact}/{storage.manifest(made.artifact)['folder']}"
    left = storage.objects.list(f"assets/{made.artifact}/")
    assert all(name.startswith(f"{place.rpartition('/')[2]}/") for name in left
               if name != "artifact.json")
    # TensorFlow reads records and checkpoints where they lie.
    import tensorflow as tf

    assert not (tmp_path / "two" / "craters" / "assets" / "tfrecords").exists()
    # (An operation: tf.train.load_checkpoint would keep the gateway's threads from running.)
    step, = tf.raw_ops.RestoreV2(
        prefix=f"gs://craters/assets/{place}/ckpt-{STEPS}", shape_and_slices=[""],
        tensor_names=["global_step/.ATTRIBUTES/VARIABLE_VALUE"], dtypes=[tf.int64])
    assert step == STEPS
    # And the rest of the chain, in the same weather.
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    monkeypatch.setenv("PATH", "/nowhere")  # nor buildah: the context is what is stored
    result = run_assets(instance, crater, "best_model", "serving_image")
    assert result.success
    assert [e.check_name for e in result.get_asset_check_evaluations() if not e.passed] == [
        "image_answers"]  # there is no image to ask
    for asset, partition in (("annotated_images", None), ("tfrecords", None), ("checkpoint", SET),
                             ("best_model", None), ("serving_image", None)):
        key = last_materialization(instance, asset, partition).artifact
        assert storage.verify(key) == []
        lies = set(storage.objects.list(f"assets/{key}/")) - {"artifact.json"}
        manifest = storage.manifest(key)
        assert lies == {f"{manifest['folder']}/{file['path']}" for file in manifest["files"]}
    assert cloud.seen["stalled"] == 1
    assert cloud.seen["refused"] + cloud.seen["refused late"] > 0, cloud.seen


def failure_of(result) -> str:
    failed, = [event for event in result.all_events if event.is_step_failure]
    return failed.event_specific_data.user_failure_data.description


def step_of(index) -> int:
    """The step of the newest checkpoint that TensorFlow's index, a blob, names."""
    return int(index.download_as_bytes().decode().split('"')[1].removeprefix("ckpt-"))


def wait_for_checkpoint(storage, step, process, seconds=240):
    """Waits until a checkpoint from `step` on is whole in the bucket; gives its folder there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        for name, blob in storage.objects.list("assets/checkpoints/").items():
            if "/in-progress-" in name and name.endswith("/checkpoint"):
                if step_of(blob) >= step:
                    return f"assets/checkpoints/{name.removesuffix('checkpoint')}"
        time.sleep(0.3)
    raise AssertionError(f"no checkpoint in the bucket (exit status {process.poll()})")
