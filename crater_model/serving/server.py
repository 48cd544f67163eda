"""A local server that speaks TF Serving's gRPC and REST APIs, on plain TensorFlow.

For development, for tests, and for machines without Docker. It batches, loads new versions
while it serves, and bounds what a request may cost; it is Python, so for production build
the image (`crater image build`), whose TF Serving answers the same clients.

Its measure are the sources of TF Serving 2.20.0 (commit bc7e9d2b9a41). Codes, encodings, forms
of JSON, names of health and the rules of joining are theirs, and so are the words of a refusal
that a client may act on. What differs:

| | TF Serving | here |
|---|---|---|
| other refusals | its own words | the same code; says what was found and what is expected |
| size of a request | up to 2 GiB | `Limits`: RESOURCE_EXHAUSTED, over REST 413 |
| images | also GIF and BMP; limits only those in the graph | PNG and JPEG, whole; `Limits` |
| gRPC calls at a time | wait for a thread | as many as can wait or run, then RESOURCE_EXHAUSTED |
| REST requests at a time | wait for a thread | `Limits.max_posts`, then 503 |
| full queue | counted in batches | counted in requests; the same answer |
| a lone request | waits `batch_timeout_micros` for others | does not wait |
| Classify, Regress, MultiInference, ReloadConfig | answered | UNIMPLEMENTED |
| newest version cannot be loaded | tried six times | the one before is served |
| the last version's folder vanishes | it is unloaded | it goes on being served |
| a version that a label names is not there | it starts without | it does not start |
| SIGTERM | no handler: it ends at once | running and waiting requests end first |
| NaN and infinity in answers over REST | NaN, Infinity | null |
| JSON that names a key twice | the first counts | the last counts |
| JSON nested very deep | read, then walked by recursion | 400 |
| metrics | some dozens | requests and their times, under the same names |
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from crater_model.errors import ServingError
from crater_model.serving.addresses import bound_socket, written
from crater_model.serving.core import Core
from crater_model.serving.encoding import as_content, as_fields
from crater_model.serving.labels import can_be_joined
from crater_model.serving.models import NEWEST, Model, Models
from crater_model.serving.rest import RestServer
from crater_model.serving.service import ModelService, PredictionService
from crater_model.serving.settings import (
    METRICS_PATH,
    POLL_SECONDS,
    REST_TIMEOUT_S,
    Batching,
    Limits,
)
from crater_model.serving.versions import Policy, version_folders
from crater_model.serving.watching import Watcher

GRACE_S = 25.0  # Kubernetes kills after 30 s
_MAX_MESSAGE_BYTES = 2**31 - 1  # of answers, as TF Serving; gRPC's default is 4 MiB
_OTHER_CALLS = 8  # gRPC threads besides those of waiting and running Predict requests
_SERVICES = ("", "ModelService", "PredictionService")  # server.cc


class Server:
    """gRPC and REST over a set of models.

    Use it as a context manager, or call `start`, `wait` and `stop`.

    Attributes:
      grpc_port, rest_port: the ports in use, known after `start`; rest_port is None
        when REST is off.
    """

    def __init__(self, models: Iterable[Model], *, grpc_port: int = 8500,
                 rest_port: int | None = 8501, host: str = "127.0.0.1",
                 enable_health: bool = True, batching: Batching = Batching(),
                 limits: Limits = Limits(), poll_s: float = POLL_SECONDS,
                 metrics_path: str | None = METRICS_PATH,
                 rest_timeout_s: float = REST_TIMEOUT_S, tensor_content: bool = False,
                 channel_arguments: Mapping[str, int | str] | None = None):
        """
        Args:
          models: what to serve; `start` loads them.
          grpc_port, rest_port: 0 picks a free port; rest_port None turns REST off.
          host: the address to listen on; 0.0.0.0 for every interface.
          enable_health: offer grpc.health.v1, for probes.
          batching, limits: how requests are joined, and what is refused.
          poll_s: seconds between two looks for new versions; 0: only at the start.
          metrics_path: where the REST port shows Prometheus metrics; None: nowhere.
          rest_timeout_s: how long a predict request over REST may take.
          tensor_content: gRPC's answers hold bytes and not numbers, as TF Serving's under
            --enable_serialization_as_tensor_content.
          channel_arguments: gRPC's own settings, such as `settings.COMPRESSED`.

        Raises:
          ServingError: both REST and `tensor_content` are asked for.
        """
        if tensor_content and rest_port is not None:
            raise ServingError("enable_serialization_as_tensor_content: with it TF Serving is "
                               "taken down by the first predict request over REST, whose answer is "
                               "made of the fields that it leaves empty; leave out one of the two")
        self.host, self.grpc_port, self.rest_port = host, grpc_port, rest_port
        self.models = Models({model.name: model for model in models})
        self._health = health.HealthServicer() if enable_health else None
        self._batching, self._limits = batching, limits
        self._poll_s, self._metrics_path = poll_s, metrics_path
        self._rest_timeout_s = rest_timeout_s
        self._write = as_content if tensor_content else as_fields
        self._channel_arguments = dict(channel_arguments or {})
        self._grpc: grpc.Server | None = None
        self._rest: RestServer | None = None
        self._core: Core | None = None
        self._watcher: Watcher | None = None

    @classmethod
    def of(cls, saved_model_dir: str | Path, model_name: str = "crater", keep_versions: int = 1,
           **options) -> Server:
        """A server of one model: a version folder or the parent of several.

        The newest `keep_versions` are served. The labels "stable" and "canary" mean the newest
        that is loaded. Requests are not joined where the newest model's card says so.
        """
        if not can_be_joined(max(version_folders(saved_model_dir).items())[1]):
            options["batching"] = replace(options.get("batching", Batching()), max_batch_size=1)
        return cls([Model(model_name, saved_model_dir, Policy(keep_versions),
                          {"stable": NEWEST, "canary": NEWEST})], **options)

    def start(self) -> Server:
        """Loads and warms up the models, then opens the ports.

        Raises:
          ServingError: no version of a model loads, or a port is taken.
        """
        for model in self.models:
            model.load()
        self._core = core = Core(self.models, self._batching, self._limits)
        self._grpc = listening = self._grpc_server(core)
        try:
            self.grpc_port = self._listen(listening)
            if self.rest_port is not None:
                self._rest = RestServer(core, self.host, self.rest_port,
                                        self._metrics_path, self._rest_timeout_s)
                self.rest_port = self._rest.start()
            listening.start()
            if self._poll_s > 0:
                self._watcher = Watcher(self.models, self._poll_s)
                self._watcher.start()
        except BaseException:
            self.stop(grace_s=0)
            raise
        return self

    def _grpc_server(self, core: Core) -> grpc.Server:
        # Each request that waits holds a thread: so many and no more, the rest is refused.
        calls = self._batching.max_queued + self._batching.num_batch_threads + _OTHER_CALLS
        server = grpc.server(
            ThreadPoolExecutor(calls, "grpc"), maximum_concurrent_rpcs=calls,
            options=[("grpc.max_receive_message_length",
                      min(self._limits.max_request_mb << 20, _MAX_MESSAGE_BYTES)),
                     ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
                     ("grpc.so_reuseport", 0),  # else two servers share a port unseen
                     *self._channel_arguments.items()])
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(core, self._write), server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(self.models), server)
        if self._health:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
            for service in _SERVICES:
                self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return server

    def _listen(self, server: grpc.Server) -> int:
        address = written(self.host, self.grpc_port)
        try:
            return server.add_insecure_port(address)
        except RuntimeError:  # it does not say why
            pass
        try:
            bound_socket(self.host, self.grpc_port).close()
            reason = "gRPC cannot use it"
        except OSError as error:
            reason = error.strerror or str(error)
        raise ServingError(f"{address}: cannot listen for gRPC there ({reason}); choose another "
                           "--grpc-port or --host")

    def wait(self) -> None:
        """Blocks until the server has stopped."""
        assert self._grpc is not None, "it has not been started"
        self._grpc.wait_for_termination()

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Turns new requests away, lets those that run or wait end within `grace_s`, and stops.

        Health says NOT_SERVING first. A run of the model that has begun is not broken off.
        """
        end = time.monotonic() + grace_s
        if self._watcher:
            self._watcher.stop()
        if self._health:
            self._health.enter_graceful_shutdown()
        stopped = self._grpc.stop(grace_s) if self._grpc else None
        if self._rest:
            self._rest.stop(grace_s)
            self._rest = None
        if stopped:
            stopped.wait(max(0.0, end - time.monotonic()) + 1.0)
        if self._core:
            self._core.batcher.close()
        if self._watcher:
            self._watcher.join()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_) -> None:
        self.stop()


