"""What `serving.py` runs in processes of its own: the models, the server, and the sides."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SIDE = 256
OLD_PLACES, OLD_MASK = 500, 33
MESSAGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def prepare(folder: str, model: str | None, craters: list[int], steps: int) -> dict:
    """The trained model as a SavedModel, and the models of `wire`, below `folder`/models."""
    from crater_model.annotations.dataset import load_dataset
    from crater_model.detector import Detector
    from crater_model.export import export_saved_model
    from crater_model.records.write import write_records
    from crater_model.synthesis import synthesize
    from crater_model.training import train

    root, models = Path(folder), Path(folder) / "models"
    synthesize(root / "terrain", 60, (SIDE, SIDE), seed=3, empty_share=0.0)
    if model is None:
        write_records(root / "terrain", root / "records")
        model = root / "trained"
        train(root / "records", model, "demo", {
            "trainer.train_steps": steps, "trainer.validation_interval": steps,
            "task.model.detection_generator.pre_nms_score_threshold": 0.001})
    export_saved_model(model, models / "crater", 1)
    data = load_dataset(root / "terrain")
    found = Detector.load(model).detect([data.encoded_image(scene) for scene in data.scenes[:16]])
    masks = [mask for detections in found for mask in detections.masks]
    for count in craters:
        repeated = [masks[i % len(masks)] for i in range(count)]
        write_ours(models / f"ours_{count}", repeated)
        places = [masks[i % len(masks)] for i in range(OLD_PLACES)]
        write_old(models / f"old_{count}", places, count)
    names = sorted(path.name for path in models.iterdir() if path.is_dir())
    (root / "models.config").write_text("model_config_list {\n" + "".join(
        f'  config {{ name: "{name}" base_path: "{models / name}" model_platform: "tensorflow" }}\n'
        for name in names) + "}\n")
    return {"model": str(model), "masks_of_the_model": len(masks)}


def write_ours(folder: Path, masks: list) -> None:
    """A model of the project's contract that finds these masks in every image."""
    import numpy as np
    import tensorflow as tf

    count = len(masks)
    boxes = np.random.default_rng(0).uniform(0, SIDE, (count, 4)).astype(np.float32)
    scores = np.linspace(0.99, 0.05, count, dtype=np.float32)
    # Variables, as a constant would be folded into the graph's text.
    held = tf.Module()
    held.values = {"detection_boxes": tf.Variable(boxes), "detection_scores": tf.Variable(scores),
                   "detection_classes": tf.Variable(np.ones(count, np.int64)),
                   "detection_masks": tf.Variable(np.stack(masks))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def serve(image_bytes):
        images = tf.map_fn(lambda data: tf.io.decode_image(data, 3, expand_animations=False)[0, 0],
                           image_bytes, fn_output_signature=tf.uint8)
        batch = tf.shape(images)[:1]
        values = {name: tf.tile(value[tf.newaxis], tf.concat([batch, [1] * value.shape.rank], 0))
                  for name, value in held.values.items()}
        return {**values, "num_detections": tf.fill(batch, count)}

    tf.saved_model.save(held, str(folder / "1"), signatures=serve)


def write_old(folder: Path, masks: list, count: int) -> None:
    """A model with the old system's outputs: `masks` in all places, `count` of them found."""
    import cv2
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(0)
    scores = np.zeros(OLD_PLACES, np.float32)
    scores[:count] = np.linspace(0.99, 0.05, count, dtype=np.float32)
    boxes = rng.uniform(0, 1, (OLD_PLACES, 4)).astype(np.float32)
    boxes[count:] = 0.0
    # Probabilities between those of the 8 bits that ours are kept in, as a network gives them.
    floats = [np.clip((cv2.resize(mask, (OLD_MASK, OLD_MASK)).astype(np.float32)
                       + rng.uniform(0, 1, (OLD_MASK, OLD_MASK))) / 256.0, 0, 1) for mask in masks]
    held = tf.Module()
    held.values = {"detection_boxes": tf.Variable(boxes), "detection_scores": tf.Variable(scores),
                   "detection_classes": tf.Variable((scores > 0).astype(np.float32)),
                   "detection_masks": tf.Variable(np.stack(floats).astype(np.float32))}

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8, "inputs")])
    def serve(inputs):
        values = {name: value[tf.newaxis] + 0 for name, value in held.values.items()}
        return {**values, "num_detections": tf.fill(tf.shape(inputs)[:1], float(count))}

    tf.saved_model.save(held, str(folder / "1"), signatures=serve)


