"""What the local server can be set to. Imports nothing, so that the command line is quick."""

from __future__ import annotations

from dataclasses import dataclass

METRICS_PATH = "/monitoring/prometheus/metrics"  # that of deploy/serving/monitoring.config
POLL_SECONDS = 1.0  # how often a model's folder is looked at, as TF Serving's default
# gRPC's setting for answers in gzip. TF Serving takes it as --grpc_channel_arguments. It saves a
# sixth of the masks' bytes for 3 ms of a core per 100 craters: for slow networks.
COMPRESSED = {"grpc.default_compression_algorithm": 2}
# How long a REST request may take, as the image sets it (--rest_api_timeout_in_ms): no less than
# a client waits. TF Serving's default is 30 s.
REST_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Batching:
    """How requests are joined; the names without units are TF Serving's BatchingParameters.

    Attributes:
      max_batch_size: images of several requests run together at most, and images that one
        request may hold; 1: requests are not joined, and may hold any number.
      batch_timeout_ms: several requests that wait together wait this long after the first
        for more. A lone request never waits for others while a thread is idle.
      num_batch_threads: batches that run at the same time.
      max_queued: requests that wait for a thread; one more is answered UNAVAILABLE.
      pad_variable_length_inputs: arrays that are joined are first filled up to the size of the
        largest, each with its own first value; without it, all must be of one size.
    """

    max_batch_size: int = 16
    batch_timeout_ms: float = 2.0
    num_batch_threads: int = 2
    max_queued: int = 64
    pad_variable_length_inputs: bool = False

    @property
    def joins(self) -> bool:
        """Whether requests are joined."""
        return self.max_batch_size > 1


@dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Attributes:
      max_request_mb: its size in MiB, unpacked where it comes in gzip.
      max_images: images (rows of its inputs), where they are not joined.
      max_megapixels: pixels of all its images together once decoded. The exported model
        needs some 17 bytes for each, so this bounds memory: 1.7 GB a batch thread.
      max_posts: POST requests over REST that are read, wait or run at the same time; one
        more is answered 503. Connections that are only open cost nothing and are not counted.
    """

    max_request_mb: int = 256
    max_images: int = 128
    max_megapixels: float = 100.0
    max_posts: int = 64
