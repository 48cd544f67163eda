"""Training: Model Garden's loop (Orbit) over a folder of records, resumed where it stopped.

A model directory holds `params.yaml` (the whole experiment), `ckpt-*`, TensorBoard
events under `train/` and `validation/`, `metrics.jsonl` (one JSON object a line),
`best/` (the checkpoint that scored best) and, once finished, `result.json`.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras
import yaml
from official.core import base_trainer, task_factory, train_lib
from official.modeling import performance

from crater_model import __version__
from crater_model.detector import task as _task  # noqa: F401  registers the task
from crater_model.detector.detector import BEST, PARAMS, best_checkpoint
from crater_model.detector.experiment import Experiment, fit_to_records, load_experiment
from crater_model.errors import ConfigError, CraterError
from crater_model.files import make_folder, write_bytes, write_json
from crater_model.progress import Progress
from crater_model.records.manifest import Manifest, read_manifest

METRICS = "metrics.jsonl"
RESULT = "result.json"
LOG = "train.log"


# What a validation scores.
KNOWN_SCORES = frozenset(
    [f"{kind}_{name}" for kind in ("mask", "box")
     for name in ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR",
                  "AR_small", "AR_medium", "AR_large")]
    + [f"{prefix}{name}" for prefix in ("", "catalogue_")
       for name in ("precision", "recall", "f1")]
    + ["centre_error_px", "centre_error_relative", "diameter_error"])


class TrainingError(CraterError):
    """Training that cannot go on."""


def train(records_dir: str | Path, model_dir: str | Path, experiment: str | Path = "demo",
          overrides: Mapping[str, Any] | None = None, *, train_steps: int | None = None,
          sample_1_of_n_eval_examples: int = 1, eval_checkpoint_metric: str = "mask_AP",
          metric_objective_type: str = "max") -> dict[str, Any]:
    """Trains a detector, or goes on with one that was interrupted.

    Args:
      records_dir: a folder written by `records.write_records`.
      model_dir: where everything of this run goes; a finished run of the same parameters
        and data is returned as it is.
      experiment: a preset or a YAML file; see `detector.load_experiment`.
      overrides: values of the experiment by dotted name.
      train_steps: the same as the override `trainer.train_steps`.
      sample_1_of_n_eval_examples: validates on every n-th record only.
      eval_checkpoint_metric: the score that chooses the best checkpoint.
      metric_objective_type: "max" or "min".

    Returns:
      The content of `result.json`: `metric` {name, value, objective} (value None where
      nothing could be scored), `best_checkpoint` (path below model_dir), `steps`,
      `seconds`, `loss` (mean of the last loop), `metrics` (all scores of the best
      checkpoint), `history` (rows of metrics.jsonl), `experiment`, `overrides`, `data`
      (fingerprint), `label_map`, `scales`.

    Raises:
      ConfigError: a setting is unknown, or the folder holds a run of other parameters.
      TrainingError: the loss is no longer finite.
    """
    started = time.monotonic()
    model_dir = make_folder(model_dir)
    manifest = read_manifest(records_dir)
    overrides = dict(overrides or {})
    if train_steps is not None:
        overrides["trainer.train_steps"] = train_steps
    config = load_experiment(experiment, overrides)
    _set_up(config, Path(records_dir), manifest, sample_1_of_n_eval_examples,
            eval_checkpoint_metric, metric_objective_type)
    params = _own_params(config, manifest)
    finished = _finished(model_dir, params)
    if finished:
        return finished
    write_bytes(model_dir / PARAMS, params.encode())

    run = _Run(config, model_dir)
    try:
        with open(model_dir / LOG, "a") as log, contextlib.redirect_stdout(log):
            run.train()
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    result = {
        "metric": {"name": eval_checkpoint_metric, "value": run.best_value,
                   "objective": metric_objective_type},
        "best_checkpoint": run.best_checkpoint,
        "steps": int(config.trainer.train_steps),
        "seconds": round(run.seconds_before + time.monotonic() - started, 1),
        "loss": run.last_loss(),
        "metrics": run.best_scores,
        "history": read_history(model_dir),
        "experiment": str(experiment), "overrides": overrides,
        "data": manifest.source, "label_map": {str(k): v for k, v in manifest.label_map.items()},
        "scales": list(manifest.scales), "chip_size": config.task.model.input_size[0],
        "version": __version__,
    }
    write_json(model_dir / RESULT, result)
    return result


def read_history(model_dir: str | Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, in order; a last line cut short by a kill is left out."""
    path = Path(model_dir) / METRICS
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def read_result(model_dir: str | Path) -> dict[str, Any]:
    """The summary of a finished run.

    Raises:
      CraterError: the folder holds no finished run.
    """
    path = Path(model_dir) / RESULT
    if not path.exists():
        raise CraterError(f"{model_dir}: holds no finished training ({RESULT} is missing); "
                          "run `crater train` with this --model-dir to finish it")
    return json.loads(path.read_text())