@contextmanager
def server(folder: str, *flags: str) -> Iterator[tuple[int, int]]:
    """The server's process over all models below `folder`; gives its gRPC and REST ports."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    port, rest = free_port(), free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "crater_model.serving", f"--port={port}",
         f"--rest_api_port={rest}", f"--model_config_file={folder}/models.config",
         "--enable_grpc_healthcheck_service", "--enable_batching", *flags],
        stderr=subprocess.DEVNULL, env=os.environ | {"CRATER_SERVING_HOST": "127.0.0.1"})
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=120)
        yield port, rest
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


class Counter:
    """A TCP proxy on loopback that counts the bytes of both directions."""

    def __init__(self, port: int):
        self.bytes_out = self.bytes_in = 0
        self._target = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._socket.accept()
            behind = socket.create_connection(("127.0.0.1", self._target))
            for a, b, name in ((client, behind, "bytes_out"), (behind, client, "bytes_in")):
                threading.Thread(target=self._pass, args=(a, b, name), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, name: str) -> None:
        while data := source.recv(1 << 16):
            # Before they are passed on: whoever has the answer reads the whole count.
            setattr(self, name, getattr(self, name) + len(data))
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def wire(folder: str, craters: list[int], repeats: int) -> dict:
    """Bytes and latency of a tile on each side, for each number of craters."""
    import numpy as np

    from crater_model.imagery.pixels import decode_image

    png = tile_bytes(folder)[0]
    pixels = np.asarray(decode_image(png, "tile"))
    pixels = np.repeat(pixels[..., np.newaxis], 3, axis=2) if pixels.ndim == 2 else pixels
    found = {str(count): {} for count in craters}

    def take(name: str, count: int, ask, port: int, times: int) -> None:
        found[str(count)][name] = way(ask, port, times)

    with server(folder) as (port, rest_port):
        for count in craters:
            take("grpc", count, lambda p: grpc_tile(p, f"ours_{count}", png), port, repeats)
            take("rest", count, lambda p: rest_tile(p, f"ours_{count}", encoded_request(png)),
                 rest_port, max(3, repeats // 10))
            body = json.dumps({"instances": [pixels.tolist()]})
            take("old", count, lambda p: rest_tile(p, f"old_{count}", lambda: body), rest_port,
                 max(3, repeats // 10))
            found[str(count)]["old"]["bytes_as_tf_serving_writes"] = len(body) + as_tf_serving(
                rest_tile(rest_port, f"old_{count}", lambda: body)())
    with server(folder, "--grpc_channel_arguments=grpc.default_compression_algorithm=2") as (
            port, _):
        for count in craters:
            take("grpc_gzip", count, lambda p: grpc_tile(p, f"ours_{count}", png), port, repeats)
    return found


def as_tf_serving(outputs: dict) -> int:
    """Bytes of these float outputs in TF Serving's own JSON.

    It writes a float32 with six digits, or with nine where six do not give it back, and ", "
    between the values of a list (tensorflow_serving/util/json_tensor.cc).
    """
    import numpy as np

    def number(value: np.float32) -> str:
        text = f"{value:.6g}"
        text = text if np.float32(text) == value else f"{value:.9g}"
        return text if "." in text or "e" in text else f"{text}.0"

    def written(array) -> int:
        if array.ndim == 0:
            return len(number(array[()]))
        return sum(map(written, array)) + 2 * len(array)  # the brackets and ", "

    return sum(len(name) + 4 + written(np.asarray(array, np.float32))
               for name, array in outputs.items())


def way(ask: Callable[[int], Callable[[], object]], port: int, repeats: int) -> dict:
    """Bytes of one request after the first, by way of the proxy, and latencies without it."""
    counter = Counter(port)
    request = ask(counter.port)
    request()  # the connection's own bytes, once for all tiles, do not count
    before = (counter.bytes_out, counter.bytes_in)
    request()
    time.sleep(0.2)  # what gRPC sends after the answer
    out, back = counter.bytes_out - before[0], counter.bytes_in - before[1]
    request = ask(port)
    request()
    return {"bytes": out + back, "bytes_out": out, "bytes_back": back,
            **quantiles([timed(request) for _ in range(repeats)])}


def grpc_tile(port: int, model: str, png: bytes) -> Callable[[], dict]:
    """One tile through TF Serving's own stubs, its answer as arrays."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=MESSAGE)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def ask() -> dict:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([png], tf.string))
        answer = stub.Predict(request, timeout=60)
        return {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}

    return ask


