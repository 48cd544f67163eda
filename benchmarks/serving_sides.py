"""What `serving.py` runs in processes of its own: the models, the server, and the sides."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import free_port, quantiles, timed

SIDE = 256
OLD_PLACES, OLD_MASK = 500, 33


def trained(bench, model: str, size: str, seed: int, steps: int, **settings) -> str:
    """The model directory, or a short training of the preset `demo` on rendered tiles."""
    root = bench.folder
    bench.crater("rendered", "synthesize", root / "terrain", scenes=60, size=size, seed=seed,
                 empty_share=0.0)
    if not model:
        bench.crater("written", "records", "write", root / "terrain", root / "records")
        bench.crater("training", "train", root / "records", model_dir=root / "trained", settings={
            "trainer.train_steps": steps, "trainer.validation_interval": steps, **settings})
    return model or str(root / "trained")


def tile_bytes(folder: str | Path, count: int = 16) -> list[bytes]:
    """PNG bytes of rendered tiles."""
    from crater_model.annotations.dataset import load_dataset

    data = load_dataset(Path(folder) / "terrain")
    return [data.encoded_image(scene) for scene in data.scenes[:count]]


def prepare(folder: str, model: str, craters: list[int]) -> dict:
    """The models of `wire` beside the trained one's, below `folder`/models."""
    from crater_model.detector import Detector

    models = Path(folder) / "models"
    masks = [mask for found in Detector.load(model).detect(tile_bytes(folder))
             for mask in found.masks]
    for count in craters:
        for name, values in (("ours", ours(masks, count)), ("old", old(masks, count))):
            write_model(models / f"{name}_{count}", values)
    names = sorted(path.name for path in models.iterdir() if path.is_dir())
    Path(folder, "models.config").write_text("model_config_list {\n" + "".join(
        f'  config {{ name: "{name}" base_path: "{models / name}" model_platform: "tensorflow" }}\n'
        for name in names) + "}\n")
    return {"model": model, "masks_of_the_model": len(masks)}


def ours(masks: list, count: int) -> dict:
    """What the project's models give where they find so many craters."""
    import numpy as np

    return {"detection_boxes": np.random.default_rng(0).uniform(0, SIDE, (count, 4)).astype("f4"),
            "detection_scores": np.linspace(0.99, 0.05, count, dtype="f4"),
            "detection_classes": np.ones(count, np.int64), "num_detections": np.int32(count),
            "detection_masks": np.stack([masks[i % len(masks)] for i in range(count)])}


