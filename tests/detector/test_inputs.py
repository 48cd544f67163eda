"""The input pipeline moves image, boxes and masks together; on images that are not square."""

import numpy as np
import pytest
import tensorflow as tf

from crater_model.detector import inputs
from crater_model.detector.experiment import DataConfig, Parser
from crater_model.records.write import write_records

HEIGHT, WIDTH, GRID = 40, 60, 32


def sample(box=(4, 10, 20, 34)):
    """A bright ellipse-quarter in a dark image: a shape without any symmetry."""
    ymin, xmin, ymax, xmax = box
    rows, columns = (np.arange(GRID) + 0.5) / GRID, (np.arange(GRID) + 0.5) / GRID
    grid = ((rows[:, None] + columns[None] ** 2) < 0.9).astype(np.uint8)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    y = (np.arange(ymin, ymax) + 0.5 - ymin) / (ymax - ymin)
    x = (np.arange(xmin, xmax) + 0.5 - xmin) / (xmax - xmin)
    image[ymin:ymax, xmin:xmax] = 200 * ((y[:, None] + x[None] ** 2) < 0.9)[..., None]
    boxes = np.array([[ymin / HEIGHT, xmin / WIDTH, ymax / HEIGHT, xmax / WIDTH]], np.float32)
    return tf.constant(image), tf.constant(boxes), tf.constant(grid[None])


def painted(boxes, grids, height, width):
    """The image that the labels alone describe."""
    canvas = np.zeros((height, width), bool)
    for (ymin, xmin, ymax, xmax), grid in zip(boxes, grids):
        for y in range(max(0, int(ymin)), min(height, int(np.ceil(ymax)))):
            for x in range(max(0, int(xmin)), min(width, int(np.ceil(xmax)))):
                row = int((y + 0.5 - ymin) / (ymax - ymin) * GRID)
                column = int((x + 0.5 - xmin) / (xmax - xmin) * GRID)
                if 0 <= row < GRID and 0 <= column < GRID:
                    canvas[y, x] |= bool(grid[row, column])
    return canvas


def agreement(image, boxes, grids):
    bright = np.asarray(image)[..., 0] > 100
    drawn = painted(boxes, grids, *bright.shape)
    return (bright & drawn).sum() / (bright | drawn).sum()


@pytest.mark.parametrize("move", [inputs.flip_horizontal, inputs.flip_vertical, inputs.transpose])
def test_each_move_keeps_labels_on_the_pixels(move):
    image, boxes, grids = move(*sample())
    height, width = image.shape[:2]
    pixels = boxes.numpy() * [height, width, height, width]
    assert agreement(image, pixels, grids.numpy()) > 0.93
    assert (height, width) == ((WIDTH, HEIGHT) if move is inputs.transpose else (HEIGHT, WIDTH))


def test_flip_values():
    _, boxes, _ = inputs.flip_horizontal(*sample())
    np.testing.assert_allclose(boxes.numpy()[0] * [HEIGHT, WIDTH, HEIGHT, WIDTH],
                               [4, WIDTH - 34, 20, WIDTH - 10], atol=1e-4)
    _, boxes, _ = inputs.transpose(*sample())
    np.testing.assert_allclose(boxes.numpy()[0] * [WIDTH, HEIGHT, WIDTH, HEIGHT],
                               [10, 4, 34, 20], atol=1e-4)


def whole(image, boxes, grids):
    return {"image": image, "boxes": boxes, "grids": grids, "classes": tf.constant([1], tf.int64),
            "is_crowd": tf.constant([False]), "source_id": tf.constant("7")}


def brightness(image):
    """The image back in 0..200, the sample's own range."""
    values = image.numpy()
    return (values - values.min()) / (values.max() - values.min()) * 200


