"""The client for asyncio. Everything that `Client` does is done here too."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from crater_model.detections import Detections
from crater_model.errors import DataError, ServingError
from crater_model.serving.client.answers import Meter, to_detections
from crater_model.serving.client.asking import Asker
from crater_model.serving.client.endpoints import Endpoint, ModelName, Pool, parse_addresses
from crater_model.serving.client.failures import Failure, Kind
from crater_model.serving.client.images import Batcher, Encoded, Image, Item, encoded

# What a transport's method is called in the API, for messages.
_API_NAMES = {"predict": "Predict", "describe": "Predict", "metadata": "GetModelMetadata",
              "status": "GetModelStatus"}


class AsyncClient:
    """A connection to one or more servers of the same model.

    Images go out in batches, several at a time. Endpoints take turns; one that does not
    answer is left out until a probe finds it well again, and its requests go to the others.
    Use it on one event loop, as an async context manager, or `close` it.

    Attributes:
      endpoints: as given.
      label_map: class id -> name, given to all detections.
      in_flight: batches on the way at the same time, over all endpoints.
    """

    def __init__(self, endpoint: str | Sequence[str] = "127.0.0.1:8500", model: str = "crater",
                 timeout_s: float = 60.0, *, version: int | None = None,
                 version_label: str | None = None, label_map: Mapping[int, str] | None = None,
                 max_batch: int = 8, max_batch_bytes: int = 32 << 20, concurrency: int = 2,
                 try_timeout_s: float | None = None):
        """
        Args:
          endpoint: [SCHEME://]HOST:PORT, or several: a sequence, or with commas between.
            grpc:// (the default) and grpcs:// (TLS) speak gRPC, http:// and https:// REST.
          model: the model's name on the server.
          timeout_s: for each request, its repetitions included.
          version, version_label: ask for this version; default the newest.
          label_map: class id -> name; default {1: "crater"} until `describe` has
            asked the model.
          max_batch, max_batch_bytes: a request holds at most this many images and, unless
            one image alone is more, this many bytes.
          concurrency: requests on the way at the same time, for each endpoint.
          try_timeout_s: what one endpoint gets of `timeout_s` before another is asked;
            default a third of it where there are several endpoints, else all of it.

        Raises:
          ServingError: `endpoint` is not of that form, or names both APIs.
        """
        addresses = parse_addresses(endpoint)
        self.endpoints = [address.text for address in addresses]
        self.model, self.timeout_s = model, timeout_s
        self.label_map = dict(label_map or {1: "crater"})
        self._labels_given = label_map is not None
        self._limits = max(1, max_batch), max_batch_bytes
        share = max(1, concurrency)
        self.in_flight = share * len(addresses)
        name = ModelName(model, version, version_label)
        transports = [_transport(address, name, self.in_flight) for address in addresses]
        pool = Pool([Endpoint(*both) for both in zip(addresses, transports)], share)
        self._asker = Asker(pool, self.in_flight, try_timeout_s or (
            timeout_s if len(addresses) == 1 else timeout_s / 3))

    async def detect(self, images: Iterable[Image] | AsyncIterable[Image], *,
                     keep_going: bool = False, progress: bool = False
                     ) -> list[Detections | DataError]:
        """Detections in each image, in its own pixels, in the order given; see `stream`."""
        return [found async for found in self.stream(images, keep_going=keep_going,
                                                     progress=progress)]

    async def stream(self, images: Iterable[Image] | AsyncIterable[Image], *,
                     keep_going: bool = False, progress: bool = False
                     ) -> AsyncIterator[Detections | DataError]:
        """Yields the detections in each image, in its own pixels, in the order given.

        Args:
          images: uint8 arrays [h, w] or [h, w, 3] (RGB), PNG or JPEG bytes, or paths of
            such files; sizes may differ. Any iterable, also one without end: no more than
            `in_flight` batches and the one in the making are taken from it ahead of
            what was yielded. A plain iterable is read in threads.
          keep_going: an image that cannot be used gives its DataError in the place of its
            detections, instead of the end of all.
          progress: show how many are done on stderr.

        Raises:
          DataError: an image that cannot be read or encoded; the message names it.
          ServingError: the server cannot be reached, lacks the model, or fails.
        """
        window: deque[asyncio.Task] = deque()
        batcher = self.batcher()
        with Meter(images, keep_going, progress) as meter:
            try:
                async for item in _items(images):
                    if batch := batcher.add(item):
                        window.append(asyncio.create_task(self.detect_batch(batch)))
                    while window and (len(window) >= self.in_flight or window[0].done()):
                        for found in await window.popleft():
                            yield meter.passed(found)
                if batch := batcher.rest():
                    window.append(asyncio.create_task(self.detect_batch(batch)))
                while window:
                    for found in await window.popleft():
                        yield meter.passed(found)
            finally:
                for task in window:
                    task.cancel()
                await asyncio.gather(*window, return_exceptions=True)

    def batcher(self) -> Batcher:
        """Gathers images into batches of this client's limits."""
        return Batcher(*self._limits)

    async def detect_batch(self, batch: Sequence[Item]) -> list[Detections | DataError]:
        """What is found in each image of one request, or why it cannot be used."""
        usable = [item for item in batch if isinstance(item, Encoded)]
        found = iter(await self._predict(usable) if usable else ())
        return [next(found) if isinstance(item, Encoded) else item for item in batch]

    async def _predict(self, images: list[Encoded]) -> list[Detections | DataError]:
        try:
            outputs = await self._asker.ask("predict", [image.data for image in images],
                                            timeout_s=self.timeout_s)
        except Failure as failure:
            if failure.kind is not Kind.REFUSED:
                raise self._error("predict", failure) from None
            if len(images) == 1:
                return [DataError(f"{images[0].name}: the server at {failure.endpoint} cannot "
                                  f"use this image: {failure.reason}")]
            # One bad image fails its batch: find out which.
            parts = await asyncio.gather(*(self._predict([image]) for image in images))
            return [found for part in parts for found in part]
        return to_detections(outputs, images, self.label_map)

    async def metadata(self) -> dict[str, Any]:
        """{"model", "version", "signatures": {name: {"inputs", "outputs"}}}; each input and
        output is {name: {"dtype", "shape"}}, with -1 for a free dimension."""
        return await self._ask("metadata", self.timeout_s)

    async def describe(self) -> dict[str, Any]:
        """The model card: what the model says of itself.

        Its `label_map` names the classes of all further detections, unless the client was
        given one; `chip_size` (px) and `scales` (network px per image px) say how to cut a
        large image.

        Raises:
          ServingError: the server cannot be reached, or its model has no card.
        """
        try:
            card = json.loads(await self._asker.ask("describe", timeout_s=self.timeout_s))
        except Failure as failure:
            if failure.kind is not Kind.REFUSED:
                raise self._error("describe", failure) from None
            raise ServingError(f"{failure.endpoint}: model {self.model!r} does not describe "
                               f"itself ({failure.reason}); serve a model that `crater export` "
                               "wrote") from None
        if not self._labels_given:
            self.label_map = {int(number): name for number, name in card["label_map"].items()}
        return card

    async def status(self, timeout_s: float | None = None) -> dict[int, str]:
        """Version number -> state, such as {1: "AVAILABLE"}."""
        return await self._ask("status", timeout_s or self.timeout_s)

    async def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Waits until a version of the model can be asked at one of the endpoints.

        Raises:
          ServingError: it cannot be within `timeout_s`; the message says what stood in
            the way last.
        """
        loop = asyncio.get_running_loop()
        deadline, reason = loop.time() + timeout_s, "no answer"
        for endpoint in itertools.cycle(self._asker.pool.endpoints):
            left = deadline - loop.time()
            if left <= 0:
                break
            try:
                states = await endpoint.transport.status(min(left, 2.0))
            except Failure as failure:
                failure.endpoint = endpoint.address.text
                reason = str(self._error("status", failure))
            else:
                if "AVAILABLE" in states.values():
                    await self._asker.bring_back(endpoint)
                    return
                reason = f"its versions are {states}"
            await asyncio.sleep(min(0.1, max(0.0, left)))
        raise ServingError(f"{','.join(self.endpoints)}: model {self.model!r} is not ready "
                           f"after {timeout_s:g} s: {reason}")

    async def close(self) -> None:
        """Closes the connections."""
        await self._asker.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_) -> None:
        await self.close()

    async def _ask(self, method: str, timeout_s: float) -> Any:
        try:
            return await self._asker.ask(method, timeout_s=timeout_s)
        except Failure as failure:
            raise self._error(method, failure) from None

    def _error(self, method: str, failure: Failure) -> ServingError:
        return ServingError(f"{failure.endpoint or ','.join(self.endpoints)}: "
                            f"{_API_NAMES[method]} of model {self.model!r} failed: "
                            f"{failure.code}: {failure.reason}")


async def _items(images: Iterable[Image] | AsyncIterable[Image]) -> AsyncIterator[Item]:
    """The encoded images, each made in a thread: the loop stays free."""
    if isinstance(images, AsyncIterable):
        number = 0
        async for image in images:
            yield await asyncio.to_thread(encoded, image, number)
            number += 1
        return
    items = map(encoded, images, itertools.count())
    while (item := await asyncio.to_thread(next, items, None)) is not None:
        yield item


def _transport(address, model: ModelName, connections: int):
    if address.is_rest:
        from crater_model.serving.client.over_rest import RestTransport

        return RestTransport(address, model, connections)
    from crater_model.serving.client.over_grpc import GrpcTransport

    return GrpcTransport(address, model)
