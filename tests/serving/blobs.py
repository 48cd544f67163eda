"""A SavedModel with the contract's signature, small enough to write in a second."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

GRID = 7


def blob_image(height: int, width: int, boxes) -> np.ndarray:
    """Dark image [height, width] with white boxes (ymin, xmin, ymax, xmax px)."""
    image = np.full((height, width), 40, np.uint8)
    for ymin, xmin, ymax, xmax in boxes:
        image[ymin:ymax, xmin:xmax] = 255
    return image


def write_blob_model(folder: Path, version: int = 1, warm_up: bool = True,
                     best: float = 0.9, description: str = 'blobs, "quoted" and $HOME') -> Path:
    """Writes FOLDER/<version>: finds the runs of columns that hold white pixels, each one
    detection over the rows of its white pixels, left to right; scores `best`, `best` - 0.1, ...

    It computes what it gives (decoding in TensorFlow, any number of detections, images of
    several sizes in a request), so that tests see real values and not constants.
    """
    import tensorflow as tf

    folder = folder / str(version)
    module = tf.Module()

    def one(data):
        image = tf.io.decode_image(data, channels=3, expand_animations=False)
        white = tf.reduce_min(image, axis=2) > 200
        columns = tf.pad(tf.cast(tf.reduce_any(white, axis=0), tf.int32), [[1, 1]])
        starts = tf.where(columns[1:] > columns[:-1])[:, 0]
        ends = tf.where(columns[1:] < columns[:-1])[:, 0]

        def box(bounds):
            rows = tf.where(tf.reduce_any(white[:, bounds[0]:bounds[1]], axis=1))[:, 0]
            return tf.cast(tf.stack([rows[0], bounds[0], rows[-1] + 1, bounds[1]]), tf.float32)

        boxes = tf.map_fn(box, tf.stack([starts, ends], axis=1),
                          fn_output_signature=tf.TensorSpec([4], tf.float32))
        return tf.RaggedTensor.from_tensor(boxes, ragged_rank=1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def serving_default(image_bytes):
        found = tf.map_fn(one, image_bytes,
                          fn_output_signature=tf.RaggedTensorSpec([None, 4], tf.float32, 1))
        counts = tf.cast(found.row_lengths(), tf.int32)
        boxes = found.to_tensor(shape=[None, None, 4])
        present = tf.sequence_mask(counts, tf.shape(boxes)[1])
        scores = best - 0.1 * tf.cast(tf.range(tf.shape(boxes)[1]), tf.float32)
        masks = tf.cast(present, tf.uint8)[..., None, None] * tf.ones([GRID, GRID], tf.uint8) * 255
        return {"detection_boxes": boxes,
                "detection_scores": scores * tf.cast(present, tf.float32),
                "detection_classes": tf.cast(present, tf.int64),
                "detection_masks": masks, "num_detections": counts}

    card = json.dumps({
        "metrics": {"mask_AP": 0.63, "mask_AP50": 0.98}, "data": "sha256:00ff",
        "label_map": {"1": "crater"}, "version": version, "source_revision": "abc123",
        "chip_size": 64, "scales": [1.0],
        "description": description})

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "query")])
    def describe(query):
        return {"model_card": tf.fill(tf.shape(query), card)}

    tf.saved_model.save(module, str(folder), signatures={
        "serving_default": serving_default, "describe": describe})
    extra = folder / "assets.extra"
    extra.mkdir()
    (extra / "model_card.json").write_text(card)
    if warm_up:
        write_warm_up(extra / "tf_serving_warmup_requests")
    return folder


def write_warm_up(file: Path) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    data = tf.io.encode_png(np.zeros((24, 32, 1), np.uint8)).numpy()
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "crater"
    request.model_spec.signature_name = "serving_default"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(np.array([data], object)))
    log = prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request))
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(log.SerializeToString())
