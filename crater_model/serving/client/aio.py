"""The client for asyncio. Everything that `Client` does is done here too."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path

from crater_model.detections import Detections
from crater_model.errors import DataError
from crater_model.serving.client.addresses import Address, ModelName, parse_addresses
from crater_model.serving.client.answers import Meter, to_detections
from crater_model.serving.client.asking import Asker
from crater_model.serving.client.credentials import Credentials
from crater_model.serving.client.describing import Describing
from crater_model.serving.client.endpoints import Endpoint, Pool
from crater_model.serving.client.failures import Failure, Kind
from crater_model.serving.client.images import Batcher, Encoded, Image, Item, encoded


class AsyncClient(Describing):
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
                 max_batch: int = 8, max_batch_bytes: int = 32 << 20,
                 max_megapixels: float = 100.0, concurrency: int = 2,
                 try_timeout_s: float | None = None, ca: str | os.PathLike | None = None,
                 certificate: str | os.PathLike | None = None,
                 key: str | os.PathLike | None = None, token: str | Path | None = None):
        """
        Args:
          endpoint: [SCHEME://]HOST:PORT, or several: a sequence, or with commas between.
            grpc:// (the default) and grpcs:// (TLS) speak gRPC, http:// and https:// REST. Also
            gRPC's own targets, such as dns:///NAME:PORT, ipv4:ADDRESS:PORT[,...] and unix:/PATH.
            Requests take turns over all servers that a name stands for, and it is looked up again
            every minute.
          model: the model's name on the server.
          timeout_s: for each request, its repetitions included.
          version, version_label: ask for this version; default the newest.
          label_map: class id -> name; default {1: "crater"} until `describe` has
            asked the model.
          max_batch, max_batch_bytes, max_megapixels: a request holds at most this many images
            and, unless one image alone is more, this many bytes and megapixels once decoded. An
            image of more megapixels is not sent: it would take the server's memory.
          concurrency: requests on the way at the same time, for each endpoint.
          try_timeout_s: what one endpoint gets of `timeout_s` before another is asked;
            default a third of it where there are several endpoints, else all of it.
          ca: PEM file of the authorities that the servers' certificates are trusted by; default
            those of this computer. It makes gRPC's own targets and a bare HOST:PORT use TLS, as do
          certificate, key: PEM files that show a server who the client is (mutual TLS).
          token: a bearer token sent with each request, over TLS or loopback only; a Path is a
            file that holds it, read anew each time.

        Raises:
          ServingError: `endpoint` is not of that form, or names both APIs; a file cannot be read,
            or does not go with the endpoint.
        """
        credentials = Credentials(ca, certificate, key, token)
        addresses = parse_addresses(endpoint, tls=credentials.need_tls)
        for address in addresses:
            credentials.check(address)
        self.endpoints = [address.text for address in addresses]
        self.model, self.timeout_s = model, timeout_s
        self.label_map = dict(label_map or {1: "crater"})
        self._labels_given = label_map is not None
        self._limits = max(1, max_batch), max_batch_bytes, max_megapixels
        share = max(1, concurrency)
        self.in_flight = share * len(addresses)
        name = ModelName(model, version, version_label)
        try_timeout_s = try_timeout_s or (timeout_s if len(addresses) == 1 else timeout_s / 3)
        pool = Pool([Endpoint(address, _transport(
            address, name, credentials, try_timeout_s, self.in_flight)) for address in addresses],
            share)
        self._asker = Asker(pool, self.in_flight, try_timeout_s)

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
                async for item in _items(images, self.encoded):
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

    def encoded(self, image: Image, number: int) -> Item:
        """What is sent of an image, or why it is not sent."""
        return encoded(image, number, self._limits[2])

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
            return await self._each(images)
        return [*to_detections(outputs, images, self.label_map)]

    async def _each(self, images: list[Encoded]) -> list[Detections | DataError]:
        """The images of a request that was refused, one by one (see `refusals`)."""
        found = [await self._alone(images[0])]  # says it at once where the request is at fault
        found += await asyncio.gather(*map(self._alone, images[1:]))
        if len(images) > 1 and not any(isinstance(each, DataError) for each in found):
            await self._ask("together", self.timeout_s, len(images))
        return found

    async def _alone(self, image: Encoded) -> Detections | DataError:
        try:
            outputs = await self._asker.ask("alone", image.data, timeout_s=self.timeout_s)
        except Failure as failure:
            if failure.kind is not Kind.REFUSED:
                raise self._error("alone", failure) from None
            return DataError(f"{image.name}: the server at {failure.endpoint} cannot use this "
                             f"image: {failure.reason}")
        return to_detections(outputs, [image], self.label_map)[0]

    async def close(self) -> None:
        """Closes the connections."""
        await self._asker.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_) -> None:
        await self.close()


async def _items(images: Iterable[Image] | AsyncIterable[Image],
                 encoded: Callable[[Image, int], Item]) -> AsyncIterator[Item]:
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


def _transport(address: Address, model: ModelName, credentials: Credentials,
               try_timeout_s: float, connections: int):
    if address.is_rest:
        from crater_model.serving.client.over_rest import RestTransport

        return RestTransport(address, model, credentials, connections)
    from crater_model.serving.client.over_grpc import GrpcTransport

    return GrpcTransport(address, model, credentials, try_timeout_s)
