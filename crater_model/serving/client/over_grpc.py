"""One endpoint asked over gRPC."""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from crater_model.serving.client import refusals, tensors
from crater_model.serving.client.addresses import Address, ModelName
from crater_model.serving.client.answers import OUTPUTS, check_outputs
from crater_model.serving.client.connections import Connection
from crater_model.serving.client.credentials import Credentials
from crater_model.serving.client.failures import Failure, Kind

# A connection to a name is replaced so often: gRPC itself looks a name up again only when a
# connection breaks, and would never find a server that was added.
RENEW_S = 60.0


class GrpcTransport:
    """The API of one server, or of several behind one name. Each method raises Failure.

    Attributes:
      model: what is asked for; where it has a version, no other one's answer is taken.
    """

    def __init__(self, address: Address, model: ModelName, credentials: Credentials,
                 try_timeout_s: float):
        self.model, self._is_name = model, address.is_name
        self._connect = partial(_Stubs, address, credentials, try_timeout_s)
        self._stubs = self._connect()
        self._renewal: asyncio.Task | None = None
        self._lanes: asyncio.Queue[str] = asyncio.Queue()
        for output in random.sample(OUTPUTS, len(OUTPUTS)):  # other clients have other orders
            self._lanes.put_nowait(output)

    async def predict(self, images: list[bytes], timeout_s: float) -> dict[str, np.ndarray]:
        """The outputs over a batch of PNG or JPEG images."""
        self._renew_in_time()
        return await self._predict(images, OUTPUTS, timeout_s)

    async def alone(self, image: bytes, timeout_s: float) -> dict[str, np.ndarray]:
        """The outputs over one image that was refused (see `refusals.alone`).

        TF Serving joins requests that ask for the same outputs. To be judged, an image is asked
        for one output only, and no other image of this client for the same one meanwhile. Like
        `wanted` are asked for only images that were found to be in order.
        """
        output = await self._lanes.get()
        try:
            await refusals.alone(lambda images: self._predict(images, (output,), timeout_s), image)
        finally:
            self._lanes.put_nowait(output)
        wanted = OUTPUTS[:-1]
        outputs = await refusals.asked(lambda images: self._predict(images, wanted, timeout_s),
                                       [image])
        classes = outputs["detection_classes"]  # from 1; 0 is padding
        return outputs | {"num_detections": (classes > 0).sum(axis=1)}

    async def together(self, count: int, timeout_s: float) -> None:
        """See `refusals.together`."""
        await refusals.together(lambda images: self._predict(images, OUTPUTS[:-1], timeout_s),
                                count)

    async def describe(self, timeout_s: float) -> tuple[int, str]:
        """The version that answers and its model card as JSON."""
        request = self._request("describe", "query", [b""])
        answer = await self._stubs.predict(request, timeout_s)
        self._check_version(answer)
        if "model_card" not in answer.outputs:
            raise Failure(Kind.REFUSED, "wrong answer", "it has no model_card")
        return answer.model_spec.version.value, _array(answer, "model_card")[0].decode()

    async def metadata(self, timeout_s: float) -> dict[str, Any]:
        """Model, version and signatures (see `AsyncClient.metadata`)."""
        answer = await self._metadata(self._stubs, timeout_s)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        return {
            "model": answer.model_spec.name, "version": answer.model_spec.version.value,
            "signatures": {name: {"inputs": tensors.described(signature.inputs),
                                  "outputs": tensors.described(signature.outputs)}
                           for name, signature in sorted(signatures.signature_def.items())
                           if not name.startswith("__")}}

    async def status(self, timeout_s: float) -> dict[int, str]:
        """Version number -> state."""
        request = get_model_status_pb2.GetModelStatusRequest()
        self._address(request.model_spec)
        answer = await self._stubs.status(request, timeout_s)
        state = get_model_status_pb2.ModelVersionStatus.State
        return {entry.version: state.Name(entry.state) for entry in answer.model_version_status}

    async def ready(self, timeout_s: float) -> None:
        """Returns where the server is in health, as far as it says, and the version that will be
        asked answers. (GetModelStatus would not do: it does not look at labels.)"""
        await self._ready(self._stubs, timeout_s)

    async def probe(self, timeout_s: float) -> None:
        """`ready` over a new connection, which all further requests take: the old one may be dead
        without knowing it."""
        fresh = self._connect()
        try:
            await self._ready(fresh, timeout_s)
        except BaseException:
            fresh.close()
            raise
        self._stubs.retire()
        self._stubs = fresh

    def close(self) -> None:
        """Closes the connection."""
        if self._renewal:
            self._renewal.cancel()
        self._stubs.close()

    async def _predict(self, images: list[bytes], wanted: tuple[str, ...],
                       timeout_s: float) -> dict[str, np.ndarray]:
        request = self._request("serving_default", "image_bytes", images)
        request.output_filter.extend(wanted)
        answer = await self._stubs.predict(request, timeout_s)
        self._check_version(answer)
        outputs = {name: _array(answer, name) for name in answer.outputs}
        check_outputs(outputs, len(images), wanted)
        return outputs

    def _check_version(self, answer) -> None:
        given, wanted = answer.model_spec.version.value, self.model.version
        if wanted is not None and given != wanted:
            raise Failure(Kind.FINAL, "wrong version",
                          f"version {given or 'unknown'} answered, and not {wanted}")

    async def _metadata(self, stubs: _Stubs, timeout_s: float):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._address(request.model_spec)
        return await stubs.metadata(request, timeout_s)

    async def _ready(self, stubs: _Stubs, timeout_s: float) -> None:
        try:
            health = await stubs.health(health_pb2.HealthCheckRequest(), timeout_s)
        except Failure as failure:
            if failure.code != grpc.StatusCode.UNIMPLEMENTED.name:  # it was started without
                raise
        else:
            if health.status != health_pb2.HealthCheckResponse.SERVING:
                raise Failure(Kind.DOWN, "not serving", "the server says that it takes no requests")
        await self._metadata(stubs, timeout_s)

    def _renew_in_time(self) -> None:
        due = self._is_name and time.monotonic() - self._stubs.born > RENEW_S
        if due and (self._renewal is None or self._renewal.done()):
            self._renewal = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        try:
            await self.probe(5.0)
        except Failure:  # the old one does still; ask again in a while
            self._stubs.born = time.monotonic()

    def _request(self, signature: str, name: str, values: list[bytes]):
        request = predict_pb2.PredictRequest()
        self._address(request.model_spec)
        request.model_spec.signature_name = signature
        request.inputs[name].CopyFrom(tensors.strings(values))
        return request

    def _address(self, spec) -> None:
        spec.name = self.model.name
        if self.model.version is not None:
            spec.version.value = self.model.version
        elif self.model.label:
            spec.version_label = self.model.label


class _Stubs(Connection):
    """A connection with the API's methods: request and seconds to the answer."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        models = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.predict = partial(self.call, prediction.Predict)
        self.metadata = partial(self.call, prediction.GetModelMetadata)
        self.status = partial(self.call, models.GetModelStatus)
        self.health = partial(self.call, health_pb2_grpc.HealthStub(self.channel).Check)


def _array(answer, name: str) -> np.ndarray:
    try:
        return tensors.array(answer.outputs[name])
    except (TypeError, ValueError) as error:
        raise Failure(Kind.FINAL, "wrong answer", f"its {name} cannot be read: {error}") from None
