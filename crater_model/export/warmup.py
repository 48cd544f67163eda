"""Warm-up requests: what TF Serving runs before a model takes traffic.

TF Serving, "SavedModel Warmup": a TFRecord file of PredictionLog messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from crater_model.detector.input_types import request_tensor
from crater_model.errors import CraterError
from crater_model.files import make_folder
from crater_model.imagery.pixels import encode_png

SIGNATURE = "serving_default"
MODEL_NAME = "crater"
WARMUP = "assets.extra/tf_serving_warmup_requests"
# A request of the client's holds up to 8 images; the image's batching puts up to 16 together.
WARMUP_BATCHES = (1, 2, 4, 8, 16)


def write_warmup(path: str | Path, input_type: str, size: Sequence[int]) -> None:
    """Writes the warm-up requests and reads them back: a broken file stops a server.

    Args:
      path: the file.
      input_type: what the signature takes; see `detector.input_types`.
      size: (height, width) px of the images to send.

    Raises:
      CraterError: what was read is not what was written.
    """
    path = Path(path)
    make_folder(path.parent)
    logs = [_log(input_type, _images(input_type, batch, size)) for batch in WARMUP_BATCHES]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())
    read = [prediction_log_pb2.PredictionLog.FromString(record.numpy())
            for record in tf.data.TFRecordDataset(str(path))]
    if read != logs:
        raise CraterError(f"{path}: the warm-up requests are not as they were written; the disk "
                          "may be full")


def _log(input_type: str, images: tensor_pb2.TensorProto) -> prediction_log_pb2.PredictionLog:
    request = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(name=MODEL_NAME, signature_name=SIGNATURE))
    request.inputs[input_type].CopyFrom(images)
    return prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request))


def _images(input_type: str, batch: int, size: Sequence[int]) -> tensor_pb2.TensorProto:
    if input_type == "image_tensor":
        # One grey value that stands for all: 16 images of 1024 px would be 50 MB.
        return tf.make_tensor_proto(128, tf.uint8, shape=[batch, *size, 3], allow_broadcast=True)
    rows, columns = np.mgrid[0:size[0], 0:size[1]]
    image = encode_png(((rows + columns) % 256).astype(np.uint8))
    return tf.make_tensor_proto(request_tensor(input_type, [image] * batch).numpy())
