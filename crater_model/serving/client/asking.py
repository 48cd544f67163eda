"""A request through the endpoints: deadlines, bounded flight, retries, and the way back of an
endpoint that was taken out."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import replace
from typing import Any

from crater_model.serving.client.endpoints import Endpoint, Pool, pause_s
from crater_model.serving.client.failures import ABSENT, Failure, Kind
from crater_model.serving.client.slots import Slots

FIRST_BUSY_PAUSE_S, LONGEST_BUSY_PAUSE_S = 0.1, 2.0
PROBE_TIMEOUT_S = 2.0
OF_ANOTHER_PROCESS = ("this client was made before the process was forked, and its connections "
                      "and threads stayed behind; make one in this process")


class Asker:
    """Asks one endpoint after the other until one answers or the time is up.

    An endpoint that does not answer is taken out; it is probed after a pause that doubles
    each time, and gets requests again when the probe succeeds. Belongs to one event loop, and to
    the process that made it.

    Attributes:
      pinned: the version that alone may answer, and the model card that it must have; None: any.
    """

    def __init__(self, pool: Pool, in_flight: int, try_timeout_s: float):
        """
        Args:
          in_flight: requests on the way at the same time, at most (see `Slots`); the others
            wait, and their deadlines start when it is their turn.
          try_timeout_s: what one endpoint gets of a request's time.
        """
        self.pool = pool
        self._try_timeout_s = try_timeout_s
        self._slots = Slots(in_flight)
        self.pinned: tuple[int, str] | None = None
        self._process = os.getpid()
        self._returned = asyncio.Condition()
        self._revivals: set[asyncio.Task] = set()
        self._closed = False

    async def ask(self, method: str, *arguments: Any, timeout_s: float) -> Any:
        """The answer of the transports' method of this name.

        Raises:
          Failure: the last one, when asking again cannot help or the time is up.
        """
        if os.getpid() != self._process:
            raise Failure(Kind.FINAL, "forked", OF_ANOTHER_PROCESS)
        async with self._slots:
            deadline = asyncio.get_running_loop().time() + timeout_s
            return await self._ask(method, arguments, deadline)

    def pin(self, version: int, card: str) -> None:
        """From now on this version alone may answer, and only where it has this model card."""
        self.pinned = version, card
        for endpoint in self.pool.endpoints:
            endpoint.transport.model = replace(endpoint.transport.model, version=version)

    async def _ask(self, method: str, arguments: tuple, deadline: float) -> Any:
        loop = asyncio.get_running_loop()
        failed: Endpoint | None = None
        failure: Failure | None = None
        busy = 0
        while True:
            endpoint = await self._next(deadline, failed)
            left = deadline - loop.time()
            if self._closed:
                raise Failure(Kind.FINAL, "closed", "this client is closed; make another")
            if endpoint is None or left <= 0:
                known = failure or self.pool.last_failure()
                raise known.copy() if known else Failure(
                    Kind.FINAL, "timeout", "no time was left to ask")
            asked = loop.time()
            try:
                answer = await self._try(endpoint, method, arguments,
                                         min(left, self._try_timeout_s))
            except Failure as error:
                failed, failure = endpoint, error
            else:
                self._slots.answered()
                return answer
            if failure.kind is Kind.DOWN:
                if asked >= endpoint.back_at:  # not of a connection that was given up since
                    self._take_out(endpoint, failure)
            elif self.pinned and failure.code in ABSENT and self._may_be_elsewhere(endpoint):
                self._take_out(endpoint, failure)
            elif failure.kind is Kind.BUSY:
                busy += 1
                self._slots.refused(loop.time())
                pause = pause_s(busy, FIRST_BUSY_PAUSE_S, LONGEST_BUSY_PAUSE_S)
                if loop.time() + pause >= deadline:
                    raise failure
                await asyncio.sleep(pause)
            else:
                raise failure

    async def _try(self, endpoint: Endpoint, method: str, arguments: tuple,
                   timeout_s: float) -> Any:
        endpoint.in_flight += 1
        try:
            if self.pinned and endpoint.card is None:
                await self._compare(endpoint, timeout_s)
            answer = await getattr(endpoint.transport, method)(*arguments, timeout_s)
        except Failure as failure:
            failure.endpoint = endpoint.address.text
            raise
        finally:
            endpoint.in_flight -= 1
        endpoint.failures = 0
        return answer

    def _may_be_elsewhere(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint is left that has not said that the pinned version is gone."""
        return any(other is not endpoint
                   and (other.failure is None or other.failure.code not in ABSENT)
                   for other in self.pool.endpoints)

    async def _compare(self, endpoint: Endpoint, timeout_s: float) -> None:
        """Two servers may give two models the same number."""
        assert self.pinned is not None  # it is called for a pinned version
        version, wanted = self.pinned
        _, card = await endpoint.transport.describe(timeout_s)
        if card != wanted:
            raise Failure(Kind.FINAL, "another model", f"its version {version} has another model "
                          "card than the one this began with")
        endpoint.card = card

    async def _next(self, deadline: float, avoid: Endpoint | None) -> Endpoint | None:
        """The endpoint to ask; waits while all are out; None when the time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline), self._returned:
                while not (endpoint := self.pool.pick(avoid)) and not self._closed:
                    await self._returned.wait()
                return endpoint
        return None

    def _take_out(self, endpoint: Endpoint, failure: Failure) -> None:
        if self.pool.take_out(endpoint, failure.copy()) and not self._closed:
            task = asyncio.create_task(self._revive(endpoint))
            self._revivals.add(task)  # the loop itself holds tasks only weakly
            task.add_done_callback(self._revivals.discard)

    async def _revive(self, endpoint: Endpoint) -> None:
        alive = False
        while not alive:
            await asyncio.sleep(pause_s(endpoint.failures))
            try:
                await endpoint.transport.probe(PROBE_TIMEOUT_S)
            except Failure as failure:
                failure.endpoint = endpoint.address.text
                endpoint.failure = failure.copy()  # what is in the way now, for who waits
                endpoint.failures += 1
            else:
                alive = True
        await self.bring_back(endpoint)

    async def bring_back(self, endpoint: Endpoint) -> None:
        """Gives it requests again: it was seen to answer."""
        self.pool.bring_back(endpoint, asyncio.get_running_loop().time())
        async with self._returned:
            self._returned.notify_all()

    async def close(self) -> None:
        """Ends the probes and the requests, and closes the connections."""
        self._closed = True
        for task in self._revivals:
            task.cancel()
        await asyncio.gather(*self._revivals, return_exceptions=True)
        for endpoint in self.pool.endpoints:
            endpoint.transport.close()
        async with self._returned:
            self._returned.notify_all()
