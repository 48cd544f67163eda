"""TF Serving's REST API: model status, metadata and predict, and metrics for Prometheus.

Paths are those of https://www.tensorflow.org/tfx/serving/api_rest. JSON is for a look by
hand and for tools without gRPC; masks as JSON numbers are some ten times the bytes, so
programs should use gRPC.
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2  # noqa: F401 (known to json_format)

from crater_model.errors import ServingError
from crater_model.serving.core import Core
from crater_model.serving.rest_json import predict
from crater_model.serving.servable import RequestError
from crater_model.serving.service import metadata, status

_PATH = re.compile(r"/v1/models/(?P<model>[^/:]+)"
                   r"(?:/versions/(?P<version>\d{1,18})|/labels/(?P<label>[^/:]+))?"
                   r"(?P<what>/metadata|:predict)?")
# TF Serving's table; what is not in it is 500.
_HTTP = {grpc.StatusCode.INVALID_ARGUMENT: 400, grpc.StatusCode.NOT_FOUND: 404,
         grpc.StatusCode.OUT_OF_RANGE: 400, grpc.StatusCode.FAILED_PRECONDITION: 400,
         grpc.StatusCode.RESOURCE_EXHAUSTED: 429, grpc.StatusCode.CANCELLED: 499,
         grpc.StatusCode.DEADLINE_EXCEEDED: 504, grpc.StatusCode.UNIMPLEMENTED: 501,
         grpc.StatusCode.UNAVAILABLE: 503}
_FULL_BODY = json.dumps({"error": "too many connections (max_connections); try again later"})
_FULL = ("HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
         f"Content-Length: {len(_FULL_BODY)}\r\nConnection: close\r\nRetry-After: 1\r\n\r\n"
         f"{_FULL_BODY}").encode()


class RestServer:
    """HTTP server in a thread of its own, with a bounded number of connections."""

    def __init__(self, core: Core, host: str, port: int, metrics_path: str | None):
        handler = type("Handler", (_Handler,), {"core": core, "metrics_path": metrics_path})
        try:
            self._server = _Server((host, port), handler, core.limits.max_connections)
        except OSError as error:
            raise ServingError(f"{host}:{port}: cannot listen for REST there "
                               f"({error.strerror}); choose another --rest-port") from None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,),
                                        name="rest", daemon=True)

    def start(self) -> int:
        """Starts and gives the port."""
        self._thread.start()
        return self._server.server_address[1]

    def stop(self, grace_s: float) -> None:
        """Closes the port, lets requests end within `grace_s`, and closes connections."""
        self._server.stopping = True
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
        self._server.finish(grace_s)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address, handler, max_connections: int):
        self._max = max_connections
        self._connections: set[socket.socket] = set()
        self._busy, self._changed = 0, threading.Condition()
        self.stopping = False
        super().__init__(address, handler)

    def process_request(self, request, client_address):
        with self._changed:
            full = len(self._connections) >= self._max
            if not full:
                self._connections.add(request)
        if full:
            request.setblocking(False)
            with contextlib.suppress(OSError):
                request.send(_FULL)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        with self._changed:
            self._connections.discard(request)
        super().shutdown_request(request)

    def busy(self, step: int) -> None:
        """Counts a request that begins (1) or has ended (-1)."""
        with self._changed:
            self._busy += step
            self._changed.notify_all()

    def finish(self, grace_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, grace_s)
            for connection in self._connections:  # idle ones, or out of time
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    core: Core
    metrics_path: str | None
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds a silent connection may keep its thread
    disable_nagle_algorithm = True  # else headers and body wait for each other 40 ms

    def do_GET(self):
        self._answer("GET")

    def do_POST(self):
        self._answer("POST")

    def log_message(self, *_):
        pass

    def _answer(self, method: str) -> None:
        self.server.busy(1)
        try:
            try:
                body = self._body()
            except RequestError as error:
                self.close_connection = True  # what follows was not read
                code = 413 if error.code == grpc.StatusCode.RESOURCE_EXHAUSTED else 400
                self._send(code, json.dumps({"error": error.message}))
            else:
                self._send(*self._result(method, body))
        except OSError:  # the client has gone
            self.close_connection = True
        finally:
            self.server.busy(-1)

    def _result(self, method: str, body: bytes) -> tuple[int, str, str]:
        """HTTP code, text and kind of text."""
        kind = "application/json"
        try:
            if method == "GET" and self.path.split("?")[0] == self.metrics_path:
                return 200, self.core.metrics.text(), "text/plain; version=0.0.4"
            return 200, self._ask(method, body), kind
        except RequestError as error:
            return _HTTP.get(error.code, 500), json.dumps({"error": error.message}), kind
        except Exception as error:  # a defect must not look like a dropped connection
            return 500, json.dumps({"error": f"{type(error).__name__}: {error}"}), kind

    def _send(self, code: int, text: str, kind: str = "application/json") -> None:
        data = text.encode()
        self.close_connection |= self.server.stopping
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if code in (429, 503):
            self.send_header("Retry-After", "1")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> bytes:
        length, limit = self.headers.get("Content-Length", "0"), self.core.limits.max_request_mb
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                               "Transfer-Encoding chunked is not taken; send Content-Length")
        if not length.isdecimal():
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                               f"Content-Length {length!r}: expected a number")
        if int(length) > limit << 20:
            self._discard(int(length))
            raise RequestError(grpc.StatusCode.RESOURCE_EXHAUSTED,
                               f"the body has {int(length)} bytes, this server takes {limit} MiB "
                               "(max_request_mb); send fewer images a request")
        return self.rfile.read(int(length))

    def _discard(self, length: int, seconds: float = 10.0) -> None:
        """Reads for a while what is not taken: many clients read no answer before that."""
        end = time.monotonic() + seconds
        while length > 0 and time.monotonic() < end and (part := self.rfile.read1(1 << 20)):
            length -= len(part)

    def _ask(self, method: str, body: bytes) -> str:
        match = _PATH.fullmatch(self.path.split("?")[0])
        wanted = {"GET": (None, "/metadata"), "POST": (":predict",)}[method]
        if not match or match["what"] not in wanted:
            raise RequestError(grpc.StatusCode.NOT_FOUND,
                               f"Malformed request: {method} {self.path}")
        name, label = match["model"], match["label"]
        version = int(match["version"]) if match["version"] else None
        if match["what"] is None:
            return _json(status(self.core.models.model(name), version, label))
        if match["what"] == "/metadata":
            with self.core.models.model(name).lease(version, label) as loaded:
                return _json(metadata(loaded, name))
        with self.core.counted(name, "REST"):
            with self.core.models.model(name).lease(version, label) as loaded:
                return predict(loaded, body, lambda inputs, signature: (
                    self.core.predict(name, loaded, inputs, signature, gone=self._gone)))

    def _gone(self) -> bool:
        """Whether the client has closed the connection."""
        try:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True


def _json(message) -> str:
    return json_format.MessageToJson(message, preserving_proto_field_name=True,
                                     always_print_fields_with_no_presence=True)
