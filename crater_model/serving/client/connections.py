"""A gRPC connection: what it is made with, and its end once nobody uses it any more."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any

import grpc

from crater_model.serving.client.addresses import Address
from crater_model.serving.client.credentials import Credentials
from crater_model.serving.client.failures import from_grpc

MAX_MESSAGE_BYTES = 2**31 - 1  # gRPC's default of 4 MiB is less than one answer
# A connection that is not used for so long is closed and made anew for the next request: what
# stands between (NAT, load balancers) forgets connections that are silent for minutes.
IDLE_S = 30.0
_EVERY_SERVER = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})


class Connection:
    """A channel to an address: to one server, or to all that its name stands for, in turn.

    Its calls can be awaited on any event loop: gRPC's own threads wait for answers.

    Attributes:
      channel: for stubs.
      born: when it was made, by time.monotonic().
    """

    def __init__(self, address: Address, credentials: Credentials, try_timeout_s: float):
        self._credentials = credentials
        options = _options(address, try_timeout_s)
        if address.is_tls:
            trusted = grpc.ssl_channel_credentials(
                *(credentials.pem(name) for name in ("ca", "key", "certificate")))
            self.channel = grpc.secure_channel(address.target, trusted, options)
        else:
            self.channel = grpc.insecure_channel(address.target, options)
        self.born = time.monotonic()
        self._calls, self._retired = 0, False

    async def call(self, method, request, timeout_s: float) -> Any:
        """The answer of one of its stubs' methods; raises Failure."""
        authorization = self._credentials.authorization()
        metadata = [("authorization", authorization)] if authorization else None
        self._calls += 1
        try:
            call = method.future(request, timeout=timeout_s, metadata=metadata)
            code = await _ended(call)
            if code != grpc.StatusCode.OK:
                raise from_grpc(code, call.details())
            return call.result()
        finally:
            self._calls -= 1
            self._close_if_done()

    def retire(self) -> None:
        """Closes it as soon as the calls that it has now have ended."""
        self._retired = True
        self._close_if_done()

    def close(self) -> None:
        """Closes it and ends its calls."""
        self.channel.close()

    def _close_if_done(self) -> None:
        if self._retired and not self._calls:
            self.channel.close()


async def _ended(call: grpc.Future) -> grpc.StatusCode:
    """Waits for the end of a call; cancels it when the wait is cancelled."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def ended(_):
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(done.set)

    call.add_done_callback(ended)
    try:
        await done.wait()
    finally:
        call.cancel()  # of no effect once it has ended
    return call.code()


def _options(address: Address, try_timeout_s: float) -> list[tuple[str, Any]]:
    # While an answer is awaited, pings tell a dead connection from a slow server, in half of a
    # try's time. gRPC's servers close a connection (GOAWAY, ENHANCE_YOUR_CALM, "too_many_pings")
    # at the fourth ping that comes between two frames of theirs (the first, and max_ping_strikes
    # = 2 more, less than five minutes apart), or at pings without a request. A third of the time
    # that a request may wait makes it three at most, and without requests none is sent.
    keepalive_s = max(2.0, try_timeout_s / 3)
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
               ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
               ("grpc.keepalive_time_ms", int(1000 * keepalive_s)),
               ("grpc.keepalive_timeout_ms", int(500 * keepalive_s)),
               # That of any ping, a minute by default, is the one that grpcio 1.85 goes by.
               ("grpc.http2.ping_timeout_ms", int(500 * keepalive_s)),
               ("grpc.keepalive_permit_without_calls", 0),
               ("grpc.client_idle_timeout_ms", int(1000 * IDLE_S)),
               # Else a new channel would go over the old one's connection.
               ("grpc.use_local_subchannel_pool", 1),
               ("grpc.service_config", _EVERY_SERVER),
               ("grpc.dns_min_time_between_resolutions_ms", 2000),
               # After a failure try again soon: the deadline, not gRPC, ends the wait.
               ("grpc.initial_reconnect_backoff_ms", 100),
               ("grpc.max_reconnect_backoff_ms", 2000)]
    if address.is_loopback:
        options.append(("grpc.enable_http_proxy", 0))
    return options
