"""TF Serving's gRPC services over `Core`: Predict, GetModelMetadata, GetModelStatus."""

from __future__ import annotations

import functools

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from crater_model.serving.core import Core
from crater_model.serving.models import Model, Models
from crater_model.serving.servable import ModelVersion, RequestError


def metadata(version: ModelVersion, name: str) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures of a version, as GetModelMetadata answers them."""
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = name
    response.model_spec.version.value = version.version
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for key, signature in version.signatures.items():
        signatures.signature_def[key].CopyFrom(signature)
    response.metadata["signature_def"].Pack(signatures)
    return response


def status(model: Model, version: int | None = None,
           label: str | None = None) -> get_model_status_pb2.GetModelStatusResponse:
    """The state of each version (or of one), as GetModelStatus answers it."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for number, state, error in model.states(version, label):
        entry = response.model_version_status.add(version=number, state=state)
        if error:
            entry.status.error_code = grpc.StatusCode.FAILED_PRECONDITION.value[0]
            entry.status.error_message = error
        else:
            entry.status.error_code = 0
    return response


def _answers(method):
    """Turns a RequestError into the call's gRPC status."""
    @functools.wraps(method)
    def call(self, request, context):
        try:
            return method(self, request, context)
        except RequestError as error:
            context.abort(error.code, error.message)
    return call


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; the other calls of the API answer UNIMPLEMENTED."""

    def __init__(self, core: Core):
        self._core = core

    @_answers
    def Predict(self, request, context):  # noqa: N802 (the API's name)
        spec = request.model_spec
        with self._core.counted(spec.name, "GRPC"):
            with self._core.models.model(spec.name).lease(*_version_of(spec)) as version:
                inputs = {name: _array(name, value) for name, value in request.inputs.items()}
                outputs = self._core.predict(
                    spec.name, version, inputs, spec.signature_name, request.output_filter,
                    gone=lambda: not context.is_active())
                return _response(spec, version.version, outputs)

    @_answers
    def GetModelMetadata(self, request, _context):  # noqa: N802
        for field in request.metadata_field:
            if field != "signature_def":
                raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                                   f"metadata field {field!r} is unknown; ask for signature_def")
        if not request.metadata_field:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                               "metadata_field is empty; ask for signature_def")
        spec = request.model_spec
        with self._core.models.model(spec.name).lease(*_version_of(spec)) as version:
            return metadata(version, spec.name)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus."""

    def __init__(self, models: Models):
        self._models = models

    @_answers
    def GetModelStatus(self, request, _context):  # noqa: N802
        spec = request.model_spec
        return status(self._models.model(spec.name), *_version_of(spec))


def _response(spec, version: int, outputs) -> predict_pb2.PredictResponse:
    response = predict_pb2.PredictResponse()
    response.model_spec.name = spec.name
    response.model_spec.version.value = version
    response.model_spec.signature_name = spec.signature_name or "serving_default"
    for name, array in outputs.items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
    return response


def _version_of(spec) -> tuple[int | None, str | None]:
    number = spec.version.value if spec.HasField("version") else None
    return number, spec.version_label or None


def _array(name: str, proto):
    try:
        return tf.make_ndarray(proto)
    except Exception as error:  # a malformed message: its kind depends on what is wrong
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                           f"input {name!r} is not a readable tensor: {text}") from None