def test_fit_scales_and_pads():
    image, labels = inputs.fit(whole(*sample()), Parser(max_num_instances=3), (96, 120))
    assert image.shape == (96, 120, 3)
    np.testing.assert_allclose(labels["gt_boxes"][0], [8, 20, 40, 68], atol=1e-3)
    np.testing.assert_allclose(labels["image_info"], [[40, 60], [80, 120], [2, 2], [0, 0]])
    assert labels["gt_classes"].numpy().tolist() == [1, -1, -1]
    assert labels["source_id"] == 7
    shown = brightness(image[:80])
    assert agreement(shown, labels["gt_boxes"].numpy()[:1], labels["gt_masks"].numpy()[:1]) > 0.93


@pytest.mark.parametrize("seed", range(6))
def test_jitter_keeps_labels_on_the_pixels(seed):
    parser = Parser(max_num_instances=2, aug_scale_min=0.7, aug_scale_max=2.2)
    image, labels = inputs.fit(whole(*sample((4, 6, 34, 50))), parser, (64, 96),
                               seed=tf.constant([seed, 11], tf.int64))
    if labels["gt_classes"][0] < 0:
        return
    visible = labels["image_info"].numpy()[1].astype(int)
    shown = brightness(image[:visible[0], :visible[1]])
    assert agreement(shown, labels["gt_boxes"].numpy()[:1], labels["gt_masks"].numpy()[:1]) > 0.88


def test_augment_is_drawn_from_the_seed():
    parser = Parser(aug_rand_hflip=True, aug_rand_vflip=True, aug_rand_rot90=True,
                    aug_brightness=0.1, aug_contrast=0.2)
    one, same, other = (
        inputs.augment(whole(*sample()), parser, tf.constant([0, n], tf.int64))["image"].numpy()
        for n in (1, 1, 2))
    assert np.array_equal(one, same)
    assert one.shape != other.shape or not np.array_equal(one, other)
    shapes = {inputs.augment(whole(*sample()), parser, tf.constant([0, n], tf.int64))["image"].shape
              for n in range(12)}
    assert len(shapes) == 2  # turned and not


@pytest.fixture
def records(tiny_dataset, tmp_path):
    write_records(tiny_dataset, tmp_path / "records", splits=(0.7, 0.15, 0.15))
    return tmp_path / "records"


def test_validation_reads_every_image_once(records):
    data = DataConfig(input_path=str(records), split="train", is_training=False,
                      global_batch_size=3, drop_remainder=False, parser=Parser(max_num_instances=8))
    ids = [int(i) for _, labels in inputs.build_inputs(data, [96, 96, 3])
           for i in labels["source_id"]]
    assert len(ids) == len(set(ids)) == 4


def test_a_resumed_run_goes_on_in_the_data(records):
    data = DataConfig(input_path=str(records), split="train", is_training=True,
                      global_batch_size=2, parser=Parser(max_num_instances=8, aug_rand_hflip=True))
    def read(start, count):
        batches = inputs.build_inputs(data, [96, 96, 3], start_step=start).take(count)
        return [(images.numpy(), labels["source_id"].numpy()) for images, labels in batches]
    whole_run, resumed = read(0, 7), read(4, 3)
    for (images, ids), (other_images, other_ids) in zip(whole_run[4:], resumed):
        assert ids.tolist() == other_ids.tolist()
        assert np.array_equal(images, other_images)


def test_gain_and_exposure_do_not_matter():
    rng = np.random.default_rng(0)
    image = rng.uniform(60, 200, (30, 50, 3)).astype(np.float32)
    bright, dark = (inputs.standardize_and_pad(tf.constant(i), (32, 64)).numpy()
                    for i in (image, image * 0.2 + 5))
    np.testing.assert_allclose(bright, dark, atol=1e-4)
    assert bright[:30, :50].mean() == pytest.approx(0, abs=1e-4)
    assert bright[:30, :50].std() == pytest.approx(1, abs=1e-3)
    assert not bright[30:].any() and not bright[:, 50:].any()
    blank = inputs.standardize_and_pad(tf.fill([4, 4, 3], 90.0), (8, 8)).numpy()
    assert not blank.any()