def _set_up(config: Experiment, records: Path, manifest: Manifest, one_of_n: int, metric: str,
            objective: str) -> None:
    if objective not in ("max", "min"):
        raise ConfigError(f"metric_objective_type: got '{objective}', expected max or min")
    if metric not in KNOWN_SCORES:
        raise ConfigError(f"eval_checkpoint_metric: there is no score '{metric}'; expected one of "
                          f"{', '.join(sorted(KNOWN_SCORES))}")
    if one_of_n < 1:
        raise ConfigError(f"sample_1_of_n_eval_examples: got {one_of_n}, expected 1 or more")
    for data in (config.task.train_data, config.task.validation_data):
        data.input_path = str(records)
    config.task.validation_data.sample_1_of_n = one_of_n
    config.trainer.best_checkpoint_eval_metric = metric
    config.trainer.best_checkpoint_metric_comp = "higher" if objective == "max" else "lower"
    fit_to_records(config, manifest)
    config.validate()


def _own_params(config: Experiment, manifest: Manifest) -> str:
    """The experiment as YAML, with the data it is trained on; no path of this machine."""
    values = config.as_dict()
    for data in ("train_data", "validation_data"):
        values["task"][data]["input_path"] = ""
    values["data"] = manifest.source
    return yaml.safe_dump(json.loads(json.dumps(values)), sort_keys=False)


def _finished(model_dir: Path, params: str) -> dict[str, Any] | None:
    """The result of a run that is complete; refuses to mix two runs in one folder."""
    path = model_dir / PARAMS
    if not path.exists():
        return None
    if path.read_text() != params:
        raise ConfigError(
            f"{model_dir}: holds a training with other parameters or data (see its {PARAMS}); "
            "name another --model-dir or remove this one")
    result = model_dir / RESULT
    return json.loads(result.read_text()) if result.exists() else None