def old(masks: list, count: int) -> dict:
    """What the old system's model gave: masks in all places, `count` of them found."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    scores = np.zeros(OLD_PLACES, np.float32)
    scores[:count] = np.linspace(0.99, 0.05, count, dtype=np.float32)
    boxes = rng.uniform(0, 1, (OLD_PLACES, 4)).astype(np.float32)
    boxes[count:] = 0.0
    # Probabilities between those of the 8 bits that ours are kept in, as a network gives them.
    large = [cv2.resize(masks[i % len(masks)], (OLD_MASK, OLD_MASK)) for i in range(OLD_PLACES)]
    floats = (np.stack(large) + rng.uniform(0, 1, (OLD_PLACES, OLD_MASK, OLD_MASK))) / 256.0
    return {"detection_boxes": boxes, "detection_scores": scores,
            "detection_classes": (scores > 0).astype(np.float32),
            "num_detections": np.float32(count),
            "detection_masks": np.clip(floats, 0, 1).astype(np.float32)}


def write_model(folder: Path, values: dict) -> None:
    """A model that gives these values for every image, which the old system got as pixels."""
    import tensorflow as tf

    held = tf.Module()  # of variables: a constant would be folded into the graph's text
    held.values = {name: tf.Variable(value) for name, value in values.items()}
    pixels = values["num_detections"].dtype.kind == "f"
    given = (tf.TensorSpec([1, None, None, 3], tf.uint8, "inputs") if pixels
             else tf.TensorSpec([None], tf.string, "image_bytes"))

    @tf.function(input_signature=[given])
    def serve(images):
        if not pixels:
            images = tf.map_fn(lambda data: tf.io.decode_image(data, 3, expand_animations=False)[0, 0],
                               images, fn_output_signature=tf.uint8)
        batch = tf.shape(images)[0]
        return {name: tf.repeat(value[tf.newaxis], batch, axis=0)
                for name, value in held.values.items()}

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
    import cv2
    import numpy as np

    png, few = tile_bytes(folder)[0], max(3, repeats // 10)
    sent = json.dumps({"instances": [{"b64": base64.b64encode(png).decode()}]})
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    numbers = json.dumps({"instances": [pixels.tolist()]})
    found = {str(count): {} for count in craters}
    with server(folder) as (port, rest):
        for count, sides in found.items():
            sides["grpc"] = way(lambda p: grpc_tile(p, f"ours_{count}", png), port, repeats)
            sides["rest"] = way(lambda p: rest_tile(p, f"ours_{count}", sent), rest, few)
            sides["old"] = way(lambda p: rest_tile(p, f"old_{count}", numbers), rest, few)
            sides["old"].update(
                bytes_as_sent=sides["old"]["bytes"], bytes=len(numbers) + as_tf_serving(
                    rest_tile(rest, f"old_{count}", numbers)()))
    with server(folder, "--grpc_channel_arguments=grpc.default_compression_algorithm=2") as (
            port, _):
        for count, sides in found.items():
            sides["grpc_gzip"] = way(lambda p: grpc_tile(p, f"ours_{count}", png), port, repeats)
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
            **quantiles(timed(request) for _ in range(repeats))}


def grpc_tile(port: int, model: str, png: bytes) -> Callable[[], object]:
    """One tile through TF Serving's own stubs, its answer as arrays."""
    from tests.serving.raw_client import RawClient

    client = RawClient(port)
    return lambda: client.predict([png], name=model)


def rest_tile(port: int, model: str, body: str) -> Callable[[], dict]:
    """One tile as JSON over one connection that is kept, its answer as arrays."""
    import numpy as np
    import requests

    session = requests.Session()

    def ask() -> dict:
        answer = session.post(f"http://127.0.0.1:{port}/v1/models/{model}:predict", data=body)
        answer.raise_for_status()
        return {name: np.asarray(value)
                for name, value in answer.json()["predictions"][0].items()}

    return ask


def overhead(folder: str, repeats: int) -> dict:
    """A tile through the server and in this process, in turn."""
    import tensorflow as tf

    loaded = tf.saved_model.load(f"{folder}/models/crater/1")
    signature = loaded.signatures["serving_default"]

    def bare(png: bytes) -> dict:
        outputs = signature(image_bytes=tf.constant([png]))
        return {name: value.numpy() for name, value in outputs.items()}

    with server(folder) as (port, _):
        asks = [(lambda png=png: bare(png), grpc_tile(port, "crater", png))
                for png in tile_bytes(folder)]
        times = [[timed(ask) for ask in asks[number % len(asks)]] for number in range(repeats + 10)]
    found = {name: quantiles(values) for name, values in zip(("bare", "grpc"), zip(*times[10:]))}
    found["overhead_p50_ms"] = round(found["grpc"]["p50_ms"] - found["bare"]["p50_ms"], 2)
    return found


def throughput(folder: str, tiles: int) -> dict:
    """Tiles a second through our client with so many on the way."""
    from crater_model.serving.client import Client

    images, found = tile_bytes(folder), {}
    with server(folder) as (port, _):
        for flight in (1, 8, 32):
            with Client(f"127.0.0.1:{port}", max_batch=1, concurrency=flight) as client:
                client.detect(images[:flight])
                seconds = timed(lambda: sum(1 for _ in client.stream(
                    images[i % len(images)] for i in range(tiles))))
            found[str(flight)] = {"tiles": tiles, "tiles_per_second": round(tiles / seconds, 2)}
    return found
