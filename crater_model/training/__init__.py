"""Training: Model Garden's loop (Orbit) over a folder of records, resumed where it stopped.

A model directory holds `params.yaml` (the whole experiment), `ckpt-*`, TensorBoard
events under `train/` and `validation/`, `metrics.jsonl` (one JSON object a line),
`rims.png` (the last validation's predicted and true rims), `train.log`, `best/` (the checkpoint
that scored best) and, once finished, `result.json`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from crater_model import __version__
from crater_model.detector import initial
from crater_model.detector.configs import Experiment
from crater_model.detector.detector import PARAMS
from crater_model.detector.experiment import fit_to_records, load_experiment
from crater_model.errors import ConfigError, DataError
from crater_model.files import make_folder, write_bytes, write_json
from crater_model.records.manifest import Manifest, read_manifest, verify_manifest
from crater_model.storage.locks import held
from crater_model.training.checks import refuse_unfit
from crater_model.training.devices import full_precision_after, is_chief, make_strategy
from crater_model.training.failures import TrainingError, plain_errors
from crater_model.training.graphs import graphs_let_go
from crater_model.training.history import (
    LOG,
    METRICS,
    RESULT,
    RIMS,
    Row,
    read_history,
    read_result,
)
from crater_model.training.run import OnRow, Run

__all__ = ["KNOWN_SCORES", "LOG", "METRICS", "RESULT", "RIMS", "Row", "TrainingError",
           "read_history", "read_result", "train"]

_LOCK = ".training.lock"

# What a validation scores.
KNOWN_SCORES = frozenset(
    [f"{kind}_{name}" for kind in ("mask", "box")
     for name in ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR",
                  "AR_small", "AR_medium", "AR_large")]
    + [f"{prefix}{name}" for prefix in ("", "catalogue_")
       for name in ("precision", "recall", "f1")]
    + ["centre_error_px", "centre_error_relative", "diameter_error"])


def train(records_dir: str | Path, model_dir: str | Path, experiment: str | Path = "demo",
          overrides: Mapping[str, Any] | None = None, *, train_steps: int | None = None,
          sample_1_of_n_eval_examples: int = 1, eval_checkpoint_metric: str = "mask_AP",
          metric_objective_type: str = "max", on_row: OnRow | None = None) -> dict[str, Any]:
    """Trains a detector, or goes on with one that was interrupted.

    Starting weights are settings too: `task.init_checkpoint` names one of our finished model
    directories or a Model Garden checkpoint (see `detector.initial`). So is where it runs
    (see `training.devices`).

    Args:
      records_dir: a folder written by `records.write_records`, or its gs:// address, which is
        then read from directly.
      model_dir: where everything of this run goes; a finished run of the same parameters
        and data is returned as it is.
      experiment: a preset or a YAML file; see `detector.load_experiment`.
      overrides: values of the experiment by dotted name.
      train_steps: the same as the override `trainer.train_steps`.
      sample_1_of_n_eval_examples: validates on every n-th record only.
      eval_checkpoint_metric: the score that chooses the best checkpoint.
      metric_objective_type: "max" or "min".
      on_row: called with each row of metrics.jsonl once it is written; after a validation
        `rims.png` is there too (true and predicted rims, at most about 100 kB).

    Returns:
      The content of `result.json`: `metric` {name, value, objective} (value None where
      nothing could be scored), `best_checkpoint` (path below model_dir), `steps`,
      `stopped_early`, `seconds`, `loss` (mean of the last loop), `metrics` (all scores of the
      best checkpoint), `history` (rows of metrics.jsonl), `experiment`, `overrides`, `init`
      (fingerprint of the starting weights, "" without), `data` (fingerprint), `label_map`,
      `scales`, `splitting` (how the splits were made; see `records.manifest`).

    Raises:
      ConfigError: a setting is unknown, a network cannot be built of the settings, the
        starting weights do not fit, or the folder holds a run of other parameters.
      DataError: records are missing or damaged; names the file.
      TrainingError: the loss or the weights are no longer finite, or the memory or the disk is
        too small.
      CraterError: another process trains in `model_dir`.
    """
    manifest = read_manifest(records_dir)
    model_dir = make_folder(model_dir)
    overrides = dict(overrides or {})
    if train_steps is not None:
        overrides["trainer.train_steps"] = train_steps
    config = load_experiment(experiment, overrides)
    _set_up(config, str(records_dir), manifest, sample_1_of_n_eval_examples,
            eval_checkpoint_metric, metric_objective_type)
    start = config.task.init_checkpoint
    init = initial.fingerprint(start) if start else ""
    params = _own_params(config, manifest, init)
    finished = _finished(model_dir, params)
    if finished:
        return finished
    _refuse_damaged(records_dir)
    strategy = make_strategy(config)
    chief = is_chief(strategy)
    with _alone(model_dir) if chief else contextlib.nullcontext():
        if chief:
            write_bytes(model_dir / PARAMS, params.encode())
        # Orbit and Model Garden print.
        with (plain_errors(config, model_dir),
              open(model_dir / LOG if chief else "/dev/null", "a", buffering=1) as file,
              contextlib.redirect_stdout(file), full_precision_after(), graphs_let_go()):
            run = Run(config, model_dir, strategy, on_row)
            run.train()
        history = read_history(model_dir)
        result = {
            "metric": {"name": eval_checkpoint_metric, "value": run.best_value,
                       "objective": metric_objective_type},
            "best_checkpoint": run.best_checkpoint, "steps": run.step,
            "stopped_early": run.stopped_early, "seconds": round(run.seconds, 1),
            "loss": next((row["total_loss"] for row in reversed(history) if "total_loss" in row),
                         None),
            "metrics": run.best_scores, "history": history,
            "experiment": str(experiment), "overrides": overrides, "init": init,
            "data": manifest.source,
            "label_map": {str(k): v for k, v in manifest.label_map.items()},
            "scales": list(manifest.scales), "splitting": manifest.splitting,
            "chip_size": config.task.model.input_size[0],
            "version": __version__,
        }
        if chief:
            write_json(model_dir / RESULT, result)
    return result


@contextlib.contextmanager
def _alone(model_dir: Path) -> Iterator[None]:
    """Keeps other processes of this machine from training in the folder at the same time."""
    with held(model_dir / _LOCK, f"process {os.getpid()} on {socket.gethostname()}",
              str(model_dir)):
        yield


def _set_up(config: Experiment, records: str, manifest: Manifest, one_of_n: int, metric: str,
            objective: str) -> None:
    if objective not in ("max", "min"):
        raise ConfigError(f"metric_objective_type: got '{objective}', expected max or min")
    if metric not in KNOWN_SCORES:
        raise ConfigError(f"eval_checkpoint_metric: there is no score '{metric}'; expected one of "
                          f"{', '.join(sorted(KNOWN_SCORES))}")
    if one_of_n < 1:
        raise ConfigError(f"sample_1_of_n_eval_examples: got {one_of_n}, expected 1 or more")
    for data in (config.task.train_data, config.task.validation_data):
        data.input_path = records
    config.task.validation_data.sample_1_of_n = one_of_n
    config.trainer.best_checkpoint_eval_metric = metric
    config.trainer.best_checkpoint_metric_comp = "higher" if objective == "max" else "lower"
    fit_to_records(config, manifest)
    refuse_unfit(config, manifest)
    try:
        config.validate()
    except KeyError as error:  # Model Garden's, for a restriction that does not hold
        raise ConfigError(f"experiment: {error.args[0]}") from None


def _refuse_damaged(records_dir: str | Path) -> None:
    """Reads the records' checksums, which TensorFlow would find wrong late and without a name.
    Those in a bucket were checked when they were stored."""
    if "://" in str(records_dir):
        return
    problems = verify_manifest(records_dir)
    if problems:
        raise DataError(problems[0])


def _own_params(config: Experiment, manifest: Manifest, init: str) -> str:
    """The experiment as YAML, with the data and the starting weights it is trained from; no path
    or address of this machine."""
    values = config.as_dict()
    for data in ("train_data", "validation_data"):
        values["task"][data]["input_path"] = ""
    values["task"]["init_checkpoint"] = ""
    values["runtime"].update(worker_hosts=None, task_index=-1, num_gpus=0)
    values |= {"data": manifest.source, "init": init}
    return yaml.safe_dump(json.loads(json.dumps(values)), sort_keys=False)


def _finished(model_dir: Path, params: str) -> dict[str, Any] | None:
    """The result of a run that is complete; refuses to mix two runs in one folder."""
    path = model_dir / PARAMS
    if not path.exists() or not any(model_dir.glob("ckpt-*.index")):
        return None  # nothing was learnt there
    if path.read_text() != params:
        raise ConfigError(
            f"{model_dir}: holds a training with other parameters or data (see its {PARAMS}); "
            "name another --model-dir or remove this one. To train it for longer, name another "
            f"and start from its weights: task.init_checkpoint={model_dir}")
    result = model_dir / RESULT
    return json.loads(result.read_text()) if result.exists() else None
