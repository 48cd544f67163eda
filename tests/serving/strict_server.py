"""A gRPC server as strict as TF Serving: its published messages, a SavedModel, and its rules.

The rules are those of TF Serving 2.20.0 (commit bc7e9d2b9a41), read in the files that are named
beside them; nothing of this project answers here. Versions and labels may change while it runs.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.serving.encodings import content, typed

_DEFAULT = "serving_default"


class Refused(Exception):
    """A status other than OK."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code, self.message = grpc.StatusCode[code], message


class StrictServer:
    """One model in one or several versions.

    Attributes:
      labels: label -> version; None as long as they are not set up.
      asked: (version, images) of each Predict on serving_default that a version was found for.
      runs: images of each run of the network; several requests joined are one.
    """

    def __init__(self, versions: dict[int, Path], name: str = "crater", *,
                 labels: dict[str, int] | None = (), tensor_content: bool = False,
                 max_batch_size: int = 16, join_s: float = 0.0, host: str = "127.0.0.1",
                 port: int = 0, credentials: grpc.ServerCredentials | None = None,
                 interceptors=(), with_health: bool = True, threads: int = 16):
        """
        Args:
          tensor_content: --enable_serialization_as_tensor_content.
          max_batch_size, join_s: BatchingParameters' max_batch_size and batch_timeout_micros.
          host: an address of loopback, or a socket as unix:PATH.
        """
        self.name, self.labels = name, None if labels is None else dict(labels)
        self.asked: list[tuple[int, int]] = []
        self.runs: list[int] = []
        self._versions: dict[int, _Version] = {}
        self._encode = content if tensor_content else typed
        self._max_batch_size, self._join_s = max_batch_size, join_s
        self._joiners: dict[tuple, _Joiner] = {}
        self._lock = threading.Lock()
        for number, folder in versions.items():
            self.load(number, folder)
        self._server = grpc.server(ThreadPoolExecutor(threads), interceptors=interceptors,
                                   options=[("grpc.so_reuseport", 0),
                                            ("grpc.max_receive_message_length", -1),
                                            ("grpc.max_send_message_length", -1)])
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            _Prediction(self), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Models(self), self._server)
        if with_health:  # server.cc: with --enable_grpc_healthcheck_service
            servicer = health.HealthServicer()
            for service in ("", "ModelService", "PredictionService"):
                servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        address = host if host.startswith("unix:") else f"{host}:{port}"
        self.port = (self._server.add_secure_port(address, credentials) if credentials
                     else self._server.add_insecure_port(address))
        self.endpoint = host if host.startswith("unix:") else f"{host}:{self.port}"

    def load(self, number: int, folder: Path) -> None:
        """Makes a version available."""
        self._versions[number] = _Version(folder, number)

    def unload(self, number: int) -> None:
        """Takes a version away."""
        del self._versions[number]

    def start(self) -> StrictServer:
        self._server.start()
        return self

    def stop(self) -> None:
        self._server.stop(0).wait()

    def __enter__(self) -> StrictServer:
        return self.start()

    def __exit__(self, *_) -> None:
        self.stop()

    def version(self, message) -> _Version:
        """The version that a request's model_spec names: the label first, then the version."""
        if not message.HasField("model_spec"):  # predict_impl.cc
            raise Refused("INVALID_ARGUMENT", "Missing ModelSpec")
        spec = message.model_spec
        if not spec.name:  # server_core.cc, ServableRequestFromModelSpec
            raise Refused("INVALID_ARGUMENT", "ModelSpec has no name specified.")
        wanted = None
        if spec.WhichOneof("version_choice") == "version":
            wanted = spec.version.value
        elif spec.WhichOneof("version_choice") == "version_label":
            if self.labels is None:
                raise Refused("UNAVAILABLE",
                              f"Model labels does not init yet.{spec.version_label}")
            if spec.name != self.name or spec.version_label not in self.labels:
                raise Refused("INVALID_ARGUMENT",
                              f"Unrecognized servable version label: {spec.version_label}")
            wanted = self.labels[spec.version_label]
        found = self._versions if spec.name == self.name else {}
        number = max(found, default=None) if wanted is None else wanted
        if number not in found:  # basic_manager.cc
            which = f"Latest({spec.name})" if wanted is None else f"Specific({spec.name}, {wanted})"
            raise Refused("NOT_FOUND", f"Servable not found for request: {which}")
        return found[number]

    def predict(self, request) -> predict_pb2.PredictResponse:
        version = self.version(request)
        signature_name = request.model_spec.signature_name or _DEFAULT
        if signature_name not in version.signatures:  # predict_util.cc, RunPredict
            raise Refused("FAILED_PRECONDITION",
                          f'Serving signature key "{signature_name}" not found.')
        signature = version.signatures[signature_name]
        names = _checked(signature, request)
        inputs = {name: _array(name, signature.inputs[name], proto)
                  for name, proto in request.inputs.items()}
        if signature_name == _DEFAULT:
            with self._lock:
                self.asked.append((version.number, len(next(iter(inputs.values())))))
        found = self._joined(version, signature_name, names, inputs)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version.number
        response.model_spec.signature_name = signature_name
        for name in names:
            self._encode(found[name], response.outputs[name])
        return response

    def _joined(self, version, signature_name, names, inputs):
        """batching_session.cc: a queue for each set of inputs and outputs; ProcessBatch gives all
        of its requests one status."""
        rows = len(next(iter(inputs.values())))
        if rows > self._max_batch_size:  # shared_batch_scheduler.h
            raise Refused("INVALID_ARGUMENT", f"Task size {rows} is larger than maximum input "
                                              f"batch size {self._max_batch_size}")
        with self._lock:
            joiner = self._joiners.setdefault(
                (version, signature_name, frozenset(names)),
                _Joiner(version, signature_name, self._max_batch_size, self._join_s, self.runs))
        return joiner.ask(inputs, rows)


