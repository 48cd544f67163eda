"""Targets of the region proposal network, assigned on the device for a whole batch.

The assignment is that of Faster R-CNN (Ren et al. 2015, section 3.1.2) as Model Garden
does it: an anchor is positive from an IoU of `match`, negative below `unmatch`, ignored
between; each instance's best anchor is positive whatever its IoU; then a random sample of
positives and negatives is kept. Model Garden does it image by image in the input pipeline,
for all pairs of anchors and instances. Here each instance looks only at the anchors that it
can reach: all others overlap it by less than `unmatch` (`_candidates`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from official.vision.ops import anchor, box_ops


def anchors_of(model_config, image_size: tuple[int, int]) -> Mapping[str, tf.Tensor]:
    """Anchor boxes by level, each float32 [h, w, anchors x 4] in px; never symbolic, so that
    their values are known while a graph is built."""
    with tf.init_scope():
        return anchor.Anchor(
            min_level=model_config.min_level, max_level=model_config.max_level,
            num_scales=model_config.anchor.num_scales,
            aspect_ratios=model_config.anchor.aspect_ratios,
            anchor_size=model_config.anchor.anchor_size, image_size=image_size).multilevel_boxes


def match_anchors(anchors: Mapping[str, tf.Tensor], boxes: tf.Tensor, valid: tf.Tensor,
                  match: float = 0.7, unmatch: float = 0.3) -> tuple[tf.Tensor, tf.Tensor]:
    """Which instance each anchor stands for.

    Args:
      anchors: by level, as `anchors_of` gives them; a in all, in the order of the levels.
      boxes: float32 [batch, n, 4] px, padded.
      valid: bool [batch, n], False where padded.
      match, unmatch: IoU, 0 < unmatch <= match <= 1.

    Returns:
      (indices, labels), int32 [batch, a]: 1 positive, 0 negative, -1 ignored, and of the
      positive the instance of highest IoU (of several the first), else 0.
    """
    batch, count = tf.shape(boxes)[0], tf.shape(boxes)[1]
    instances = tf.range(count)[tf.newaxis, :, tf.newaxis]
    best_iou, best_anchor, labels, indices, start = [], [], [], [], 0
    for level in anchors.values():
        cells = level.shape[0] * level.shape[1] * level.shape[2] // 4
        iou, place = _candidates(level.numpy().reshape(*level.shape[:2], -1, 4), boxes, unmatch)
        iou = tf.where(valid[..., tf.newaxis], iou, -1.0)
        # Each instance's best anchor of this level, of several the first.
        most = tf.reduce_max(iou, axis=2, keepdims=True)
        best_iou.append(most[..., 0])
        best_anchor.append(start + tf.reduce_min(tf.where(iou == most, place, cells), axis=2))
        # Each anchor's best instance; a negative number of a segment leaves the pair out.
        segment = place + cells * tf.range(batch)[:, tf.newaxis, tf.newaxis]
        total = batch * cells
        highest = tf.math.unsorted_segment_max(
            iou, tf.where(iou >= unmatch, segment, -1), total)
        winner = (iou >= match) & (iou == tf.gather(highest, segment))
        first = tf.math.unsorted_segment_min(
            tf.broadcast_to(instances, tf.shape(iou)), tf.where(winner, segment, -1), total)
        label = tf.where(highest >= match, 1, tf.where(highest < unmatch, 0, -1))
        labels.append(tf.reshape(label, [batch, cells]))
        indices.append(tf.reshape(tf.where(label == 1, first, 0), [batch, cells]))
        start += cells
    forced = _forced(tf.stack(best_iou, axis=2), tf.stack(best_anchor, axis=2), valid, start)
    labels, indices = tf.concat(labels, axis=1), tf.concat(indices, axis=1)
    return tf.where(forced < count, forced, indices), tf.where(forced < count, 1, labels)


def _candidates(level: np.ndarray, boxes: tf.Tensor, least: float
                ) -> tuple[tf.Tensor, tf.Tensor]:
    """IoU and place of the anchors of a level that count for each instance.

    These are every anchor of an IoU of `least` or more, and the first of its best ones: on a
    regular grid the overlap is the product of one along the rows and one along the columns.
    (Of a box that reaches no IoU of `least` and is narrow or larger than every anchor, best ones
    that differ by rounding only may be left out.)

    Args:
      level: [h, w, k, 4] px.
      boxes: float32 [batch, n, 4] px.

    Returns:
      (iou, place) float32 and int32 [batch, n, m]; place in the level's h x w x k anchors.
      An anchor may come more than once.
    """
    _, width, shapes, _ = level.shape
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=2)
    rows, tall, shared_y = _reached(level[:, 0, :, 0::2], ymin, ymax, least)
    columns, wide, shared_x = _reached(level[0, :, :, 1::2], xmin, xmax, least)
    overlap = shared_y[:, :, :, tf.newaxis] * shared_x[:, :, tf.newaxis]
    areas = (tall[:, :, :, tf.newaxis] * wide[:, :, tf.newaxis]
             + ((ymax - ymin) * (xmax - xmin))[:, :, tf.newaxis, tf.newaxis, tf.newaxis])
    iou = overlap / tf.maximum(areas - overlap, 1e-8)
    place = (rows[:, :, :, tf.newaxis] * width + columns[:, :, tf.newaxis])[..., tf.newaxis]
    place = place * shapes + tf.range(shapes)
    flat = [tf.shape(boxes)[0], tf.shape(boxes)[1], math.prod(iou.shape[2:])]
    return tf.reshape(iou, flat), tf.reshape(place, flat)


def _reached(edges: np.ndarray, low: tf.Tensor, high: tf.Tensor, least: float
             ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The rows (or columns) of anchors that `_candidates` needs.

    An IoU of t asks for a shared length of at least t times the longer of anchor (a) and
    box (b), so b <= a / t, and the middles lie no further apart than (a + b) / 2 - t max(a, b):
    at most a (1 / t - 1) / 2 for t <= 1/2, a (1 - t) above.

    Args:
      edges: low and high edge of each cell's anchors, [cells, k, 2] px.
      low, high: those of the boxes, [batch, n] px.

    Returns:
      index int32 [batch, n, r], length and shared length [batch, n, r, k] px.
    """
    cells = edges.shape[0]
    middles = edges[:, 0].mean(axis=1)
    stride = middles[1] - middles[0] if cells > 1 else 1.0
    reach = (edges[0, :, 1] - edges[0, :, 0]).max() / stride
    reach = float(reach) * max(1.0 - least, (1.0 / max(least, 1e-3) - 1.0) / 2.0) + 1e-3
    size = min(cells, math.floor(2.0 * reach) + 2)
    first = tf.floor(((low + high) / 2.0 - middles[0]) / stride - reach)
    first = tf.cast(tf.clip_by_value(first, 0.0, cells - size), tf.int32)
    near = first[..., tf.newaxis] + tf.range(size)
    # Far from any IoU of `least`, in a very large or narrow box, the best may lie elsewhere.
    shared = _shared(edges, low[..., tf.newaxis, tf.newaxis], high[..., tf.newaxis, tf.newaxis])
    index = tf.concat([near, tf.argmax(shared, axis=2, output_type=tf.int32)], axis=2)
    chosen = tf.gather(tf.constant(edges), index)
    return index, chosen[..., 1] - chosen[..., 0], _shared(
        chosen, low[..., tf.newaxis, tf.newaxis], high[..., tf.newaxis, tf.newaxis])


