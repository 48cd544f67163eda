"""The servers that can be asked, and which of them is next. Nothing here asks them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crater_model.serving.client.addresses import Address
from crater_model.serving.client.failures import Failure

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0


@dataclass(eq=False)
class Endpoint:
    """One server and what is known of its health.

    Attributes:
      transport: what asks it.
      in_flight: requests it has not answered yet.
      failures: how often it failed since it last answered a request.
      failure: the latest one, while it is taken out.
      back_at: when it was brought back, in the event loop's time.
      card: what its model said of itself since then, where that was asked.
    """

    address: Address
    transport: Any
    in_flight: int = 0
    failures: int = 0
    failure: Failure | None = None
    back_at: float = 0.0
    card: str | None = None


class Pool:
    """Round robin over the endpoints that are not taken out."""

    def __init__(self, endpoints: Sequence[Endpoint], share: int):
        """`share`: requests in flight that are a fair share of one endpoint."""
        self.endpoints, self._share, self._turn = list(endpoints), share, 0

    def pick(self, avoid: Endpoint | None = None) -> Endpoint | None:
        """The next endpoint, or None while all are out.

        Passed over as long as there is another: `avoid`, and one that has its share in
        flight, so that a server that hangs cannot hold all of the requests.
        """
        count = len(self.endpoints)
        turns = [(self._turn + n) % count for n in range(count)]
        healthy = [turn for turn in turns if self.endpoints[turn].failure is None]
        if not healthy:
            return None
        chosen = min(healthy, key=lambda turn: (
            self.endpoints[turn] is avoid, self.endpoints[turn].in_flight >= self._share))
        self._turn = chosen + 1
        return self.endpoints[chosen]

    def take_out(self, endpoint: Endpoint, failure: Failure) -> bool:
        """Gives it no more requests; False when it was out already."""
        first = endpoint.failure is None
        endpoint.failure, endpoint.card = failure, None
        endpoint.failures += first
        return first

    def bring_back(self, endpoint: Endpoint, now: float) -> None:
        """Gives it requests again. Its failures stay counted until it answers one."""
        endpoint.failure, endpoint.back_at = None, now

    def last_failure(self) -> Failure | None:
        """Why one of the endpoints is out."""
        return next((e.failure for e in self.endpoints if e.failure), None)


def pause_s(failures: int, first_s: float = FIRST_PAUSE_S,
            longest_s: float = LONGEST_PAUSE_S) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, and jittered, so
    that many clients do not come back at the same moment."""
    return min(longest_s, first_s * 2.0 ** min(failures - 1, 30)) * random.uniform(0.75, 1.25)
