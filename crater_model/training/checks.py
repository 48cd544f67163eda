"""What a training cannot work with, refused before it costs time."""

from __future__ import annotations

import tf_keras
from official.modeling import optimization
from official.modeling.optimization import optimizer_factory
from official.vision.modeling.backbones import resnet

from crater_model.detector.configs import Experiment
from crater_model.detector.experiment import chip_size
from crater_model.errors import ConfigError, DataError
from crater_model.records.manifest import Manifest


def refuse_unfit(config: Experiment, manifest: Manifest) -> None:
    """Looks at what Model Garden would find late, or not at all.

    Raises:
      ConfigError: a setting of the network or of its optimizer, by name.
      DataError: a split that has to hold images is empty.
    """
    for data in (config.task.train_data, config.task.validation_data):
        if not manifest.split(data.split)["images"]:
            words = manifest.splitting.get("words")
            raise DataError(f"{manifest.root}: split '{data.split}' holds no image"
                            f"{f' ({words})' if words else ''}; write records with a larger share "
                            "of it")
    _refuse_network(config)
    _refuse_optimizer(config.trainer.optimizer_config)


def _refuse_network(config: Experiment) -> None:
    model = config.task.model
    side, step = chip_size(config), 2 ** model.max_level
    if side < step or side % step:
        raise ConfigError(
            f"task.model.input_size: got {side} x {side} px, expected a multiple of {step} px "
            f"(2^task.model.max_level), such as {max(step, step * round(side / step))}")
    if not model.include_mask:
        raise ConfigError("task.model.include_mask: got False, expected True: outlines are what "
                          "is scored, exported and mapped")
    backbone, known = model.backbone, sorted(resnet.RESNET_SPECS)
    if backbone.type == "resnet" and backbone.resnet.model_id not in known:
        raise ConfigError(f"task.model.backbone.resnet.model_id: got {backbone.resnet.model_id}, "
                          f"expected one of {', '.join(map(str, known))}")


def _refuse_optimizer(config: optimization.OptimizationConfig) -> None:
    if config.ema is None:
        return
    older = sorted(name for name, kind in optimizer_factory.LEGACY_OPTIMIZERS_CLS.items()
                   if isinstance(kind, type)
                   and issubclass(kind, tf_keras.optimizers.legacy.Optimizer))
    if config.optimizer.type not in older:
        raise ConfigError(
            "trainer.optimizer_config.ema: Model Garden averages the weights of Keras' older "
            f"optimizers only, and '{config.optimizer.type}' is none; set "
            f"trainer.optimizer_config.optimizer.type to one of {', '.join(older)}")