def serve(saved_model_dir: str | Path, grpc_port: int = 8500, rest_port: int | None = 8501,
          host: str = "127.0.0.1", model_name: str = "crater", **options) -> None:
    """Serves a SavedModel until SIGTERM or Ctrl-C, then stops gracefully.

    Args:
      options: `keep_versions`, `batching`, `limits`, as `Server.of` and `Server` take them.

    Raises:
      ServingError: nothing to serve there, or a port is taken.
    """
    run(Server.of(saved_model_dir, model_name, grpc_port=grpc_port, rest_port=rest_port,
                  host=host, **options))


def run(server: Server) -> None:
    """Starts `server` and keeps it until a signal; call it in the main thread."""
    asked = threading.Event()
    handlers = {kind: signal.signal(kind, lambda *_: asked.set())
                for kind in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.start()
        names = ", ".join(f"{model.name} {model.available()}"
                          for model in server.models)
        ports = f"gRPC on {written(server.host, server.grpc_port)}"
        if server.rest_port is not None:
            ports += f", REST on http://{written(server.host, server.rest_port)}"
        print(f"serving {names}: {ports}", file=sys.stderr, flush=True)
        asked.wait()
        print("stopping", file=sys.stderr, flush=True)
    finally:
        server.stop()
        for kind, handler in handlers.items():
            signal.signal(kind, handler)
