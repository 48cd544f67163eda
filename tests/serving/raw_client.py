"""A client of TF Serving's APIs that uses its published stubs and nothing of this project."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request

import cv2
import grpc
import numpy as np
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def request(inputs, name="crater", **spec) -> predict_pb2.PredictRequest:
    """`spec`: version, version_label, signature_name."""
    message = predict_pb2.PredictRequest()
    message.model_spec.name = name
    for key, value in spec.items():
        if key == "version":
            message.model_spec.version.value = value
        else:
            setattr(message.model_spec, key, value)
    for key, value in inputs.items():
        message.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return message


class RawClient:
    """gRPC and REST of one server on loopback."""

    def __init__(self, grpc_port: int, rest_port: int | None = None):
        self._channel = grpc.insecure_channel(f"127.0.0.1:{grpc_port}",
                                              [("grpc.enable_http_proxy", 0)])
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)
        self._rest = f"http://127.0.0.1:{rest_port}"

    def predict(self, images, timeout=60.0, **spec) -> tuple[int, dict[str, np.ndarray]]:
        """Encoded images -> (version that answered, outputs)."""
        answer = self.prediction.Predict(request({"image_bytes": images}, **spec), timeout=timeout)
        return answer.model_spec.version.value, {
            name: tf.make_ndarray(value) for name, value in answer.outputs.items()}

    def refused(self, images, **options) -> tuple[str, str]:
        """Status code and message of a predict that must fail."""
        try:
            self.predict(images, **options)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        raise AssertionError("this request was answered")

    def metadata(self) -> dict:
        message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        message.model_spec.name = "crater"
        answer = self.prediction.GetModelMetadata(message)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert answer.metadata["signature_def"].Unpack(signatures)
        return dict(signatures.signature_def)

    def states(self) -> dict[int, tuple[str, str]]:
        """Version -> (state, error message)."""
        message = get_model_status_pb2.GetModelStatusRequest()
        message.model_spec.name = "crater"
        name = get_model_status_pb2.ModelVersionStatus.State.Name
        return {s.version: (name(s.state), s.status.error_message)
                for s in self._models.GetModelStatus(message).model_version_status}

    def healthy(self) -> bool:
        answer = self._health.Check(health_pb2.HealthCheckRequest(service=""))
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    def rest(self, path: str, body=None) -> tuple[int, str]:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(self._rest + path, data), timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def rest_predict(self, images) -> tuple[int, dict]:
        rows = [{"b64": base64.b64encode(data).decode()} for data in images]
        code, text = self.rest("/v1/models/crater:predict", {"instances": rows})
        return code, json.loads(text)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_) -> None:
        self.close()
