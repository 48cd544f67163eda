"""What gRPC and REST have in common: check a Predict request, queue it, run it, count it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from crater_model.serving.batching import Batcher, Task
from crater_model.serving.limits import check_request
from crater_model.serving.models import Models
from crater_model.serving.monitoring import REQUEST_LATENCY, Metrics
from crater_model.serving.servable import ModelVersion, RequestError
from crater_model.serving.settings import Batching, Limits


class Core:
    """The models, the queue before them, the limits and the metrics of a server."""

    def __init__(self, models: Models, batching: Batching, limits: Limits):
        self.models, self.limits, self.metrics = models, limits, Metrics()
        self.batcher = Batcher(batching, limits.max_megapixels, self.metrics)

    def predict(self, model: str, version: ModelVersion, inputs: Mapping[str, np.ndarray],
                signature: str = "", outputs: Collection[str] = (),
                gone: Callable[[], bool] = lambda: False) -> dict[str, np.ndarray]:
        """The outputs of a signature, all of them or those named.

        Raises:
          RequestError: as `ModelVersion.checked`, `check_request` and `Batcher.predict` do.
        """
        arrays = version.checked(inputs, signature, outputs)
        megapixels = check_request(arrays, self.limits)
        results = self.batcher.predict(
            Task(version, signature or "serving_default", arrays, model, megapixels, gone))
        return {name: results[name] for name in (outputs or results)}

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
