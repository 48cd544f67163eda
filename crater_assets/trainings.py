"""What `checkpoint` and `pretrained` share: one training that becomes one artifact."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from crater_assets.display import numbers
from crater_assets.faults import is_fault, require_gpu
from crater_assets.history import last_materialization
from crater_assets.watching import Watch, pictures, places, scores
from crater_model.errors import CraterError
from crater_model.storage import MANIFEST, Storage

# Part of every training's key: raise it when the same settings no longer train the same model,
# and finished trainings are made anew.
CODE_VERSION = "2"


def train_artifact(context, asset: str, partition: str | None, storage: Storage, key: str,
                   records: str, experiment: str, overrides: Mapping[str, Any],
                   parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Trains into the artifact `key`, or takes the finished one; returns metadata.

    Args:
      asset, partition: whose observations show the training while it goes on.
      records: storage key of the records.
      overrides: values of the experiment by dotted name, as this machine needs them.
      parameters: what else `crater_model.training.train` takes.

    Raises:
      CraterError: the training cannot go on; says why.
      dagster.Failure: it ended with an error of another kind, in one line.
    """
    from crater_model.training import read_result, train

    model_dir = storage.path(key)
    reused, run_id = storage.exists(key), context.run_id
    if reused:
        model_dir = storage.fetch(key)
        result = read_result(model_dir)
        before = last_materialization(context.instance, asset, partition)
        if before and before.artifact == key:
            run_id = before.metadata.get("run") or run_id
        context.log.info(f"{partition or asset}: {key} is finished already and is used as it is")
    else:
        watch = Watch(context, asset, partition, model_dir, parameters["eval_checkpoint_metric"])
        watch.start()
        try:
            require_gpu()
            result = train(storage.fetch(records), model_dir, experiment, overrides, on_row=watch,
                           **parameters)
        except CraterError:
            raise
        except Exception as error:
            raise dg.Failure(f"{partition or asset}: training failed: {type(error).__name__}: "
                             f"{_words(error)}", allow_retries=is_fault(error)) from error
        storage.publish(key)
    return {"artifact": key, "url": storage.url(key), "reused": reused, "records": records,
            "bytes": json.loads((model_dir / MANIFEST).read_text())["bytes"],
            "experiment": experiment, **places(run_id, model_dir),
            **_result_metadata(model_dir, result)}


def _words(error: Exception) -> str:
    """What an error says, without where in TensorFlow's graph; all of it stays in the run's log."""
    lines = [re.sub(r"\[\[.*", "", line).strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(
        ("File ", "Graph execution error", "Detected at node", "<stack traces"))]
    return " ".join(" ".join(told or lines).split())[:400]


def _result_metadata(model_dir: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    metric = result["metric"]
    kept = ("metric", "metrics", "loss", "steps", "seconds", "best_checkpoint", "stopped_early")
    return {
        "metric": metric["name"], "objective": metric["objective"],
        "stopped_early": bool(result.get("stopped_early")),
        "result": dg.MetadataValue.json({name: result.get(name) for name in kept}),
        **numbers({"score": metric["value"], "loss": result["loss"], "steps": result["steps"],
                   "seconds": result["seconds"]}),
        **scores(result["metrics"]), **pictures(model_dir, result["history"], metric["name"])}
