"""A labelled image without any symmetry, and what moves do to it, worked out by hand."""

import functools

import numpy as np
import shapely
import tensorflow as tf

from crater_model.annotations.scene import Instance
from crater_model.records.masks import GRID, full_mask, instance_grid

HEIGHT, WIDTH = 90, 130
# A drop with a notch, and a wedge in a corner: x, y in px.
RIMS = (np.array([[20, 30], [50, 12], [72, 20], [60, 34], [78, 52], [40, 60]], float),
        np.array([[100, 70], [128, 66], [124, 88]], float))


def instance(rim):
    return Instance(1, 1, (np.asarray(rim),), shapely.Polygon(rim).area)


@functools.cache
def image():
    """uint8 [90, 130, 3], not to be written to: noise, with the rims' insides bright."""
    picture = np.random.default_rng(0).integers(0, 60, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    for rim in RIMS:
        picture[full_mask(instance(rim), HEIGHT, WIDTH) > 0] += 140
    picture.flags.writeable = False
    return picture


def sample():
    """What `records.read.decode_example` would give."""
    boxes = np.array([instance(rim).box for rim in RIMS]) / [HEIGHT, WIDTH, HEIGHT, WIDTH]
    return {
        "image": tf.constant(image()), "boxes": tf.constant(boxes, tf.float32),
        "grids": tf.constant(np.stack([instance_grid(instance(rim)) for rim in RIMS])
                             .astype(np.uint8)),
        "classes": tf.constant([1, 2], tf.int64), "is_crowd": tf.constant([False, False]),
        "source_id": tf.constant("7")}


def assert_labels(boxes, grids, rims, size, box_tolerance=0.5, least_iou=0.9):
    """Boxes [n, 4] px and grids are those of these rims (px) in an image of `size`."""
    for box, grid, rim in zip(np.asarray(boxes), np.asarray(grids), rims, strict=True):
        np.testing.assert_allclose(box, instance(rim).box, atol=box_tolerance)
        drawn, expected = painted(box, grid, *size), full_mask(instance(rim), *size) > 0
        assert (drawn & expected).sum() / (drawn | expected).sum() >= least_iou


def painted(box, grid, height, width):
    """The mask that a grid on a box (px) describes, bool [height, width]."""
    ymin, xmin, ymax, xmax = box
    rows = np.floor((np.arange(height) + 0.5 - ymin) / (ymax - ymin) * GRID).astype(int)
    columns = np.floor((np.arange(width) + 0.5 - xmin) / (xmax - xmin) * GRID).astype(int)
    inside = ((rows >= 0) & (rows < GRID))[:, None] & ((columns >= 0) & (columns < GRID))
    return inside & (grid[np.clip(rows, 0, GRID - 1)][:, np.clip(columns, 0, GRID - 1)] > 0)