def _shared(edges: np.ndarray | tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(tf.minimum(edges[..., 1], high) - tf.maximum(edges[..., 0], low))


def _forced(iou: tf.Tensor, place: tf.Tensor, valid: tf.Tensor, anchors: int) -> tf.Tensor:
    """The instance whose best anchor each anchor is, n where of none: int32 [batch, anchors].

    As in Model Garden's matcher, of several instances with one best anchor the first wins, and
    the best anchor of an instance that overlaps none is the first of all.

    Args:
      iou, place: of each instance's best anchor in each level, [batch, n, levels].
      valid: bool [batch, n].
    """
    batch, count = tf.shape(valid)[0], tf.shape(valid)[1]
    most = tf.reduce_max(iou, axis=2, keepdims=True)
    best = tf.reduce_min(tf.where(iou == most, place, anchors), axis=2)
    best = tf.where(most[..., 0] > 0.0, best, 0) + anchors * tf.range(batch)[:, tf.newaxis]
    instances = tf.broadcast_to(tf.range(count), tf.shape(valid))
    first = tf.math.unsorted_segment_min(
        instances, tf.where(valid, best, -1), batch * anchors)
    return tf.minimum(tf.reshape(first, [batch, anchors]), count)


def sample_labels(labels: tf.Tensor, size: int, positive_share: float) -> tf.Tensor:
    """Keeps a random sample of `size` labels an image, the rest become -1.

    At most `size x positive_share` are positive; negatives fill it up.

    Args:
      labels: int32 [batch, a], 1 positive, 0 negative, -1 neither.
    """
    batch, count = tf.shape(labels)[0], labels.shape[1]
    order = tf.random.uniform(tf.shape(labels))
    positive, found = _first(labels == 1, order, min(int(size * positive_share), count))
    left = size - tf.reduce_sum(tf.cast(found, tf.int32), axis=1, keepdims=True)
    negative, free = _first(labels == 0, order, min(size, count))
    free &= tf.range(free.shape[1]) < left
    # One row more takes what is not kept.
    places = tf.concat([tf.where(found, positive, count), tf.where(free, negative, count)], axis=1)
    rows = tf.broadcast_to(tf.range(batch)[:, tf.newaxis], tf.shape(places))
    values = tf.concat([tf.ones_like(positive), tf.zeros_like(negative)], axis=1)
    kept = tf.tensor_scatter_nd_update(
        tf.fill([batch, count + 1], -1), tf.stack([rows, places], axis=-1), values)
    return kept[:, :-1]


def _first(mask: tf.Tensor, order: tf.Tensor, most: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The `most` places of lowest order where the mask is true: (places, whether there are)."""
    values, places = tf.math.top_k(tf.where(mask, -order, -2.0), most)
    return places, values > -2.0


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
    indices, labels = match_anchors(anchors, boxes, classes > 0, parser.rpn_match_threshold,
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
