"""A request through the endpoints: deadlines, bounded flight, retries, and the way back of an
endpoint that was taken out."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from crater_model.serving.client.endpoints import Endpoint, Pool, pause_s
from crater_model.serving.client.failures import Failure, Kind
from crater_model.serving.client.slots import Slots

FIRST_BUSY_PAUSE_S, LONGEST_BUSY_PAUSE_S = 0.1, 2.0
PROBE_TIMEOUT_S = 2.0


class Asker:
    """Asks one endpoint after the other until one answers or the time is up.

    An endpoint that does not answer is taken out; it is probed after a pause that doubles
    each time, and gets requests again when the probe succeeds. Belongs to one event loop.
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
        self._returned = asyncio.Condition()
        self._revivals: set[asyncio.Task] = set()
        self._closed = False

    async def ask(self, method: str, *arguments: Any, timeout_s: float) -> Any:
        """The answer of the transports' method of this name.

        Raises:
          Failure: the last one, when asking again cannot help or the time is up.
        """
        async with self._slots:
            deadline = asyncio.get_running_loop().time() + timeout_s
            return await self._ask(method, arguments, deadline)

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
            try:
                answer = await self._try(endpoint, method, arguments,
                                         min(left, self._try_timeout_s))
            except Failure as error:
                failed, failure = endpoint, error
            else:
                self._slots.answered()
                return answer
            if failure.kind is Kind.DOWN:
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
            answer = await getattr(endpoint.transport, method)(*arguments, timeout_s)
        except Failure as failure:
            failure.endpoint = endpoint.address.text
            raise
        finally:
            endpoint.in_flight -= 1
        endpoint.failures = 0
        return answer

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
            with contextlib.suppress(Failure):
                alive = await endpoint.transport.probe(PROBE_TIMEOUT_S)
            endpoint.failures += not alive
        await self.bring_back(endpoint)

    async def bring_back(self, endpoint: Endpoint) -> None:
        """Gives it requests again: it was seen to answer."""
        self.pool.bring_back(endpoint)
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
