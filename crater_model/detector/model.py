"""The Keras model: Model Garden's Mask R-CNN with three things put right for craters.

- Sampling of features and mask targets is exact to the pixel. Model Garden reads a
  feature map at box / stride without the half cell between a cell's index and its
  middle, so every crop lies half a cell off; for a crater of 10 px that is a fifth of it.
- Masks are computed for the detections there are, not for a padded constant.
- Mask targets come from small grids relative to the box (see `records.masks`).
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras
from official.vision.modeling import factory, maskrcnn_model
from official.vision.modeling.layers import (
    detection_generator,
    mask_sampler,
    roi_aligner,
    roi_generator,
)

from crater_model.detector.configs import CraterTask

# For what calls the model: no code of it or of Model Garden's branches on a tensor, and looking for
# such branches (autograph) takes 10 s before the first step.
as_written = tf.autograph.experimental.do_not_convert

# Model Garden's assignment of a box to a feature level: level 4 for 224 px (FPN paper,
# Lin et al. 2017, equation 1).
_CANONICAL_SIZE, _CANONICAL_LEVEL = 224.0, 4.0


class AlignedROIAligner(roi_aligner.MultilevelROIAligner):
    """RoIAlign whose samples stand where the feature cells' middles are."""

    def call(self, features, boxes, training=None):
        """Crops features; boxes [batch, n, 4] in px -> [batch, n, crop, crop, channels]."""
        levels = sorted(int(level) for level in features)
        boxes = tf.cast(boxes, tf.float32)
        sides = tf.sqrt(tf.maximum(
            (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]), 0.0))
        level = tf.floor(tf.math.log(tf.math.divide_no_nan(sides, _CANONICAL_SIZE))
                         / tf.math.log(2.0) + _CANONICAL_LEVEL)
        level = tf.clip_by_value(level, float(levels[0]), float(levels[-1]))
        half_cell = 0.5 * tf.pow(2.0, level)[..., tf.newaxis]
        return super().call(features, boxes - half_cell, training=training)


class Float32ROIGenerator(roi_generator.MultilevelROIGenerator):
    """Proposals in float32 whatever the precision of the heads: non-max suppression needs it."""

    def call(self, raw_boxes, raw_scores, anchor_boxes, image_shape, training=None):
        """See `MultilevelROIGenerator.call`."""
        return super().call(*map(_float32, (raw_boxes, raw_scores, anchor_boxes, image_shape)),
                            training=training)


class Float32DetectionGenerator(detection_generator.DetectionGenerator):
    """The same for the final detections."""

    def __call__(self, raw_boxes, raw_scores, anchor_boxes, image_shape, *args, **kwargs):
        """See `DetectionGenerator.__call__`."""
        return super().__call__(*map(_float32, (raw_boxes, raw_scores, anchor_boxes, image_shape)),
                                *args, **kwargs)


def _float32(value):
    return tf.nest.map_structure(lambda tensor: tf.cast(tensor, tf.float32), value)


class GridMaskSampler(mask_sampler.MaskSampler):
    """Samples foreground regions and reads their mask targets from the box grids."""

    def call(self, candidate_rois, candidate_gt_boxes, candidate_gt_classes,
             candidate_gt_indices, gt_masks):
        """See `MaskSampler.call`; gt_masks [batch, instances, grid, grid], 0 or 1."""
        size = self._config_dict["mask_target_size"]
        _, chosen = tf.nn.top_k(tf.cast(candidate_gt_classes > 0, tf.int32),
                                k=self._config_dict["num_sampled_masks"])
        rois = tf.gather(candidate_rois, chosen, batch_dims=1)
        boxes = tf.gather(candidate_gt_boxes, chosen, batch_dims=1)
        classes = tf.gather(candidate_gt_classes, chosen, batch_dims=1)
        indices = tf.maximum(tf.gather(candidate_gt_indices, chosen, batch_dims=1), 0)
        grids = tf.gather(gt_masks, indices, batch_dims=1)
        return rois, classes, crop_grids(grids, boxes, rois, size)


