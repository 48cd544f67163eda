"""TF Serving's REST API: model status, metadata and predict, and metrics for Prometheus.

Paths are those of https://www.tensorflow.org/tfx/serving/api_rest, and codes those of
http_rest_api_handler.cc. JSON is for a look by hand and for tools without gRPC; masks as JSON
numbers are some three times the bytes, so programs should use gRPC.

HTTP itself (connections kept alive, bodies in pieces and in gzip, what waits in a socket) is
aiohttp's; this module maps a path to an answer. A connection that is only open costs no thread.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

import grpc
from aiohttp import web
from google.protobuf import json_format

from crater_model.errors import ServingError
from crater_model.serving.addresses import bound_socket
from crater_model.serving.core import Core
from crater_model.serving.rest_json import predict
from crater_model.serving.servable import RequestError
from crater_model.serving.service import metadata, status

_OURS = re.compile(r"(?i)/v1/.*")  # what lies beside it is not found, in HTML
_VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_ASK = re.compile(r"(?i)/v1/models/(?P<model>[^/:]+)" + _VERSION
                  + r":(?P<what>classify|regress|predict)")
_LOOK = re.compile(r"(?i)/v1/models(?:/(?P<model>[^/:]+))?" + _VERSION + r"(?P<what>/metadata)?")
# TF Serving's table (http_server.cc); what is not in it is 500.
_HTTP = {grpc.StatusCode.INVALID_ARGUMENT: 400, grpc.StatusCode.NOT_FOUND: 404,
         grpc.StatusCode.OUT_OF_RANGE: 400, grpc.StatusCode.FAILED_PRECONDITION: 400,
         grpc.StatusCode.RESOURCE_EXHAUSTED: 429, grpc.StatusCode.CANCELLED: 499,
         grpc.StatusCode.DEADLINE_EXCEEDED: 504, grpc.StatusCode.UNIMPLEMENTED: 501,
         grpc.StatusCode.UNAVAILABLE: 503}
_LARGEST_VERSION = 2**63 - 1
_BODY_S = 60.0  # for a body to arrive
_IDLE_S = 75.0  # for a connection that is only open


class RestServer:
    """HTTP server on an event loop in a thread of its own."""

    def __init__(self, core: Core, host: str, port: int, metrics_path: str | None,
                 timeout_s: float):
        """
        Args:
          timeout_s: what a predict request may take.

        Raises:
          ServingError: the port cannot be listened on.
        """
        self._core, self._metrics_path, self._timeout_s = core, metrics_path, timeout_s
        try:
            self._socket = bound_socket(host, port)
        except OSError as error:
            raise ServingError(f"{host}:{port}: cannot listen for REST there "
                               f"({error.strerror}); choose another --rest-port") from None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rest", daemon=True)
        # Predict requests wait in threads of their own: a look is answered meanwhile.
        self._asking = ThreadPoolExecutor(core.limits.max_posts, "rest-predict")
        self._looking = ThreadPoolExecutor(4, "rest-look")
        self._posts = 0
        self._stopping = False

    def start(self) -> int:
        """Starts and gives the port."""
        self._thread.start()
        self._wait_for(self._listen())
        return self._socket.getsockname()[1]

    def stop(self, grace_s: float) -> None:
        """Closes the port, lets requests end within `grace_s`, and closes connections."""
        if not self._thread.is_alive():
            self._socket.close()
            return
        self._stopping = True
        self._wait_for(self._close(grace_s))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._asking.shutdown(wait=False, cancel_futures=True)
        self._looking.shutdown(wait=False, cancel_futures=True)

    def _wait_for(self, work) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        self._connections = web.Server(self._answer, handler_cancellation=True, access_log=None,
                                       keepalive_timeout=_IDLE_S)
        self._port = await self._loop.create_server(self._connections, sock=self._socket,
                                                    backlog=1024)

    async def _close(self, grace_s: float) -> None:
        self._port.close()
        await asyncio.sleep(0)  # what has just come in begins before idle connections close
        self._connections.pre_shutdown()
        await self._connections.shutdown(grace_s)

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        path, method = request.rel_url.raw_path_qs, request.method
        if path.split("?")[0] == self._metrics_path:
            if path != self._metrics_path:
                return _plain(400, f"Unexpected path: {path}. Should be {self._metrics_path}")
            return _plain(200, self._core.metrics.text(), version="0.0.4")
        if not _OURS.fullmatch(path):
            return web.Response(status=404, content_type="text/html",
                                text="<html><title>404 Not Found</title><h1>Not Found</h1></html>")
        if method == "OPTIONS":  # a browser's question before it asks
            asked = re.search("https?://", request.headers.get("Origin", ""))
            return web.Response(status=200 if asked else 400)
        try:
            if method == "POST":
                return self._json(200, await self._asked(request, path))
            return self._json(200, await self._in(self._looking, self._look, method, path))
        except RequestError as error:
            return self._failed(_HTTP.get(error.code, 500), error.message)
        except _TooLarge as error:
            return self._failed(413, str(error))
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:  # a defect must not look like a dropped connection
            return self._failed(500, f"{type(error).__name__}: {error}")

    async def _asked(self, request: web.BaseRequest, path: str) -> bytes:
        if self._posts >= self._core.limits.max_posts:
            raise RequestError(grpc.StatusCode.UNAVAILABLE,
                               f"{self._posts} requests are read, wait or run (max_posts); try "
                               "again later")
        self._posts += 1
        gone = threading.Event()
        try:
            body = await self._body(request)
            return await self._in(self._asking, self._predict, path, body, gone)
        finally:  # also where the client has closed the connection
            gone.set()
            self._posts -= 1

    def _in(self, threads: ThreadPoolExecutor, work, *arguments):
        return self._loop.run_in_executor(threads, work, *arguments)

    async def _body(self, request: web.BaseRequest) -> bytes:
        most, parts, size = self._core.limits.max_request_mb, [], 0
        try:
            async with asyncio.timeout(_BODY_S):
                while part := await request.content.readany():
                    size += len(part)
                    if size > most << 20:
                        raise _TooLarge(f"the body has over {most} MiB (max_request_mb), unpacked "
                                        "where it is in gzip; send fewer images a request")
                    parts.append(part)
        except TimeoutError:
            raise RequestError(grpc.StatusCode.DEADLINE_EXCEEDED,
                               f"the body has not come within {_BODY_S:g} s") from None
        except web.RequestPayloadError as error:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                               f"the body cannot be read: {error}") from None
        return b"".join(parts)

    def _predict(self, path: str, body: bytes, gone: threading.Event) -> bytes:
        name, version, label, what = _parts(_ASK, "POST", path)
        if what != "predict":
            raise RequestError(grpc.StatusCode.UNIMPLEMENTED,
                               f"{what} is not offered here; use predict")
        core = self._core
        with core.counted(name, "REST"):
            with core.models.lease(name, version, label) as loaded:
                return predict(loaded, body, lambda inputs, signature: core.predict(
                    name, loaded, inputs, signature, gone=gone.is_set,
                    timeout_s=self._timeout_s))

    def _look(self, method: str, path: str) -> bytes:
        if method != "GET":
            raise _malformed(method, path)
        name, version, label, what = _parts(_LOOK, method, path)
        if not name:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                               "Missing model name in request.")
        if not what:
            return _text(_fields(status(self._core.models, name, version)))
        with self._core.models.lease(name, version, label) as loaded:
            answer = _fields(metadata(loaded, name))
        del answer["metadata"]["signature_def"]["@type"]  # TF Serving unpacks it by hand
        return _text(answer)

    def _json(self, code: int, text: bytes) -> web.Response:
        answer = web.Response(status=code, body=text, content_type="application/json")
        if self._stopping:
            answer.force_close()
        if code in (429, 503):
            answer.headers["Retry-After"] = "1"
        return answer

    def _failed(self, code: int, reason: str) -> web.Response:
        return self._json(code, _text({"error": reason}))


class _TooLarge(Exception):
    """A body over the limit."""


def _parts(pattern: re.Pattern, method: str, path: str):
    """(model or None, version or None, label or None, what is asked) of a path."""
    match = pattern.fullmatch(path)
    if not match:
        raise _malformed(method, path)
    version = int(match["version"]) if match["version"] else None
    if version is not None and version > _LARGEST_VERSION:
        raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                           f"Failed to convert version: {version} to numeric.")
    return (match["model"] and unquote(match["model"]), version,
            match["label"] and unquote(match["label"]), (match["what"] or "").lower())


def _malformed(method: str, path: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, f"Malformed request: {method} {path}")


def _plain(code: int, text: str, **parameters: str) -> web.Response:
    kind = "; ".join(["text/plain", *(f"{key}={value}" for key, value in parameters.items())])
    return web.Response(status=code, body=text.encode(), headers={"Content-Type": kind})


def _fields(message) -> dict:
    return json_format.MessageToDict(message, preserving_proto_field_name=True,
                                     always_print_fields_with_no_presence=True)


def _text(value: dict) -> bytes:
    return json.dumps(value, indent=1).encode()
