"""One image, one answer: the checkpoint in process, the SavedModel, and the server by gRPC and
REST agree on 50 scenes of 25 sizes, none of them square.

Each path gets the scenes five to a request, sizes mixed: a convolution may round otherwise in
a batch of another size.
"""

import base64
import json
import urllib.request

import cv2
import numpy as np
import pytest

from crater_model.detections import Detections
from crater_model.detector import Detector
from crater_model.imagery.pixels import encode_png
from crater_model.serving.client import Client
from crater_model.serving.server import Server
from tests.conftest import crater_scene

pytestmark = pytest.mark.slow

BATCH = 5
# Width and height, px: wide and high ones, smaller and larger than the network's 96 px.
SIZES = [(40 + 7 * i, 151 - 4 * i) for i in range(25)]


@pytest.fixture(scope="module")
def scenes() -> list[bytes]:
    """Each size once as PNG and once as JPEG, shuffled."""
    rng, files = np.random.default_rng(50), []
    for number, size in enumerate([*SIZES, *SIZES]):
        _, pixels = crater_scene(number, size, 6, rng)
        files.append(encode_png(pixels) if number < len(SIZES)
                     else cv2.imencode(".jpg", pixels)[1].tobytes())
    return [files[i] for i in rng.permutation(len(files))]


@pytest.fixture(scope="module")
def expected(model_dir, scenes) -> list[Detections]:
    """What the checkpoint finds in this process."""
    found = in_batches(Detector.load(model_dir).detect, scenes)
    assert len({each.size for each in found}) == 25
    assert all(height != width for height, width in (each.size for each in found))
    # Two steps of training find much, some of it on the image's edge.
    sides = np.concatenate([each.boxes[:, 2:] - each.boxes[:, :2] for each in found])
    assert min(map(len, found)) > 0 and (sides.min(axis=1) > 1.0).sum() > 250
    return found


def in_batches(detect, scenes):
    return [found for start in range(0, len(scenes), BATCH)
            for found in detect(scenes[start:start + BATCH])]


def assert_agree(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        assert len(ours) == len(theirs) and ours.size == theirs.size
        np.testing.assert_allclose(ours.boxes, theirs.boxes, rtol=0, atol=1e-4)
        np.testing.assert_allclose(ours.scores, theirs.scores, rtol=0, atol=1e-4)
        np.testing.assert_array_equal(ours.classes, theirs.classes)
        assert ours.masks.dtype == theirs.masks.dtype == np.uint8
        assert np.abs(ours.masks.astype(int) - theirs.masks).max(initial=0) <= 1


def test_the_saved_model_agrees(saved_model, scenes, expected):
    assert_agree(in_batches(Detector.load(saved_model).detect, scenes), expected)


def test_the_server_agrees_by_grpc_and_by_rest(saved_model, scenes, expected):
    with Server.of(saved_model, grpc_port=0, rest_port=0) as server:
        with Client(f"127.0.0.1:{server.grpc_port}", max_batch=BATCH) as client:
            assert_agree(client.detect(scenes), expected)

        def ask(batch):
            rows = [{"image_bytes": {"b64": base64.b64encode(image).decode()}} for image in batch]
            request = urllib.request.Request(
                f"http://127.0.0.1:{server.rest_port}/v1/models/crater:predict",
                json.dumps({"instances": rows}).encode(), {"Content-Type": "application/json"})
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(request, timeout=60) as answer:
                return json.load(answer)["predictions"]

        answers = in_batches(ask, scenes)
    found = []
    for row, like in zip(answers, expected):
        count = row["num_detections"]
        # Beyond an image's own detections: zeros, up to those of the fullest in its request.
        assert not np.any(row["detection_scores"][count:])
        found.append(Detections(
            np.array(row["detection_boxes"][:count], np.float32),
            np.array(row["detection_scores"][:count], np.float32),
            np.array(row["detection_classes"][:count], np.int64),
            np.array(row["detection_masks"][:count], np.uint8), like.size))
    assert_agree(found, expected)
