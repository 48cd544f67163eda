"""What gRPC and REST have in common: check a Predict request, queue it, run it, count it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from crater_model.serving.batching import Batcher, Task
from crater_model.serving.limits import check_request
from crater_model.serving.models import Models
from crater_model.serving.monitoring import REQUEST_LATENCY, Metrics
from crater_model.serving.servable import DEFAULT_SIGNATURE, ModelVersion, RequestError
from crater_model.serving.settings import Batching, Limits


class Core:
    """The models, the queue before them, the limits and the metrics of a server."""

    def __init__(self, models: Models, batching: Batching, limits: Limits):
        self.models, self.limits, self.metrics = models, limits, Metrics()
        self.batcher = Batcher(batching, limits.max_megapixels, self.metrics)

    def predict(self, model: str, version: ModelVersion, inputs: Mapping[str, np.ndarray],
                signature: str = "", outputs: Collection[str] = (),
                gone: Callable[[], bool] = lambda: False,
                timeout_s: float = math.inf) -> dict[str, np.ndarray]:
        """The outputs of a signature, all of them or those named.

        Args:
          gone: says whether the client has given up.
          timeout_s: how long it may take.

        Raises:
          RequestError: as `ModelVersion.checked`, `check_request` and `Batcher` do.
        """
        arrays = version.checked(inputs, signature, outputs)
        wanted = frozenset(outputs or version.signature(signature).outputs)
        task = Task(version, signature or DEFAULT_SIGNATURE, arrays, wanted, model, gone,
                    time.monotonic() + timeout_s)
        self.batcher.check(task)
        task.megapixels = check_request(arrays, self.limits)
        return self.batcher.predict(task)

    @contextmanager
    def counted(self, model: str, entrypoint: str) -> Iterator[None]:
        """Counts and times the Predict request that the block answers; `entrypoint` is GRPC
        or REST. Only models that exist are counted: names come from outside."""
        start, status = time.monotonic(), "OK"
        try:
            yield
        except RequestError as error:
            status = error.code.name
            raise
        except Exception:
            status = "INTERNAL"
            raise
        finally:
            if model in self.models:
                self.metrics.count_request(model, status)
                self.metrics.observe(REQUEST_LATENCY, time.monotonic() - start,
                                     model_name=model, API="Predict", entrypoint=entrypoint)
