"""Requests that a server has to refuse, and how it did; `benchmarks/soak.py` sends them too."""

from __future__ import annotations

import struct
import zlib
from collections import Counter

import grpc
import numpy as np
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tests.serving.raw_client import request


class Hostile:
    """Requests that a server has to refuse, and how it did."""

    def __init__(self):
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
        kind = list(self.kinds)[self._next % len(self.kinds)]
        self._next += 1
        if address not in self._stubs:
            self._stubs[address] = prediction_service_pb2_grpc.PredictionServiceStub(
                grpc.aio.insecure_channel(address))
        try:
            inputs, spec, _ = self.kinds[kind]
            await self._stubs[address].Predict(request(inputs, **spec), timeout=60)
            code = "OK"
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        self.counts[kind][code] += 1
        # A full queue and a killed endpoint refuse everybody.
        if code not in (*self.kinds[kind][2], "RESOURCE_EXHAUSTED", "UNAVAILABLE"):
            self.unexpected.append(f"{kind}: {code}")

    def summary(self) -> dict:
        return {"sent": sum(sum(c.values()) for c in self.counts.values()),
                "by_kind": {kind: dict(codes) for kind, codes in self.counts.items()},
                "unexpected": self.unexpected[:20], "unexpected_count": len(self.unexpected)}


def _png(width: int, height: int, rows: int | None = None) -> bytes:
    """A grey PNG; with `rows` only so many of them are there, whatever its header says."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (struct.pack(">I", len(data)) + kind + data
                + struct.pack(">I", zlib.crc32(kind + data)))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\x80" * width) * (rows or height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)
            + chunk(b"IEND", b""))

