"""One endpoint asked over gRPC."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from crater_model.serving.client.answers import OUTPUTS, check_outputs
from crater_model.serving.client.endpoints import Address, ModelName
from crater_model.serving.client.failures import Failure, Kind, from_grpc

MAX_MESSAGE_BYTES = 2**31 - 1  # gRPC's default of 4 MiB is less than one answer


class GrpcTransport:
    """A channel to one server. Each method raises Failure.

    These are plain channels, whose calls can be awaited on any event loop: theirs are
    the threads that wait for answers and parse them.
    """

    def __init__(self, address: Address, model: ModelName):
        self._model, self._api = model, _Api()
        options = _channel_options(address)
        self._channel = (
            grpc.secure_channel(address.netloc, grpc.ssl_channel_credentials(), options)
            if address.scheme == "grpcs" else grpc.insecure_channel(address.netloc, options))
        self._prediction = self._api.prediction_stub(self._channel)
        self._models = self._api.model_stub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    async def predict(self, images: list[bytes], timeout_s: float) -> dict[str, np.ndarray]:
        """The outputs over a batch of PNG or JPEG images."""
        request = self._request("serving_default", "image_bytes", images)
        request.output_filter.extend(OUTPUTS)
        answer = await _answer(self._prediction.Predict.future(request, timeout=timeout_s))
        outputs = {name: self._api.array(value) for name, value in answer.outputs.items()}
        check_outputs(outputs, len(images))
        return outputs

    async def describe(self, timeout_s: float) -> str:
        """The model card as JSON."""
        request = self._request("describe", "query", [b""])
        answer = await _answer(self._prediction.Predict.future(request, timeout=timeout_s))
        if "model_card" not in answer.outputs:
            raise Failure(Kind.REFUSED, "wrong answer", "it has no model_card")
        return self._api.array(answer.outputs["model_card"])[0].decode()

    async def metadata(self, timeout_s: float) -> dict[str, Any]:
        """Model, version and signatures (see `AsyncClient.metadata`)."""
        request = self._api.metadata.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._address(request.model_spec)
        answer = await _answer(
            self._prediction.GetModelMetadata.future(request, timeout=timeout_s))
        signatures = self._api.metadata.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        return {
            "model": answer.model_spec.name, "version": answer.model_spec.version.value,
            "signatures": {name: {"inputs": self._api.describe(signature.inputs),
                                  "outputs": self._api.describe(signature.outputs)}
                           for name, signature in sorted(signatures.signature_def.items())}}

    async def status(self, timeout_s: float) -> dict[int, str]:
        """Version number -> state."""
        request = self._api.status.GetModelStatusRequest()
        self._address(request.model_spec)
        answer = await _answer(self._models.GetModelStatus.future(request, timeout=timeout_s))
        state = self._api.status.ModelVersionStatus.State
        return {entry.version: state.Name(entry.state) for entry in answer.model_version_status}

    async def probe(self, timeout_s: float) -> bool:
        """Whether it takes requests: by the health service, or where the server was started
        without it, by the model's status."""
        call = self._health.Check.future(health_pb2.HealthCheckRequest(), timeout=timeout_s,
                                         wait_for_ready=True)
        code = await _code(call)
        if code == grpc.StatusCode.UNIMPLEMENTED:
            return "AVAILABLE" in (await self.status(timeout_s)).values()
        return (code == grpc.StatusCode.OK
                and call.result().status == health_pb2.HealthCheckResponse.SERVING)

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _request(self, signature: str, name: str, values: list[bytes]):
        request = self._api.predict.PredictRequest()
        self._address(request.model_spec)
        request.model_spec.signature_name = signature
        request.inputs[name].CopyFrom(self._api.strings(values))
        return request

    def _address(self, spec) -> None:
        spec.name = self._model.name
        if self._model.version is not None:
            spec.version.value = self._model.version
        elif self._model.label:
            spec.version_label = self._model.label


async def _answer(call: grpc.Future):
    """Waits for a call's answer; raises Failure."""
    code = await _code(call)
    if code != grpc.StatusCode.OK:
        raise from_grpc(code, call.details())
    return call.result()


async def _code(call: grpc.Future) -> grpc.StatusCode:
    """Waits for the end of a call; cancels it when the wait is cancelled."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def ended(_):
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(done.set)

    call.add_done_callback(ended)
    try:
        await done.wait()
    finally:
        call.cancel()  # of no effect once it has ended
    return call.code()


class _Api:
    """The messages of TF Serving's API. They import TensorFlow, so this waits for a client."""

    def __init__(self):
        import tensorflow as tf
        from tensorflow_serving.apis import (
            get_model_metadata_pb2,
            get_model_status_pb2,
            model_service_pb2_grpc,
            predict_pb2,
            prediction_service_pb2_grpc,
        )
        self._tf = tf
        self.predict = predict_pb2
        self.metadata = get_model_metadata_pb2
        self.status = get_model_status_pb2
        self.prediction_stub = prediction_service_pb2_grpc.PredictionServiceStub
        self.model_stub = model_service_pb2_grpc.ModelServiceStub

    def strings(self, values: list[bytes]):
        return self._tf.make_tensor_proto(np.array(values, object))

    def array(self, proto) -> np.ndarray:
        return self._tf.make_ndarray(proto)

    def describe(self, tensors) -> dict[str, dict]:
        return {name: {"dtype": self._tf.as_dtype(info.dtype).name,
                       "shape": [dim.size for dim in info.tensor_shape.dim]}
                for name, info in sorted(tensors.items())}


def _channel_options(address: Address) -> list[tuple[str, int]]:
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
               ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
               # After a failure try again soon: the deadline, not gRPC, ends the wait.
               ("grpc.initial_reconnect_backoff_ms", 100),
               ("grpc.max_reconnect_backoff_ms", 2000)]
    if address.is_loopback:
        options.append(("grpc.enable_http_proxy", 0))
    return options
