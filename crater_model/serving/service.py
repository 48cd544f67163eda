"""TF Serving's gRPC services over `Models`: Predict, GetModelMetadata, GetModelStatus."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from crater_model.serving.models import Model, ModelVersion, RequestError


class Models:
    """The models that a server holds, by name."""

    def __init__(self, models: Mapping[str, Model]):
        self._models = dict(models)

    def __iter__(self):
        return iter(self._models.values())

    def model(self, name: str) -> Model:
        """The model of this name; RequestError NOT_FOUND when there is none."""
        if name not in self._models:
            raise RequestError(grpc.StatusCode.NOT_FOUND,
                               f"model {name!r} is unknown; this server has "
                               f"{', '.join(sorted(self._models))}")
        return self._models[name]

    def select(self, spec) -> ModelVersion:
        """The version that a ModelSpec message asks for."""
        return self.model(spec.name).select(*_version_of(spec))


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
            return method(self, request)
        except RequestError as error:
            context.abort(error.code, error.message)
    return call


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; the other calls of the API answer UNIMPLEMENTED."""

    def __init__(self, models: Models):
        self._models = models

    @_answers
    def Predict(self, request):  # noqa: N802 (the API's name)
        version = self._models.select(request.model_spec)
        signature = request.model_spec.signature_name
        inputs = {name: _array(name, value) for name, value in request.inputs.items()}
        outputs = version.predict(inputs, signature, request.output_filter)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version.version
        response.model_spec.signature_name = signature or "serving_default"
        for name, array in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
        return response

    @_answers
    def GetModelMetadata(self, request):  # noqa: N802
        for field in request.metadata_field:
            if field != "signature_def":
                raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                                   f"metadata field {field!r} is unknown; ask for signature_def")
        if not request.metadata_field:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                               "metadata_field is empty; ask for signature_def")
        return metadata(self._models.select(request.model_spec), request.model_spec.name)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus."""

    def __init__(self, models: Models):
        self._models = models

    @_answers
    def GetModelStatus(self, request):  # noqa: N802
        spec = request.model_spec
        return status(self._models.model(spec.name), *_version_of(spec))


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
