"""The input pipeline moves image, boxes and masks together; on images that are not square."""

import numpy as np
import pytest
import shapely
import tensorflow as tf

from crater_model.detector import augment, inputs
from crater_model.detector.configs import DataConfig, Parser
from crater_model.records.write import write_records
from tests.detector.rims import HEIGHT, RIMS, WIDTH, assert_labels, image, sample

JITTER = Parser(max_num_instances=4, aug_scale_min=0.7, aug_scale_max=2.2)


def test_fit_scales_and_pads():
    picture, labels = inputs.fit(sample(), Parser(max_num_instances=3), (200, 260))
    assert picture.shape == (200, 260, 3) and not picture[180:].numpy().any()
    np.testing.assert_allclose(labels["image_info"], [[90, 130], [180, 260], [2, 2], [0, 0]])
    assert_labels(labels["gt_boxes"][:2], labels["gt_masks"][:2], [2 * rim for rim in RIMS],
                  (180, 260))
    assert labels["gt_classes"].numpy().tolist() == [1, 2, -1]
    assert labels["gt_boxes"].numpy()[2].tolist() == [-1] * 4
    assert not labels["gt_masks"].numpy()[2].any() and labels["source_id"] == 7


def test_fit_leaves_an_image_of_the_right_size_as_it_is():
    picture, _ = inputs.fit(sample(), Parser(max_num_instances=2), (HEIGHT, WIDTH))
    values = image().astype(np.float64)
    np.testing.assert_allclose(picture, (values - values.mean()) / values.std(), atol=1e-4)


def window(labels):
    """What a jittered fit did: px of the network per px of the image, and x, y of the window's
    corner and its size in px of the network."""
    _, visible, factors, offset = labels["image_info"].numpy()
    return factors[::-1], offset[::-1], visible[::-1]


def parts_of(rims, labels):
    """What is inside the window of each rim, by shapely; and how much of its box, 0..1."""
    factors, offset, visible = window(labels)
    for rim in rims:
        moved = shapely.Polygon(rim * factors - offset)
        left, top, right, bottom = moved.bounds
        shown = shapely.box(left, top, right, bottom).intersection(shapely.box(0, 0, *visible))
        yield moved.intersection(shapely.box(0, 0, *visible)), shown.area / moved.envelope.area


def jittered(count, size=(64, 96), parser=JITTER):
    data = sample()
    one = tf.function(lambda seed: inputs.fit(data, parser, size, seed=seed))
    return [one(tf.constant([number, 11], tf.int64)) for number in range(count)]


def test_jitter_scales_and_cuts_image_boxes_and_masks_together():
    whole = cut = gone = 0
    for picture, labels in jittered(60):
        classes = labels["gt_classes"].numpy()
        for class_id, (part, share) in enumerate(parts_of(RIMS, labels), start=1):
            if abs(share - 0.3) < 0.01 or (share > 0.3 and part.area < 20):
                continue  # by rounding either way
            rows = np.flatnonzero(classes == class_id)
            assert len(rows) == (share > 0.3)
            if not len(rows):
                gone += 1
                continue
            box, grid = labels["gt_boxes"].numpy()[rows], labels["gt_masks"].numpy()[rows]
            # A cut box ends where the mask does, to one of its cells.
            cell = (np.ptp(RIMS[class_id - 1], axis=0) * window(labels)[0]).max() / 32
            if part.geom_type == "Polygon":
                rim = np.array(part.exterior.coords)[:-1]
                assert_labels(box, grid, [rim], (64, 96), 0.5 if share > 0.999 else 0.5 + cell)
            whole, cut = whole + (share > 0.999), cut + (share <= 0.999)
    assert whole > 10 and cut > 30 and gone > 10


def test_jitter_moves_the_image_with_the_labels():
    for picture, labels in jittered(30):
        factors, offset, visible = window(labels)
        width, height = visible.astype(int)
        # The pixel under each of the network's, far from the rims' edges.
        x, y = ((np.mgrid[:width, :height].T + 0.5 + offset) / factors).transpose(2, 0, 1)
        points = shapely.points(x, y)
        rims = [shapely.Polygon(rim) for rim in RIMS]
        inside = np.any([shapely.contains(rim.buffer(-3), points) for rim in rims], axis=0)
        outside = np.all([~shapely.contains(rim.buffer(3), points) for rim in rims], axis=0)
        shown = picture.numpy()[:height, :width].mean(axis=-1)
        if inside.any() and outside.any():
            assert shown[inside].min() > shown[outside].max()


