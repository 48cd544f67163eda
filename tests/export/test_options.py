"""Export options: what a request holds, and the thresholds."""

import json

import numpy as np
import pytest
import tensorflow as tf

from crater_model.cli import main
from crater_model.detector import Detector
from crater_model.detector.input_types import input_spec, request_tensor
from crater_model.errors import ConfigError, DataError
from crater_model.export import WARMUP_BATCHES, export_saved_model
from crater_model.imagery.pixels import encode_png
from crater_model.serving.labels import can_be_joined
from crater_model.serving.models import ModelVersion, RequestError

pytestmark = pytest.mark.slow


def images():
    rng = np.random.default_rng(3)
    return [rng.integers(0, 255, shape).astype(np.uint8)
            for shape in ((50, 80), (120, 60, 3), (30, 200))]


def one_by_one(detector):
    return [detector.detect([image])[0] for image in images()]


@pytest.fixture(scope="module")
def usual(saved_model):
    """What the export without options finds, one image a request."""
    return one_by_one(Detector.load(saved_model))


def card_of(saved):
    return json.loads((saved / "assets.extra" / "model_card.json").read_text())


def test_tf_examples_and_a_score_threshold(model_dir, tmp_path, usual):
    threshold = float(np.median(np.concatenate([found.scores for found in usual])))
    saved = export_saved_model(model_dir, tmp_path, inference_input_type="tf_example",
                               score_threshold=threshold)
    card = card_of(saved)
    assert card["inference_input_type"] == "tf_example" and card["inference_input_shape"] is None
    assert card["score_threshold"] == threshold and card["nms_iou_threshold"] == 0.5
    assert card["batching"] is True and card["max_megapixels"] == 100
    served = ModelVersion(saved, 1)
    assert served.warm_up() == len(WARMUP_BATCHES)
    assert list(served.signature().inputs) == ["tf_example"]
    with pytest.raises(RequestError) as refusal:  # what our client sends
        served.predict({"image_bytes": np.array([b""], object)})
    assert "'image_bytes' is unknown; this model takes tf_example" in refusal.value.message
    with pytest.raises(RequestError, match="image/encoded"):
        served.predict({"tf_example": np.array([tf.train.Example().SerializeToString()], object)})
    strict = one_by_one(Detector.load(saved))
    assert 0 < sum(map(len, strict)) < sum(map(len, usual))
    for found, before in zip(strict, usual):
        kept = before.select(before.scores > threshold)
        assert len(found) == len(kept)
        np.testing.assert_allclose(found.boxes, kept.boxes, atol=1e-4)
        np.testing.assert_allclose(found.scores, kept.scores, atol=1e-5)
    # Sizes in one request may differ.
    together = Detector.load(saved).detect(images())
    assert [found.size for found in together] == [(50, 80), (120, 60), (30, 200)]


def test_pixels_and_an_overlap_threshold(model_dir, tmp_path, usual):
    saved = export_saved_model(model_dir, tmp_path, inference_input_type="image_tensor",
                               nms_iou_threshold=0.1)
    card = card_of(saved)
    assert card["inference_input_type"] == "image_tensor" and card["nms_iou_threshold"] == 0.1
    assert card["score_threshold"] == 0.05
    # Of any size: not to be joined with those of another.
    assert card["batching"] is False and card["max_megapixels"] is None
    assert not can_be_joined(saved)
    served = ModelVersion(saved, 1)
    assert served.warm_up() == len(WARMUP_BATCHES)
    assert tf.TensorShape(served.signature().inputs["image_tensor"].tensor_shape).as_list() == [
        None, None, None, 3]
    apart = one_by_one(Detector.load(saved))
    assert max(overlaps(found.boxes).max() for found in usual) > 0.2
    assert max(overlaps(found.boxes).max() for found in apart) < 0.11  # rounding to whole px
    for found, before in zip(apart, usual):  # the best one is dropped by none
        np.testing.assert_allclose(found.boxes[0], before.boxes[0], atol=1e-4)
        np.testing.assert_allclose(found.scores[0], before.scores[0], atol=1e-5)


def overlaps(boxes):
    """IoU of each pair of different boxes; 0 where neither has an area."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    union = np.maximum(area[:, None] + area[None] - shared, 1e-6)
    return shared / union * (1 - np.eye(len(boxes)))


def test_the_command_line_fixes_the_size(model_dir, tmp_path, capsys):
    status = main(["export", str(model_dir), str(tmp_path), "--json", "--model-version", "3",
                   "--input-type", "image_tensor", "--input-shape", "50,80",
                   "--score-threshold", "0.1", "--nms-iou-threshold", "0.3"])
    assert status == 0
    saved = tmp_path / "3"
    assert json.loads(capsys.readouterr().out) == {"saved_model": str(saved), "version": 3}
    card = card_of(saved)
    assert card["inference_input_shape"] == [50, 80] and card["batching"] is True
    assert can_be_joined(saved)
    assert (card["score_threshold"], card["nms_iou_threshold"]) == (0.1, 0.3)
    served = ModelVersion(saved, 3)  # plays the warm-up requests
    assert tf.TensorShape(served.signature().inputs["image_tensor"].tensor_shape).as_list() == [
        None, 50, 80, 3]
    detector = Detector.load(saved)
    assert detector.detect(images()[:1])[0].size == (50, 80)
    with pytest.raises(DataError, match=r"got \[120, 60, 3\], but the model was exported for "
                                        r"\(50, 80, 3\)"):
        detector.detect(images())


def test_options_out_of_range_leave_nothing_behind(model_dir, tmp_path, capsys):
    for options, message in (
            ({"inference_input_type": "png"}, "got 'png', expected one of image_bytes, "),
            ({"inference_input_shape": [5, 8]}, r"got \[5, 8\] with image_bytes"),
            ({"inference_input_type": "image_tensor", "inference_input_shape": [0, 8]},
             r"got \[0, 8\], expected height and width"),
            ({"score_threshold": 1.5}, "score_threshold: got 1.5, expected a number from 0 to 1"),
            ({"max_megapixels": 0}, "max_megapixels: got 0, expected a number above 0"),
            ({"nms_iou_threshold": -0.1}, "nms_iou_threshold: got -0.1")):
        with pytest.raises(ConfigError, match=message):
            export_saved_model(model_dir, tmp_path / "out", **options)
    assert main(["export", str(model_dir), str(tmp_path / "out"), "--score-threshold", "7"]) == 1
    assert "score_threshold: got 7.0" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["export", str(model_dir), str(tmp_path / "out"), "--input-shape", "50"])
    assert "expected HEIGHT,WIDTH in px" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_requests_of_each_type():
    grey, colour, _ = map(encode_png, images())
    assert request_tensor("image_bytes", [grey, colour]).numpy().tolist() == [grey, colour]
    pixels = request_tensor("image_tensor", [grey, grey])
    assert pixels.shape == (2, 50, 80, 3) and pixels.dtype == tf.uint8
    np.testing.assert_array_equal(pixels[1, ..., 2], images()[0])
    example, = request_tensor("tf_example", [colour]).numpy()
    features = tf.train.Example.FromString(example).features.feature
    assert features["image/encoded"].bytes_list.value[0] == colour
    assert input_spec("image_tensor") == tf.TensorSpec([None, None, None, 3], tf.uint8,
                                                       "image_tensor")
    assert input_spec("tf_example") == tf.TensorSpec([None], tf.string, "tf_example")
