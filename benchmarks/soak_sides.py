"""What `soak.py` needs: the two versions, what they answer, and hostile requests."""

from __future__ import annotations

import re
import struct
import urllib.request
import zlib
from collections import Counter
from pathlib import Path

EXPECTED = "expected.npz"
TILES, SIDE = 24, (192, 256)  # height, width px
METRICS = "/monitoring/prometheus/metrics"


def prepare(folder: str, model: str | None) -> dict:
    """Version 1 in `served`, version 2 in `second`, and what both answer in `EXPECTED`."""
    import numpy as np
    import tensorflow as tf

    from crater_model.annotations.dataset import load_dataset
    from crater_model.export import export_saved_model
    from crater_model.records.write import write_records
    from crater_model.synthesis import synthesize
    from crater_model.training import train

    root = Path(folder)
    synthesize(root / "terrain", 60, (SIDE[1], SIDE[0]), seed=5, empty_share=0.0)
    if model is None:
        write_records(root / "terrain", root / "records")
        model = root / "trained"
        train(root / "records", model, "demo", {
            "trainer.train_steps": 200, "trainer.validation_interval": 200})
    first = export_saved_model(model, root / "served", 1, score_threshold=0.05)
    second = export_saved_model(model, root / "second", 2, score_threshold=0.3)
    data = load_dataset(root / "terrain")
    tiles = [data.encoded_image(scene) for scene in data.scenes[:TILES]]
    values = {"tiles": np.array([np.frombuffer(tile, np.uint8) for tile in tiles], object)}
    counts = {}
    for version, path in ((1, first), (2, second)):
        signature = tf.saved_model.load(str(path)).signatures["serving_default"]
        for number, tile in enumerate(tiles):
            outputs = signature(image_bytes=tf.constant([tile]))
            for name in ("detection_boxes", "detection_scores"):
                values[f"{version}_{number}_{name}"] = outputs[name][0].numpy()
            counts[version] = counts.get(version, 0) + int(outputs["num_detections"][0])
    np.savez(root / EXPECTED, **values)
    return {"model": str(model), "tiles": len(tiles),
            "detections_of_version": {str(k): v for k, v in counts.items()}}


class Expected:
    """The tiles and what each version finds in them."""

    def __init__(self, file: Path):
        import numpy as np

        with np.load(file, allow_pickle=True) as values:
            self.tiles = [tile.tobytes() for tile in values["tiles"]]
            self._found = {name: values[name] for name in values.files if name != "tiles"}

    def versions_of(self, number: int, found) -> set[int]:
        """The versions that give these detections for the tile: one, both or neither."""
        import numpy as np

        given = set()
        for version in (1, 2):
            boxes = self._found[f"{version}_{number}_detection_boxes"]
            scores = self._found[f"{version}_{number}_detection_scores"]
            if (boxes.shape == found.boxes.shape
                    and np.allclose(boxes, found.boxes, rtol=0, atol=0.01)
                    and np.allclose(scores, found.scores, rtol=0, atol=0.001)):
                given.add(version)
        return given


def answers_of(rest_port: int) -> Counter:
    """Requests by status as the server itself counts them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{rest_port}{METRICS}", timeout=20) as answer:
        text = answer.read().decode()
    counts = Counter()
    for line in text.splitlines():
        match = re.match(r':tensorflow:serving:request_count\{(.*)\} (\S+)', line)
        if match:
            status = re.search(r'status="([^"]*)"', match[1])[1]
            counts[status] += int(float(match[2]))
    return counts


class Hostile:
    """Requests that a server has to refuse, and how it did."""

    def __init__(self):
        import numpy as np

        noise = np.random.default_rng(0).bytes(20_000)
        png = _png(64, 48)
        self.kinds = {
            "garbage": ({"image_bytes": [noise]}, {}, ("INVALID_ARGUMENT",)),
            "truncated": ({"image_bytes": [png[:len(png) // 2]]}, {}, ("INVALID_ARGUMENT",)),
            "gigantic": ({"image_bytes": [_png(100_000, 100_000, rows=1)]}, {},
                         ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")),
            "empty": ({"image_bytes": [b""]}, {}, ("INVALID_ARGUMENT",)),
            "one_of_four": ({"image_bytes": [png, png, noise, png]}, {}, ("INVALID_ARGUMENT",)),
            "wrong_type": ({"image_bytes": np.zeros((1, 8), np.float32)}, {},
                           ("INVALID_ARGUMENT",)),
            "wrong_input": ({"picture": [png]}, {}, ("INVALID_ARGUMENT",)),
            "unknown_model": ({"image_bytes": [png]}, {"name": "rocks"}, ("NOT_FOUND",)),
            "unknown_version": ({"image_bytes": [png]}, {"version": 99}, ("NOT_FOUND",)),
            "unknown_signature": ({"image_bytes": [png]}, {"signature_name": "x"},
                                  ("FAILED_PRECONDITION", "INVALID_ARGUMENT")),
        }
        self.counts: dict[str, Counter] = {kind: Counter() for kind in self.kinds}
        self.unexpected: list[str] = []
        self._stubs, self._next = {}, 0

    async def ask(self, address: str) -> None:
        """The next hostile request; whatever comes back is counted."""
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        kind = list(self.kinds)[self._next % len(self.kinds)]
        self._next += 1
        if address not in self._stubs:
            self._stubs[address] = prediction_service_pb2_grpc.PredictionServiceStub(
                grpc.aio.insecure_channel(address))
        try:
            await self._stubs[address].Predict(self._request(kind), timeout=60)
            code = "OK"
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        self.counts[kind][code] += 1
        # A full queue and a killed endpoint refuse everybody.
        if code not in (*self.kinds[kind][2], "RESOURCE_EXHAUSTED", "UNAVAILABLE"):
            self.unexpected.append(f"{kind}: {code}")

    def _request(self, kind: str):
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        inputs, spec, _ = self.kinds[kind]
        request = predict_pb2.PredictRequest()
        request.model_spec.name = spec.get("name", "crater")
        request.model_spec.signature_name = spec.get("signature_name", "")
        if "version" in spec:
            request.model_spec.version.value = spec["version"]
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        return request

    def summary(self) -> dict:
        return {"sent": sum(sum(c.values()) for c in self.counts.values()),
                "by_kind": {kind: dict(codes) for kind, codes in self.counts.items()},
                "unexpected": self.unexpected[:20]}


def _png(width: int, height: int, rows: int | None = None) -> bytes:
    """A grey PNG; with `rows` only so many of them are there, whatever its header says."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (struct.pack(">I", len(data)) + kind + data
                + struct.pack(">I", zlib.crc32(kind + data)))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\x80" * width) * (rows or height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)
            + chunk(b"IEND", b""))


TASKS = {"prepare": prepare}
