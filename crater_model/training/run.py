"""One training in one model directory: Orbit's controller with our actions around it."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras
from official.core import base_trainer, task_factory, train_lib
from official.modeling import optimization

from crater_model.detector import task as _task  # noqa: F401  registers the task
from crater_model.detector.configs import Experiment
from crater_model.detector.detector import BEST, best_checkpoint
from crater_model.files import make_folder, write_bytes
from crater_model.progress import Progress
from crater_model.scores import Evaluator
from crater_model.training import checkpoints, devices
from crater_model.training.failures import TrainingError, all_finite
from crater_model.training.history import METRICS, RIMS, Row, read_history
from crater_model.training.pictures import rims_picture

OnRow = Callable[[Row], None]


class Run:
    """Trains, validates, keeps the best, and writes down what happens.

    Attributes:
      step: steps done.
      stopped_early: whether the validations stopped getting better before the last step.
      best_value, best_scores, best_checkpoint: of the best validation so far; None without one.
      seconds_before: what earlier starts of the run took.
    """

    _progress: Progress

    def __init__(self, config: Experiment, model_dir: Path, strategy: tf.distribute.Strategy,
                 on_row: OnRow | None = None):
        self.config, self.dir, self.strategy = config, model_dir, strategy
        self.stopped_early = False
        self.best_value: float | None = None
        self.best_scores: dict[str, float] = {}
        self.best_checkpoint: str | None = None
        self._chief, self._on_row = devices.is_chief(strategy), on_row
        self._settings = config.trainer
        self._without_better = 0
        self._started = self._loop_started = time.monotonic()
        if self._chief:
            checkpoints.tidy(model_dir)
        # The others of several machines have to take part in writing, each to its own place.
        self._own_dir = model_dir if self._chief else Path(tempfile.mkdtemp())
        self.step = checkpoints.step_of(tf.train.latest_checkpoint(str(model_dir)))
        self._restore_history()

    @property
    def seconds(self) -> float:
        """Seconds of this run, those of earlier starts included."""
        return self.seconds_before + time.monotonic() - self._started

    def train(self) -> None:
        """Trains to the last step, or until the validations stop getting better."""
        settings = self._settings
        tf_keras.utils.set_random_seed(self.config.task.train_data.seed or 0)
        devices.set_precision(self.config)
        controller = self._build()
        interval = settings.validation_interval
        with (self.strategy.scope(),
              Progress("training", settings.train_steps, done=self.step) as self._progress):
            if self._lacks_validation():
                controller.evaluate(settings.validation_steps)
            while self.step < settings.train_steps and not self._enough():
                # Whatever it was resumed from, validations are at multiples of the interval.
                until = min((self.step // interval + 1) * interval, settings.train_steps)
                controller.train(until)  # ends with a checkpoint
                controller.evaluate(settings.validation_steps)
        self.stopped_early = self.step < settings.train_steps

    def _build(self):
        config = self.config
        with self.strategy.scope():
            task = task_factory.get_task(config.task, logging_dir=str(self.dir))
            task.start_step = self.step
            task.evaluator = Evaluator(task.label_map)
            model = task.build_model()
            optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)
            _make_slots(optimizer, model.trainable_variables)
            trainer = base_trainer.Trainer(config, task, model=model, optimizer=optimizer)
        self._task, self._trainer = task, trainer
        self._weights = tf.train.Checkpoint(model=model)
        runner = _Runner(
            self.strategy, task, "train_and_eval", config, str(self.dir), trainer=trainer,
            save_summary=self._chief,
            train_actions=[self._after_loop], eval_actions=[self._after_validation])
        self._pictures = (tf.summary.create_file_writer(
            str(self.dir / config.trainer.validation_summary_subdir), filename_suffix=".rims")
            if self._chief else None)
        return runner.controller

    def _restore_history(self) -> None:
        """Takes up what earlier starts of this run have written up to the checkpoint."""
        rows = [row for row in read_history(self.dir) if row["step"] <= self.step]
        self.seconds_before = rows[-1]["seconds"] if rows else 0.0
        for row in rows:
            if row["kind"] == "validation":
                self._consider(row)
        if not self._chief:
            return
        write_bytes(self.dir / METRICS, "".join(json.dumps(r) + "\n" for r in rows).encode())
        if self.best_value is not None:
            best = best_checkpoint(self.dir)
            assert best is not None  # it was kept before its score was written
            self.best_checkpoint = str(best.relative_to(self.dir))

    def _lacks_validation(self) -> bool:
        """A run that was killed while it validated has to do that first."""
        due = self.step and (self.step % self._settings.validation_interval == 0
                             or self.step >= self._settings.train_steps)
        done = any(row["kind"] == "validation" and row["step"] == self.step
                   for row in read_history(self.dir))
        return bool(due) and not done

    def _enough(self) -> bool:
        most = self._settings.early_stop_validations
        return bool(most) and self._without_better >= most

    def _after_loop(self, output: Mapping[str, Any]) -> None:
        before, self.step = self.step, int(self._trainer.global_step.numpy())
        # The learning rate may be a variable that several devices mirror.
        values = {name: float(tf.convert_to_tensor(value)) for name, value in output.items()}
        now = time.monotonic()
        rate = (self.step - before) / max(now - self._loop_started, 1e-9)
        self._loop_started = now
        self._refuse_divergence(values.get("total_loss", math.nan))
        batch = self.config.task.train_data.global_batch_size
        self._progress.update(self.step, f"loss {values['total_loss']:.3f}, "
                              f"{rate * batch:.3g} images/s" + self._best_note())
        left = self._progress.seconds_left
        self._write({"kind": "train", "step": self.step, **values,
                     "steps_per_second": round(rate, 3),
                     "images_per_second": round(rate * batch, 2),
                     "seconds_left": None if left is None else round(left)})

    def _refuse_divergence(self, loss: float) -> None:
        """Comes before the checkpoint is written: the last good one is kept."""
        limit = self._settings.loss_upper_bound
        finite = bool(all_finite(self._trainer.model.trainable_variables))
        if math.isfinite(loss) and loss <= limit and finite:
            return
        found = (f"the loss is {loss:g}" if finite or not math.isfinite(loss)
                 else "the weights are no longer finite numbers")
        raise TrainingError(
            f"{self.dir}: {found} at step {self.step}, expected a finite number up to {limit:g}; "
            "lower the learning rate (trainer.optimizer_config.learning_rate) or look at the data; "
            "the last good checkpoint is kept")

    def _after_validation(self, output: Mapping[str, Any]) -> None:
        scores = {name: float(value) for name, value in output.items()
                  if name != "validation_loss"}
        metric = self._settings.best_checkpoint_eval_metric
        shared = devices.agree(self.strategy, scores.pop(metric, None))
        if shared is not None:
            scores[metric] = shared
        row = {"kind": "validation", "step": self.step, **scores}
        if self._consider(row):
            self._keep_best()
        if self._chief:
            self._draw(scores.get("threshold"))
        self._write(row)
        self._loop_started = time.monotonic()
        self._progress.update(self.step, "validated" + self._best_note())

    def _consider(self, row: Row) -> bool:
        """Whether this validation is the best so far; remembers it if so. Of equals the first."""
        value = row.get(self._settings.best_checkpoint_eval_metric)
        higher = self._settings.best_checkpoint_metric_comp == "higher"
        if value is None or not math.isfinite(value) or (self.best_value is not None and (
                value <= self.best_value if higher else value >= self.best_value)):
            self._without_better += 1
            return False
        self._without_better = 0
        self.best_value = value
        self.best_scores = {k: v for k, v in row.items() if k not in ("kind", "seconds")}
        return True

    def _keep_best(self) -> None:
        # The new one stands whole before the old one goes: a kill never leaves none.
        folder = make_folder(self._own_dir / BEST)
        with self._scored():
            self._weights.write(str(folder / f"ckpt-{self.step}"))
        self.best_checkpoint = f"{BEST}/ckpt-{self.step}"
        for file in folder.iterdir():
            if not file.name.startswith(f"ckpt-{self.step}."):
                file.unlink()

    @contextmanager
    def _scored(self) -> Iterator[None]:
        """The model holds the weights that a validation scores: the averaged ones, where the
        optimizer keeps some. Model Garden takes them out again when its validation ends."""
        optimizer = self._trainer.optimizer
        swapped = isinstance(optimizer, optimization.ExponentialMovingAverage)
        if swapped:
            optimizer.swap_weights()
        try:
            yield
        finally:
            if swapped:
                optimizer.swap_weights()

    def _draw(self, threshold: float | None) -> None:
        data = self.config.task.validation_data
        picture = rims_picture(data.input_path, data.split, self._task.shown, threshold)
        if picture is None:
            return
        write_bytes(self.dir / RIMS, picture)
        assert self._pictures is not None  # it is the chief
        with self._pictures.as_default():
            tf.summary.image("rims", tf.image.decode_png(picture, channels=3)[tf.newaxis],
                             step=self.step, description="labels blue, detections orange")
        self._pictures.flush()

    def _best_note(self) -> str:
        name = self._settings.best_checkpoint_eval_metric
        return f"  best {name} {self.best_value:.3f}" if self.best_value is not None else ""

    def _write(self, row: Row) -> None:
        row = {**row, "seconds": round(self.seconds, 1)}
        if not self._chief:
            return
        with open(self.dir / METRICS, "a") as file:
            file.write(json.dumps(row) + "\n")
        if self._on_row:
            self._on_row(row)


class _Runner(train_lib.OrbitExperimentRunner):
    """Model Garden's, which on several machines restores only the chief: the others, who save
    to a folder of their own, would go on with fresh weights."""

    def _maybe_build_checkpoint_manager(self) -> tf.train.CheckpointManager:
        if devices.is_chief(self.strategy):
            return super()._maybe_build_checkpoint_manager()
        trainer, model_dir = self.trainer, self.model_dir

        def initialize() -> None:
            latest = tf.train.latest_checkpoint(model_dir)
            trainer.checkpoint.restore(latest) if latest else trainer.initialize()

        return tf.train.CheckpointManager(
            trainer.checkpoint, tempfile.mkdtemp(), max_to_keep=1,
            step_counter=trainer.global_step, init_fn=initialize,
            checkpoint_interval=self.params.trainer.checkpoint_interval)


def _make_slots(optimizer: tf_keras.optimizers.Optimizer, variables: list[tf.Variable]) -> None:
    """Makes an optimizer's own variables now: a first step that makes them is traced twice."""
    if isinstance(optimizer, tf_keras.optimizers.legacy.Optimizer):
        optimizer._create_all_weights(variables)
    else:
        optimizer.build(variables)
