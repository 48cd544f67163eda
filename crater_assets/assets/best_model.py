"""The best of the checkpoints, exported."""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pydantic import Field

from crater_assets.assets.checkpoint import Objective
from crater_assets.display import numbers, table
from crater_assets.history import (Materialization, last_materialization, plain_failures,
                                   short_hash, upstream)
from crater_assets.partitions import hyperparameter_sets
from crater_assets.resources import Crater
from crater_model.errors import DataError
from crater_model.files import write_json
from crater_model.storage import Storage

SAVED_MODEL = "saved_model"  # inside the artifact: version folders, as TF Serving wants them
SUMMARY = "summary.json"


class BestModelConfig(dg.Config):
    """By what the best is chosen."""

    eval_checkpoint_metric: str = Field(
        "mask_AP", description="A validation score of the checkpoints.")
    metric_objective_type: Objective = Objective.max


@dataclass(frozen=True)
class Entry:
    """One hyperparameter set on the leaderboard; `score` is None where it takes no part."""

    partition: str
    score: float | None
    note: str
    made: Materialization | None


@dg.asset(deps=[dg.AssetDep("checkpoint", partition_mapping=dg.AllPartitionMapping())],
          group_name="craters", kinds={"tensorflow"}, owners=["team:craters"], code_version="1")
def best_model(context: dg.AssetExecutionContext, crater: Crater,
               config: BestModelConfig) -> dg.MaterializeResult:
    """The checkpoint with the best validation score, exported as a SavedModel.

    Hyperparameter sets without a valid score, whose check failed, or that were trained on
    other records than the present ones take no part. The winner alone is scored on the test
    scenes, whole and tiled as in use: that is the number to quote.
    """
    with plain_failures():
        records = upstream(context, "tfrecords")
        entries = leaderboard(context.instance, hyperparameter_sets.get_partition_keys(),
                              records.artifact, config.eval_checkpoint_metric,
                              config.metric_objective_type.value)
        winner = entries[0]
        if winner.score is None:
            raise DataError("no checkpoint can be chosen: " + "; ".join(
                f"{entry.partition}: {entry.note}" for entry in entries))
        previous = last_materialization(context.instance, "best_model")
        version = int(previous.metadata["version"]) + 1 if previous else 1
        # One folder per way of training: the version grows only when another model wins.
        key = f"best_model/{winner.made.artifact.partition('/')[2]}"
        storage = crater.open_storage()
        if not storage.exists(key):
            _export(storage, key, crater, records, winner, version)
        summary = json.loads((storage.fetch(key) / SUMMARY).read_text())
    folder = storage.path(key)
    metadata = {
        "artifact": key, "url": storage.url(key),
        "saved_model": dg.MetadataValue.path(str(folder / SAVED_MODEL / str(summary["version"]))),
        "version": summary["version"], "partition": winner.partition,
        "checkpoint": winner.made.artifact, "records": records.artifact,
        "metric": config.eval_checkpoint_metric, "validation_score": float(winner.score),
        "leaderboard": table(_rows(entries, config.eval_checkpoint_metric)),
        "ranking": dg.MetadataValue.json([
            {"partition": entry.partition, "score": entry.score, "note": entry.note,
             "seconds": entry.made.metadata.get("seconds") if entry.made else None}
            for entry in entries]),
        "test_scenes": summary["test_scenes"],
        "test_metrics": dg.MetadataValue.json(summary["test"]),
        **numbers(summary["test"], "test_"),
    }
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(
        f"{summary['version']}-{short_hash(key)}"))


def leaderboard(instance: dg.DagsterInstance, partitions: Sequence[str], records: str,
                metric: str, objective: str) -> list[Entry]:
    """Every hyperparameter set, the best score first, those that take no part last.

    Args:
      records: storage key of the records that a checkpoint must have been trained on.
      metric: name of a validation score.
      objective: "max" or "min".
    """
    entries = []
    for name in partitions:
        made = last_materialization(instance, "checkpoint", name)
        score, note = _score(made, records, metric)
        entries.append(Entry(name, score, note, made))
    sign = -1 if objective == "max" else 1
    return sorted(entries, key=lambda e: (e.score is None, sign * (e.score or 0), e.partition))


def _score(made: Materialization | None, records: str,
           metric: str) -> tuple[float | None, str]:
    """The score, or None and why there is none that counts."""
    if made is None:
        return None, "not trained"
    if made.check_passed is False:
        return None, f"check failed: {made.problem}"
    if made.metadata.get("records") != records:
        return None, "trained on other records"
    result = made.metadata["result"]
    chosen = result["metric"]
    value = chosen["value"] if chosen["name"] == metric else result["metrics"].get(metric)
    if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        return None, f"no valid {metric} ({value})"
    return float(value), ""


def _rows(entries: Sequence[Entry], metric: str) -> list[dict[str, Any]]:
    def of(entry: Entry, name: str):
        return entry.made.metadata.get(name) if entry.made else None

    return [{"rank": rank if entry.score is not None else None, "hyperparameters": entry.partition,
             metric: entry.score, "mask_AP50": of(entry, "mask_AP50"), "loss": of(entry, "loss"),
             "steps": of(entry, "steps"), "seconds": of(entry, "seconds"), "note": entry.note}
            for rank, entry in enumerate(entries, start=1)]


def _export(storage: Storage, key: str, crater: Crater, records: Materialization, winner: Entry,
            version: int) -> None:
    """Scores the winner on the test scenes, exports it and publishes both as one artifact."""
    from crater_model.evaluation import evaluate
    from crater_model.export import export_saved_model
    from crater_model.records.manifest import read_manifest

    model_dir = storage.fetch(winner.made.artifact)
    scenes = read_manifest(storage.fetch(records.artifact)).splits["test"]["scenes"]
    folder = storage.path(key)
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted export left
    test = evaluate(model_dir, crater.dataset_folder(), scenes=scenes,
                    output=folder / "evaluation") if scenes else {}
    saved = export_saved_model(model_dir, folder / SAVED_MODEL, version, metrics=test)
    write_json(folder / SUMMARY, {
        "version": int(saved.name), "checkpoint": winner.made.artifact,
        "partition": winner.partition, "test_scenes": len(scenes), "test": test})
    storage.publish(key)
