"""The configuration classes: Model Garden's, and what craters need beside it."""

from __future__ import annotations

import dataclasses

from official.core import config_definitions as cfg
from official.modeling import hyperparams
from official.modeling.optimization.configs.optimizer_config import EMAConfig
from official.vision.configs import maskrcnn

from crater_model.detector.backbones import BACKBONES
from crater_model.imagery.stretch import PERCENTILES

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
      backbone: a name of `backbones.BACKBONES`, which sets `model.backbone`, and what goes with
        it, in one word; "" leaves them as they are.
      init_checkpoint: starting weights: one of our finished model directories, or a Model
        Garden checkpoint (a file or a folder, local or gs://); see `initial.load_weights`.
      init_checkpoint_modules: which of them: "all", or "backbone", or "backbone,decoder".
      scales: output px per scene px of the chips trained on; inference uses the
        same. Filled in from the records.
      class_names: name of class 1, 2, ...; filled in from the records.
      stretch_percentiles: between which images of more than 8 bits were stretched for
        training, percent; inference does the same. Filled in from the records.
    """

    backbone: str = dataclasses.field(default="", metadata={"choices": ("", *BACKBONES)})
    init_checkpoint_modules: str = dataclasses.field(
        default="all", metadata={"choices": ("all", "backbone", "decoder", "backbone,decoder")})
    train_data: DataConfig = dataclasses.field(
        default_factory=lambda: DataConfig(is_training=True, split="train"))
    validation_data: DataConfig = dataclasses.field(
        default_factory=lambda: DataConfig(
            is_training=False, split="validation", drop_remainder=False))
    scales: list[float] = dataclasses.field(default_factory=list)
    class_names: list[str] = dataclasses.field(default_factory=list)
    stretch_percentiles: list[float] = dataclasses.field(default_factory=lambda: [*PERCENTILES])


@dataclasses.dataclass
class Trainer(cfg.TrainerConfig):
    """Model Garden's trainer settings, and when to stop early.

    Attributes:
      early_stop_validations: stop after so many validations in a row without a better score;
        0: never.
    """

    early_stop_validations: int = 0


def left_out(name: str) -> hyperparams.Config | None:
    """The group of settings, as it is by default, that may stand where an experiment has none;
    None where no group of that name belongs. Of those that Model Garden leaves out, our trainings
    know averaged weights only."""
    return EMAConfig() if name == "ema" else None
