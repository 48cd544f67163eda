"""Reading records in TensorFlow, with no Python in the way of the data."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from crater_model.errors import DataError
from crater_model.records import schema
from crater_model.records.manifest import MANIFEST, read_manifest
from crater_model.records.masks import GRID, GRID_BYTES


def _list(dtype: tf.DType) -> tf.io.FixedLenSequenceFeature:
    return tf.io.FixedLenSequenceFeature([], dtype, allow_missing=True)


FEATURES = {
    schema.ENCODED: tf.io.FixedLenFeature([], tf.string),
    schema.FILE_NAME: tf.io.FixedLenFeature([], tf.string, ""),
    schema.HEIGHT: tf.io.FixedLenFeature([], tf.int64),
    schema.WIDTH: tf.io.FixedLenFeature([], tf.int64),
    schema.SOURCE_ID: tf.io.FixedLenFeature([], tf.string),
    schema.YMIN: _list(tf.float32), schema.XMIN: _list(tf.float32),
    schema.YMAX: _list(tf.float32), schema.XMAX: _list(tf.float32),
    schema.LABEL: _list(tf.int64),
    schema.AREA: _list(tf.float32),
    schema.IS_CROWD: _list(tf.int64),
    schema.MASK_GRID: tf.io.FixedLenFeature([], tf.string),
}


@tf.autograph.experimental.do_not_convert  # it branches on no tensor; converting it takes a second
def decode_example(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """One record as tensors.

    Returns:
      image: uint8 [h, w, 3]; boxes: float32 [n, 4] ymin, xmin, ymax, xmax as shares of
      the image, 0..1; classes: int64 [n]; grids: uint8 [n, GRID, GRID] 0/1, each over its
      own box; areas: float32 [n] px^2; is_crowd: bool [n]; source_id, file_name: string;
      height, width: int64, px.
    """
    record = tf.io.parse_single_example(serialized, FEATURES)
    image = tf.io.decode_image(record[schema.ENCODED], channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    return {
        "image": image,
        "boxes": tf.stack([record[key] for key in (
            schema.YMIN, schema.XMIN, schema.YMAX, schema.XMAX)], axis=-1),
        "classes": record[schema.LABEL],
        "grids": unpack_grids(record[schema.MASK_GRID]),
        "areas": record[schema.AREA],
        "is_crowd": record[schema.IS_CROWD] > 0,
        "source_id": record[schema.SOURCE_ID],
        "file_name": record[schema.FILE_NAME],
        "height": record[schema.HEIGHT],
        "width": record[schema.WIDTH],
    }


def unpack_grids(data: tf.Tensor) -> tf.Tensor:
    """Bit grids of a scalar string (see records.masks) as uint8 0/1 [n, GRID, GRID]."""
    packed = tf.reshape(tf.io.decode_raw(data, tf.uint8), [-1, GRID_BYTES, 1])
    shifts = tf.constant([7, 6, 5, 4, 3, 2, 1, 0], tf.uint8)
    bits = tf.bitwise.bitwise_and(tf.bitwise.right_shift(packed, shifts), tf.constant(1, tf.uint8))
    return tf.reshape(bits, [-1, GRID, GRID])


def read_split(folder: str | Path, split: str,
               num_parallel_calls: int | None = None) -> tf.data.Dataset:
    """The decoded records of a split, in the files' order.

    Args:
      folder: a records folder, local or gs://.
      split: "train", "validation" or "test".
      num_parallel_calls: of the decoding; None lets tf.data choose.

    Raises:
      DataError: no records there, no such split, no image in it, or another mask grid.
    """
    manifest = read_manifest(folder)
    if manifest.mask_grid != GRID:
        raise DataError(f"{manifest.root / MANIFEST}: has masks of {manifest.mask_grid} cells, "
                        f"expected {GRID}; write the records again")
    files = manifest.files(split)
    if not files:
        raise DataError(f"{manifest.root}: the split {split!r} has no image; write the records "
                        "again with a larger share for it, or add scenes")
    records = tf.data.TFRecordDataset([str(path) for path in files])
    return records.map(decode_example, num_parallel_calls or tf.data.AUTOTUNE, deterministic=True)