def rest_tile(port: int, model: str, body: Callable[[], str]) -> Callable[[], dict]:
    """One tile as JSON over one connection that is kept, its answer as arrays."""
    import numpy as np
    import requests

    session = requests.Session()

    def ask() -> dict:
        answer = session.post(f"http://127.0.0.1:{port}/v1/models/{model}:predict", data=body())
        answer.raise_for_status()
        row = answer.json()["predictions"][0]
        return {name: np.asarray(value) for name, value in row.items()}

    return ask


def encoded_request(png: bytes) -> Callable[[], str]:
    """The JSON body that sends a PNG."""
    import base64

    return lambda: json.dumps({"instances": [{"b64": base64.b64encode(png).decode()}]})


def overhead(folder: str, repeats: int) -> dict:
    """A tile through the server and in this process, in turn."""
    import tensorflow as tf

    loaded = tf.saved_model.load(f"{folder}/models/crater/1")
    signature, tiles = loaded.signatures["serving_default"], tile_bytes(folder)
    bare, served = [], []
    with server(folder) as (port, _):
        asks = [grpc_tile(port, "crater", png) for png in tiles]

        def run_bare(png: bytes) -> dict:
            outputs = signature(image_bytes=tf.constant([png]))
            return {name: value.numpy() for name, value in outputs.items()}

        for number in range(repeats + 10):
            png, ask = tiles[number % len(tiles)], asks[number % len(tiles)]
            times = timed(lambda: run_bare(png)), timed(ask)
            if number >= 10:
                bare.append(times[0])
                served.append(times[1])
    found = {"bare": quantiles(bare), "grpc": quantiles(served)}
    found["overhead_p50_ms"] = round(found["grpc"]["p50_ms"] - found["bare"]["p50_ms"], 2)
    return found


def throughput(folder: str, tiles: int) -> dict:
    """Tiles a second through our client with so many on the way."""
    from crater_model.serving.client import Client

    images = tile_bytes(folder)
    found = {}
    with server(folder) as (port, _):
        for flight in (1, 8, 32):
            with Client(f"127.0.0.1:{port}", max_batch=1, concurrency=flight) as client:
                client.detect(images[:flight])
                started = time.perf_counter()
                count = sum(1 for _ in client.stream(images[i % len(images)]
                                                     for i in range(tiles)))
                seconds = time.perf_counter() - started
            found[str(flight)] = {"tiles": count, "tiles_per_second": round(count / seconds, 2)}
    return found


def tile_bytes(folder: str) -> list[bytes]:
    """PNG bytes of rendered tiles."""
    from crater_model.annotations.dataset import load_dataset

    data = load_dataset(Path(folder) / "terrain")
    return [data.encoded_image(scene) for scene in data.scenes[:16]]


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def quantiles(seconds: list[float]) -> dict:
    """p50 and p99 in ms."""
    ordered = sorted(seconds)
    return {"p50_ms": round(1e3 * statistics.median(ordered), 2),
            "p99_ms": round(1e3 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 2),
            "requests": len(ordered)}


TASKS = {"prepare": prepare, "wire": wire, "overhead": overhead, "throughput": throughput}
