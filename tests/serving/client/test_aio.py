"""The asyncio face."""

import asyncio
import itertools
import time

import numpy as np
import pytest

from crater_model.errors import DataError, ServingError
from crater_model.serving import AsyncClient, Client
from tests.serving.blobs import blob_image
from tests.serving.faults import FaultyServer

IMAGES = [blob_image(20 + n, 60, [(1, n, 5, n + 3), (4, 40, 9, 55)][:n % 3])
          for n in range(11)]


def same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other):
        for name in ("boxes", "scores", "classes", "masks"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), strict=True)
        assert (a.size, a.label_map) == (b.size, b.label_map)


def test_every_face_and_api_gives_the_same(blob_server):
    async def ask(endpoint):
        async def images():
            for image in IMAGES:
                await asyncio.sleep(0)
                yield image

        async with AsyncClient(endpoint, max_batch=3) as client:
            await client.wait_ready(10)
            whole = await client.detect(IMAGES)
            return whole, [found async for found in client.stream(images())]

    grpc_endpoint = f"grpc://127.0.0.1:{blob_server.grpc_port}"
    with Client(grpc_endpoint, max_batch=3) as client:
        expected = client.detect(IMAGES)
    assert [len(found) for found in expected] == [n % 3 for n in range(11)]
    for endpoint in (grpc_endpoint, f"http://127.0.0.1:{blob_server.rest_port}"):
        for found in asyncio.run(ask(endpoint)):
            same(found, expected)


def test_what_the_model_says_and_bad_images(blob_server):
    async def ask():
        async with AsyncClient(f"127.0.0.1:{blob_server.grpc_port}") as client:
            return (await client.describe(), await client.status(), await client.metadata(),
                    await client.detect([b"no image", IMAGES[1]], keep_going=True))

    card, status, metadata, found = asyncio.run(ask())
    assert card["chip_size"] == 64 and status == {12: "AVAILABLE", 3: "AVAILABLE"}
    assert metadata["version"] == 12
    assert isinstance(found[0], DataError) and len(found[1]) == 1


def test_an_endless_stream_holds_back_and_leaves_the_loop_free(blob_server):
    pulled, ticks = [], []

    def images():
        for n in itertools.count():
            pulled.append(n)
            time.sleep(0.005)  # in a thread: it does not stop the loop
            yield blob_image(20, 40 + n, [(1, n, 5, n + 3)])

    async def tick():
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.01)

    async def ask():
        ticking = asyncio.create_task(tick())
        with FaultyServer(blob_server.grpc_port, lambda *_: time.sleep(0.1)) as server:
            async with AsyncClient(server.endpoint, max_batch=2, concurrency=2) as client:
                stream = client.stream(images())
                for n in range(12):
                    assert (await anext(stream)).boxes[0, 1] == n
                    assert len(pulled) <= (n + 1) + 2 * 2 + 2
                await stream.aclose()
            assert server.most <= 2
        ticking.cancel()

    asyncio.run(ask())
    assert np.median(np.diff(ticks)) < 0.05


def test_results_do_not_wait_for_a_slow_source(blob_server):
    async def ask():
        released = asyncio.Event()

        async def images():
            yield IMAGES[1]
            await asyncio.sleep(0.5)
            yield IMAGES[2]
            await released.wait()  # set only when a result has come
            yield IMAGES[1]

        async with AsyncClient(f"127.0.0.1:{blob_server.grpc_port}", max_batch=1,
                               concurrency=8) as client:
            counts = []
            async for found in client.stream(images()):
                counts.append(len(found))
                released.set()
            return counts

    assert asyncio.run(asyncio.wait_for(ask(), 20)) == [1, 2, 1]


def test_a_cancelled_wait_and_a_closed_client_end(blob_server):
    async def ask():
        client = AsyncClient("127.0.0.1:1", timeout_s=30)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.detect(IMAGES), 0.3)
        waiting = asyncio.create_task(client.status())
        await asyncio.sleep(0.1)
        await client.close()
        with pytest.raises(ServingError, match="closed"):
            await waiting
        with pytest.raises(ServingError, match="closed"):
            await client.detect(IMAGES)

    asyncio.run(asyncio.wait_for(ask(), 10))
