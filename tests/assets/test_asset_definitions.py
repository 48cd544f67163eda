"""The code location loads, quickly, and holds what it should."""

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from crater_assets.definitions import defs
from crater_assets.history import BLOCKING_CHECKS

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ["annotated_images", "best_model", "checkpoint", "serving_image", "tfrecords"]


def test_everything_loads():
    dg.Definitions.validate_loadable(defs)
    graph = defs.resolve_asset_graph()
    assert sorted(key.to_user_string() for key in graph.get_all_asset_keys()) == [
        *ASSETS, "training_progress"]
    assert {key.asset_key.to_user_string() for key in graph.asset_check_keys} == set(ASSETS)
    blocking = {key.asset_key.to_user_string(): key.name
                for key in graph.asset_check_keys if graph.get(key).blocking}
    assert blocking == BLOCKING_CHECKS


@pytest.mark.slow
def test_pretraining_is_there_where_a_set_starts_from_it(tmp_path):
    (tmp_path / "sets.yaml").write_text("a: {}\nb: {task.init_checkpoint: pretrained}\n")
    code = ("import json; from crater_assets.definitions import defs; "
            "graph = defs.resolve_asset_graph(); print(json.dumps({key.to_user_string(): "
            "sorted(p.to_user_string() for p in graph.get(key).parent_keys) for key in "
            "graph.get_all_asset_keys()})); print(defs.resolve_job_def('prepare_data')"
            ".asset_layer.selected_asset_keys)")
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CRATER_HYPERPARAMETERS": "sets.yaml"})
    parents, job = out.stdout.splitlines()
    parents = json.loads(parents)
    assert sorted(parents) == sorted([*ASSETS, "pretrained", "training_progress"])
    assert parents["checkpoint"] == ["pretrained", "tfrecords"] and parents["pretrained"] == []
    assert "pretrained" in job


def test_chain_and_policies():
    graph = defs.resolve_asset_graph()
    chain = ["annotated_images", "tfrecords", "checkpoint", "best_model", "serving_image"]
    for before, after in zip(chain, chain[1:]):
        assert graph.get(dg.AssetKey(after)).parent_keys == {dg.AssetKey(before)}
    node = graph.get(dg.AssetKey("checkpoint"))
    assert node.pools == {"gpu"} and node.backfill_policy is None  # one run a partition
    for name in ASSETS:
        node = graph.get(dg.AssetKey(name))
        assert node.description and node.kinds and node.group_name and node.owners
        assert node.code_version


def test_progress_is_written_by_another_step_and_never_asked_for():
    graph = defs.resolve_asset_graph()
    node, checkpoint = (graph.get(dg.AssetKey(name)) for name in ("training_progress", "checkpoint"))
    assert not node.is_executable and not node.child_keys
    assert node.partitions_def == checkpoint.partitions_def
    for job in defs.resolve_all_job_defs():
        assert node.key not in job.asset_layer.selected_asset_keys, job.name


def test_jobs():
    names = {job.name for job in defs.resolve_all_job_defs()}
    assert {"crater_pipeline", "prepare_data", "train", "release"} <= names
    pipeline = defs.resolve_job_def("crater_pipeline")
    assert pipeline.partitions_def.get_partition_keys() == ["baseline", "gentle_learning_rate"]
    assert defs.resolve_job_def("release").partitions_def is None


def test_import_takes_no_tensorflow():
    heavy = ("tensorflow", "keras", "tf_keras", "official", "matplotlib")
    code = ("import sys, crater_assets.definitions, crater_assets.launch; "
            f"print([m for m in {heavy} if m in sys.modules])")
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert out.stdout.strip() == "[]", out.stderr
    assert out.stderr == ""


def test_library_knows_no_dagster():
    for file in (ROOT / "crater_model").rglob("*.py"):
        assert "import dagster" not in file.read_text(), file


def test_workspace_names_the_module():
    loaded = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"][0]
    assert loaded["python_module"]["module_name"] == "crater_assets.definitions"


def test_instance_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        pools = instance.get_concurrency_config().pool_config
        assert pools.pool_granularity.value == "run" and pools.default_pool_limit == 1
        assert instance.run_monitoring_enabled and not instance.telemetry_enabled
        assert instance.get_settings("run_monitoring")["free_slots_after_run_end_seconds"] == 60
    assert (tmp_path / ".dagster" / "history" / "runs.db").is_file()
