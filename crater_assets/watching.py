"""Training as it goes on: observations of its asset, and the page of `training_progress`.

A partition's page shows materializations only; of a first training, or one that failed, there is
none. What it has come to is therefore a materialization of an asset of its own.
"""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from crater_assets.display import curves, numbers, summary
from crater_assets.metadata import described
from crater_assets.pictures import picture
from crater_model.progress import format_seconds

PROGRESS = "training_progress"
TRAIN_EVERY_S = 20.0
RIMS = "rims.png"  # training draws it into the model directory after each validation
LOG = "train.log"
_RATES = ("learning_rate", "steps_per_second", "images_per_second", "seconds_left", "seconds")


class Watch:
    """Turns the rows that training writes into observations of its asset, and, of a partition,
    into its page of `training_progress`.

    Call `start` before training and hand the object to it as `on_row`. Every validation becomes
    an observation, with the curves so far and the rims found; of the steps in between, one at most
    every `every_s` seconds. Names are those of the final materialization.
    """

    def __init__(self, context, asset: str, partition: str | None, model_dir: Path, metric: str,
                 every_s: float = TRAIN_EVERY_S, url: str = ""):
        self._context, self._asset, self._partition = context, asset, partition
        self._dir, self._metric, self._every_s = model_dir, metric, every_s
        self._seen, self._url = -math.inf, url
        self._page: dict[str, Any] = {}  # all that is known so far
        self._log = ""

    def start(self) -> None:
        """Says where this training can be looked at, so that a failed one can be too."""
        self._observe({"stage": "started", **places(self._context.run_id, self._dir, self._url)},
                      f"training in {self._dir}; its log is {LOG} there",
                      "the training has begun; its first step takes longest")

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Takes one row of metrics.jsonl."""
        if row["kind"] == "validation":
            self._validated(row)
        elif time.monotonic() - self._seen >= self._every_s:
            self._seen = time.monotonic()
            rate, left = row.get("steps_per_second"), row.get("seconds_left")
            words = [f"step {row['step']}: loss {row['total_loss']:.4g}",
                     f"{rate:.3g} steps/s" if rate else "",
                     f"{format_seconds(left)} left" if left is not None else ""]
            self._observe({"stage": "training",
                           **numbers({"steps": row["step"], "loss": row["total_loss"],
                                      **{name: row.get(name) for name in _RATES}})},
                          ", ".join(filter(None, words)))

    def failed(self, words: str) -> None:
        """Says why the training ended; what it had come to stays on its page."""
        self._page["stage"] = "failed"
        self._show(f"failed: {words}")

    def finished(self) -> None:
        """Says that it ended well."""
        self._page["stage"] = "finished"
        self._show(f"finished after {self._page.get('steps', 0):.0f} steps")

    def _validated(self, row: Mapping[str, Any]) -> None:
        from crater_model.training import read_history

        score = row.get(self._metric)
        metadata = {"stage": "validated",
                    **numbers({"steps": row["step"], "score": score,
                               "seconds": row.get("seconds")}), **scores(row)}
        history = read_history(self._dir)
        metadata |= pictures(self._context.instance, self._dir,
                             history if row in history else [*history, row], self._metric)
        self._observe(metadata, f"step {row['step']}: validation {self._metric} "
                      + ("none" if score is None else f"{score:.4f}"))

    def _observe(self, metadata: dict[str, Any], line: str, page_line: str = "") -> None:
        self._context.log_event(dg.AssetObservation(
            self._asset, partition=self._partition, description=line,
            metadata=described(metadata["stage"], metadata)))
        self._page |= metadata
        self._show(page_line or line)
        self._context.log.info(f"{self._partition or self._asset}: {line}")


    def _show(self, line: str) -> None:
        """Brings the page of `training_progress` to what is known."""
        if self._partition:
            run_id = self._context.run_id
            ended = self._page["stage"] in ("failed", "finished")
            self._log = self._log or log_link(self._context.instance, run_id, self._asset)
            words = f"**{line}** ({self._log})." + (
                "" if ended else f" [Its run](/runs/{run_id}) says whether it still goes on.")
            self._context.log_event(dg.AssetMaterialization(
                PROGRESS, partition=self._partition, description=line,
                metadata=described(PROGRESS, self._page | {"summary": summary(words)})))


def log_link(instance: dg.DagsterInstance, run_id: str, step: str) -> str:
    """Markdown: what a step writes, as the UI shows it while it does; its run where that is not
    kept."""
    key = ""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.LOGS_CAPTURED):
        assert entry.dagster_event is not None
        captured = entry.dagster_event.logs_captured_data
        if step in (captured.step_keys or []):  # a step that was tried again has several
            key = f"?logType=stderr&logFileKey={captured.file_key}"
    return f"[log](/runs/{run_id}{key})"


def places(run_id: str, model_dir: Path, url: str = "") -> dict[str, Any]:
    """Metadata: where a training's files, log and run are.

    Args:
      url: of the artifact; TensorBoard reads a bucket by itself, while training goes on too.
    """
    events = url if "://" in url else str(model_dir)
    return {"run": dg.MetadataValue.dagster_run(run_id),
            "model_dir": dg.MetadataValue.path(str(model_dir)),
            "log": dg.MetadataValue.path(str(model_dir / LOG)),
            "tensorboard": dg.MetadataValue.path(f"tensorboard --logdir {shlex.quote(events)}")}


def scores(values: Mapping[str, Any]) -> dict[str, float]:
    """Metadata: the average precisions among the scores of a validation."""
    return numbers({name: value for name, value in values.items() if "AP" in name})


def pictures(instance: dg.DagsterInstance, model_dir: Path, history: Sequence[Mapping[str, Any]],
             metric: str) -> dict[str, Any]:
    """Metadata: the curves so far, and predicted and true rims on validation images."""
    drawn, rims = curves(history, metric), model_dir / RIMS
    metadata = {"curves": picture(instance, drawn, "loss and metric over the steps")} if (
        drawn) else {}
    if rims.is_file():
        metadata["rims"] = picture(instance, rims.read_bytes(), "predicted and true rims")
    return metadata
