"""A local server that speaks TF Serving's gRPC and REST APIs, on plain TensorFlow.

For a laptop, for tests, and wherever TF Serving's own binary is not at hand. It has no
request batching and serves the versions that stood there when it started; for production
build the image (`crater image build`), whose TF Serving answers the same clients.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from crater_model.errors import ServingError
from crater_model.serving.models import Model
from crater_model.serving.rest import RestServer
from crater_model.serving.service import Models, ModelService, PredictionService
from crater_model.serving.versions import version_folders

MAX_MESSAGE_BYTES = 2**31 - 1  # TF Serving's own limit; gRPC's default is 4 MiB
_SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")


class Server:
    """gRPC and REST over a set of models.

    Use it as a context manager, or call `start`, `wait` and `stop`.

    Attributes:
      grpc_port, rest_port: the ports in use, known after `start`; rest_port is None
        when REST is off.
    """

    def __init__(self, models: Iterable[Model], *, grpc_port: int = 8500,
                 rest_port: int | None = 8501, host: str = "127.0.0.1",
                 enable_health: bool = True, threads: int = 8):
        """
        Args:
          models: what to serve; `start` loads them.
          grpc_port, rest_port: 0 picks a free port; rest_port None turns REST off.
          host: the address to listen on; 0.0.0.0 for every interface.
          enable_health: offer grpc.health.v1, for probes.
          threads: gRPC requests handled at the same time.
        """
        self.host, self.grpc_port, self.rest_port = host, grpc_port, rest_port
        self.models = Models({model.name: model for model in models})
        self._health = health.HealthServicer() if enable_health else None
        self._threads = threads
        self._grpc = self._rest = None

    @classmethod
    def of(cls, saved_model_dir: str | Path, model_name: str = "crater", **options) -> Server:
        """A server of one model: a version folder or the parent of several.

        The newest version is labelled "stable", as in the serving image.
        """
        versions = version_folders(saved_model_dir)
        return cls([Model(model_name, versions, {"stable": max(versions)})], **options)

    def start(self) -> Server:
        """Loads and warms up the models, then opens the ports.

        Raises:
          ServingError: no version of a model loads, or a port is taken.
        """
        for model in self.models:
            model.load()
        self._grpc = grpc.server(
            ThreadPoolExecutor(self._threads, "grpc"),
            options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                     ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                     ("grpc.so_reuseport", 0)])  # else two servers share a port unseen
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(self.models), self._grpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(self.models), self._grpc)
        if self._health:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
            for service in _SERVICES:
                self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        try:
            self.grpc_port = self._listen()
            if self.rest_port is not None:
                self._rest = RestServer(self.models, self.host, self.rest_port)
                self.rest_port = self._rest.start()
            self._grpc.start()
        except BaseException:
            self.stop(grace_s=0)
            raise
        return self

    def _listen(self) -> int:
        try:
            port = self._grpc.add_insecure_port(f"{self.host}:{self.grpc_port}")
        except RuntimeError:
            port = 0
        if not port:
            raise ServingError(f"{self.host}:{self.grpc_port}: cannot listen for gRPC there; "
                               "is another server running? choose another --grpc-port")
        return port

    def wait(self) -> None:
        """Blocks until the server has stopped."""
        self._grpc.wait_for_termination()

    def stop(self, grace_s: float = 10.0) -> None:
        """Turns new requests away, lets the running ones end within `grace_s`, and stops."""
        if self._health:
            self._health.enter_graceful_shutdown()
        if self._rest:
            self._rest.stop()
            self._rest = None
        if self._grpc:
            self._grpc.stop(grace_s).wait()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_) -> None:
        self.stop()


def serve(saved_model_dir: str | Path, grpc_port: int = 8500, rest_port: int | None = 8501,
          host: str = "127.0.0.1", model_name: str = "crater") -> None:
    """Serves a SavedModel until SIGTERM or Ctrl-C, then stops gracefully.

    Raises:
      ServingError: nothing to serve there, or a port is taken.
    """
    run(Server.of(saved_model_dir, model_name, grpc_port=grpc_port, rest_port=rest_port,
                  host=host))


def run(server: Server) -> None:
    """Starts `server` and keeps it until a signal; call it in the main thread."""
    asked = threading.Event()
    handlers = {kind: signal.signal(kind, lambda *_: asked.set())
                for kind in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.start()
        names = ", ".join(f"{model.name} {[number for number, *_ in model.states()]}"
                          for model in server.models)
        ports = f"gRPC on {server.host}:{server.grpc_port}"
        if server.rest_port is not None:
            ports += f", REST on http://{server.host}:{server.rest_port}"
        print(f"serving {names}: {ports}", file=sys.stderr, flush=True)
        asked.wait()
        print("stopping", file=sys.stderr, flush=True)
    finally:
        server.stop()
        for kind, handler in handlers.items():
            signal.signal(kind, handler)
