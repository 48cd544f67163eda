"""Export: a trained detector as a SavedModel that TF Serving runs as it is.

`OUT/<version>/` holds the graph and weights, `assets.extra/model_card.json` (what the
model is and what its numbers rest on) and `assets.extra/tf_serving_warmup_requests`
(played by TF Serving before the model takes traffic; TF Serving, "SavedModel Warmup").
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from crater_model.detector.detector import MODEL_CARD, load_trained
from crater_model.detector.input_types import input_spec
from crater_model.detector.serving_module import DetectionModule
from crater_model.errors import ConfigError, CraterError
from crater_model.export.card import model_card
from crater_model.export.operations import check_operations
from crater_model.export.warmup import SIGNATURE, WARMUP, WARMUP_BATCHES, write_warmup
from crater_model.files import whole_folder, write_json
from crater_model.settings import MAX_MEGAPIXELS

DESCRIBE = "describe"

__all__ = ["DESCRIBE", "SIGNATURE", "WARMUP", "WARMUP_BATCHES", "export_saved_model"]


def export_saved_model(model_dir: str | Path, out_dir: str | Path, version: int | None = None, *,
                       inference_input_type: str = "image_bytes",
                       inference_input_shape: Sequence[int] | None = None,
                       score_threshold: float | None = None,
                       nms_iou_threshold: float | None = None,
                       max_megapixels: float = MAX_MEGAPIXELS,
                       metrics: dict[str, Any] | None = None) -> Path:
    """Writes the best checkpoint of a model directory as a SavedModel version.

    It computes in float32 whatever it was trained in: a CPU server is slow in bfloat16.

    Args:
      model_dir: a model directory of `training.train`.
      out_dir: the folder of versions, as TF Serving watches it.
      version: a whole number from 1; the next free one if None.
      inference_input_type: what `serving_default` takes, under this name: "image_bytes",
        "image_tensor" or "tf_example"; see `detector.input_types`. Our own client sends
        image_bytes.
      inference_input_shape: [height, width] px to which image_tensor is held; any if None.
      score_threshold, nms_iou_threshold: 0..1, the lowest score of a detection, and the
        overlap from which the weaker of two is dropped; what the experiment says if None.
      max_megapixels: an image file of more is refused before it is decoded.
      metrics: further scores for the model card, such as those on the test split.

    Returns:
      `out_dir/<version>`.

    Raises:
      ConfigError: an option is unknown or out of range.
      CraterError: there is nothing trained, the version exists already, or the graph needs an
        operation that the stock server lacks.
    """
    spec = input_spec(inference_input_type, inference_input_shape)
    if not max_megapixels > 0:
        raise ConfigError(f"max_megapixels: got {max_megapixels:g}, expected a number above 0")
    target = _free_version(Path(out_dir), version)
    experiment, model = load_trained(model_dir, score_threshold=score_threshold,
                                     nms_iou_threshold=nms_iou_threshold)
    card = {**model_card(model_dir, experiment, int(target.name), metrics),
            "inference_input_type": inference_input_type,
            "inference_input_shape": list(inference_input_shape or []) or None,
            # Servers that join requests join them whatever their sizes; pixels must be of one.
            "batching": inference_input_type != "image_tensor" or inference_input_shape is not None,
            "max_megapixels": None if inference_input_type == "image_tensor" else max_megapixels}
    module = DetectionModule(experiment, model, json.dumps(card), max_megapixels)
    serve = tf.function(module.detect(inference_input_type), input_signature=[spec],
                        autograph=False)
    describe = tf.function(module.describe, input_signature=[
        tf.TensorSpec([None], tf.string, name="query")])
    with whole_folder(target) as beside:
        tf.saved_model.save(module, str(beside), signatures={SIGNATURE: serve,
                                                             DESCRIBE: describe},
                            options=tf.saved_model.SaveOptions(
                                experimental_custom_gradients=False))
        check_operations(beside)
        write_json(beside / MODEL_CARD, card)
        write_warmup(beside / WARMUP, inference_input_type,
                     inference_input_shape or experiment.task.model.input_size[:2])
    return target


def _free_version(out_dir: Path, version: int | None) -> Path:
    """The folder of a version that is not there yet: this one, or the next."""
    if version is None:
        existing = [int(path.name) for path in out_dir.glob("*") if path.name.isdigit()]
        version = max(existing, default=0) + 1
    if version < 1:
        raise CraterError(f"version: got {version}, expected a whole number from 1")
    target = out_dir / str(version)
    if target.exists():
        raise CraterError(f"{target}: this version exists; versions are never changed, "
                          "name another")
    return target