def test_jitter_takes_scales_and_places_from_the_whole_range():
    windows = [window(labels) for _, labels in jittered(200)]
    # 90 x 130 px fit into 64 x 96 at a scale of 0.711, and that by 0.7 to 2.2.
    scales = [factors[0] / (64 / 90) for factors, _, _ in windows]
    assert 0.68 < min(scales) < 0.8 and 2.1 < max(scales) < 2.22
    room = [(offset, np.round(np.array([WIDTH, HEIGHT]) * factors) - visible)
            for factors, offset, visible in windows]
    assert all((offset <= most).all() for offset, most in room)
    at = np.array([offset / most for offset, most in room if (most > 20).all()])
    assert at.min() < 0.1 and at.max() > 0.9 and abs(at.mean() - 0.5) < 0.1


def test_what_is_not_cut_keeps_its_box_and_mask():
    data = sample()
    boxes = data["boxes"] * [HEIGHT, WIDTH, HEIGHT, WIDTH]
    same, grids = inputs.cut_instances(boxes, data["grids"], boxes)
    np.testing.assert_allclose(same, boxes)
    assert np.array_equal(grids, data["grids"])


def test_a_cut_circle_gets_the_box_of_what_is_left():
    middles = (np.arange(32) + 0.5) / 16 - 1
    disc = tf.constant((middles[:, None] ** 2 + middles ** 2 < 1)[None].astype(np.uint8))
    whole, part = (tf.constant([box], tf.float32) for box in ([0, 0, 64, 64], [0, 0, 64, 16]))
    boxes, grids = inputs.cut_instances(whole, disc, part)
    # At x = 16 of a radius of 32 half the chord is 27.7.
    np.testing.assert_allclose(boxes[0], [32 - 27.7, 0, 32 + 27.7, 16], atol=1.5)
    assert grids.numpy()[0].any(axis=1).all() and grids.numpy()[0].any(axis=0).all()


def test_jitter_takes_an_image_without_instances():
    data = sample()
    data = {**data, **{name: data[name][:0] for name in ("boxes", "grids", "classes", "is_crowd")}}
    picture, labels = inputs.fit(data, JITTER, (64, 96), seed=tf.constant([0, 1], tf.int64))
    assert picture.shape == (64, 96, 3) and (labels["gt_classes"].numpy() == -1).all()


def test_an_instance_of_which_only_the_box_is_left_is_dropped():
    data = sample()
    grids = data["grids"].numpy().copy()
    grids[0] = np.triu(np.ones((32, 32)), 29)  # a corner only
    data = {**data, "grids": tf.constant(grids)}
    one = tf.function(lambda seed: inputs.fit(data, JITTER, (64, 96), seed=seed))
    dropped = 0
    for number in range(60):
        _, labels = one(tf.constant([number, 11], tf.int64))
        kept = labels["gt_classes"].numpy() > 0
        assert labels["gt_masks"].numpy()[kept].any(axis=(1, 2)).all()
        (_, share), _ = parts_of(RIMS, labels)
        dropped += share > 0.35 and 1 not in labels["gt_classes"].numpy()
    assert dropped > 3


def test_the_network_sees_the_change_of_light():
    size, seed = (100, 140), tf.constant([0, 5], tf.int64)
    plain, _ = inputs.fit(sample(), Parser(max_num_instances=2), size, seed=seed)
    parser = Parser(max_num_instances=2, aug_contrast=0.4, aug_brightness=0.3)
    changed, labels = inputs.fit(sample(), parser, size, seed=seed)
    height, width = labels["image_info"].numpy()[1].astype(int)
    expected = augment.relight(plain[:height, :width], parser, seed + 2).numpy()
    assert np.abs(expected - plain.numpy()[:height, :width]).max() > 0.1
    np.testing.assert_allclose(changed[:height, :width], expected, atol=1e-5)
    assert not changed[height:].numpy().any() and not changed[:, width:].numpy().any()
    validated, _ = inputs.fit(sample(), parser, size, keep_crowd=True)
    np.testing.assert_array_equal(validated, plain)


def test_crowds_are_left_out_of_training_only():
    data = {**sample(), "is_crowd": tf.constant([True, False])}
    parser = Parser(max_num_instances=2)
    _, labels = inputs.fit(data, parser, (HEIGHT, WIDTH), seed=tf.constant([0, 0], tf.int64))
    assert labels["gt_classes"].numpy().tolist() == [2, -1]
    _, labels = inputs.fit(data, parser, (HEIGHT, WIDTH), keep_crowd=True)
    assert labels["gt_classes"].numpy().tolist() == [1, 2]
    assert labels["gt_crowd"].numpy().tolist() == [1, 0]


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