class _Version:
    """A loaded SavedModel."""

    def __init__(self, folder: Path, number: int):
        self.number = number
        saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        self.signatures = dict(saved.meta_graphs[0].signature_def)
        self._module = tf.saved_model.load(str(folder))

    def run(self, signature_name: str, inputs) -> dict[str, np.ndarray]:
        try:
            found = self._module.signatures[signature_name](
                **{name: tf.constant(array) for name, array in inputs.items()})
            return {name: value.numpy() for name, value in found.items()}
        except tf.errors.OpError as error:
            raise Refused(_CODES[error.error_code], error.message.splitlines()[0]) from None


_CODES = {tf.errors.INVALID_ARGUMENT: "INVALID_ARGUMENT", tf.errors.INTERNAL: "INTERNAL",
          tf.errors.UNIMPLEMENTED: "UNIMPLEMENTED", tf.errors.OUT_OF_RANGE: "OUT_OF_RANGE",
          tf.errors.RESOURCE_EXHAUSTED: "RESOURCE_EXHAUSTED"}


class _Joiner:
    """Requests that come within `join_s` of the first run as one, and fail as one."""

    def __init__(self, version: _Version, signature_name: str, most: int, join_s: float,
                 runs: list[int]):
        self._version, self._signature_name = version, signature_name
        self._most, self._join_s, self._runs = most, join_s, runs
        self._lock, self._open = threading.Lock(), None

    def ask(self, inputs, rows: int) -> dict[str, np.ndarray]:
        with self._lock:
            batch = self._open
            leads = batch is None or batch["rows"] + rows > self._most
            if leads:
                batch = self._open = {"rows": 0, "inputs": [], "done": threading.Event()}
            first = batch["rows"]
            batch["rows"] += rows
            batch["inputs"].append(inputs)
        if leads:
            time.sleep(self._join_s)
            with self._lock:
                if self._open is batch:
                    self._open = None
            self._run(batch)
        batch["done"].wait()
        if "refused" in batch:
            raise batch["refused"]
        return {name: array[first:first + rows] for name, array in batch["found"].items()}

    def _run(self, batch) -> None:
        joined = {name: np.concatenate([inputs[name] for inputs in batch["inputs"]])
                  for name in batch["inputs"][0]}
        self._runs.append(batch["rows"])
        try:
            batch["found"] = self._version.run(self._signature_name, joined)
        except Refused as refused:
            batch["refused"] = refused
        batch["done"].set()


