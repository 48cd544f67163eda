"""Faults of the machine, the network or the cloud: worth another try. Bad data and wrong settings
fail the same way again and are never tried twice.

A step whose process or pod is killed never gets here: Dagster sees that itself, and `RETRY`
starts it once more. A training then goes on from its last checkpoint.
"""

from __future__ import annotations

import os

import dagster as dg

# A pod that was pre-empted comes back on another node; the pause lets a service recover.
RETRY = dg.RetryPolicy(max_retries=1, delay=10)

REQUIRE_GPU = "CRATER_REQUIRE_GPU"  # executors set it for the steps that they give a GPU

# By name, as of these classes or their subclasses, so that nothing heavy is imported to ask.
_FAULTS = {
    "ConnectionError", "TimeoutError", "GpuMissing",
    # TensorFlow. InternalError is what CUDA's errors become; out of memory is none of these.
    "UnavailableError", "AbortedError", "InternalError", "DeadlineExceededError",
    # Google Cloud, after the client's own retries.
    "ServerError", "TooManyRequests", "RetryError", "TransportError",
}


class GpuMissing(Exception):
    """The step was given a GPU, and TensorFlow sees none."""


def is_fault(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, is a fault of the infrastructure."""
    cause: BaseException | None = error
    while cause is not None:
        if any(kind.__name__ in _FAULTS for kind in type(cause).__mro__):
            return True
        cause = cause.__cause__
    return False


def require_gpu() -> None:
    """Refuses to train a hundred times slower without a word where a GPU was asked for.

    Raises:
      GpuMissing: $CRATER_REQUIRE_GPU is 1 and there is none.
    """
    if os.environ.get(REQUIRE_GPU) != "1":
        return
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        raise GpuMissing("this step was given a GPU, but TensorFlow sees none; see that the "
                         "node's driver is installed, and that the image holds TensorFlow's "
                         f"CUDA libraries, or unset {REQUIRE_GPU} to train on the CPU")
