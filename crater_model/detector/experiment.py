"""The registered Model Garden experiment `maskrcnn_crater` and its presets.

An experiment is Model Garden's `ExperimentConfig`: `task` (model, data, losses),
`trainer` (steps, optimizer, intervals) and `runtime` (precision, devices). A preset
is a complete experiment; a YAML file names the preset it starts from and what it
changes::

    experiment: demo
    trainer:
      train_steps: 2000

Capacities of 0 (`max_num_instances`, `max_num_detections`, `num_classes`) are filled
in from the records when training starts, so that no instance is ever cut off without
a word: see `fit_to_records`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from official.core import exp_factory

from crater_model.detector.backbones import apply_backbone
from crater_model.detector.configs import Experiment
from crater_model.detector.presets import BUILDERS
from crater_model.detector.settings import override
from crater_model.errors import ConfigError
from crater_model.settings import (
    PRESETS,
    check_experiment,
    is_experiment_file,
    is_registered_name,
    read_experiment_file,
)

_BACKBONE = "task.backbone"

exp_factory.register_config_factory("maskrcnn_crater")(BUILDERS["resnet50_1024"])
for _name in PRESETS:
    exp_factory.register_config_factory(f"maskrcnn_crater_{_name}")(BUILDERS[_name])


def load_experiment(name: str | Path, overrides: Mapping[str, Any] | None = None) -> Experiment:
    """A preset, a registered experiment or a YAML file, with values put over it.

    Args:
      name: a name of `PRESETS`, a registered Model Garden experiment name that builds a
        `CraterTask`, or the path of a YAML file (see the module's text).
      overrides: values by dotted name, such as {"trainer.train_steps": 2000}.

    Raises:
      ConfigError: the name, a key or a value does not fit; names the nearest valid one.
    """
    check_experiment(name)
    base, settings = (read_experiment_file(name) if is_experiment_file(name)
                      else (str(name), {}))
    settings.update(overrides or {})
    experiment = _registered(base) if is_registered_name(base) else BUILDERS[base]()
    # A backbone by name sets others: they come after it, so that they can still be changed.
    named = settings.get(_BACKBONE, experiment.task.backbone)
    if named:
        override(experiment, {_BACKBONE: named})
        apply_backbone(experiment.task, named)
    override(experiment, settings)
    _follow_steps(experiment, settings)
    return experiment


def _registered(name: str) -> Experiment:
    try:
        return exp_factory.get_exp_config(name)
    except LookupError:
        raise ConfigError(f"experiment '{name}' is not registered with Model Garden") from None


def _follow_steps(experiment: Experiment, named: Mapping[str, Any]) -> None:
    """Lets the learning rate's decay and the intervals follow another `train_steps`."""
    trainer = experiment.trainer
    if "trainer.train_steps" not in named:
        return
    schedule = trainer.optimizer_config.learning_rate
    if schedule.type == "cosine" and not any(k.endswith("decay_steps") for k in named):
        schedule.cosine.decay_steps = trainer.train_steps
    warmup = trainer.optimizer_config.warmup
    if warmup.type == "linear" and not any(k.endswith("warmup_steps") for k in named):
        warmup.linear.warmup_steps = min(warmup.linear.warmup_steps, trainer.train_steps // 4)
    for name in ("validation_interval", "checkpoint_interval", "steps_per_loop"):
        if f"trainer.{name}" not in named:
            setattr(trainer, name, min(getattr(trainer, name), trainer.train_steps))
    trainer.summary_interval = trainer.steps_per_loop


def chip_size(experiment: Experiment) -> int:
    """The side in px of the square image that the experiment's network reads."""
    height, width = experiment.task.model.input_size[:2]
    if height != width:
        raise ConfigError(f"task.model.input_size: got {height} x {width}, expected a square")
    return height


def fit_to_records(experiment: Experiment, manifest) -> Experiment:
    """The experiment with its open capacities filled in from the records' manifest.

    Raises:
      ConfigError: a capacity was set lower than the records need.
    """
    task, model = experiment.task, experiment.task.model
    needed = max((split["max_instances"] for split in manifest.splits.values()), default=0)
    for data in (task.train_data, task.validation_data):
        parser = data.parser
        if parser.max_num_instances == 0:
            parser.max_num_instances = max(16, 16 * math.ceil(needed / 16))
        elif parser.max_num_instances < needed:
            raise ConfigError(
                f"max_num_instances is {parser.max_num_instances}, but an image of the records "
                f"holds {needed} instances; set it to 0 (what the records need) or raise it")
    if model.detection_generator.max_num_detections == 0:
        model.detection_generator.max_num_detections = max(100, 50 * math.ceil(needed * 1.5 / 50))
    most = model.detection_generator.max_num_detections
    rois = model.roi_generator
    rois.test_num_proposals = max(rois.test_num_proposals, 2 * most)
    rois.test_pre_nms_top_k = max(rois.test_pre_nms_top_k, 2 * most)
    model.detection_generator.pre_nms_top_k = max(model.detection_generator.pre_nms_top_k, 2 * most)
    classes = len(manifest.label_map)
    if model.num_classes == 0:
        model.num_classes = classes + 1
    elif model.num_classes != classes + 1:
        raise ConfigError(f"task.model.num_classes is {model.num_classes}, but the records name "
                          f"{classes} classes; set it to 0 or {classes + 1} (one for background)")
    task.class_names = [manifest.label_map[i] for i in sorted(manifest.label_map)]
    task.scales = [float(scale) for scale in manifest.scales]
    task.stretch_percentiles = [float(value) for value in manifest.stretch_percentiles]
    return experiment
