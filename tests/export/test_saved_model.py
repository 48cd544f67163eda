"""The SavedModel: the checkpoint's detections, stock operations only, plain TensorFlow enough."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from crater_model.detector import Detector
from crater_model.detector.detector import load_trained
from crater_model.detector.serving_module import DetectionModule
from crater_model.errors import CraterError
from crater_model.export import WARMUP, WARMUP_BATCHES, export_saved_model
from crater_model.export.operations import check_operations
from crater_model.imagery.pixels import encode_png
from crater_model.serving.client import AsyncClient, Client
from crater_model.serving.servable import ModelVersion, RequestError
from crater_model.serving.server import Server
from tests.serving.test_limits import bomb

BATCHING = Path(__file__).resolve().parents[2] / "deploy" / "serving" / "batching.config"

pytestmark = pytest.mark.slow


def images():
    rng = np.random.default_rng(1)
    shapes = ((50, 80), (96, 96), (120, 60), (30, 200, 3))
    return [rng.integers(0, 255, shape).astype(np.uint8) for shape in shapes]


def test_it_finds_what_the_checkpoint_finds(model_dir, saved_model):
    for ours, theirs in zip(Detector.load(model_dir).detect(images()),
                            Detector.load(saved_model).detect(images())):
        assert len(ours) == len(theirs) > 0 and ours.size == theirs.size
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-3)
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
        assert np.abs(ours.masks.astype(int) - theirs.masks).max() <= 1


def test_sizes_in_one_request_may_differ(saved_model):
    """An image gives the same alone and among images of other sizes."""
    detector = Detector.load(saved_model)
    together = detector.detect(images())
    for image, found in zip(images(), together):
        alone = detector.detect([image])[0]
        assert len(alone) == len(found)
        np.testing.assert_allclose(alone.boxes, found.boxes, atol=1e-3)
        height, width = image.shape[:2]
        assert (found.boxes >= 0).all() and (found.boxes <= [height, width] * 2).all()


def test_scaling_an_image_scales_its_boxes(saved_model):
    """Boxes are in the pixels of the image as it was sent, in y and in x."""
    image = cv2.GaussianBlur(images()[1], (0, 0), 3)[:48, :96]
    large = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    one, other = Detector.load(saved_model).detect([image, large])
    pairs = [(a, b) for a, s in zip(one.boxes, one.scores)
             for b, t in zip(other.boxes, other.scores) if abs(s - t) < 0.02]
    assert min(np.abs(2 * a - b).max() for a, b in pairs) < 1.5


def test_plain_tensorflow_loads_it(saved_model, tmp_path):
    """A process with none of our packages gets the contract's outputs; JPEG works too."""
    (tmp_path / "a.png").write_bytes(encode_png(images()[0]))
    (tmp_path / "b.jpg").write_bytes(cv2.imencode(".jpg", images()[2])[1].tobytes())
    code = f"""
import sys, json
import tensorflow as tf
files = [open(name, "rb").read() for name in ({str(tmp_path / 'a.png')!r}, {str(tmp_path / 'b.jpg')!r})]
loaded = tf.saved_model.load({str(saved_model)!r})
out = loaded.signatures["serving_default"](image_bytes=tf.constant(files))
assert not [m for m in sys.modules if m.startswith(("official", "crater_model", "tf_keras"))]
print(json.dumps({{k: [v.dtype.name, v.shape.as_list()] for k, v in out.items()}}))
print(loaded.signatures["describe"](query=tf.constant([b""]))["model_card"][0].numpy().decode())
"""
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True,
                          cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert done.returncode == 0, done.stderr[-2000:]
    outputs, card = (json.loads(line) for line in done.stdout.splitlines())
    k = outputs["detection_boxes"][1][1]
    assert outputs == {
        "detection_boxes": ["float32", [2, k, 4]], "detection_scores": ["float32", [2, k]],
        "detection_classes": ["int64", [2, k]], "detection_masks": ["uint8", [2, k, 28, 28]],
        "num_detections": ["int32", [2]]}
    assert card["version"] == 7 and card["label_map"] == {"1": "crater"}


