"""Export: a trained detector as a SavedModel that TF Serving runs as it is.

`OUT/<version>/` holds the graph and weights, `assets.extra/model_card.json` (what the
model is and what its numbers rest on) and `assets.extra/tf_serving_warmup_requests`
(played by TF Serving before the model takes traffic; TF Serving, "SavedModel Warmup").
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from crater_model import __version__
from crater_model.annotations.pixels import encode_png
from crater_model.detector.detector import MODEL_CARD, load_trained
from crater_model.detector.experiment import Experiment
from crater_model.detector.serving_module import DetectionModule
from crater_model.errors import CraterError
from crater_model.files import make_folder, whole_folder, write_json
from crater_model.revision import source_revision
from crater_model.training import RESULT, read_result

SIGNATURE = "serving_default"
DESCRIBE = "describe"
MODEL_NAME = "crater"
WARMUP = "assets.extra/tf_serving_warmup_requests"
# Requests of so many images are what the client and the tiling send.
WARMUP_BATCHES = (1, 4, 8)


def export_saved_model(model_dir: str | Path, out_dir: str | Path, version: int | None = None,
                       *, metrics: dict[str, Any] | None = None) -> Path:
    """Writes the best checkpoint of a model directory as a SavedModel version.

    Args:
      model_dir: a model directory of `training.train`.
      out_dir: the folder of versions, as TF Serving watches it.
      version: a whole number from 1; the next free one if None.
      metrics: further scores for the model card, such as those on the test split.

    Returns:
      `out_dir/<version>`.

    Raises:
      CraterError: there is nothing trained, or the version exists already.
    """
    out_dir = make_folder(out_dir)
    existing = sorted(int(p.name) for p in out_dir.iterdir() if p.name.isdigit())
    if version is None:
        version = existing[-1] + 1 if existing else 1
    if version < 1:
        raise CraterError(f"version: got {version}, expected a whole number from 1")
    target = out_dir / str(version)
    if target.exists():
        raise CraterError(f"{target}: this version exists; versions are never changed, "
                          "name another")
    experiment, model = load_trained(model_dir)
    card = _model_card(Path(model_dir), experiment, version, metrics)
    module = DetectionModule(experiment, model, json.dumps(card))
    serve = tf.function(module.detect_encoded, input_signature=[
        tf.TensorSpec([None], tf.string, name="image_bytes")])
    describe = tf.function(module.describe, input_signature=[
        tf.TensorSpec([None], tf.string, name="query")])
    with whole_folder(target) as beside:
        tf.saved_model.save(module, str(beside), signatures={SIGNATURE: serve,
                                                             DESCRIBE: describe},
                            options=tf.saved_model.SaveOptions(
                                experimental_custom_gradients=False))
        write_json(beside / MODEL_CARD, card)
        write_warmup(beside / WARMUP, experiment.task.model.input_size[0])
    return target


def write_warmup(path: str | Path, side: int) -> None:
    """Writes the warm-up requests and reads them back: a broken file stops a server.

    Args:
      path: the file.
      side: px of the square images to send.
    """
    path = Path(path)
    make_folder(path.parent)
    rows, columns = np.mgrid[0:side, 0:side]
    image = encode_png(((rows + columns) % 256).astype(np.uint8))
    with tf.io.TFRecordWriter(str(path)) as writer:
        for batch in WARMUP_BATCHES:
            request = predict_pb2.PredictRequest(
                model_spec=model_pb2.ModelSpec(name=MODEL_NAME, signature_name=SIGNATURE))
            request.inputs["image_bytes"].CopyFrom(
                tf.make_tensor_proto(np.array([image] * batch, dtype=object), tf.string))
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
    read = 0
    for record in tf.data.TFRecordDataset(str(path)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        batch = log.predict_log.request.inputs["image_bytes"].tensor_shape.dim[0].size
        if batch != WARMUP_BATCHES[read]:
            raise CraterError(f"{path}: warm-up request {read} holds {batch} images, expected "
                              f"{WARMUP_BATCHES[read]}; the disk may be full")
        read += 1


def _model_card(model_dir: Path, experiment: Experiment, version: int,
                metrics: dict[str, Any] | None) -> dict[str, Any]:
    """What the model is: scores, data, hyperparameters, labels."""
    result = read_result(model_dir) if (model_dir / RESULT).exists() else {}
    task = experiment.task
    return {
        "name": MODEL_NAME, "version": version, "created_by": f"crater_model {__version__}",
        "revision": source_revision(),
        "label_map": {str(i): name for i, name in enumerate(task.class_names, start=1)},
        "chip_size": task.model.input_size[0], "scales": list(task.scales),
        "stretch_percentiles": list(task.stretch_percentiles),
        "mask_size": task.model.mask_roi_aligner.crop_size * task.model.mask_head.upsample_factor,
        "max_num_detections": task.model.detection_generator.max_num_detections,
        "score_threshold": task.model.detection_generator.pre_nms_score_threshold,
        "nms_iou_threshold": task.model.detection_generator.nms_iou_threshold,
        "metrics": {"validation": result.get("metrics", {}), **(metrics or {})},
        "metric": result.get("metric"), "data": result.get("data"),
        "experiment": result.get("experiment"), "overrides": result.get("overrides", {}),
        "steps": result.get("steps"),
        "parameters": json.loads(json.dumps(experiment.as_dict())),
    }
