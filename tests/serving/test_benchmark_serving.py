"""The serving benchmarks' own parts: the counting proxy, what counts as right, hostile requests."""

from __future__ import annotations

import asyncio
import socket
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import serving_sides, soak, soak_sides
from tests.serving.hostile import Hostile


def test_the_proxy_counts_both_directions():
    with socket.create_server(("127.0.0.1", 0)) as behind:
        def answer():
            connection, _ = behind.accept()
            with connection:
                assert connection.recv(100) == b"seven b"
                connection.sendall(b"x" * 1234)

        thread = threading.Thread(target=answer)
        thread.start()
        counter = serving_sides.Counter(behind.getsockname()[1])
        with socket.create_connection(("127.0.0.1", counter.port)) as client:
            client.sendall(b"seven b")
            received = 0
            while data := client.recv(4096):
                received += len(data)
        thread.join()
    assert received == 1234
    assert (counter.bytes_out, counter.bytes_in) == (7, 1234)


def test_an_answer_belongs_to_the_version_that_gives_it(tmp_path):
    values = {"tiles": np.array([np.frombuffer(b"tile", np.uint8), np.zeros(2, np.uint8)], object)}
    boxes = {1: np.array([[1, 2, 3, 4], [5, 6, 7, 9]], np.float32),
             2: np.array([[1, 2, 3, 4]], np.float32)}
    for version, box in boxes.items():
        values[f"{version}_0_detection_boxes"] = box
        values[f"{version}_0_detection_scores"] = np.full(len(box), 0.5, np.float32)
    np.savez(tmp_path / "expected.npz", **values)
    expected = soak_sides.Expected(tmp_path / "expected.npz")
    assert expected.tiles[0] == b"tile"

    def answer(box, score=0.5):
        return SimpleNamespace(boxes=box, scores=np.full(len(box), score, np.float32))

    assert expected.versions_of(0, answer(boxes[1] + 0.001)) == {1}
    assert expected.versions_of(0, answer(boxes[2])) == {2}
    assert expected.versions_of(0, answer(boxes[2] + 0.5)) == set()
    assert expected.versions_of(0, answer(boxes[2], 0.6)) == set()


def test_memory_that_grows_is_seen():
    flat = [(n / 100, 500.0) for n in range(101)]
    leak = [(n / 100, 500.0 + n * 2) for n in range(101)]
    assert soak.growth(flat) == {"settled_mb": 500, "end_mb": 500, "most_mb": 500, "growth": 0.0}
    assert soak.growth(leak)["growth"] == pytest.approx((690 - 669) / 669, abs=0.005)


def test_every_hostile_request_is_refused_as_it_should(blob_server):
    async def ask_all(hostile):
        for _ in hostile.kinds:
            await hostile.ask(f"127.0.0.1:{blob_server.grpc_port}")

    hostile = Hostile()
    asyncio.run(ask_all(hostile))
    assert hostile.unexpected == []
    for kind, (_, _, codes) in hostile.kinds.items():
        assert sum(hostile.counts[kind].values()) == 1
        assert set(hostile.counts[kind]) <= set(codes), kind
