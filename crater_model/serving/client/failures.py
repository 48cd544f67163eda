"""What a failed request means: who is at fault, and whether asking again can help.

Every request of the API only reads, so that each may be asked again; what decides is
whether the answer could be another one.
"""

from __future__ import annotations

import enum

import grpc
import requests


class Kind(enum.Enum):
    """What to do about a failure."""

    DOWN = "the endpoint does not answer: take it out, ask another"
    BUSY = "the endpoint is over its limit: ask again, later"
    REFUSED = "what was sent is at fault: an image, a neighbour's, or all of the request"
    FINAL = "it would fail again"
    MISTAKEN = "the endpoint is not what it is taken for: it would fail for ever"


# Codes that mean, of a version that was there before: it is not any more.
ABSENT = ("NOT_FOUND", "HTTP 404")
GONE = (*ABSENT, "wrong version", "another model")


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
    # The same three that are 400 over REST. Of requests that are joined, one gives them to all.
    grpc.StatusCode.INVALID_ARGUMENT: Kind.REFUSED,
    grpc.StatusCode.FAILED_PRECONDITION: Kind.REFUSED,
    grpc.StatusCode.OUT_OF_RANGE: Kind.REFUSED,
}
# 502 and 504 come from a gateway: the server behind it is the next to be asked.
_HTTP = {400: Kind.REFUSED, 429: Kind.BUSY, 502: Kind.BUSY, 503: Kind.BUSY, 504: Kind.BUSY}

# How TF Serving says, with UNAVAILABLE, that its batching queue is full.
_QUEUE_FULL = "batch scheduling queue"
_TOO_LARGE = "message larger than max"
# What gRPC says of a server that is not one, and why asking it again is in vain.
_MISTAKEN = {
    "Expected SETTINGS frame": "it does not speak gRPC: is this its REST port? Name the one for "
                               "gRPC (8500), or http://",
    "WRONG_VERSION_NUMBER": "it does not speak TLS: name it grpc://, or without CA and certificate",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not trusted: name its authority (ca)",
    "Hostname Verification Check failed": "its certificate is for another name",
}


def from_grpc(code: grpc.StatusCode, details: str | None) -> Failure:
    """The failure that a call's status stands for."""
    reason = _first_line(details)
    kind = _GRPC.get(code, Kind.FINAL)
    for sign, words in _MISTAKEN.items() if code == grpc.StatusCode.UNAVAILABLE else ():
        if sign in reason:
            return Failure(Kind.MISTAKEN, code.name, f"{words} ({reason})")
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


def from_requests(error: requests.RequestException, timeout_s: float) -> Failure:
    """The failure of an exchange that did not come to an answer."""
    if isinstance(error, requests.Timeout):
        return Failure(Kind.DOWN, "timeout", f"no answer within {timeout_s:.3g} s")
    cause = getattr(error.args[0], "reason", error) if error.args else error
    if "BadStatusLine" in str(error):  # HTTP/2's frames
        return Failure(Kind.MISTAKEN, "no HTTP/1.1", "it does not speak HTTP/1.1: is this its gRPC "
                       f"port? Name the one for REST (8501), or grpc:// ({cause})")
    for sign, words in _MISTAKEN.items():
        if sign in str(error):
            return Failure(Kind.MISTAKEN, "no connection",
                           f"{words.replace('grpc:', 'http:')} ({cause})")
    return Failure(Kind.DOWN, "no connection", str(cause))


def _first_line(text: str | None) -> str:
    lines = (text or "").strip().splitlines()
    return lines[0] if lines else "no reason given"
