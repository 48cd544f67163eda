"""Which failures are worth another try."""

import pytest
from grpc import StatusCode

from crater_model.serving.client.failures import Kind, from_grpc, from_http


@pytest.mark.parametrize("code, details, kind", [
    (StatusCode.UNAVAILABLE, "failed to connect", Kind.DOWN),
    (StatusCode.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full",
     Kind.BUSY),
    (StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", Kind.DOWN),
    (StatusCode.CANCELLED, "stopping", Kind.DOWN),
    (StatusCode.RESOURCE_EXHAUSTED, "too many requests", Kind.BUSY),
    (StatusCode.RESOURCE_EXHAUSTED, "CLIENT: Received message larger than max (9 vs. 4)",
     Kind.FINAL),
    (StatusCode.ABORTED, "", Kind.BUSY),
    (StatusCode.INVALID_ARGUMENT, "bad image\n[[node]]", Kind.REFUSED),
    (StatusCode.NOT_FOUND, "", Kind.FINAL),
    (StatusCode.FAILED_PRECONDITION, "padding is turned off", Kind.REFUSED),
    (StatusCode.OUT_OF_RANGE, "", Kind.REFUSED),
    (StatusCode.UNAVAILABLE, "last error: Failed parsing HTTP/2 (Expected SETTINGS frame as the "
     "first frame, got frame type 80)", Kind.MISTAKEN),
    (StatusCode.UNIMPLEMENTED, "", Kind.FINAL),
    (StatusCode.INTERNAL, "", Kind.FINAL),
])
def test_grpc(code, details, kind):
    failure = from_grpc(code, details)
    assert failure.kind is kind and failure.code == code.name
    assert failure.reason and "\n" not in failure.reason


@pytest.mark.parametrize("status, kind", [(400, Kind.REFUSED), (404, Kind.FINAL),
                                          (413, Kind.FINAL), (429, Kind.BUSY), (500, Kind.FINAL),
                                          (503, Kind.BUSY)])
def test_http(status, kind):
    failure = from_http(status, "why")
    assert failure.kind is kind and failure.code == f"HTTP {status}"
    assert failure.reason.startswith("why")