def _checked(signature, request) -> list[str]:
    """The names of the outputs to give (predict_util.cc, PreProcessPrediction)."""
    sent, known = set(request.inputs), set(signature.inputs)
    if len(sent) != len(known):
        raise Refused("INVALID_ARGUMENT",
                      f"input size does not match signature: {len(sent)}!={len(known)} "
                      f"len({{{','.join(sorted(sent))}}}) != len({{{','.join(sorted(known))}}}). "
                      f"Sent extra: {{{','.join(sorted(sent - known))}}}. "
                      f"Missing but required: {{{','.join(sorted(known - sent))}}}.")
    for name in sorted(sent - known):
        raise Refused("INVALID_ARGUMENT", f"input tensor alias not found in signature: {name}. "
                      f"Inputs expected to be in the set {{{','.join(sorted(known))}}}.")
    seen = set()
    for name in request.output_filter:
        if name not in signature.outputs:
            raise Refused("INVALID_ARGUMENT",
                          f"output tensor alias not found in signature: {name} Outputs expected "
                          f"to be in the set {{{','.join(sorted(signature.outputs))}}}.")
        if name in seen:
            raise Refused("INVALID_ARGUMENT", f"duplicate output tensor alias: {name}")
        seen.add(name)
    return list(request.output_filter) or sorted(signature.outputs)


def _array(name: str, info, proto) -> np.ndarray:
    if proto.dtype != info.dtype:
        wanted, got = (tf.as_dtype(dtype).name for dtype in (info.dtype, proto.dtype))
        raise Refused("INVALID_ARGUMENT",
                      f"Expects arg[0] to be {wanted} but {got} is provided: {name}")
    return tf.make_ndarray(proto)


def _answering(method):
    """A Refused becomes the call's status; its message is cut (grpc_status_util.cc)."""
    def call(self, request, context):
        try:
            return method(self.server, request)
        except Refused as refused:
            context.abort(refused.code, refused.message[:1024])
    return call


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, server: StrictServer):
        self.server = server

    Predict = _answering(lambda server, request: server.predict(request))

    @_answering
    def GetModelMetadata(server, request):  # noqa: N802, N805 (get_model_metadata_impl.cc)
        if not request.HasField("model_spec"):
            raise Refused("INVALID_ARGUMENT", "Missing ModelSpec")
        if not request.metadata_field:
            raise Refused("INVALID_ARGUMENT",
                          "GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise Refused("INVALID_ARGUMENT", f"Metadata field {field} is not supported")
        version = server.version(request)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = server.name
        response.model_spec.version.value = version.number
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in version.signatures.items():
            signatures.signature_def[name].CopyFrom(signature)
        response.metadata["signature_def"].Pack(signatures)
        return response


class _Models(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, server: StrictServer):
        self.server = server

    @_answering
    def GetModelStatus(server, request):  # noqa: N802, N805 (get_model_status_impl.cc)
        if not request.HasField("model_spec"):
            raise Refused("INVALID_ARGUMENT", "Missing ModelSpec")
        spec = request.model_spec
        found = server._versions if spec.name == server.name else {}
        numbers = sorted(found, reverse=True)
        if spec.HasField("version"):  # a label is not looked at
            if spec.version.value not in found:
                raise Refused("NOT_FOUND", f"Could not find version {spec.version.value} of "
                                           f"model {spec.name}")
            numbers = [spec.version.value]
        elif not found:
            raise Refused("NOT_FOUND", f"Could not find any versions of model {spec.name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for number in numbers:
            entry = response.model_version_status.add(
                version=number, state=get_model_status_pb2.ModelVersionStatus.AVAILABLE)
            entry.status.error_code = 0
        return response


class TokenAsked(grpc.ServerInterceptor):
    """Lets in who shows the token, as a gateway before TF Serving does; for `interceptors`."""

    def __init__(self, token):
        self.token = token

    def intercept_service(self, continuation, details):
        if ("authorization", f"Bearer {self.token}") in details.invocation_metadata:
            return continuation(details)

        def refuse(_, context):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who is there?")

        return grpc.unary_unary_rpc_method_handler(refuse)
