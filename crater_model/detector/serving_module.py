"""The graph that is served: images in, detections in their own pixels out.

Only operations of the stock server are used: no Python function, no XLA, no custom op.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from crater_model.detector.decoding import check_sizes, decode
from crater_model.detector.experiment import Experiment
from crater_model.detector.inputs import fit_scale, resize_image, standardize_and_pad
from crater_model.records.schema import ENCODED
from crater_model.settings import MAX_MEGAPIXELS

Outputs = dict[str, tf.Tensor]


class DetectionModule(tf.Module):
    """The detector as `serving_default` runs it.

    In: images in one of the forms of `input_types`. Out, for the K detections of the
    fullest image (the others padded with zeros): `detection_boxes` float32 [batch, K, 4] px of
    the image as it was sent, `detection_scores` float32 [batch, K], `detection_classes` int64
    [batch, K], `detection_masks` uint8 [batch, K, M, M] (probability x 255 on the box),
    `num_detections` int32 [batch].

    An image file of more than `max_megapixels` is refused before it is decoded; as many pixels are
    decoded at the same time, each of which takes some 17 bytes.
    """

    def __init__(self, experiment: Experiment, model, card: str = "",
                 max_megapixels: float = MAX_MEGAPIXELS):
        super().__init__()
        # Only the weights are tracked: Keras would save a training graph of each layer too.
        self._weights = list(model.variables)
        self._call = lambda images, shape: model(images, image_shape=shape, training=False)
        self._card, self._max_megapixels = card, max_megapixels
        self._size = tuple(experiment.task.model.input_size[:2])

    def detect(self, input_type: str) -> Callable[[tf.Tensor], Outputs]:
        """The method that takes images in this form."""
        return {"image_bytes": self.detect_bytes, "image_tensor": self.detect_tensor,
                "tf_example": self.detect_examples}[input_type]

    def detect_bytes(self, image_bytes: tf.Tensor) -> Outputs:
        """Detections in PNG or JPEG files, string [batch]."""
        with tf.device("cpu:0"):
            files, pixels = check_sizes(image_bytes, self._max_megapixels)
            read = tf.cond(pixels <= self._max_megapixels * 1e6,
                           lambda: self._read(files, decode, 10),
                           lambda: self._read(files, decode, 1))  # one after the other
        return self._detect(read)

    def detect_tensor(self, image_tensor: tf.Tensor) -> Outputs:
        """Detections in images uint8 [batch, h, w, 3]."""
        with tf.device("cpu:0"):
            read = self._read(image_tensor, tf.identity, 10)
        return self._detect(read)

    def detect_examples(self, tf_example: tf.Tensor) -> Outputs:
        """Detections in serialised `tf.train.Example`s, string [batch]."""
        wanted = {ENCODED: tf.io.FixedLenFeature([], tf.string)}
        return self.detect_bytes(tf.io.parse_example(tf_example, wanted)[ENCODED])

    def _read(self, batch: tf.Tensor, read: Callable[[tf.Tensor], tf.Tensor],
              at_a_time: int) -> tuple[tf.Tensor, tf.Tensor]:
        """All images as the network reads them, and of each what `_prepare` says."""
        return tf.map_fn(
            lambda one: self._prepare(read(one)), batch, parallel_iterations=at_a_time,
            fn_output_signature=(tf.TensorSpec([*self._size, 3], tf.float32),
                                 tf.TensorSpec([3, 2], tf.float32)))

    def _detect(self, read: tuple[tf.Tensor, tf.Tensor]) -> Outputs:
        images, info = read
        shapes, visible, factors = info[:, 0], info[:, 1], info[:, 2]
        outputs = self._call(images, visible)
        most = tf.shape(outputs["detection_boxes"])[1]
        real = tf.sequence_mask(outputs["num_detections"], most)
        boxes = tf.cast(outputs["detection_boxes"], tf.float32)
        boxes /= tf.tile(factors, [1, 2])[:, tf.newaxis]
        limits = tf.tile(shapes, [1, 2])[:, tf.newaxis]
        boxes = tf.clip_by_value(boxes, 0.0, limits)
        masks = tf.cast(outputs["detection_masks"], tf.float32)
        masks = tf.cast(tf.round(masks * 255.0), tf.uint8)
        return {
            "detection_boxes": tf.where(real[..., tf.newaxis], boxes, 0.0),
            "detection_scores": tf.where(
                real, tf.cast(outputs["detection_scores"], tf.float32), 0.0),
            "detection_classes": tf.where(
                real, tf.cast(outputs["detection_classes"], tf.int64), 0),
            "detection_masks": tf.where(
                real[..., tf.newaxis, tf.newaxis], masks, tf.zeros_like(masks)),
            "num_detections": tf.cast(outputs["num_detections"], tf.int32),
        }

    def describe(self, query: tf.Tensor) -> Outputs:
        """What the model is: the model card as JSON, once for each string asked with.

        It lets a client know labels, scales and input size from the server alone.
        """
        return {"model_card": tf.fill(tf.shape(query), self._card)}

    def _prepare(self, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One image as the network reads it, and [size, visible size, factors] (y, x)."""
        image = tf.cast(image, tf.float32)
        shape = tf.cast(tf.shape(image)[:2], tf.float32)
        scaled, factors = resize_image(image, fit_scale(shape, self._size))
        visible = tf.cast(tf.shape(scaled)[:2], tf.float32)
        return standardize_and_pad(scaled, self._size), tf.stack([shape, visible, factors])

