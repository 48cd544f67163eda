"""What `checkpoint` and `pretrained` share: one training that becomes one artifact."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from crater_assets.artifacts import artifact_files
from crater_assets.display import numbers, summary
from crater_assets.faults import is_fault, require_gpu
from crater_assets.history import last_saying
from crater_assets.partitions import PRETRAINED
from crater_assets.watching import Watch, log_link, pictures, places, scores
from crater_model.errors import CraterError
from crater_model.progress import format_seconds
from crater_model.storage import Storage

# Part of every training's key: raise it when the same settings no longer train the same model,
# and finished trainings are made anew.
CODE_VERSION = "2"
RESULT = "result.json"
_NEXT = {
    "checkpoint": "train the other sets, then materialize [best_model](/assets/best_model).",
    PRETRAINED: "materialize [checkpoint](/assets/checkpoint)."}
_INDEX = "checkpoint"  # TensorFlow's: names the checkpoints that are whole


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
    reused = storage.exists(key) or not _train(
        context, asset, partition, storage, key, storage.source(records), experiment, overrides,
        parameters)
    model_dir, run_id = storage.fetch(key), context.run_id
    # Not by `crater_model.training`, which imports TensorFlow: the training may have been before.
    result = json.loads((model_dir / RESULT).read_text())
    if reused:
        before = last_saying(context.instance, "run", asset, partition)
        if before and before.artifact == key:
            run_id = before.metadata["run"]
        context.log.info(f"{partition or asset}: {key} is finished already and is used as it is")
    log = log_link(context.instance, run_id, asset)
    return {"artifact": key, "url": storage.url(key), "reused": reused, "records": records,
            "experiment": experiment, **places(run_id, model_dir, storage.url(key)),
            **artifact_files(storage, key),
            "summary": summary(f"{_words_of(result)} ({log}).", _NEXT[asset]),
            **_result_metadata(context.instance, model_dir, result)}


def _train(context, asset: str, partition: str | None, storage: Storage, key: str, records: str,
           experiment: str, overrides: Mapping[str, Any], parameters: Mapping[str, Any]) -> bool:
    """Trains and publishes; False where another process did so just before.

    One training of a key goes on at a time. One that was interrupted is gone on with where its
    last copy in the storage ends, on whatever machine; the run that repeats it is the same owner.
    """
    from crater_model.training import METRICS, train

    owner = f"run {context.run.root_run_id or context.run_id}"
    model_dir = storage.path(key)
    with storage.working(key, owner, last=(METRICS, _INDEX)) as work:
        if storage.exists(key):
            return False
        watch = Watch(context, asset, partition, model_dir, parameters["eval_checkpoint_metric"],
                      url=storage.url(key))
        watch.start()

        wanted = StillWanted(context)

        def on_row(row: Mapping[str, Any]) -> None:
            work.check()
            wanted.check()
            watch(row)

        try:
            require_gpu()
            train(records, model_dir, experiment, overrides, on_row=on_row, **parameters)
        except CraterError as error:
            watch.failed(str(error))
            raise
        except Exception as error:
            words = f"{type(error).__name__}: {_words(error)}"
            watch.failed(words)
            raise dg.Failure(f"{partition or asset}: training failed: {words}",
                             allow_retries=is_fault(error)) from error
        work.check()
        wanted.check()
        storage.publish(key)
        watch.finished()
    return True


class StillWanted:
    """Whether the run that a step belongs to goes on.

    A container outlives the process of its run: a run that was taken for lost has ended, and what
    its steps still make would be counted to a run that failed.
    """

    def __init__(self, context, every_s: float = 10.0):
        self._context, self._every_s, self._seen = context, every_s, time.monotonic()

    def check(self) -> None:
        """Returns while the run has not ended; looks at most every `every_s` seconds.

        Raises:
          CraterError: it has.
        """
        if time.monotonic() - self._seen < self._every_s:
            return
        self._seen = time.monotonic()
        run = self._context.instance.get_run_by_id(self._context.run_id)
        if run is not None and run.is_finished:
            raise CraterError(f"run {run.run_id} has ended ({run.status.value.lower()}) while this "
                              "step of it was at work; the step stops, its checkpoints stay")


def _words(error: Exception) -> str:
    """What an error says, without where in TensorFlow's graph; all of it stays in the run's log."""
    lines = [re.sub(r"\[\[.*", "", line).strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(
        ("File ", "Graph execution error", "Detected at node", "<stack traces"))]
    return " ".join(" ".join(told or lines).split())[:400]


def _words_of(result: Mapping[str, Any]) -> str:
    """What came of a training, in Markdown."""
    metric = result["metric"]
    score = "no score" if metric["value"] is None else f"{metric['value']:.4f}"
    return (f"**Validation {metric['name']} {score}** after {result['steps']} steps in "
            f"{format_seconds(result['seconds'])}")


def _result_metadata(instance: dg.DagsterInstance, model_dir: Path,
                     result: Mapping[str, Any]) -> dict[str, Any]:
    metric = result["metric"]
    kept = ("metric", "metrics", "loss", "steps", "seconds", "best_checkpoint", "stopped_early")
    return {
        "metric": metric["name"], "objective": metric["objective"],
        "stopped_early": bool(result.get("stopped_early")),
        "result": dg.MetadataValue.json({name: result.get(name) for name in kept}),
        **numbers({"score": metric["value"], "loss": result["loss"], "steps": result["steps"],
                   "seconds": result["seconds"]}),
        **scores(result["metrics"]),
        **pictures(instance, model_dir, result["history"], metric["name"])}
