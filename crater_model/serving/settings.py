"""What the local server can be set to. Imports nothing, so that the command line is quick."""

from __future__ import annotations

from dataclasses import dataclass

METRICS_PATH = "/monitoring/prometheus/metrics"  # that of deploy/serving/monitoring.config
POLL_SECONDS = 1.0  # how often a model's folder is looked at, as TF Serving's default
# gRPC's setting for answers in gzip. TF Serving takes it as --grpc_channel_arguments. It saves a
# sixth of the masks' bytes for 3 ms of a core per 100 craters: for slow networks.
COMPRESSED = {"grpc.default_compression_algorithm": 2}


@dataclass(frozen=True)
class Batching:
    """How requests are joined; the names without units are TF Serving's BatchingParameters.

    Attributes:
      max_batch_size: images of several requests run together at most; 1: no joining. A
        single larger request still runs, alone.
      batch_timeout_ms: several requests that wait together wait this long after the first
        for more. A lone request never waits for others while a thread is idle.
      num_batch_threads: batches that run at the same time.
      max_queued: requests that wait for a thread; one more is answered RESOURCE_EXHAUSTED.
    """

    max_batch_size: int = 16
    batch_timeout_ms: float = 2.0
    num_batch_threads: int = 2
    max_queued: int = 64


@dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Attributes:
      max_request_mb: its size in MiB as it is sent.
      max_images: images (rows of its inputs).
      max_megapixels: pixels of all its images together once decoded. The exported model
        needs some 17 bytes for each, so this bounds memory: 1.7 GB a batch thread.
      max_connections: HTTP connections open at the same time.
    """

    max_request_mb: int = 256
    max_images: int = 128
    max_megapixels: float = 100.0
    max_connections: int = 64
