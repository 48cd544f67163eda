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

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from official.core import config_definitions as cfg
from official.core import exp_factory
from official.modeling import optimization
from official.vision.configs import backbones, common, decoders, maskrcnn

from crater_model.annotations.stretch import PERCENTILES
from crater_model.detector.settings import flatten, override
from crater_model.errors import ConfigError

Experiment = cfg.ExperimentConfig


@dataclasses.dataclass
class Parser(maskrcnn.Parser):
    """Model Garden's parser settings, and the augmentation of the old system.

    Attributes:
      max_num_instances: instances an image holds at most; 0: what the records need.
      aug_rand_rot90: turn the image by 0, 90, 180 or 270 degrees at random.
      aug_brightness: the largest shift of brightness, in standard deviations of the image (0.5:
        from -0.5 to 0.5). It and the change of contrast come after the standardisation of each
        image, which would take them off again.
      aug_contrast: the largest relative change of contrast (0.3: factor 0.7 to 1.3).
    """

    max_num_instances: int = 0
    aug_rand_rot90: bool = False
    aug_brightness: float = 0.0
    aug_contrast: float = 0.0


@dataclasses.dataclass
class DataConfig(maskrcnn.DataConfig):
    """Model Garden's data settings over our records.

    Attributes:
      input_path: the folder of records (manifest.json beside the shards).
      split: which split of it.
      sample_1_of_n: reads every n-th record only (for a quicker evaluation).
    """

    split: str = "train"
    sample_1_of_n: int = 1
    parser: Parser = dataclasses.field(default_factory=Parser)
    dtype: str = "float32"
    seed: int | None = 0


@dataclasses.dataclass
class CraterTask(maskrcnn.MaskRCNNTask):
    """Mask R-CNN on crater records.

    Attributes:
      scales: output px per scene px of the chips trained on; inference uses the
        same. Filled in from the records.
      class_names: name of class 1, 2, ...; filled in from the records.
      stretch_percentiles: between which images of more than 8 bits were stretched for
        training, percent; inference does the same. Filled in from the records.
    """

    train_data: DataConfig = dataclasses.field(
        default_factory=lambda: DataConfig(is_training=True, split="train"))
    validation_data: DataConfig = dataclasses.field(
        default_factory=lambda: DataConfig(
            is_training=False, split="validation", drop_remainder=False))
    scales: list[float] = dataclasses.field(default_factory=list)
    class_names: list[str] = dataclasses.field(default_factory=list)
    stretch_percentiles: list[float] = dataclasses.field(default_factory=lambda: [*PERCENTILES])


def _optimizer(rate: float, steps: int, warmup: int, kind: str) -> optimization.OptimizationConfig:
    choices = {
        "adamw": {"type": "adamw_experimental",
                  "adamw_experimental": {"weight_decay": 1e-4, "global_clipnorm": 10.0}},
        "sgd": {"type": "sgd", "sgd": {"momentum": 0.9, "global_clipnorm": 10.0}},
    }
    return optimization.OptimizationConfig({
        "optimizer": choices[kind],
        "learning_rate": {"type": "cosine", "cosine": {
            "initial_learning_rate": rate, "decay_steps": steps, "alpha": 0.01}},
        "warmup": {"type": "linear", "linear": {
            "warmup_steps": warmup, "warmup_learning_rate": 0.0}},
    })


def _experiment(task: CraterTask, rate: float, steps: int, warmup: int, optimizer: str,
                interval: int, loop: int) -> Experiment:
    return Experiment(
        runtime=cfg.RuntimeConfig(
            distribution_strategy="one_device", mixed_precision_dtype="float32"),
        task=task,
        trainer=cfg.TrainerConfig(
            train_steps=steps, validation_steps=-1, validation_interval=interval,
            steps_per_loop=loop, summary_interval=loop, checkpoint_interval=interval,
            max_to_keep=2, best_checkpoint_export_subdir="best",
            best_checkpoint_eval_metric="mask_AP", best_checkpoint_metric_comp="higher",
            optimizer_config=_optimizer(rate, steps, warmup, optimizer)),
        restrictions=[
            "task.train_data.is_training != None",
            "task.model.min_level < task.model.max_level",
        ])


def demo() -> Experiment:
    """A small Mask R-CNN that learns craters from nothing in minutes on two cores.

    ResNet-10 of half width and a feature pyramid of 64 channels on 256 x 256 px. Square
    anchors only, since craters are round, of 3 x 2^level = 12 to 192 px: at an IoU of
    0.5 to 0.7 they reach craters of about 8 to 270 px. Batch statistics adapt fast
    (momentum 0.9), since a run is a few hundred steps.
    """
    augmentation = Parser(aug_rand_hflip=True, aug_rand_vflip=True, aug_rand_rot90=True,
                          rpn_batch_size_per_im=128)
    task = CraterTask(
        model=maskrcnn.MaskRCNN(
            num_classes=0, input_size=[256, 256, 3], min_level=2, max_level=6,
            anchor=maskrcnn.Anchor(num_scales=1, aspect_ratios=[1.0], anchor_size=3.0),
            backbone=backbones.Backbone(
                type="resnet", resnet=backbones.ResNet(model_id=10, depth_multiplier=0.5)),
            decoder=decoders.Decoder(type="fpn", fpn=decoders.FPN(num_filters=64)),
            rpn_head=maskrcnn.RPNHead(num_filters=64),
            detection_head=maskrcnn.DetectionHead(num_convs=0, num_filters=64, fc_dims=256),
            roi_generator=maskrcnn.ROIGenerator(
                pre_nms_top_k=500, num_proposals=200, test_pre_nms_top_k=500,
                test_num_proposals=200, use_batched_nms=True),
            roi_sampler=maskrcnn.ROISampler(num_sampled_rois=128),
            detection_generator=maskrcnn.DetectionGenerator(
                max_num_detections=0, pre_nms_score_threshold=0.05, nms_version="batched",
                pre_nms_top_k=500),
            mask_head=maskrcnn.MaskHead(num_convs=2, num_filters=64),
            mask_sampler=maskrcnn.MaskSampler(num_sampled_masks=16),
            norm_activation=common.NormActivation(
                norm_momentum=0.9, norm_epsilon=1e-4, use_sync_bn=False)),
        train_data=DataConfig(is_training=True, split="train", global_batch_size=4,
                              shuffle_buffer_size=1000, parser=augmentation),
        validation_data=DataConfig(is_training=False, split="validation",
                                   global_batch_size=4, drop_remainder=False))
    return _experiment(task, rate=3e-3, steps=700, warmup=50, optimizer="adamw",
                       interval=350, loop=10)


