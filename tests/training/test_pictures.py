"""The picture of a validation: labels blue, detections orange, in their places."""

import io

import numpy as np
import pytest
from PIL import Image

from crater_model.detections import Detections
from crater_model.detections.truth import Truth
from crater_model.records.read import read_split
from crater_model.records.write import write_records
from crater_model.training.pictures import rims_picture


def test_rims_of_labels_and_detections(tmp_path, tiny_dataset):
    write_records(tiny_dataset, tmp_path / "records", splits=(0.5, 0.5, 0.0))
    record = next(read_split(tmp_path / "records", "validation", 1).as_numpy_iterator())
    size = record["image"].shape[:2]
    assert size == (64, 96)
    square = np.array([[10.0, 10], [30, 10], [30, 30], [10, 30]])
    truth = Truth([[square]], np.array([1]), np.array([False]), size)
    found = Detections(np.array([[30, 60, 50, 80], [5, 5, 9, 9]], np.float32),
                       np.array([0.9, 0.2], np.float32), np.array([1, 1]),
                       np.full((2, 4, 4), 255, np.uint8), size, {1: "crater"})
    data = rims_picture(tmp_path / "records", "validation",
                        [(int(record["source_id"]), found, truth)], 0.5)
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    height, width = picture.shape[:2]
    assert width == 320 and abs(height - 20 - 213) <= 1
    # The line below: a blue stroke, then an orange one, each before its word.
    below, picture = picture[-20:], picture[:-20]
    strokes = [np.flatnonzero((below[..., one] - below[..., other] > 60).any(axis=0))
               for one, other in ((2, 0), (0, 2))]
    assert [len(stroke) for stroke in strokes] == pytest.approx([20, 20], abs=4)
    assert strokes[0].max() < strokes[1].min() - 40
    for stroke in strokes:
        word = below[:, stroke.max() + 3:stroke.max() + 33]
        assert (word.sum(axis=2) < 250).any()
    zoom = width / 96
    blue = (picture[..., 2] - picture[..., 0]) > 60
    orange = (picture[..., 0] - picture[..., 2]) > 60

    def extent(mask):
        rows, columns = np.nonzero(mask)
        return np.array([columns.min(), rows.min(), columns.max(), rows.max()]) / zoom

    np.testing.assert_allclose(extent(blue), [10, 10, 30, 30], atol=1.5)
    # The one below the threshold is not drawn.
    np.testing.assert_allclose(extent(orange), [60, 30, 80, 50], atol=1.5)


def test_nothing_to_show(tmp_path, tiny_dataset):
    write_records(tiny_dataset, tmp_path / "records", splits=(0.5, 0.5, 0.0))
    assert rims_picture(tmp_path / "records", "validation", [], None) is None
