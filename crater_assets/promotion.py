"""The best model against the one in service: both on the same test scenes.

In service is what the last materialization of `serving_image` says it holds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from crater_assets.display import table
from crater_assets.history import last_saying, short_hash
from crater_model.annotations.dataset import load_dataset
from crater_model.errors import DataError
from crater_model.storage import Storage

SAVED_MODEL = "saved_model"  # inside a best model's artifact: version folders for TF Serving
SUMMARY = "summary.json"
_METRICS = "metrics.json"  # what evaluation writes
# A float's rounding is no difference.
_EPSILON = 1e-9


def in_service(instance: dg.DagsterInstance) -> str | None:
    """The storage key of the best model that serves now; None where none does yet."""
    image = last_saying(instance, "best_model", "serving_image")
    return image.metadata["best_model"] if image else None


def scores_of(storage: Storage, model: str, dataset: Path,
                scenes: Sequence[str]) -> dict[str, Any]:
    """An exported model's scores on test scenes: stored ones where these were scored before.

    Args:
      model: storage key of a best model.
      dataset: the data set that holds the scenes.
      scenes: their names, one or more.

    Raises:
      DataError: the model is not in the storage any more.
    """
    if not storage.exists(model):
        raise DataError(f"{storage.url(model)}: this model is in service, but not in the storage, "
                        "so the new one cannot be compared with it; put it back, or set "
                        "best_model's tolerance to null")
    folder, wanted = storage.fetch(model), sorted(set(scenes))
    summary = json.loads((folder / SUMMARY).read_text())
    fingerprint = load_dataset(dataset).fingerprint
    test = summary["test"]
    if test.get("data") == fingerprint and test.get("scenes") == wanted:
        return test
    key = f"scores/{short_hash(model, fingerprint, wanted)}"
    if not storage.exists(key):
        from crater_model.evaluation import evaluate

        evaluate(folder / SAVED_MODEL / str(summary["version"]), dataset, scenes=wanted,
                 output=storage.path(key))
        storage.publish(key)
    return json.loads((storage.fetch(key) / _METRICS).read_text())


def comparison(new: Mapping[str, Any], serving: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Metadata: the new model's test scores beside those of the one in service."""
    names = [metric, *(name for name, value in new.items()
                       if name != metric and isinstance(value, float))]
    return {
        "test_score": new.get(metric), "in_service_score": serving.get(metric),
        "comparison": table([{"score": name, "new": new.get(name), "in service": serving.get(name)}
                             for name in names]),
        "in_service_metrics": dg.MetadataValue.json(dict(serving))}


def promotion_problem(made: Mapping[str, Any]) -> str:
    """Why a best model must not go into service; empty where it may.

    Args:
      made: the metadata of its materialization, as plain values.
    """
    if made.get("in_service", "none") in ("none", made["artifact"]) or not made["test_scenes"]:
        return ""
    tolerance, metric = made.get("tolerance"), made["metric"]
    if tolerance is None or not _number(made.get("in_service_score")):
        return ""
    old, new = made["in_service_score"], made.get("test_score")
    fix = "see the leaderboard, or raise best_model's tolerance if it shall go into service"
    where = f"on {made['test_scenes']} test scenes"
    if not _number(new):
        return (f"the new model has no {metric} {where}, the model in service has {old:.4f}; {fix}")
    worse = old - new if made["objective"] == "max" else new - old
    if worse <= tolerance + _EPSILON:
        return ""
    return (f"{metric} {new:.4f} {where}, the model in service has {old:.4f} (the best is the "
            f"{made['objective']}): worse by {worse:.4f}, allowed are {tolerance:g}; {fix}")


def promotion_words(made: Mapping[str, Any]) -> str:
    """What the comparison found where nothing speaks against the new model."""
    if made.get("in_service", "none") == "none":
        return "no model is in service yet"
    if made["in_service"] == made["artifact"]:
        return "this model is in service already"
    if not made["test_scenes"]:
        return "there is no test scene to compare the models on"
    if made.get("tolerance") is None:
        return "not compared, since the tolerance is null"
    return (f"{made['metric']} {made.get('test_score')} on {made['test_scenes']} test scenes, "
            f"the model in service has {made.get('in_service_score')}")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and value >= 0