def resnet50_1024() -> Experiment:
    """ResNet-50 FPN on 1024 x 1024 px, for GPUs.

    Anchors of 3 x 2^level with three intermediate scales reach from 12 px (level 2) to
    300 px (level 6). 256 sampled regions of interest in four are foreground: an image
    holds hundreds of craters. Start from an ImageNet ResNet-50 by setting
    `task.init_checkpoint` and `task.init_checkpoint_modules=backbone`.
    """
    augmentation = Parser(
        aug_rand_hflip=True, aug_rand_vflip=True, aug_rand_rot90=True, aug_scale_min=0.8,
        aug_scale_max=1.25)
    task = CraterTask(
        model=maskrcnn.MaskRCNN(
            num_classes=0, input_size=[1024, 1024, 3], min_level=2, max_level=6,
            anchor=maskrcnn.Anchor(num_scales=2, aspect_ratios=[1.0], anchor_size=3.0),
            roi_generator=maskrcnn.ROIGenerator(use_batched_nms=True),
            detection_generator=maskrcnn.DetectionGenerator(
                max_num_detections=0, nms_version="batched"),
            mask_sampler=maskrcnn.MaskSampler(num_sampled_masks=128),
            norm_activation=common.NormActivation(
                norm_momentum=0.99, norm_epsilon=1e-4, use_sync_bn=True)),
        losses=maskrcnn.Losses(l2_weight_decay=4e-5),
        train_data=DataConfig(is_training=True, split="train", global_batch_size=8,
                              shuffle_buffer_size=500, parser=augmentation),
        validation_data=DataConfig(is_training=False, split="validation",
                                   global_batch_size=4, drop_remainder=False))
    experiment = _experiment(task, rate=0.02, steps=20_000, warmup=1_000, optimizer="sgd",
                             interval=1_000, loop=100)
    experiment.runtime.distribution_strategy = "mirrored"
    experiment.runtime.mixed_precision_dtype = "bfloat16"
    return experiment


_PRESETS: dict[str, Callable[[], Experiment]] = {"demo": demo, "resnet50_1024": resnet50_1024}
PRESETS = tuple(_PRESETS)

exp_factory.register_config_factory("maskrcnn_crater")(resnet50_1024)
exp_factory.register_config_factory("maskrcnn_crater_demo")(demo)


def load_experiment(name: str | Path, overrides: Mapping[str, Any] | None = None) -> Experiment:
    """A preset, a registered experiment or a YAML file, with values put over it.

    Args:
      name: a name of `PRESETS`, a registered Model Garden experiment name that builds a
        `CraterTask`, or the path of a YAML file (see the module's text).
      overrides: values by dotted name, such as {"trainer.train_steps": 2000}.

    Raises:
      ConfigError: the name, a key or a value does not fit; names the nearest valid one.
    """
    text = str(name)
    if text.endswith((".yaml", ".yml")):
        experiment = _load_yaml(Path(text))
    elif text in _PRESETS:
        experiment = _PRESETS[text]()
    elif text == "maskrcnn_crater" or text.startswith("maskrcnn_crater_"):
        experiment = _registered(text)
    else:
        raise ConfigError(f"experiment '{text}' is unknown; expected one of "
                          f"{', '.join(PRESETS)}, or the path of a .yaml file")
    for key, value in (overrides or {}).items():
        override(experiment, key, value)
    _follow_steps(experiment, overrides or {})
    return experiment


def _registered(name: str) -> Experiment:
    try:
        return exp_factory.get_exp_config(name)
    except LookupError:
        raise ConfigError(f"experiment '{name}' is not registered with Model Garden") from None


def _load_yaml(path: Path) -> Experiment:
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such experiment file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or "experiment" not in values:
        raise ConfigError(f"{path}: expected a mapping with the key 'experiment' that names one "
                          f"of {', '.join(PRESETS)} to start from")
    experiment = load_experiment(values.pop("experiment"))
    flat = flatten(values)
    for key, value in flat.items():
        try:
            override(experiment, key, value)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
    _follow_steps(experiment, flat)
    return experiment


def _follow_steps(experiment: Experiment, named: Mapping[str, Any]) -> None:
    """Lets the learning rate's decay and the intervals follow another `train_steps`."""
    trainer = experiment.trainer
    if "trainer.train_steps" not in named:
        return
    if trainer.train_steps < 1:
        raise ConfigError(f"'trainer.train_steps': got {trainer.train_steps}, expected at least 1")
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
