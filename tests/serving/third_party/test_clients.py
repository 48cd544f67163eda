"""Clients that others wrote, against the local server. Those that are not Python's own, or that do
not go with the versions that this project pins, are installed beside it by .ci/run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from tensorflow_serving.apis import predict_pb2

from tests.serving.blobs import blob_image
from tests.serving.raw_client import png

HERE = Path(__file__).resolve().parent
INSTALLED = HERE.parents[2] / ".third-party"
BOXES = [[[2, 3, 8, 9], [4, 12, 6, 20]]]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    file = tmp_path_factory.mktemp("image") / "image.png"
    file.write_bytes(png(blob_image(20, 30, [(2, 3, 8, 9), (4, 12, 6, 20)])))
    return file


def run(*command) -> dict:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=60, check=False, env={"PATH": "/usr/bin:/bin", "HOME": "/tmp"})
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_plain_stubs_of_python(blob_server, image):
    """tensorflow-serving-api and grpcio, in a process that has nothing of this project."""
    code = f"""
import sys, json, grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
assert "crater_model" not in sys.modules
request = predict_pb2.PredictRequest()
request.model_spec.name = "crater"
request.model_spec.version_label = "stable"
request.inputs["image_bytes"].dtype = 7
request.inputs["image_bytes"].tensor_shape.dim.add(size=1)
request.inputs["image_bytes"].string_val.append(open({str(image)!r}, "rb").read())
channel = grpc.insecure_channel("127.0.0.1:{blob_server.grpc_port}")
answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=20)
boxes = answer.outputs["detection_boxes"]
print(json.dumps({{"version": answer.model_spec.version.value, "boxes": list(boxes.float_val),
                  "shape": [dim.size for dim in boxes.tensor_shape.dim]}}))
"""
    assert run(sys.executable, "-c", code) == {
        "version": 12, "boxes": [2, 3, 8, 9, 4, 12, 6, 20], "shape": [1, 2, 4]}


def descriptors() -> descriptor_pb2.FileDescriptorSet:
    """Those of PredictionService's Predict and of all that it needs."""
    service = descriptor_pb2.FileDescriptorProto(
        name="prediction_service.proto", package="tensorflow.serving", syntax="proto3",
        dependency=[predict_pb2.DESCRIPTOR.name])
    service.service.add(name="PredictionService").method.add(
        name="Predict", input_type=".tensorflow.serving.PredictRequest",
        output_type=".tensorflow.serving.PredictResponse")
    found = {}

    def add(file):
        for needed in file.dependencies:
            add(needed)
        if file.name not in found:
            file.CopyToProto(found.setdefault(file.name, descriptor_pb2.FileDescriptorProto()))

    add(predict_pb2.DESCRIPTOR)
    return descriptor_pb2.FileDescriptorSet(file=[*found.values(), service])


def test_node_s_own_grpc(blob_server, image, tmp_path):
    modules = INSTALLED / "node_modules"
    if not shutil.which("node") or not (modules / "@grpc" / "grpc-js").is_dir():
        pytest.skip("Node, @grpc/grpc-js and @grpc/proto-loader are not installed; see .ci/run")
    file = tmp_path / "api.bin"
    file.write_bytes(descriptors().SerializeToString())
    command = [shutil.which("node"), HERE / "node_client.js", modules, file,
               f"127.0.0.1:{blob_server.grpc_port}", image]
    assert run(*command, "stable") == {
        "version": 12, "boxes": [2, 3, 8, 9, 4, 12, 6, 20], "shape": [1, 2, 4], "mask_values": 2 * 7 * 7,
        "in_content": False, "count": [2]}
    refused = run(*command, "other")
    assert refused["code"] == 3  # INVALID_ARGUMENT
    assert refused["details"].startswith("Unrecognized servable version label: other")


def test_openvino_s_client(blob_server, image):
    python = INSTALLED / "ovms" / "bin" / "python"
    if not python.exists():
        pytest.skip("ovmsclient is not installed; see .ci/run")
    found = run(python, HERE / "ovms_client.py", f"127.0.0.1:{blob_server.grpc_port}",
                f"127.0.0.1:{blob_server.rest_port}", image)
    for kind in ("grpc", "http"):
        assert found[kind] == {"boxes": BOXES, "count": [2], "status": "AVAILABLE",
                               "refusal": "InvalidInputError"}
