"""Servers that fail as told, before a real one."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryFile

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

FORWARD = Path(__file__).with_name("forward.py")
FORGETFUL = Path(__file__).with_name("forgetful_proxy.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class FaultyServer:
    """A gRPC server that passes requests on to a real one; `fault(number, context)` is called
    before each Predict (numbers from 1) and may abort or wait."""

    def __init__(self, target: int, fault: Callable = lambda number, context: None, *,
                 with_health: bool = True, port: int = 0, options=()):
        self.predicts = self.checks = self.metadatas = self.statuses = self.most = 0
        self._fault, self._now, self._lock = fault, 0, threading.Lock()
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{target}", [("grpc.max_receive_message_length", -1)])
        self._server = grpc.server(ThreadPoolExecutor(8),
                                   options=[("grpc.so_reuseport", 0), *options])
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            self._prediction(), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self._models(), self._server)
        if with_health:
            health_pb2_grpc.add_HealthServicer_to_server(self._health(), self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.endpoint = f"127.0.0.1:{self.port}"

    def __enter__(self) -> FaultyServer:
        self._server.start()
        return self

    def __exit__(self, *_) -> None:
        self._server.stop(0).wait()
        self._channel.close()

    @contextlib.contextmanager
    def _counted(self):
        with self._lock:
            self.predicts += 1
            self._now += 1
            self.most = max(self.most, self._now)
            number = self.predicts
        try:
            yield number
        finally:
            with self._lock:
                self._now -= 1

    def _prediction(outer):  # noqa: N805 (`self` is the inner one)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(outer._channel)

        class Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
            def Predict(self, request, context):  # noqa: N802
                with outer._counted() as number:
                    outer._fault(number, context)
                    try:
                        return stub.Predict(request, timeout=30)
                    except grpc.RpcError as error:
                        context.abort(error.code(), error.details())

            def GetModelMetadata(self, request, context):  # noqa: N802
                outer.metadatas += 1
                return stub.GetModelMetadata(request, timeout=30)

        return Prediction()

    def _models(outer):  # noqa: N805
        stub = model_service_pb2_grpc.ModelServiceStub(outer._channel)

        class Models(model_service_pb2_grpc.ModelServiceServicer):
            def GetModelStatus(self, request, context):  # noqa: N802
                outer.statuses += 1
                return stub.GetModelStatus(request, timeout=30)

        return Models()

    def _health(outer):  # noqa: N805
        class Health(health.HealthServicer):
            def Check(self, request, context):  # noqa: N802
                outer.checks += 1
                return super().Check(request, context)

        servicer = Health()
        servicer.set("", health_pb2.HealthCheckResponse.SERVING)
        return servicer


class Forwarder:
    """A process that passes the bytes of TCP connections on to a real server: killed, it takes
    its connections along; stopped, it takes connections and answers none."""

    script = FORWARD

    def __init__(self, target: int, *arguments: Path | str):
        self.port = free_port()
        self._arguments = [str(self.port), str(target), *map(str, arguments)]
        self.endpoint = f"127.0.0.1:{self.port}"
        self._said = TemporaryFile()
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", str(self.script), *self._arguments], stdout=self._said)
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert time.monotonic() < deadline and self._process.poll() is None
            time.sleep(0.02)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def hang(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Forwarder:
        return self

    def __exit__(self, *_) -> None:
        self.kill()
        self._said.close()


class ForgetfulProxy(Forwarder):
    """A Forwarder that forgets connections without telling either side: arguments "--idle" or
    "--age", and the seconds."""

    script = FORGETFUL

    @property
    def forgotten(self) -> int:
        """Connections on which something was lost."""
        self._said.seek(0)
        return len(self._said.readlines())