class _Run:
    """One training in one model directory: Orbit's controller with our actions."""

    def __init__(self, config: Experiment, model_dir: Path):
        self.config, self.dir, self.trainer_config = config, model_dir, config.trainer
        self.best_value: float | None = None
        self.best_scores: dict[str, float] = {}
        self.best_checkpoint: str | None = None
        self._progress: Progress | None = None
        self._started = time.monotonic()
        self._previous: dict[str, Any] = {}

    def train(self) -> None:
        """Trains to the last step, validating on the way."""
        config = self.config
        tf_keras.utils.set_random_seed(config.task.train_data.seed or 0)
        performance.set_mixed_precision_policy(config.runtime.mixed_precision_dtype)
        strategy = _strategy(config)
        latest = tf.train.latest_checkpoint(str(self.dir))
        step = _checkpoint_step(latest)
        self._restore_history(step)
        with strategy.scope():
            task = task_factory.get_task(config.task, logging_dir=str(self.dir))
            task.start_step = step
            model = task.build_model()
            optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)
            trainer = base_trainer.Trainer(config, task, model=model, optimizer=optimizer)
        self._checkpoint = tf.train.Checkpoint(model=model)
        self._trainer = trainer
        runner = train_lib.OrbitExperimentRunner(
            strategy, task, "train_and_eval", config, str(self.dir), trainer=trainer,
            train_actions=[self._after_loop], eval_actions=[self._after_validation])
        self._previous_time = time.monotonic()
        with Progress("training", self.trainer_config.train_steps) as self._progress:
            if self._lacks_validation(step):
                with strategy.scope():
                    runner.controller.evaluate(self.trainer_config.validation_steps)
            with strategy.scope():
                runner.controller.train_and_evaluate(
                    self.trainer_config.train_steps, self.trainer_config.validation_steps,
                    self.trainer_config.validation_interval)
    def last_loss(self) -> float | None:
        """The mean total loss of the last loop."""
        losses = [row["total_loss"] for row in read_history(self.dir) if "total_loss" in row]
        return losses[-1] if losses else None

    def _restore_history(self, step: int) -> None:
        """Takes up what earlier starts of this run have written up to `step`."""
        rows = [row for row in read_history(self.dir) if row["step"] <= step]
        write_bytes(self.dir / METRICS, "".join(json.dumps(r) + "\n" for r in rows).encode())
        self.seconds_before = rows[-1]["seconds"] if rows else 0.0
        for row in rows:
            if row["kind"] == "validation":
                self._consider(row)
        if self.best_value is not None:
            self.best_checkpoint = str(best_checkpoint(self.dir).relative_to(self.dir))

    def _lacks_validation(self, step: int) -> bool:
        """A run that was killed while it validated has to do that first."""
        due = step and (step % self.trainer_config.validation_interval == 0
                        or step >= self.trainer_config.train_steps)
        done = any(row["kind"] == "validation" and row["step"] == step
                   for row in read_history(self.dir))
        return bool(due) and not done

    def _after_loop(self, output: Mapping[str, Any]) -> None:
        step = int(self._trainer.global_step.numpy())
        values = {name: float(value) for name, value in output.items()}
        now = time.monotonic()
        steps = step - self._previous.get("step", step - self.trainer_config.steps_per_loop)
        rate = steps / max(now - self._previous_time, 1e-9)
        self._previous, self._previous_time = {"step": step}, now
        loss = values.get("total_loss", math.nan)
        if not math.isfinite(loss):
            raise TrainingError(
                f"{self.dir}: the loss is {loss} at step {step}; lower the learning rate "
                "(trainer.optimizer_config.learning_rate) or look at the data; the last good "
                "checkpoint is kept")
        self._write({"kind": "train", "step": step, **values, "steps_per_second": round(rate, 3)})
        self._progress.update(step, f"loss {loss:.3f}" + self._best_note())

    def _after_validation(self, output: Mapping[str, Any]) -> None:
        step = int(self._trainer.global_step.numpy())
        scores = {name: float(value) for name, value in output.items()
                  if name != "validation_loss"}
        row = {"kind": "validation", "step": step, **scores}
        if self._consider(row):
            self._keep_best(step)
        self._write(row)
        self._previous_time = time.monotonic()
        self._progress.update(step, "validated" + self._best_note())

    def _consider(self, row: Mapping[str, Any]) -> bool:
        """Whether this validation is the best so far; remembers it if so."""
        name = self.trainer_config.best_checkpoint_eval_metric
        value = row.get(name)
        if value is None or not math.isfinite(value):
            return False
        higher = self.trainer_config.best_checkpoint_metric_comp == "higher"
        if self.best_value is not None and (
                value <= self.best_value if higher else value >= self.best_value):
            return False
        self.best_value = value
        self.best_scores = {k: v for k, v in row.items() if k not in ("kind", "seconds")}
        return True

    def _keep_best(self, step: int) -> None:
        # The new one stands whole before the old one goes: a kill never leaves none.
        self._checkpoint.write(str(make_folder(self.dir / BEST) / f"ckpt-{step}"))
        self.best_checkpoint = f"{BEST}/ckpt-{step}"
        for file in (self.dir / BEST).iterdir():
            if not file.name.startswith(f"ckpt-{step}."):
                file.unlink()

    def _best_note(self) -> str:
        name = self.trainer_config.best_checkpoint_eval_metric
        return f"  best {name} {self.best_value:.3f}" if self.best_value is not None else ""

    def _write(self, row: dict[str, Any]) -> None:
        seconds = self.seconds_before + time.monotonic() - self._started
        with open(self.dir / METRICS, "a") as file:
            file.write(json.dumps({**row, "seconds": round(seconds, 1)}) + "\n")


def _checkpoint_step(path: str | None) -> int:
    """The global step that a checkpoint was written at; 0 without one."""
    if path is None:
        return 0
    reader = tf.train.load_checkpoint(path)
    return int(reader.get_tensor("global_step/.ATTRIBUTES/VARIABLE_VALUE"))


def _strategy(config: Experiment) -> tf.distribute.Strategy:
    from official.common import distribute_utils

    gpus = len(tf.config.list_physical_devices("GPU"))
    runtime = config.runtime
    runtime.num_gpus = min(runtime.num_gpus or gpus, gpus)
    kind = runtime.distribution_strategy
    if kind == "mirrored" and runtime.num_gpus <= 1:
        kind = "one_device"
    return distribute_utils.get_distribution_strategy(
        distribution_strategy=kind, num_gpus=runtime.num_gpus,
        all_reduce_alg=runtime.all_reduce_alg, num_packs=runtime.num_packs)
