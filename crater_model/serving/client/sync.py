"""The client for threads: `AsyncClient` on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

from crater_model.detections import Detections
from crater_model.errors import DataError, ServingError
from crater_model.serving.client.aio import AsyncClient
from crater_model.serving.client.answers import Meter
from crater_model.serving.client.asking import OF_ANOTHER_PROCESS
from crater_model.serving.client.images import Image, Item


class Client:
    """A connection to one or more servers of the same model.

    Images go out in batches, several at a time. Endpoints take turns; one that does not
    answer is left out until a probe finds it well again, and its requests go to the others.
    Safe to use from several threads. Use it as a context manager, or `close` it.

    Attributes:
      endpoints: as given.
      model, timeout_s: as given.
      in_flight: batches on the way at the same time, over all endpoints and threads.
    """

    def __init__(self, endpoint: str | Sequence[str] = "127.0.0.1:8500", model: str = "crater",
                 timeout_s: float = 60.0, **options):
        """
        Args:
          endpoint: [SCHEME://]HOST:PORT, or several: a sequence, or with commas between.
            grpc:// (the default) and grpcs:// (TLS) speak gRPC, http:// and https:// REST. Also
            gRPC's own targets, such as dns:///NAME:PORT, ipv4:ADDRESS:PORT[,...] and unix:/PATH.
          model: the model's name on the server.
          timeout_s: for each request, its repetitions included.
          options: `version`, `version_label`, `label_map`, `max_batch`, `max_batch_bytes`,
            `max_megapixels`, `concurrency`, `try_timeout_s`, `ca`, `certificate`, `key` and
            `token`, as AsyncClient takes them.

        Raises:
          ServingError: `endpoint` is not of that form, or names both APIs; a file cannot be read,
            or does not go with the endpoint.
        """
        self._client = AsyncClient(endpoint, model, timeout_s, **options)
        self.endpoints, self.model, self.timeout_s = self._client.endpoints, model, timeout_s
        self.in_flight = self._client.in_flight
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="crater-client",
                                        daemon=True)
        self._thread.start()
        self._lock, self._closed, self._process = threading.Lock(), False, os.getpid()

    @property
    def version(self) -> int | None:
        """See `AsyncClient.version`: the version that alone is asked."""
        return self._client.version

    @property
    def label_map(self) -> dict[int, str]:
        """Class id -> name, given to all detections."""
        return self._client.label_map

    def detect(self, images: Iterable[Image], *, keep_going: bool = False,
               progress: bool = False) -> list[Detections | DataError]:
        """Detections in each image, in its own pixels, in the order given; see `stream`."""
        return list(self.stream(images, keep_going=keep_going, progress=progress))

    def stream(self, images: Iterable[Image], *, keep_going: bool = False,
               progress: bool = False) -> Iterator[Detections | DataError]:
        """Yields the detections in each image, in its own pixels, in the order given.

        Args:
          images: uint8 arrays [h, w] or [h, w, 3] (RGB), PNG or JPEG bytes, or paths of
            such files; sizes may differ. Any iterable, also one without end, read in the
            calling thread: no more than `in_flight` batches and the one in the making are
            taken from it ahead of what was yielded.
          keep_going: an image that cannot be used gives its DataError in the place of its
            detections, instead of the end of all.
          progress: show how many are done on stderr.

        Raises:
          DataError: an image that cannot be read or encoded; the message names it.
          ServingError: the server cannot be reached, lacks the model, or fails.
        """
        window: deque[Future] = deque()
        batcher = self._client.batcher()
        with Meter(images, keep_going, progress) as meter:
            try:
                for number, image in enumerate(images):
                    if batch := batcher.add(self._client.encoded(image, number)):
                        window.append(self._send(batch))
                    while window and (len(window) >= self.in_flight or window[0].done()):
                        yield from map(meter.passed, self._result(window.popleft()))
                if batch := batcher.rest():
                    window.append(self._send(batch))
                while window:
                    yield from map(meter.passed, self._result(window.popleft()))
            finally:
                for future in window:
                    future.cancel()

    def metadata(self) -> dict[str, Any]:
        """See `AsyncClient.metadata`: the model, its version and its signatures."""
        return self._run(self._client.metadata())

    def describe(self, *, pin: bool = False) -> dict[str, Any]:
        """See `AsyncClient.describe`: the model card; sets `label_map`, with `pin` `version`."""
        return self._run(self._client.describe(pin=pin))

    def status(self, timeout_s: float | None = None) -> dict[int, str]:
        """Version number -> state, such as {1: "AVAILABLE"}."""
        return self._run(self._client.status(timeout_s))

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """See `AsyncClient.wait_ready`: waits until its version answers."""
        self._run(self._client.wait_ready(timeout_s))

    def close(self) -> None:
        """Closes the connections; calls of other threads end with ServingError. In a process that
        was forked there is nothing to close."""
        if os.getpid() != self._process:
            return
        with self._lock:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    async def _shut_down(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.close()

    def _send(self, batch: list[Item]) -> Future:
        return self._start(self._client.detect_batch(batch))

    def _run(self, work: Coroutine) -> Any:
        return self._result(self._start(work))

    def _start(self, work: Coroutine) -> Future:
        if os.getpid() != self._process:  # the lock may be held for ever, the thread is not here
            work.close()
            raise ServingError(f"{','.join(self.endpoints)}: {OF_ANOTHER_PROCESS}")
        with self._lock:
            if not self._closed:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        raise self._closed_error()

    def _result(self, future: Future) -> Any:
        try:
            return future.result()
        except CancelledError:
            raise self._closed_error() from None
        except BaseException:  # Ctrl-C: the request is not wanted any more
            future.cancel()
            raise

    def _closed_error(self) -> ServingError:
        return ServingError(f"{','.join(self.endpoints)}: this client is closed; make another")
