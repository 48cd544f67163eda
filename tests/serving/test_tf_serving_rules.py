"""What TF Serving 2.20.0 answers by its sources, point by point, asked of the local server."""

import base64
import http.client
import json

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
)

from crater_model.errors import ServingError
from crater_model.serving.encoding import as_content, as_fields, read
from crater_model.serving.server import Server
from tests.serving.blobs import blob_image
from tests.serving.raw_client import RawClient, png, request

IMAGE = png(blob_image(20, 30, [(2, 3, 8, 9)]))
B64 = base64.b64encode(IMAGE).decode()
LABEL = "/v1/models/crater/labels/other"


@pytest.fixture(scope="module")
def client(blob_server):
    with RawClient(blob_server.grpc_port, blob_server.rest_port) as client:
        yield client


def refusal(call, message) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(message, timeout=20)
    return caught.value.code().name, caught.value.details()


def http_of(server, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.getheader("Content-Type"), answer.read().decode()


# ---- names, versions, labels and signatures


def test_an_unknown_label_is_an_invalid_argument(client):
    assert client.refused([IMAGE], version_label="other")[0] == "INVALID_ARGUMENT"
    assert client.refused([IMAGE], name="rocks", version_label="x") == (
        "INVALID_ARGUMENT", "Unrecognized servable version label: x; this server has crater")
    code, answer = client.rest(LABEL + "/metadata")
    assert code == 400 and "Unrecognized servable version label: other" in answer
    assert client.rest(LABEL + ":predict", {"instances": [{"b64": B64}]})[0] == 400


def test_labels_of_the_image_are_there(client):
    for label in ("stable", "canary"):
        assert client.predict([IMAGE], version_label=label)[0] == 12


def test_an_unknown_signature(client):
    assert client.refused([IMAGE], signature_name="other")[0] == "FAILED_PRECONDITION"
    code, answer = client.rest("/v1/models/crater:predict",
                               {"signature_name": "other", "instances": [{"b64": B64}]})
    assert code == 400 and 'name: \\"other\\" not found in signature def' in answer
    assert client.refused([IMAGE], signature_name="__saved_model_init_op")[0] == "INVALID_ARGUMENT"


def test_status_looks_at_no_label(client, blob_server):
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name, message.model_spec.version_label = "crater", "other"
    with grpc.insecure_channel(f"127.0.0.1:{blob_server.grpc_port}") as channel:
        status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus
        assert [entry.version for entry in status(message).model_version_status] == [12, 3]
        assert refusal(status, get_model_status_pb2.GetModelStatusRequest()) == (
            "INVALID_ARGUMENT", "Missing ModelSpec")
        message.model_spec.name = ""
        assert refusal(status, message) == ("NOT_FOUND",
                                            "Could not find any versions of model ")
    assert client.rest(LABEL)[0] == 200


def test_a_request_without_a_model(client):
    predict = client.prediction.Predict
    metadata = client.prediction.GetModelMetadata
    nameless = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    for call, message in ((predict, predict_pb2.PredictRequest()), (metadata, nameless)):
        assert refusal(call, message) == ("INVALID_ARGUMENT", "Missing ModelSpec")
    for message in (request({"image_bytes": [IMAGE]}, name=""),
                    request({"image_bytes": [IMAGE]}, name="", version=3)):
        assert refusal(predict, message) == ("INVALID_ARGUMENT",
                                             "ModelSpec has no name specified.")


def test_an_output_named_twice_and_fields_of_metadata(client):
    message = request({"image_bytes": [IMAGE]})
    message.output_filter.extend(["num_detections", "num_detections"])
    assert refusal(client.prediction.Predict, message)[0] == "INVALID_ARGUMENT"
    for fields, words in (((), "must specify at least one metadata_field"),
                          (("signature_def", "x"), "Metadata field x is not supported")):
        message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
        message.model_spec.name = "crater"
        code, reason = refusal(client.prediction.GetModelMetadata, message)
        assert code == "INVALID_ARGUMENT" and words in reason


def test_metadata_over_rest_has_no_type_of_an_any(client):
    code, answer = client.rest("/v1/models/crater/metadata")
    metadata = json.loads(answer)["metadata"]
    assert code == 200 and list(metadata["signature_def"]) == ["signature_def"]
    assert "__saved_model_init_op" in metadata["signature_def"]["signature_def"]
    assert "@type" not in answer


def test_names_of_health(blob_server):
    with grpc.insecure_channel(f"127.0.0.1:{blob_server.grpc_port}") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        for name in ("", "ModelService", "PredictionService"):
            assert check(health_pb2.HealthCheckRequest(service=name)).status == 1
        for name in ("crater", "tensorflow.serving.PredictionService"):
            assert refusal(check, health_pb2.HealthCheckRequest(service=name))[0] == "NOT_FOUND"


def test_a_long_refusal_is_cut(client):
    code, reason = client.refused([IMAGE], version_label="x" * 3000)
    assert code == "INVALID_ARGUMENT" and len(reason) == 1024 + len("...TRUNCATED")
    assert reason.endswith("x...TRUNCATED")


# ---- encodings


ARRAYS = [np.array([[b"", b"ab"], [b"\0\xff" * 100, "ü".encode()]], object),
          np.array([[0, 255, 7]], np.uint8), np.float32([1.5, -2]), np.arange(3), np.array(True),
          np.float64(2.5), np.array([2**63], np.uint64), np.float16([0.5, -0.25]),
          np.complex64([1 + 2j]), np.complex128([3 - 4j]), np.zeros((2, 0, 4), np.float32),
          np.array([-3], np.int8), np.array([2**31], np.uint32)]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_both_encodings_of_every_type_are_tensorflow_s(array):
    """TensorFlow's own parser reads what is written, and numbers stand where they should."""
    for write in (as_fields, as_content):
        proto = tensor_pb2.TensorProto()
        write(array, proto)
        assert bool(proto.tensor_content) == (write is as_content and array.size > 0)
        dtype = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
        parsed = tf.io.parse_tensor(proto.SerializeToString(), dtype).numpy()
        np.testing.assert_array_equal(parsed, array)
        again = read("x", proto, 1.0)
        np.testing.assert_array_equal(again, array)
        assert again.shape == array.shape


def test_answers_have_typed_fields_or_content(blob_model):
    with Server.of(blob_model, grpc_port=0, rest_port=None) as typed, \
            Server.of(blob_model, grpc_port=0, rest_port=None, tensor_content=True) as content:
        answers = []
        for server in (typed, content):
            with RawClient(server.grpc_port) as client:
                found = client.prediction.Predict(request({"image_bytes": [IMAGE]}))
                said = client.prediction.Predict(request(
                    {"query": [b""]}, signature_name="describe"))
                answers.append((found.outputs, said.outputs["model_card"]))
    (fields, card), (contents, packed) = answers
    assert list(fields["detection_boxes"].float_val) == [2, 3, 8, 9]
    assert list(fields["detection_masks"].int_val) == [255] * 49
    assert list(fields["num_detections"].int_val) == [1]
    assert list(fields["detection_classes"].int64_val) == [1]
    assert not any(output.tensor_content for output in (*fields.values(), card))
    assert contents["detection_boxes"].tensor_content == np.float32([2, 3, 8, 9]).tobytes()
    assert not packed.string_val  # which clients that look for strings here do not find
    text = card.string_val[0]
    assert json.loads(text)["chip_size"] == 64 and packed.tensor_content.endswith(text)
    assert int.from_bytes(packed.tensor_content[:1]) & 127 == len(text) & 127


def test_rest_does_not_go_with_tensor_content(blob_model):
    with pytest.raises(ServingError, match="TF Serving is taken down by the first predict"):
        Server.of(blob_model, grpc_port=0, rest_port=0, tensor_content=True)


def test_a_request_in_either_encoding_is_read(client):
    for write in (as_fields, as_content):
        message = request({})
        write(np.array([IMAGE], object), message.inputs["image_bytes"])
        assert client.prediction.Predict(message).outputs["num_detections"].int_val == [1]
    for _ in range(100):
        message.inputs["image_bytes"].tensor_shape.dim.add(size=1)
    assert refusal(client.prediction.Predict, message)[0] == "INVALID_ARGUMENT"
    del message.inputs["image_bytes"].tensor_shape.dim[1:]
    message.inputs["image_bytes"].tensor_content += b"x"
    code, reason = refusal(client.prediction.Predict, message)
    assert code == "INVALID_ARGUMENT" and reason.startswith("tensor parsing error: image_bytes")


# ---- paths and methods of REST


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_a_malformed_request(blob_server, method):
    code, kind, text = http_of(blob_server, method, "/v1/models/crater")
    assert (code, kind) == (400, "application/json")
    if method != "HEAD":
        assert json.loads(text)["error"] == f"Malformed request: {method} /v1/models/crater"


@pytest.mark.parametrize("method, path, code, words", [
    ("POST", "/v1/models/crater", 400, "Malformed request: POST /v1/models/crater"),
    ("GET", "/v1/models/crater:predict", 400, "Malformed request: GET"),
    ("GET", "/v1/models", 400, "Missing model name in request."),
    ("GET", "/V1/MODELS/crater/VERSIONS/3", 200, '"version": "3"'),
    ("GET", "/v1/models/cr%61ter/labels/st%61ble/metadata", 200, "serving_default"),
    ("GET", "/v1/models/crater?x=1", 404, "Could not find any versions of model crater?x=1"),
    ("GET", "/v1/models/crater/versions/99999999999999999999", 400, "Failed to convert version"),
    ("GET", "/monitoring/prometheus/metrics?x=1", 400, "Unexpected path"),
    ("GET", "/", 404, "Not Found"), ("GET", "/v2/models/crater", 404, "Not Found")])
def test_paths(blob_server, method, path, code, words):
    got, _, text = http_of(blob_server, method, path, b"{}" if method == "POST" else None)
    assert got == code and words in text


def test_options_ask_for_an_origin(blob_server):
    path = "/v1/models/crater"
    assert http_of(blob_server, "OPTIONS", path, Origin="https://example.com")[0] == 200
    assert http_of(blob_server, "OPTIONS", path)[0] == 400


# ---- bodies of REST


def rows(*items) -> bytes:
    return json.dumps({"instances": items}).encode()


@pytest.mark.parametrize("body", [
    rows({"b64": B64}), b"\xef\xbb\xbf" + rows({"b64": B64}), rows({"b64": B64}) + b" and more",
    rows({"b64": B64.rstrip("=")}), rows({"b64": "\r\n".join(B64[i:i + 60]
                                                             for i in range(0, len(B64), 60))}),
    rows({"b64": f" {B64}\t\n"}), b'{"x": [NaN, Infinity], ' + rows({"b64": B64})[1:]])
def test_bodies_that_are_taken(client, body):
    code, answer = client.rest("/v1/models/crater:predict", body)
    assert code == 200, answer
    assert [row["num_detections"] for row in json.loads(answer)["predictions"]] == [1]


@pytest.mark.parametrize("body, words", [
    (b"", "The document is empty"), (b" \n", "The document is empty"), (b"[]", "is not an object"),
    (b"{'a': 1}", "JSON Parse error"), (b'{"instances": ', "JSON Parse error"),
    (b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
    (b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deep"),
    (b'{"instances": ' + b"[" * 500 + b"]" * 500 + b"}", "lists of 500 levels"),
    (b'{"instances": 3}', "Expecting 'instances' to be a list"),
    (b'{"instances": [[]], "inputs": [[]]}', "only one of the keys"),
    (b'{"signature_name": 3, "instances": [[]]}', "must be a string"),
    (rows({"b64": "A"}), "Unable to base64 decode"),
    (rows({"b64": B64.rstrip("=") + "==="}), "Unable to base64 decode"),
    (rows({"b64": "AA=A"}), "Unable to base64 decode"), (rows({"b64": "AA-_"}), "base64 decode"),
    (rows({"b64": 3}), "'b64' of instance 0 is unknown"),
    (rows({"b64": B64, "x": 1}), "'b64' of instance 0 is unknown"),
    (rows({"b64": B64}, {"image_bytes": B64}), "instance 1 is an object of inputs, unlike"),
    (rows({"image_bytes": B64}, {"b64": B64}), "instance 1 is no object of inputs, unlike"),
    (rows([B64], B64), "lists at level 1 have not all the length 1"), (rows([B64]), "shape [1, 1]"),
    (rows(None), "None is not string"), (rows(True), "True is not string"),
    (b'{"inputs": {"x": 1}}', "Missing named input: image_bytes"),
    (b'{"inputs": {"image_bytes": 1.5}}', "1.5 is not string")])
def test_bodies_that_are_refused(client, body, words):
    code, answer = client.rest("/v1/models/crater:predict", body)
    assert code == 400 and words in json.loads(answer)["error"]


@pytest.fixture(scope="module")
def typed(tmp_path_factory):
    """A client of a model that gives its inputs back: float32, uint8 and half as they come."""
    folder = tmp_path_factory.mktemp("typed")
    module = tf.Module()

    def signature(dtype):
        def echo(x):
            return {"y": tf.identity(x)}
        return tf.function(echo, input_signature=[tf.TensorSpec([None, None], dtype, "x")])

    module.functions = {dtype.name: signature(dtype) for dtype in (
        tf.float32, tf.uint8, tf.half, tf.bool, tf.int64)}
    tf.saved_model.save(module, str(folder / "1"), signatures=module.functions)
    with Server.of(folder, grpc_port=0, rest_port=0) as server, \
            RawClient(server.grpc_port, server.rest_port) as client:
        yield client


@pytest.mark.parametrize("dtype, values, code, answer", [
    ("float32", [[1, 0.5]], 200, [[1.0, 0.5]]), ("uint8", [[1, 255]], 200, [[1, 255]]),
    ("uint8", [[300, -1]], 200, [[44, 255]]), ("int64", [[2**62]], 200, [[2**62]]),
    ("bool", [[True, False]], 200, [[True, False]]),
    ("float32", [["1"]], 400, "is not float32"), ("float32", [[True]], 400, "True is not float32"),
    ("uint8", [[1.0]], 400, "1.0 is not uint8"), ("uint8", [[True]], 400, "True is not uint8"),
    ("uint8", [[2**31]], 400, "out of the range"), ("int64", [[2**63]], 400, "out of the range"),
    ("bool", [[1]], 400, "1 is not bool"), ("int64", [[1, 2], [3]], 400, "not all the length 2"),
    ("half", [[1.0]], 501, "no JSON for float16"), ("float32", [[{}]], 400, "{} is not float32")])
def test_numbers_are_of_the_type_of_the_input(typed, dtype, values, code, answer):
    signature = dtype if dtype != "half" else "float16"
    got, text = typed.rest("/v1/models/crater:predict",
                           {"signature_name": signature, "inputs": values})
    found = json.loads(text)
    assert got == code and (found["outputs"] == answer if code == 200 else answer in found["error"])


# ---- time


def test_a_request_over_rest_takes_no_longer_than_it_may(blob_model, gate):
    gate.set()  # the warm-up
    with Server.of(blob_model, grpc_port=0, rest_port=0, rest_timeout_s=0.5) as server, \
            RawClient(server.grpc_port, server.rest_port) as client:
        gate.clear()
        code, answer = client.rest_predict([IMAGE])
        gate.set()
        assert code == 504 and "rest_api_timeout_in_ms" in answer["error"]
        assert client.rest_predict([IMAGE])[0] == 200


def test_an_address_of_ipv6_and_one_that_is_none(blob_model):
    with Server.of(blob_model, grpc_port=0, rest_port=0, host="::1") as server:
        with grpc.insecure_channel(f"[::1]:{server.grpc_port}") as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            assert check(health_pb2.HealthCheckRequest(), timeout=10).status == 1
        connection = http.client.HTTPConnection("::1", server.rest_port, timeout=10)
        connection.request("GET", "/v1/models/crater")
        assert connection.getresponse().status == 200
    with pytest.raises(ServingError, match=r"192\.0\.2\.1:\d+: cannot listen for gRPC there "
                                           r"\(Cannot assign requested address\)"):
        Server.of(blob_model, grpc_port=0, rest_port=None, host="192.0.2.1").start()
