"""The gRPC services, asked with TF Serving's own stubs."""

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from crater_model.errors import ServingError
from crater_model.serving.servable import ModelVersion
from crater_model.serving.server import Server
from tests.serving.blobs import blob_image, write_blob_model
from tests.serving.raw_client import RawClient, png, request


@pytest.fixture(scope="module")
def channel(blob_server):
    with grpc.insecure_channel(f"127.0.0.1:{blob_server.grpc_port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def test_predict_gives_boxes_in_pixels_of_images_of_different_sizes(prediction):
    images = [blob_image(50, 80, [(5, 10, 20, 30), (7, 40, 9, 60)]), blob_image(30, 200, [])]
    answer = prediction.Predict(request({"image_bytes": [png(i) for i in images]}))
    out = {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}
    np.testing.assert_array_equal(out["detection_boxes"],
                                  [[[5, 10, 20, 30], [7, 40, 9, 60]], np.zeros((2, 4))])
    assert out["num_detections"].tolist() == [2, 0]
    assert out["detection_masks"].dtype == np.uint8 and out["detection_masks"].shape == (2, 2, 7, 7)
    assert answer.model_spec.version.value == 12  # the newest
    assert answer.model_spec.signature_name == "serving_default"


def test_versions_labels_and_output_filter(prediction):
    inputs = {"image_bytes": [png(blob_image(20, 30, [(2, 3, 8, 9)]))]}
    assert prediction.Predict(request(inputs, version=3)).model_spec.version.value == 3
    labelled = request(inputs, version_label="stable")
    labelled.output_filter.append("num_detections")
    answer = prediction.Predict(labelled)
    assert answer.model_spec.version.value == 12
    assert list(answer.outputs) == ["num_detections"]


@pytest.mark.parametrize("message, code, words", [
    (request({}, name="rocks"), "NOT_FOUND",
     "Servable not found for request: Latest(rocks); this server has crater"),
    (request({}, version=4), "NOT_FOUND", "Servable not found for request: Specific(crater, 4)"),
    (request({}, version_label="other"), "INVALID_ARGUMENT",
     "Unrecognized servable version label: other; model crater has ['canary', 'stable']"),
    (request({}), "INVALID_ARGUMENT", "'image_bytes' is missing"),
    (request({"images": [b"x"]}), "INVALID_ARGUMENT", "'images' is unknown"),
    (request({"image_bytes": [1.0]}), "INVALID_ARGUMENT", "is float32, expected string"),
    (request({"image_bytes": [[b"x"]]}), "INVALID_ARGUMENT", "has shape [1, 1], expected (None,)"),
    (request({"image_bytes": [b"no image"]}), "INVALID_ARGUMENT", "Unknown image file format"),
    (request({"image_bytes": [b"x"]}, signature_name="other"), "FAILED_PRECONDITION",
     'Serving signature key "other" not found.'),
])
def test_wrong_requests_get_the_code_and_a_reason(prediction, message, code, words):
    with pytest.raises(grpc.RpcError) as caught:
        prediction.Predict(message)
    assert caught.value.code().name == code
    assert words in caught.value.details()
    assert "\n" not in caught.value.details()


def test_metadata_names_every_signature_as_tf_serving_does(prediction):
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    message.model_spec.name = "crater"
    answer = prediction.GetModelMetadata(message)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert sorted(signatures.signature_def) == [
        "__saved_model_init_op", "describe", "serving_default"]
    assert list(signatures.signature_def["serving_default"].inputs) == ["image_bytes"]


def test_status_and_health(channel):
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = "crater"
    answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(message)
    assert [(s.version, s.state) for s in answer.model_version_status] == [(12, 30), (3, 30)]
    health = health_pb2_grpc.HealthStub(channel)
    answer = health.Check(health_pb2.HealthCheckRequest(service=""))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_request_of_more_than_four_mebibytes(prediction):
    noise = np.random.default_rng(0).integers(0, 200, (2000, 3001), np.uint8)
    noise[100:110, 200:230] = 255
    answer = prediction.Predict(request({"image_bytes": [png(noise)]}), timeout=60)
    boxes = tf.make_ndarray(answer.outputs["detection_boxes"])
    assert boxes.tolist() == [[[100, 200, 110, 230]]]


def test_warm_up_runs_and_a_damaged_one_is_refused(blob_model, tmp_path):
    assert ModelVersion(blob_model / "3", 3).warm_up() == 1
    folder = write_blob_model(tmp_path, 1)
    file = folder / "assets.extra" / "tf_serving_warmup_requests"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ServingError, match="tf_serving_warmup_requests: warm-up request 1 fails"):
        ModelVersion(folder, 1)


def test_a_taken_port_and_an_empty_folder_are_named(blob_server, blob_model, tmp_path):
    with pytest.raises(ServingError, match="cannot listen for gRPC.*Address already in use"):
        Server.of(blob_model / "3", grpc_port=blob_server.grpc_port, rest_port=None).start()
    with pytest.raises(ServingError, match="cannot listen for REST"):
        Server.of(blob_model / "3", grpc_port=0, rest_port=blob_server.rest_port).start()
    with pytest.raises(ServingError, match="holds no SavedModel"):
        Server.of(tmp_path)


@pytest.mark.slow
def test_sigterm_lets_requests_end_and_then_stops_the_process(blob_model, until):
    """`crater serve` with a request in flight by gRPC and one by REST."""
    wide = png(blob_image(8, 40_000, [(1, x, 3, x + 1) for x in range(0, 40_000, 2)]))  # seconds
    process = subprocess.Popen(
        [sys.executable, "-m", "crater_model.cli", "serve", str(blob_model / "12"),
         "--grpc-port", "0", "--rest-port", "0"],
        stderr=subprocess.PIPE, text=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})
    try:
        seen = []
        ready = re.compile(r"serving crater \[12\]: gRPC on 127.0.0.1:(\d+), "
                           r"REST on http://127.0.0.1:(\d+)")
        while not (ports := ready.search(line := process.stderr.readline())):
            seen.append(line)
            assert process.poll() is None, "".join(seen)
        with RawClient(*map(int, ports.groups())) as client, ThreadPoolExecutor(2) as pool:
            assert client.healthy()
            answers = [pool.submit(ask, [wide]) for ask in (client.predict, client.rest_predict)]
            until(lambda: "} 2" in client.rest("/monitoring/prometheus/metrics")[1].split(
                "queuing_latency_count")[-1])
            process.send_signal(signal.SIGTERM)
            assert answers[0].result()[1]["num_detections"].tolist() == [20_000]
            code, answer = answers[1].result()
            assert code == 200 and answer["predictions"][0]["num_detections"] == 20_000
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
