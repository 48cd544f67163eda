"""The detector in use: load it, give it images, get typed detections."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
import yaml

from crater_model.detections import Detections
from crater_model.detector.experiment import Experiment, load_experiment
from crater_model.detector.input_types import request_tensor
from crater_model.detector.model import build_model
from crater_model.detector.serving_module import DetectionModule
from crater_model.detector.task import detections_from_outputs
from crater_model.errors import ConfigError, CraterError, DataError
from crater_model.imagery.pixels import encode_png
from crater_model.imagery.stretch import PERCENTILES

MODEL_CARD = "assets.extra/model_card.json"
PARAMS = "params.yaml"
BEST = "best"


class Detector:
    """A trained detector in this process.

    Attributes:
      label_map: class id -> name.
      chip_size: side in px of the network's input.
      scales: network px per scene px it was trained at; give it scenes at these scales.
      stretch_percentiles: between which values of more than 8 bits are stretched, percent.
    """

    def __init__(self, predict, label_map: dict[int, str], chip_size: int,
                 scales: Sequence[float], stretch_percentiles: Sequence[float] = PERCENTILES):
        self._predict = predict
        self.label_map, self.chip_size, self.scales = label_map, chip_size, tuple(scales)
        self.stretch_percentiles = tuple(stretch_percentiles)
        self._loaded: Any = None  # a SavedModel's variables last as long as it

    @classmethod
    def load(cls, path: str | Path, **thresholds: float | None) -> Detector:
        """Loads a model directory (its best checkpoint) or an exported SavedModel.

        Args:
          path: a model directory, a SavedModel or a folder of its versions (the newest).
          thresholds: for a model directory, `score_threshold` and `nms_iou_threshold` as for
            `load_trained`; a SavedModel has its own.

        Raises:
          CraterError: there is neither at `path`.
        """
        path = Path(path)
        if (path / "saved_model.pb").exists():
            return cls._from_saved_model(path)
        versions = sorted((int(p.name), p) for p in path.glob("[0-9]*")
                          if (p / "saved_model.pb").exists() and p.name.isdigit())
        if versions:
            return cls._from_saved_model(versions[-1][1])
        if (path / PARAMS).exists():
            return cls.from_experiment(*load_trained(path, **thresholds))
        raise CraterError(f"{path}: holds no detector; expected a model directory (params.yaml "
                          "and best/) or an exported SavedModel (saved_model.pb)")

    @classmethod
    def from_experiment(cls, experiment: Experiment, model) -> Detector:
        """A detector around a Keras model of this experiment."""
        module = DetectionModule(experiment, model)
        task = experiment.task
        predict = tf.function(
            module.detect_bytes, input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False)
        return cls(partial(_ask, predict, "image_bytes"),
                   dict(enumerate(task.class_names, start=1)), task.model.input_size[0],
                   task.scales, task.stretch_percentiles)

    @classmethod
    def _from_saved_model(cls, path: Path) -> Detector:
        card_path = path / MODEL_CARD
        if not card_path.exists():
            raise CraterError(f"{path}: has no {MODEL_CARD}; export it with `crater export`")
        card = json.loads(card_path.read_text())
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
        detector = cls(partial(_ask, signature, card.get("inference_input_type", "image_bytes")),
                       {int(k): v for k, v in card["label_map"].items()}, card["chip_size"],
                       card["scales"], card.get("stretch_percentiles", PERCENTILES))
        detector._loaded = loaded
        return detector

    def detect(self, images: Sequence[np.ndarray | bytes]) -> list[Detections]:
        """Detections in each image, in its own px.

        Args:
          images: uint8 [h, w] or [h, w, 3], or encoded PNG or JPEG bytes; sizes may differ.
            An image larger than `chip_size` is scaled down to it: cut it into tiles first
            (`mapping.detect_image`) to keep small craters.
        """
        if not len(images):
            return []
        for image in images:
            if not isinstance(image, bytes) and (image.dtype != np.uint8 or not image.size
                                                 or image.ndim not in (2, 3)):
                raise DataError(f"image: got {image.dtype} {list(image.shape)}, expected uint8 "
                                "[height, width] or [height, width, 3]")
        encoded = [image if isinstance(image, bytes) else encode_png(image) for image in images]
        return [detections_from_outputs(outputs, _size(image), self.label_map)
                for image, outputs in zip(images, self._predict(encoded), strict=True)]


def load_trained(model_dir: str | Path, *, score_threshold: float | None = None,
                 nms_iou_threshold: float | None = None) -> tuple[Experiment, Any]:
    """The experiment and the Keras model of a model directory, with the best weights.

    The model computes in float32, whatever it was trained in.

    Args:
      model_dir: a model directory of `training.train`.
      score_threshold, nms_iou_threshold: 0..1, put in the place of the experiment's
        `detection_generator.pre_nms_score_threshold` and `.nms_iou_threshold` if given.

    Raises:
      ConfigError: a threshold is out of range.
      CraterError: the folder holds no trained model.
    """
    model_dir = Path(model_dir)
    if not (model_dir / PARAMS).exists():
        raise CraterError(f"{model_dir}: is not a model directory (params.yaml is missing)")
    values = yaml.safe_load((model_dir / PARAMS).read_text())
    for what in ("data", "init"):
        values.pop(what, None)
    experiment = load_experiment("demo")
    experiment.override(values, is_strict=True)
    # Without a score there is no best one: nothing was labelled to validate on.
    checkpoint = best_checkpoint(model_dir) or tf.train.latest_checkpoint(str(model_dir))
    if checkpoint is None:
        raise CraterError(f"{model_dir}: holds no checkpoint yet; train it first")
    generator = experiment.task.model.detection_generator
    if score_threshold is not None:
        generator.pre_nms_score_threshold = _share("score_threshold", score_threshold)
    if nms_iou_threshold is not None:
        generator.nms_iou_threshold = _share("nms_iou_threshold", nms_iou_threshold)
    precision = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy("float32")
    try:
        model = build_model(experiment.task)
    finally:
        tf_keras.mixed_precision.set_global_policy(precision)
    status = tf.train.Checkpoint(model=model).read(str(checkpoint))
    status.expect_partial().assert_existing_objects_matched()
    return experiment, model


def best_checkpoint(model_dir: str | Path) -> Path | None:
    """The checkpoint that scored best (its path without suffix), if there is one."""
    found = [path.with_suffix("") for path in (Path(model_dir) / BEST).glob("ckpt-*.index")]
    return max(found, key=lambda path: int(path.name.removeprefix("ckpt-")), default=None)


def _share(name: str, value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name}: got {value}, expected a number from 0 to 1")
    return float(value)


def _ask(predict: Any, input_type: str,
         images: Sequence[bytes]) -> list[dict[str, np.ndarray]]:
    """The outputs for each image. Pixels go one image a request, since sizes may differ."""
    step, answers = 1 if input_type == "image_tensor" else len(images), []
    for start in range(0, len(images), step):
        request = request_tensor(input_type, images[start:start + step])
        if input_type == "image_tensor":
            _, inputs = predict.structured_input_signature
            if not inputs[input_type].shape.is_compatible_with(request.shape):
                raise DataError(f"image: got {list(request.shape[1:])}, but the model was exported "
                                f"for {inputs[input_type].shape[1:]} px")
        outputs = {k: v.numpy() for k, v in predict(**{input_type: request}).items()}
        answers += [{k: v[i] for k, v in outputs.items()} for i in range(len(request))]
    return answers


def _size(image: np.ndarray | bytes) -> tuple[int, int]:
    if not isinstance(image, bytes):
        return image.shape[0], image.shape[1]
    shape = tf.shape(tf.io.decode_image(image, expand_animations=False)).numpy()
    return int(shape[0]), int(shape[1])
