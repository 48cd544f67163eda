"""The servers that can be asked, and which of them is next. Nothing here asks them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crater_model.errors import ServingError
from crater_model.serving.client.failures import Failure

SCHEMES = ("grpc", "grpcs", "http", "https")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0


@dataclass(frozen=True)
class ModelName:
    """Which model of a server, and which version of it (None: the newest)."""

    name: str
    version: int | None = None
    label: str | None = None


@dataclass(frozen=True)
class Address:
    """Where a server listens and how it is spoken to; `text` is for messages."""

    text: str
    scheme: str
    host: str
    port: int

    @property
    def netloc(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def is_rest(self) -> bool:
        return self.scheme in ("http", "https")

    @property
    def is_loopback(self) -> bool:
        return self.host in ("localhost", "127.0.0.1", "[::1]")


def parse_addresses(endpoint: str | Sequence[str]) -> list[Address]:
    """Reads [SCHEME://]HOST:PORT, one or several (a sequence, or with commas between).

    Raises:
      ServingError: one of them is not of this form, or both APIs are named.
    """
    parts = endpoint.split(",") if isinstance(endpoint, str) else list(endpoint)
    parts = [part.strip() for part in parts if part.strip()]
    addresses = [_parse(part) for part in parts or [str(endpoint)]]
    if len({address.is_rest for address in addresses}) > 1:
        raise ServingError(f"{','.join(parts)}: names servers of both APIs; expected gRPC ones "
                           "or REST ones, make a client for each")
    return addresses


def _parse(text: str) -> Address:
    scheme, _, rest = text.rpartition("://")
    host, _, port = rest.rstrip("/").rpartition(":")
    if (scheme or "grpc") not in SCHEMES or not host or "/" in host or not (
            port.isdecimal() and 0 < int(port) < 65536):
        raise ServingError(f"{text!r}: not an endpoint, expected HOST:PORT such as "
                           "127.0.0.1:8500, or with one of "
                           f"{', '.join(f'{s}://' for s in SCHEMES)} before it")
    return Address(text, scheme or "grpc", host, int(port))


@dataclass(eq=False)
class Endpoint:
    """One server and what is known of its health.

    Attributes:
      transport: what asks it.
      in_flight: requests it has not answered yet.
      failures: how often it failed since it last answered a request.
      failure: the latest one, while it is taken out.
    """

    address: Address
    transport: Any
    in_flight: int = 0
    failures: int = 0
    failure: Failure | None = None


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
        endpoint.failure = failure
        endpoint.failures += first
        return first

    def bring_back(self, endpoint: Endpoint) -> None:
        """Gives it requests again. Its failures stay counted until it answers one."""
        endpoint.failure = None

    def last_failure(self) -> Failure | None:
        """Why one of the endpoints is out."""
        return next((e.failure for e in self.endpoints if e.failure), None)


def pause_s(failures: int, first_s: float = FIRST_PAUSE_S,
            longest_s: float = LONGEST_PAUSE_S) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, and jittered, so
    that many clients do not come back at the same moment."""
    return min(longest_s, first_s * 2.0 ** min(failures - 1, 30)) * random.uniform(0.75, 1.25)
