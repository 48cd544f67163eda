"""From records to batches: decoding, augmentation, and fitting to the network's input.

No mask is ever made at image size: an instance's mask stays a small grid relative to its
box through flips and turns, and is resampled only where a crop cuts the box.
"""

from __future__ import annotations

import tensorflow as tf
from official.vision.ops import preprocess_ops

from crater_model.detector.augment import Sample, augment, relight
from crater_model.detector.configs import DataConfig, Parser
from crater_model.detector.model import as_written, crop_grids
from crater_model.errors import DataError
from crater_model.records.manifest import read_manifest
from crater_model.records.read import decode_example

# Of 0..255: a blank image's noise is not blown up to full contrast.
_LEAST_DEVIATION = 2.0


def build_inputs(data: DataConfig, input_size: list[int],
                 context: tf.distribute.InputContext | None = None,
                 start_step: int = 0) -> tf.data.Dataset:
    """Batches of (images, labels) for training or validation.

    Args:
      data: what to read and how; `input_path` is the records' folder.
      input_size: [height, width, 3] px of the network.
      context: this worker's share, under a distribution strategy.
      start_step: training batches to leave out at the start, so that a resumed run goes on
        in the data where it stopped.

    Returns:
      images float32 [batch, height, width, 3], standardised; labels with `image_info`
      [batch, 4, 2] (Model Garden's), `gt_boxes` [batch, n, 4] px of the network's input,
      `gt_classes` int32 [batch, n], `gt_masks` uint8 [batch, n, grid, grid], each padded with
      -1 (masks with 0), and `source_id` int64 [batch].

    Raises:
      DataError: the split holds no image.
    """
    manifest = read_manifest(data.input_path)
    files = [str(path) for path in manifest.files(data.split)]
    images = manifest.splits.get(data.split, {}).get("images", 0)
    if not images:
        raise DataError(f"{data.input_path}: split '{data.split}' holds no image; write records "
                        "with a larger share of it")
    dataset = tf.data.TFRecordDataset(files, num_parallel_reads=None)
    batch = (context.get_per_replica_batch_size(data.global_batch_size) if context
             else data.global_batch_size)
    size = (input_size[0], input_size[1])

    if data.is_training:
        # Each machine reads its own share. All validate on all images: each then comes to the
        # same scores, and so to the same decisions.
        machines, machine = ((context.num_input_pipelines, context.input_pipeline_id)
                             if context else (1, 0))
        dataset = dataset.shard(machines, machine)
        images = len(range(machine, images, machines))
        start = start_step * data.global_batch_size // machines
        dataset = dataset.cache() if images <= data.shuffle_buffer_size else dataset
        dataset = dataset.shuffle(min(images, data.shuffle_buffer_size), seed=data.seed,
                                  reshuffle_each_iteration=True).repeat()
        dataset = dataset.skip(start)
        seeds = tf.data.Dataset.counter(start=start * machines + machine, step=machines)
        dataset = tf.data.Dataset.zip(dataset, seeds)

        def parse(record, count):
            seed = tf.stack([tf.constant(data.seed or 0, tf.int64), count])
            sample = augment(decode_example(record), data.parser, seed)
            return fit(sample, data.parser, size, seed=seed)
    else:
        if data.sample_1_of_n > 1:
            dataset = dataset.shard(data.sample_1_of_n, 0)

        def parse(record):  # type: ignore[misc]
            return fit(decode_example(record), data.parser, size, keep_crowd=True)

    dataset = dataset.map(as_written(parse), num_parallel_calls=tf.data.AUTOTUNE,
                          deterministic=data.deterministic is not False)
    dataset = dataset.batch(batch, drop_remainder=data.is_training and data.drop_remainder)
    return dataset.prefetch(tf.data.AUTOTUNE)


