"""TF Serving's REST API: model status, metadata and predict.

Paths and forms are those of https://www.tensorflow.org/tfx/serving/api_rest. JSON is for
a look by hand and for tools without gRPC; masks as JSON numbers are some ten times the
bytes, so programs should use gRPC.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2  # noqa: F401 (known to json_format)

from crater_model.errors import ServingError
from crater_model.serving.models import ModelVersion, RequestError
from crater_model.serving.service import Models, metadata, status

MAX_BODY_BYTES = 512 << 20
_PATH = re.compile(r"/v1/models/(?P<model>[^/:]+)"
                   r"(?:/versions/(?P<version>\d{1,18})|/labels/(?P<label>[^/:]+))?"
                   r"(?P<what>/metadata|:predict)?")
_HTTP = {grpc.StatusCode.INVALID_ARGUMENT: 400, grpc.StatusCode.NOT_FOUND: 404,
         grpc.StatusCode.OUT_OF_RANGE: 400, grpc.StatusCode.RESOURCE_EXHAUSTED: 503}


class RestServer:
    """HTTP server in a thread of its own."""

    def __init__(self, models: Models, host: str, port: int):
        handler = type("Handler", (_Handler,), {"models": models})
        try:
            self._server = ThreadingHTTPServer((host, port), handler)
        except OSError as error:
            raise ServingError(f"{host}:{port}: cannot listen for REST there "
                               f"({error.strerror}); choose another --rest-port") from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="rest",
                                        daemon=True)

    def start(self) -> int:
        """Starts and gives the port."""
        self._thread.start()
        return self._server.server_address[1]

    def stop(self) -> None:
        """Stops taking requests and closes the port."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    models: Models
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds a silent connection may keep its thread

    def do_GET(self):  # noqa: N802 (http.server's name)
        self._answer("GET")

    def do_POST(self):  # noqa: N802
        self._answer("POST")

    def log_message(self, *_):
        pass

    def _answer(self, method: str) -> None:
        try:
            body = self._body()
            code, value = 200, self._result(method, body)
        except RequestError as error:
            code, value = _HTTP.get(error.code, 500), {"error": error.message}
        except Exception as error:  # a defect must not look like a dropped connection
            code, value = 500, {"error": f"{type(error).__name__}: {error}"}
        data = (value if isinstance(value, str) else json.dumps(value)).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True  # what follows was not read
            raise _bad(f"Content-Length {length!r}: expected a number up to {MAX_BODY_BYTES}")
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            self.close_connection = True
            raise _bad("Transfer-Encoding chunked is not taken; send Content-Length")
        return self.rfile.read(int(length))

    def _result(self, method: str, body: bytes) -> Any:
        match = _PATH.fullmatch(self.path.split("?")[0])
        wanted = {"GET": (None, "/metadata"), "POST": (":predict",)}[method]
        if not match or match["what"] not in wanted:
            raise RequestError(grpc.StatusCode.NOT_FOUND,
                               f"Malformed request: {method} {self.path}")
        model = self.models.model(match["model"])
        version = int(match["version"]) if match["version"] else None
        if match["what"] is None:
            return _json(status(model, version, match["label"]))
        loaded = model.select(version, match["label"])
        if match["what"] == "/metadata":
            return _json(metadata(loaded, model.name))
        return predict(loaded, body)


def predict(version: ModelVersion, body: bytes) -> dict:
    """Answers a predict request in row ("instances") or column ("inputs") form.

    Raises:
      RequestError: INVALID_ARGUMENT when the body is not such a request.
    """
    try:
        request = json.loads(body)
    except ValueError as error:
        raise _bad(f"the body is not JSON: {error}") from None
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise _bad('expected a JSON object with either "instances" or "inputs"')
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise _bad('"signature_name" is not a string')
    names = list(version.signature(name).inputs)
    types = {key: tf.as_dtype(info.dtype) for key, info in version.signature(name).inputs.items()}
    by_row = "instances" in request
    columns = _columns(request["instances"], names) if by_row else request["inputs"]
    if not isinstance(columns, dict):
        columns = {names[0]: columns} if len(names) == 1 else {}
    inputs = {key: _input(key, value, types.get(key)) for key, value in columns.items()}
    outputs = version.predict(inputs, name)
    if not by_row:
        values = {key: array.tolist() for key, array in outputs.items()}
        return {"outputs": values if len(values) > 1 else next(iter(values.values()))}
    count = len(next(iter(inputs.values())))
    if any(array.shape[:1] != (count,) for array in outputs.values()):
        raise _bad('an output has no row for each instance; use the "inputs" form')
    rows = [{key: array[row].tolist() for key, array in outputs.items()}
            for row in range(count)]
    return {"predictions": rows if len(outputs) > 1 else [next(iter(r.values())) for r in rows]}


def _columns(instances: Any, names: list[str]) -> dict[str, list]:
    """The rows turned into one list an input."""
    if not isinstance(instances, list) or not instances:
        raise _bad('"instances" is not a list with at least one entry')
    rows = []
    for row in instances:
        bare = not isinstance(row, dict) or set(row) == {"b64"}
        if bare and len(names) != 1:
            raise _bad(f"an instance names no input; expected an object with {names}")
        rows.append({names[0]: row} if bare else row)
    if any(set(row) != set(rows[0]) for row in rows):
        raise _bad("the instances do not all name the same inputs")
    return {key: [row[key] for row in rows] for key in rows[0]}


def _input(name: str, value: Any, dtype: tf.DType | None) -> np.ndarray:
    """JSON value -> array; {"b64": TEXT} anywhere in it stands for bytes."""
    def decode(item):
        if isinstance(item, list):
            return [decode(child) for child in item]
        if isinstance(item, dict):
            if set(item) != {"b64"} or not isinstance(item["b64"], str):
                raise _bad(f'input {name!r}: expected {{"b64": "..."}}, got keys {sorted(item)}')
            try:
                return base64.b64decode(item["b64"], validate=True)
            except (binascii.Error, ValueError):
                raise _bad(f"input {name!r}: the b64 value is not base64") from None
        return item

    value = decode(value)
    if dtype is None:  # an unknown name: predict says so
        return np.asarray(value, object)
    try:
        if dtype == tf.string:
            flat = np.asarray(value, object)
            if any(not isinstance(item, (bytes, str)) for item in flat.ravel()):
                raise ValueError("holds something that is no string")
            return flat
        return np.asarray(value, dtype.as_numpy_dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise _bad(f"input {name!r} is not {dtype.name}: {error}") from None


def _json(message) -> str:
    return json_format.MessageToJson(message, preserving_proto_field_name=True,
                                     always_print_fields_with_no_presence=True)


def _bad(text: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, text)