def test_an_image_too_large_is_refused_before_it_is_decoded(model_dir, tmp_path):
    """A PNG of a few kB that stands for 600 megapixels, in a batch with small ones."""
    saved = export_saved_model(model_dir, tmp_path, max_megapixels=0.05)
    card = json.loads((saved / "assets.extra" / "model_card.json").read_text())
    assert card["max_megapixels"] == 0.05
    served = ModelVersion(saved, 1)
    small = encode_png(images()[0])
    for large, size in ((bomb(30_000, 20_000), "30000 x 20000"), (bomb(251, 200), "251 x 200"),
                        (cv2.imencode(".jpg", np.zeros((200, 251)))[1].tobytes(), "251 x 200")):
        with pytest.raises(RequestError, match=f"an image has {size} px, this model takes 0.05"):
            served.predict({"image_bytes": np.array([small, large], object)})
    # Together over the limit, but none alone: one after the other, with the same result.
    many = np.array([encode_png(image) for image in images()] * 3, object)
    assert sum(array.shape[0] * array.shape[1] for array in images()) * 3 > 0.05e6
    found = served.predict({"image_bytes": many})
    alone = served.predict({"image_bytes": many[:1]})
    count = alone["num_detections"][0]
    assert found["num_detections"][[0, 4, 8]].tolist() == [count] * 3 and count > 0
    np.testing.assert_allclose(found["detection_boxes"][4, :count],
                               alone["detection_boxes"][0, :count], atol=1e-3)


def test_only_stock_operations(saved_model):
    names = check_operations(saved_model)
    assert not {name for name in names if "PyFunc" in name or "Xla" in name}
    assert "DecodeImage" in names and "CombinedNonMaxSuppression" in names


def test_an_operation_that_the_server_lacks_stops_the_export(model_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(DetectionModule, "describe", lambda self, query: {
        "model_card": tf.py_function(lambda text: text, [query], tf.string)})
    with pytest.raises(CraterError, match="needs the operation EagerPyFunc"):
        export_saved_model(model_dir, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_model_trained_in_bfloat16_is_exported_in_float32(model_dir, saved_model):
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        _, model = load_trained(model_dir)
        assert tf_keras.mixed_precision.global_policy().name == "mixed_bfloat16"
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert {layer.compute_dtype for layer in model.submodules
            if isinstance(layer, tf_keras.layers.Layer)} == {"float32"}
    proto = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    graph = proto.meta_graphs[0].graph_def
    types = {value.type for nodes in (graph.node, *(f.node_def for f in graph.library.function))
             for node in nodes for value in node.attr.values()}
    assert tf.float32.as_datatype_enum in types and tf.bfloat16.as_datatype_enum not in types


def test_model_card_and_warm_up(saved_model):
    card = json.loads((saved_model / "assets.extra" / "model_card.json").read_text())
    assert card["metrics"]["test"] == {"mask_AP": 0.5}
    assert card["data"].startswith("sha256:") and card["chip_size"] == 96
    assert card["overrides"]["trainer.train_steps"] == 2
    assert card["overrides"]["runtime.mixed_precision_dtype"] == "bfloat16"
    assert card["precision"] == "float32" and card["max_num_detections"] == 20
    assert (card["score_threshold"], card["nms_iou_threshold"]) == (0.05, 0.5)
    assert card["inference_input_type"] == "image_bytes"
    assert card["inference_input_shape"] is None
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|v\d+\.\d+\.\d+", card["source_revision"])
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy())
            for record in tf.data.TFRecordDataset(str(saved_model / WARMUP))]
    assert [log.predict_log.request.inputs["image_bytes"].tensor_shape.dim[0].size
            for log in logs] == list(WARMUP_BATCHES)


def test_warm_up_covers_the_batches_in_use():
    """The client's largest request, and what the image's batching puts together."""
    text = re.sub("#.*", "", BATCHING.read_text())
    sizes = re.findall(
        r"(?:allowed_batch_sizes\s*:|max_batch_size\s*\{\s*value\s*:)\s*(\d+)", text)
    client = inspect.signature(AsyncClient).parameters["max_batch"].default
    assert {1, client, *map(int, sizes)} <= set(WARMUP_BATCHES) and sizes


def test_the_server_describes_it(saved_model):
    with Server.of(saved_model, grpc_port=0, rest_port=None) as server:
        with Client(f"127.0.0.1:{server.grpc_port}") as client:
            card = client.describe()
    assert card == json.loads((saved_model / "assets.extra" / "model_card.json").read_text())


def test_versions_are_never_changed(model_dir, saved_model, tmp_path):
    with pytest.raises(CraterError, match="this version exists"):
        export_saved_model(model_dir, saved_model.parent, 7)
    with pytest.raises(CraterError, match="expected a whole number from 1"):
        export_saved_model(model_dir, tmp_path, 0)
    with pytest.raises(CraterError, match="is not a model directory"):
        export_saved_model(tmp_path, tmp_path / "out")
