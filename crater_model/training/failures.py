"""Trainings that cannot go on: what to say, and how to see it early."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import ENOSPC
from pathlib import Path

import tensorflow as tf

from crater_model.detector.configs import Experiment
from crater_model.errors import ConfigError, CraterError
from crater_model.training.history import LOG


class TrainingError(CraterError):
    """Training that cannot go on."""


@contextmanager
def plain_errors(config: Experiment, model_dir: Path) -> Iterator[None]:
    """TensorFlow's errors as one line that names the settings to change; the whole of it is
    in the log of the run, in `model_dir`.

    Raises:
      TrainingError: out of memory, or no space left on the disk.
      ConfigError: a network that cannot be built from these settings.
    """
    try:
        yield
    except (OSError, tf.errors.ResourceExhaustedError, tf.errors.UnknownError) as error:
        _log(model_dir)
        if getattr(error, "errno", None) == ENOSPC or "No space left" in str(error):
            raise TrainingError(
                f"{model_dir}: no space is left on its disk; make some and give the same command "
                "again, which goes on from the last checkpoint") from error
        if not isinstance(error, tf.errors.ResourceExhaustedError):
            raise
        raise TrainingError(f"{model_dir}: out of memory; {smaller(config)} ("
                            f"{_first_line(error)})") from error
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError,
            tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        _log(model_dir)
        raise ConfigError(f"{model_dir}: the experiment cannot be built or run: "
                          f"{_first_line(error)}; compare its settings with a preset's (see "
                          f"{model_dir / LOG})") from error


def smaller(config: Experiment) -> str:
    """Which settings to lower for less memory, with what they are now."""
    model, data = config.task.model, config.task.train_data
    height, width = model.input_size[:2]
    return (f"lower task.train_data.global_batch_size (now {data.global_batch_size}), "
            f"task.model.input_size (now {height} x {width} px), "
            f"task.model.roi_sampler.num_sampled_rois (now {model.roi_sampler.num_sampled_rois}) "
            "or task.model.mask_sampler.num_sampled_masks (now "
            f"{model.mask_sampler.num_sampled_masks}), or set "
            "runtime.mixed_precision_dtype=bfloat16")


def _log(model_dir: Path) -> None:
    with suppress(OSError), open(model_dir / LOG, "a") as file:  # there may be no space for it
        file.write(traceback.format_exc())


@tf.function
def all_finite(variables: list[tf.Variable]) -> tf.Tensor:
    """Whether every value of the variables is a finite number."""
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(v)) for v in variables])


def _first_line(error: Exception) -> str:
    """What an error of TensorFlow says, without where in the graph it says so."""
    text = getattr(error, "message", None) or str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("ValueError:", "TypeError:"))]
    line = (told or lines or [type(error).__name__])[-1 if told else 0]
    if isinstance(error, (KeyError, AttributeError, ArithmeticError)):
        line = f"{type(error).__name__}: {line}"
    return line[:300]