def crop_grids(grids: tf.Tensor, boxes: tf.Tensor, targets: tf.Tensor, size: int) -> tf.Tensor:
    """Reads masks given on `boxes` at the cells of `targets`, bilinear, zero outside.

    Two small matrix products a mask, so it runs the same under XLA.

    Args:
      grids: [batch, n, g, g], the mask's value at the cells' middles of its box.
      boxes: [batch, n, 4] px, where the grids lie.
      targets: [batch, n, 4] px, where to read.
      size: cells along each side of the result.

    Returns:
      float32 [batch, n, size, size].
    """
    grids, boxes, targets = _float32((grids, boxes, targets))
    cells = grids.shape[-1]

    def weights(low: int) -> tf.Tensor:
        high = low + 2
        start, end = targets[..., low:low + 1], targets[..., high:high + 1]
        middles = start + (end - start) * ((tf.range(size, dtype=tf.float32) + 0.5) / size)
        extent = tf.maximum(boxes[..., high:high + 1] - boxes[..., low:low + 1], 1e-6)
        position = (middles - boxes[..., low:low + 1]) / extent * cells - 0.5
        index = tf.range(cells, dtype=tf.float32)
        return tf.nn.relu(1.0 - tf.abs(position[..., tf.newaxis] - index))

    rows = tf.matmul(weights(0), grids)
    return tf.matmul(rows, weights(1), transpose_b=True)


class CraterMaskRCNN(maskrcnn_model.MaskRCNNModel):
    """Mask R-CNN whose inference outputs are as long as the fullest image's detections."""

    def _call_mask_outputs(self, model_box_outputs, training=None, **kwargs):
        if training:
            return super()._call_mask_outputs(
                model_box_outputs=model_box_outputs, training=True, **kwargs)
        most = tf.reduce_max(model_box_outputs["num_detections"])

        def trim(outputs, count):
            return {name: value[:, :count] if name.startswith("detection_") else value
                    for name, value in outputs.items()}

        # The mask head cannot run on nothing: it gets one (padded) region at least.
        outputs = super()._call_mask_outputs(
            model_box_outputs=trim(model_box_outputs, tf.maximum(most, 1)), training=False,
            **kwargs)
        return trim(outputs, most)

    def _features_to_mask_outputs(self, features, rois, roi_classes):
        # Model Garden's head needs to know the number of regions when the graph is built;
        # one region an "image" is a number it knows.
        crops = self.mask_roi_aligner(features, rois)
        count = tf.shape(rois)[:2]
        logits = self.mask_head([
            tf.reshape(crops, [-1, 1, *crops.shape[2:]]), tf.reshape(roi_classes, [-1, 1])])
        logits = tf.reshape(logits, [count[0], count[1], *logits.shape[2:]])
        return logits, tf.nn.sigmoid(logits)


@as_written
def build_model(task: CraterTask) -> CraterMaskRCNN:
    """The Keras model of an experiment's task, freshly initialised.

    Its capacities must be filled in (`experiment.fit_to_records`).
    """
    config, decay = task.model, task.losses.l2_weight_decay
    specs = tf_keras.layers.InputSpec(shape=[None, *config.input_size])
    # Half of it: Keras' l2 has no factor 1/2, tf.nn.l2_loss has.
    regularizer = tf_keras.regularizers.l2(decay / 2.0) if decay else None
    stock = factory.build_maskrcnn(specs, config, l2_regularizer=regularizer)
    parts = dict(stock.get_config())
    parts["roi_aligner"] = AlignedROIAligner.from_config(parts["roi_aligner"].get_config())
    parts["roi_generator"] = Float32ROIGenerator.from_config(parts["roi_generator"].get_config())
    parts["detection_generator"] = Float32DetectionGenerator.from_config(
        parts["detection_generator"].get_config())
    if config.include_mask:
        parts["mask_roi_aligner"] = AlignedROIAligner.from_config(
            parts["mask_roi_aligner"].get_config())
        parts["mask_sampler"] = GridMaskSampler.from_config(parts["mask_sampler"].get_config())
    model = CraterMaskRCNN(**parts)
    images = tf_keras.Input(config.input_size)
    shapes = tf_keras.Input([2])
    model(images, image_shape=shapes, training=False)
    return model
