"""Targets of the region proposal network, assigned on the device for a whole batch.

The assignment is that of Faster R-CNN (Ren et al. 2015, section 3.1.2) as Model Garden
does it: an anchor is positive from an IoU of `match`, negative below `unmatch`, ignored
between; each instance's best anchor is positive whatever its IoU; then a random sample of
positives and negatives is kept. Model Garden does it image by image in the input pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf
from official.vision.ops import anchor
from official.vision.ops import box_ops


def anchors_of(model_config, image_size: tuple[int, int]) -> Mapping[str, tf.Tensor]:
    """Anchor boxes by level, each float32 [h, w, anchors x 4] in px."""
    return anchor.Anchor(
        min_level=model_config.min_level, max_level=model_config.max_level,
        num_scales=model_config.anchor.num_scales,
        aspect_ratios=model_config.anchor.aspect_ratios,
        anchor_size=model_config.anchor.anchor_size, image_size=image_size).multilevel_boxes


def match_anchors(anchors: tf.Tensor, boxes: tf.Tensor, valid: tf.Tensor,
                  match: float = 0.7, unmatch: float = 0.3) -> tuple[tf.Tensor, tf.Tensor]:
    """Which instance each anchor stands for.

    Args:
      anchors: float32 [a, 4] px.
      boxes: float32 [batch, n, 4] px, padded.
      valid: bool [batch, n], False where padded.

    Returns:
      (indices, labels), int32 [batch, a]: the instance of highest IoU, and 1 positive,
      0 negative, -1 ignored.
    """
    iou = _iou(anchors, boxes)
    iou = tf.where(valid[:, tf.newaxis], iou, -1.0)
    indices = tf.argmax(iou, axis=2, output_type=tf.int32)
    best = tf.reduce_max(iou, axis=2)
    labels = tf.where(best >= match, 1, tf.where(best < unmatch, 0, -1))

    # Each instance's best anchor becomes positive and takes that instance; of two
    # instances with the same best anchor the first wins, as in Model Garden's matcher.
    batch, count = tf.shape(boxes)[0], tf.shape(boxes)[1]
    best_anchor = tf.argmax(iou, axis=1, output_type=tf.int32)
    best_anchor = tf.where(valid, best_anchor, tf.shape(anchors)[0])
    rows = tf.tile(tf.range(batch)[:, tf.newaxis], [1, count])
    instance = tf.tile(tf.range(count)[tf.newaxis], [batch, 1])
    forced = tf.tensor_scatter_nd_min(
        tf.fill([batch, tf.shape(anchors)[0] + 1], count),
        tf.stack([rows, best_anchor], axis=-1), instance)[:, :-1]
    indices = tf.where(forced < count, forced, indices)
    return indices, tf.where(forced < count, 1, labels)


def sample_labels(labels: tf.Tensor, size: int, positive_share: float) -> tf.Tensor:
    """Keeps a random sample of `size` labels an image, the rest become -1.

    At most `size x positive_share` are positive; negatives fill it up.
    """
    order = tf.random.uniform(tf.shape(labels))
    positive = _keep_random(labels == 1, order, tf.cast(size * positive_share, tf.int32))
    left = size - tf.reduce_sum(tf.cast(positive, tf.int32), axis=1, keepdims=True)
    negative = _keep_random(labels == 0, order, left)
    return tf.where(positive, 1, tf.where(negative, 0, -1))


def _keep_random(mask: tf.Tensor, order: tf.Tensor, most: tf.Tensor) -> tf.Tensor:
    ranked = tf.argsort(tf.where(mask, order, 2.0), axis=1)
    rank = tf.argsort(ranked, axis=1)
    return mask & (rank < most)


def _iou(anchors: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """[batch, a, n]; each coordinate on its own, since a last axis of two is slow."""
    a_ymin, a_xmin, a_ymax, a_xmax = (
        v[tf.newaxis, :, tf.newaxis] for v in tf.unstack(anchors, axis=1))
    b_ymin, b_xmin, b_ymax, b_xmax = (
        v[:, tf.newaxis] for v in tf.unstack(boxes, axis=2))
    height = tf.nn.relu(tf.minimum(a_ymax, b_ymax) - tf.maximum(a_ymin, b_ymin))
    width = tf.nn.relu(tf.minimum(a_xmax, b_xmax) - tf.maximum(a_xmin, b_xmin))
    overlap = height * width
    areas = (a_ymax - a_ymin) * (a_xmax - a_xmin) + (b_ymax - b_ymin) * (b_xmax - b_xmin)
    return overlap / tf.maximum(areas - overlap, 1e-8)


def rpn_targets(anchors: Mapping[str, tf.Tensor], boxes: tf.Tensor, classes: tf.Tensor,
                parser) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Score and box targets by level for a batch.

    Args:
      anchors: by level, [h, w, k x 4] px.
      boxes: float32 [batch, n, 4] px; classes: int [batch, n], -1 where padded.
      parser: the thresholds and sample sizes (`experiment.Parser`).

    Returns:
      (scores, deltas): by level int32 [batch, h, w, k] in {1, 0, -1} and float32
      [batch, h, w, k x 4], the encoded offsets (zero where not positive).
    """
    flat = tf.concat([tf.reshape(a, [-1, 4]) for a in anchors.values()], axis=0)
    indices, labels = match_anchors(flat, boxes, classes > 0, parser.rpn_match_threshold,
                                    parser.rpn_unmatched_threshold)
    matched = tf.gather(boxes, indices, batch_dims=1)
    matched = tf.where((labels == 1)[..., tf.newaxis], matched, flat)
    deltas = box_ops.encode_boxes(matched, tf.broadcast_to(flat, tf.shape(matched)))
    sampled = sample_labels(labels, parser.rpn_batch_size_per_im, parser.rpn_fg_fraction)
    scores_by_level, deltas_by_level, start = {}, {}, 0
    for level, boxes_l in anchors.items():
        height, width, depth = boxes_l.shape
        count = height * width * depth // 4
        scores_by_level[level] = tf.reshape(
            sampled[:, start:start + count], [-1, height, width, depth // 4])
        deltas_by_level[level] = tf.reshape(
            deltas[:, start:start + count], [-1, height, width, depth])
        start += count
    return scores_by_level, deltas_by_level
