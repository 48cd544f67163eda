"""What a failed request means: who is at fault, and whether asking again can help.

Every request of the API only reads, so that each may be asked again; what decides is
whether the answer could be another one.
"""

from __future__ import annotations

import enum

import grpc


class Kind(enum.Enum):
    """What to do about a failure."""

    DOWN = "the endpoint does not answer: take it out, ask another"
    BUSY = "the endpoint is over its limit: ask again, later"
    REFUSED = "what was sent is at fault"
    FINAL = "it would fail again"


class Failure(Exception):
    """One request to one endpoint that failed.

    Attributes:
      kind: what to do about it.
      code: the name of the gRPC status or the HTTP status, for messages.
      reason: one line.
      endpoint: which one; set by who asked it.
    """

    def __init__(self, kind: Kind, code: str, reason: str):
        super().__init__(f"{code}: {reason}")
        self.kind, self.code, self.reason = kind, code, reason
        self.endpoint = ""

    def copy(self) -> Failure:
        """The same without a traceback, to be kept: a traceback holds the images sent."""
        copy = Failure(self.kind, self.code, self.reason)
        copy.endpoint = self.endpoint
        return copy


_GRPC = {
    grpc.StatusCode.UNAVAILABLE: Kind.DOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED: Kind.DOWN,
    grpc.StatusCode.CANCELLED: Kind.DOWN,  # by a server that stops: we never ask for it
    grpc.StatusCode.RESOURCE_EXHAUSTED: Kind.BUSY,
    grpc.StatusCode.ABORTED: Kind.BUSY,
    grpc.StatusCode.INVALID_ARGUMENT: Kind.REFUSED,
}
# 502 and 504 come from a gateway: the server behind it is the next to be asked.
_HTTP = {400: Kind.REFUSED, 429: Kind.BUSY, 502: Kind.BUSY, 503: Kind.BUSY, 504: Kind.BUSY}

# How TF Serving says, with UNAVAILABLE, that its batching queue is full.
_QUEUE_FULL = "batch scheduling queue"
_TOO_LARGE = "message larger than max"


def from_grpc(code: grpc.StatusCode, details: str | None) -> Failure:
    """The failure that a call's status stands for."""
    reason = _first_line(details)
    kind = _GRPC.get(code, Kind.FINAL)
    if code == grpc.StatusCode.UNAVAILABLE and _QUEUE_FULL in reason:
        kind = Kind.BUSY
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in reason:
        # No limit of this computer's memory or of a queue: the same message fails again.
        kind = Kind.FINAL
        whose = "the server's" if reason.startswith("SERVER:") else "the client's"
        reason = (f"a message is larger than {whose} limit allows ({reason}); send fewer or "
                  "smaller images in a request (max_batch, max_batch_bytes)")
    return Failure(kind, code.name, reason)


def from_http(status: int, reason: str) -> Failure:
    """The failure that an HTTP status stands for."""
    if status == 413:
        reason += "; send fewer or smaller images in a request (max_batch, max_batch_bytes)"
    return Failure(_HTTP.get(status, Kind.FINAL), f"HTTP {status}", _first_line(reason))


def _first_line(text: str | None) -> str:
    lines = (text or "").strip().splitlines()
    return lines[0] if lines else "no reason given"
