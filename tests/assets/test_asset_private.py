"""What is used of Dagster that it does not call public: named here, and looked at one by one.

When a new version of Dagster moves or changes one, this says which, and who uses it.
"""

import ast
import importlib
import inspect
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.compute_log_manager import ComputeLogManager

FOLDER = Path(__file__).resolve().parents[2] / "crater_assets"

# (module, name): (who uses it, parameters or members that are relied on)
PRIVATE = {
    ("dagster._core.storage.compute_log_manager", "ComputeIOType"): ("pictures.py", {"STDERR"}),
    ("dagster._core.event_api", "PartitionKeyFilter"): ("history.py", {"key"}),
    ("dagster._core.storage.asset_check_execution_record", "AssetCheckExecutionRecordStatus"): (
        "history.py", {"SUCCEEDED", "FAILED"}),
    ("dagster._core.definitions.asset_checks.asset_check_evaluation",
     "AssetCheckEvaluationTargetMaterializationData"): (
        "checks.py", {"storage_id", "run_id", "timestamp"}),
    ("dagster._core.launcher.base", "CheckRunHealthResult"): ("run_launcher.py", {"status", "msg"}),
    ("dagster._core.launcher.base", "WorkerStatus"): ("run_launcher.py", {"RUNNING", "NOT_FOUND"}),
    ("dagster._config", "process_config"): (
        "executors/cluster.py executors/containers.py", {"config_type", "config_dict"}),
    ("dagster._core.execution.retries", "RetryMode"): ("executors/containers.py", {"ENABLED"}),
    ("dagster._core.executor.step_delegating", "StepDelegatingExecutor"): (
        "executors/containers.py",
        {"step_handler", "retries", "max_concurrent", "check_step_health_interval_seconds"}),
    ("dagster._core.executor.step_delegating", "StepHandlerContext"): (
        "executors/containers.py", {"execute_step_args", "dagster_run"}),
}
# Methods of public classes that are overridden or called, and are in no documentation.
METHODS = {
    dg.DagsterInstance: ["fetch_materializations", "get_daemon_heartbeats",
                         "wipe_daemon_heartbeats", "report_run_canceled", "all_logs", "compute_log_manager"],
    ComputeLogManager: ["open_log_stream", "get_log_data"],
    dg.DefaultRunLauncher: ["supports_check_run_worker_health", "check_run_worker_health"],
}


def imports() -> set[tuple[str, str, str]]:
    """(module, name, file) of each import of a private part of Dagster."""
    found = set()
    for path in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and (
                    node.module.startswith("dagster._")):
                found |= {(node.module, alias.name, path.relative_to(FOLDER).as_posix())
                          for alias in node.names}
            elif isinstance(node, ast.Import):
                assert not [a for a in node.names if a.name.startswith("dagster._")], path
    return found


def test_what_is_used_is_named_here():
    assert imports() == {(module, name, file) for (module, name), (files, _) in PRIVATE.items()
                         for file in files.split()}


@pytest.mark.parametrize("module, name", PRIVATE, ids=lambda text: text.rpartition(".")[2])
def test_it_is_there_as_it_is_used(module, name):
    files, wanted = PRIVATE[module, name]
    thing = getattr(importlib.import_module(module), name)
    has = set(dir(thing)) | set(inspect.signature(thing).parameters)
    assert wanted <= has, f"crater_assets/{files}: {module}.{name} has no {wanted - has} any more"
    assert not hasattr(dg, name), f"{name} is public now: import it from dagster in {files}"


def test_methods_are_there():
    for kind, names in METHODS.items():
        for name in names:
            assert hasattr(kind, name), f"{kind.__name__} has no {name} any more"
