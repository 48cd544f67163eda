"""TF Serving's gRPC services over `Core`: Predict, GetModelMetadata, GetModelStatus."""

from __future__ import annotations

import functools

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from crater_model.serving.core import Core
from crater_model.serving.encoding import Write, read
from crater_model.serving.models import Models
from crater_model.serving.servable import DEFAULT_SIGNATURE, ModelVersion, RequestError

_LONGEST_MESSAGE = 1024  # grpc_status_util.cc


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


def status(models: Models, name: str,
           version: int | None = None) -> get_model_status_pb2.GetModelStatusResponse:
    """The state of each version (or of one), as GetModelStatus answers it: it looks at no label."""
    model = models.model(name)
    if model is None:
        which = "any versions" if version is None else f"version {version}"
        raise RequestError(grpc.StatusCode.NOT_FOUND, f"Could not find {which} of model {name}")
    response = get_model_status_pb2.GetModelStatusResponse()
    for number, state, error in model.states(version):
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
            if not request.HasField("model_spec"):
                raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
            return method(self, request, context)
        except RequestError as error:
            text = error.message
            if len(text) > _LONGEST_MESSAGE:
                text = text[:_LONGEST_MESSAGE] + "...TRUNCATED"
            context.abort(error.code, text)
    return call


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; the other calls of the API answer UNIMPLEMENTED."""

    def __init__(self, core: Core, write: Write):
        """
        Args:
          write: how outputs are put into answers: `encoding.as_fields` or `as_content`.
        """
        self._core, self._write = core, write

    @_answers
    def Predict(self, request, context):  # noqa: N802 (the API's name)
        spec = request.model_spec
        with self._core.counted(spec.name, "GRPC"):
            with self._core.models.lease(spec.name, *_version_of(spec)) as version:
                most = self._core.limits.max_megapixels
                inputs = {name: read(name, value, most) for name, value in request.inputs.items()}
                outputs = self._core.predict(
                    spec.name, version, inputs, spec.signature_name, request.output_filter,
                    gone=lambda: not context.is_active())
                return self._response(spec, version.version, outputs)

    @_answers
    def GetModelMetadata(self, request, _context):  # noqa: N802
        for field in request.metadata_field:
            if field != "signature_def":
                raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                                   f"Metadata field {field} is not supported; ask for "
                                   "signature_def")
        if not request.metadata_field:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                               "GetModelMetadataRequest must specify at least one metadata_field; "
                               "ask for signature_def")
        spec = request.model_spec
        with self._core.models.lease(spec.name, *_version_of(spec)) as version:
            return metadata(version, spec.name)

    def _response(self, spec, version: int, outputs) -> predict_pb2.PredictResponse:
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        response.model_spec.signature_name = spec.signature_name or DEFAULT_SIGNATURE
        for name, array in outputs.items():
            self._write(array, response.outputs[name])
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus; ReloadConfig answers UNIMPLEMENTED."""

    def __init__(self, models: Models):
        self._models = models

    @_answers
    def GetModelStatus(self, request, _context):  # noqa: N802
        spec = request.model_spec
        return status(self._models, spec.name, _version_of(spec)[0])


def _version_of(spec) -> tuple[int | None, str | None]:
    kind = spec.WhichOneof("version_choice")
    return (spec.version.value if kind == "version" else None,
            spec.version_label if kind == "version_label" else None)