def fit(sample: Sample, parser: Parser, size: tuple[int, int], seed: tf.Tensor | None = None,
        keep_crowd: bool = False) -> tuple[tf.Tensor, Sample]:
    """Scales the image to fit `size` (height, width) px, pads it, and pads the instances.

    With a `seed` the scale is jittered by `aug_scale_min..max` and the window placed at
    random; instances of which less than 0.3 of the box is in it are dropped, and cut ones get
    the visible part's box and mask. Brightness and contrast change by `aug_brightness` and
    `aug_contrast`.
    """
    image = tf.cast(sample["image"], tf.float32)
    shape = tf.cast(tf.shape(image)[:2], tf.float32)
    target = tf.constant(size, tf.float32)
    scale = fit_scale(shape, size)
    jitter = seed is not None and (parser.aug_scale_min, parser.aug_scale_max) != (1.0, 1.0)
    if jitter:
        assert seed is not None
        draw = tf.random.stateless_uniform([3], seed + 1)
        scale *= parser.aug_scale_min + draw[0] * (parser.aug_scale_max - parser.aug_scale_min)
    scaled, factors = resize_image(image, scale)
    extent = tf.cast(tf.shape(scaled)[:2], tf.float32)
    offset = tf.zeros([2])
    if jitter:
        offset = tf.floor(draw[1:] * (tf.maximum(extent - target, 0.0) + 0.999))
    start = tf.cast(offset, tf.int32)
    scaled = scaled[start[0]:start[0] + size[0], start[1]:start[1] + size[1]]
    visible = tf.cast(tf.shape(scaled)[:2], tf.float32)
    scaled = standardize(scaled)
    if seed is not None and (parser.aug_brightness or parser.aug_contrast):
        scaled = relight(scaled, parser, seed + 2)
    scaled = tf.image.pad_to_bounding_box(scaled, 0, 0, *size)

    whole = sample["boxes"] * tf.tile(extent, [2]) - tf.tile(offset, [2])
    boxes = tf.minimum(tf.maximum(whole, 0.0), tf.tile(visible, [2]))
    sides = boxes[:, 2:] - boxes[:, :2]
    keep, grids = tf.reduce_min(sides, axis=1) > 0.0, sample["grids"]
    if jitter:
        share = tf.math.divide_no_nan(
            tf.reduce_prod(sides, axis=1), tf.reduce_prod(whole[:, 2:] - whole[:, :2], axis=1))
        boxes, grids = cut_instances(whole, grids, boxes)
        keep &= (share >= 0.3) & tf.reduce_any(grids > 0, axis=[1, 2])
    if not keep_crowd and parser.skip_crowd_during_training:
        keep &= tf.logical_not(sample["is_crowd"])
    keep = tf.where(keep)[:, 0]
    boxes, grids = tf.gather(boxes, keep), tf.gather(grids, keep)

    most = parser.max_num_instances
    pad = preprocess_ops.clip_or_pad_to_fixed_size
    info = tf.stack([shape, visible, factors, offset])
    return scaled, {
        "image_info": info,
        "gt_boxes": pad(boxes, most, -1),
        "gt_classes": pad(tf.cast(tf.gather(sample["classes"], keep), tf.int32), most, -1),
        "gt_masks": pad(grids, most, 0),
        "gt_crowd": pad(tf.cast(tf.gather(sample["is_crowd"], keep), tf.int32), most, 0),
        "source_id": tf.strings.to_number(sample["source_id"], tf.int64),
    }


def cut_instances(whole: tf.Tensor, grids: tf.Tensor, parts: tf.Tensor
                  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Boxes and masks of what is left of instances that a window's edge may cut.

    A box is drawn close around what is left of the mask, to a cell of it: of a circle's last
    third the box is not as high as the circle's was.

    Args:
      whole: [n, 4] px, the boxes that `grids` [n, g, g] (0 or 1) lie on.
      parts: [n, 4] px, the pieces of them inside the window; where all of it, nothing changes.

    Returns:
      boxes [n, 4] px and grids uint8 [n, g, g] on them.
    """
    cells = grids.shape[-1]

    def read(boxes: tf.Tensor) -> tf.Tensor:
        return crop_grids(grids[tf.newaxis], whole[tf.newaxis], boxes[tf.newaxis], cells)[0] >= 0.5

    left = read(parts)
    low, high = parts[:, :2], parts[:, 2:]
    edges = [(tf.argmax(tf.cast(side, tf.int32), axis=1),
              cells - tf.argmax(tf.cast(side[:, ::-1], tf.int32), axis=1))
             for side in (tf.reduce_any(left, axis=2), tf.reduce_any(left, axis=1))]
    first, last = (tf.cast(tf.stack(edge, axis=1), tf.float32) / cells
                   for edge in zip(*edges, strict=True))
    close = tf.concat([low + first * (high - low), low + last * (high - low)], axis=1)
    is_cut = tf.reduce_any(tf.abs(parts - whole) > 1e-3, axis=1, keepdims=True)
    boxes = tf.where(is_cut, close, parts)
    return boxes, tf.cast(read(boxes), tf.uint8)


def fit_scale(shape: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """The factor that makes an image of `shape` (float, [h, w] px) just fit `size` px."""
    return tf.reduce_min(tf.constant(size, tf.float32) / shape)


def standardize_and_pad(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """A float32 image [h, w, 3] of 0..255 as the network reads it: its own mean taken off,
    divided by its own deviation, zeros below and to the right up to `size` (height, width) px.

    Exposure and gain differ from image to image and say nothing of the ground's shape: with
    a fixed mean and deviation the dark images of a set are learnt last, if at all.
    """
    return tf.image.pad_to_bounding_box(standardize(image), 0, 0, *size)


def standardize(image: tf.Tensor) -> tf.Tensor:
    """A float32 image of 0..255 with its mean taken off, divided by its deviation."""
    mean = tf.reduce_mean(image)
    deviation = tf.math.reduce_std(image)
    return (image - mean) / tf.maximum(deviation, _LEAST_DEVIATION)


def resize_image(image: tf.Tensor, scale: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Scales an image float32 [h, w, 3] bilinearly, area-averaged when it shrinks.

    Returns:
      (scaled image, the true factors [y, x] after rounding to whole px).
    """
    shape = tf.cast(tf.shape(image)[:2], tf.float32)
    extent = tf.maximum(tf.round(shape * scale), 1.0)
    unchanged = tf.reduce_all(tf.equal(extent, shape))
    resized = tf.cond(
        unchanged, lambda: image,
        lambda: tf.image.resize(image, tf.cast(extent, tf.int32), antialias=True))
    return tf.ensure_shape(resized, [None, None, 3]), extent / shape
