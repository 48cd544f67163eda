"""Server-side batching: requests that wait together run as one, in a queue with an end.

Requests to the same version and signature whose arrays fit are joined along axis 0, run
once, and split again. A few threads run batches; the queue before them is bounded, and a
request that finds it full is refused at once, so that a flood costs no memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import grpc
import numpy as np

from crater_model.serving.monitoring import QUEUING_LATENCY, RUNTIME_LATENCY, Metrics
from crater_model.serving.servable import ModelVersion, RequestError
from crater_model.serving.settings import Batching

_LOOK_S = 0.25  # how often a waiting request looks whether its client is still there


@dataclass(eq=False)
class Task:
    """A request on its way through the queue.

    Attributes:
      model: its model's name, for metrics.
      inputs: as `ModelVersion.checked` gives them.
      megapixels: of its images, which bound what is joined.
      gone: says whether the client has given up.
    """

    version: ModelVersion
    signature: str
    inputs: Mapping[str, np.ndarray]
    model: str = ""
    megapixels: float = 0.0
    gone: Callable[[], bool] = lambda: False
    arrived: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    result: dict[str, np.ndarray] | None = None
    error: RequestError | None = None

    def __post_init__(self):
        lengths = {len(array) if array.ndim else 0 for array in self.inputs.values()}
        joins = self.version.by_rows(self.signature) and len(lengths) == 1
        self.rows = lengths.pop() if joins else 0
        # Tasks of equal keys can be joined; one without rows is joined with nothing.
        self.key = (self.version, self.signature, tuple(sorted(
            (name, array.dtype.kind, array.shape[1:])
            for name, array in self.inputs.items()))) if self.rows else object()

    def end(self, result=None, error: RequestError | None = None) -> None:
        if not self.done.is_set():
            self.result, self.error = result, error
            self.done.set()


class Batcher:
    """The queue and the threads that work it off."""

    def __init__(self, settings: Batching = Batching(), max_megapixels: float = float("inf"),
                 metrics: Metrics | None = None):
        self._settings, self._max_megapixels = settings, max_megapixels
        self._metrics = metrics or Metrics()
        self._queue: list[Task] = []
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._work, name=f"batch-{n}", daemon=True)
                         for n in range(settings.num_batch_threads)]
        for thread in self._threads:
            thread.start()

    def predict(self, task: Task) -> dict[str, np.ndarray]:
        """Waits for the task's outputs.

        Raises:
          RequestError: RESOURCE_EXHAUSTED when the queue is full, CANCELLED when the client
            has given up, UNAVAILABLE when the server stops, and what the model raises.
        """
        with self._changed:
            if self._closed:
                raise _stopping()
            if len(self._queue) >= self._settings.max_queued:
                self._forget_the_gone()
            if len(self._queue) >= self._settings.max_queued:
                raise RequestError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"{len(self._queue)} requests are waiting, as many as this server keeps "
                    "(max_queued, max_enqueued_batches); try again later or add a server")
            self._queue.append(task)
            self._changed.notify_all()
        while not task.done.wait(_LOOK_S):
            if task.gone():
                self._drop(task)
        if task.error:
            raise task.error
        assert task.result is not None
        return task.result

    def close(self) -> None:
        """Refuses what is still queued and waits for what runs: a run of the model cannot
        be broken off."""
        with self._changed:
            self._closed = True
            for task in self._queue:
                task.end(error=_stopping())
            self._queue.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _drop(self, task: Task) -> None:
        with self._changed:
            if task in self._queue:
                self._queue.remove(task)
        task.end(error=RequestError(grpc.StatusCode.CANCELLED, "the client has given up"))

    def _forget_the_gone(self) -> None:
        for task in [task for task in self._queue if task.gone()]:
            self._queue.remove(task)
            task.end(error=RequestError(grpc.StatusCode.CANCELLED, "the client has given up"))

    def _work(self) -> None:
        while batch := self._take():
            self._run(batch)
            del batch  # an idle thread must not hold the images of its last batch

    def _take(self) -> list[Task]:
        """The next batch; [] when the server stops."""
        with self._changed:
            while True:
                self._forget_the_gone()
                if self._queue:
                    batch = self._joinable()
                    wait_s = self._time_for_more(batch)
                    if wait_s <= 0:
                        for task in batch:
                            self._queue.remove(task)
                        return batch
                    self._changed.wait(wait_s)
                elif self._closed:
                    return []
                else:
                    self._changed.wait()

    def _joinable(self) -> list[Task]:
        """The first of the queue, and those behind it that fit into a batch with it."""
        batch, first = [], self._queue[0]
        rows, megapixels = 0, 0.0
        for task in self._queue:
            fits = (rows + task.rows <= self._settings.max_batch_size
                    and megapixels + task.megapixels <= self._max_megapixels)
            if task is first or (task.key == first.key and fits):
                batch.append(task)
                rows, megapixels = rows + task.rows, megapixels + task.megapixels
        return batch

    def _time_for_more(self, batch: list[Task]) -> float:
        """Seconds to wait for a fuller batch. A lone request has nobody to wait for."""
        full = sum(task.rows for task in batch) >= self._settings.max_batch_size
        if len(batch) == 1 or full or self._closed:
            return 0.0
        return batch[0].arrived + self._settings.batch_timeout_ms / 1e3 - time.monotonic()

    def _run(self, batch: list[Task]) -> None:
        now = time.monotonic()
        for task in batch:
            self._metrics.observe(QUEUING_LATENCY, now - task.arrived, model_name=task.model)
        if len(batch) > 1:
            try:
                joined = {name: np.concatenate([task.inputs[name] for task in batch])
                          for name in batch[0].inputs}
                results = split(self._timed(batch[0], joined), [task.rows for task in batch])
            except Exception:  # one bad image fails all: let each stand for itself
                pass
            else:
                for task, result in zip(batch, results, strict=True):
                    task.end(result)
                return
        for task in batch:
            self._run_alone(task)

    def _run_alone(self, task: Task) -> None:
        try:
            task.end(self._timed(task, task.inputs))
        except RequestError as error:
            task.end(error=error)
        except Exception as error:  # a defect must not end the thread
            task.end(error=RequestError(grpc.StatusCode.INTERNAL,
                                        f"{type(error).__name__}: {error}"))

    def _timed(self, task: Task, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        start = time.monotonic()
        try:
            return task.version.run(inputs, task.signature)
        finally:
            self._metrics.observe(RUNTIME_LATENCY, time.monotonic() - start,
                                  model_name=task.model, API="Predict", runtime="TF2")


def split(outputs: Mapping[str, np.ndarray], rows: list[int]) -> list[dict[str, np.ndarray]]:
    """The outputs of a joined batch, for each of its requests what it would have got alone.

    The exported model pads axis 1 of `detection_*` to the fullest image of the batch, so a
    request's own part is cut back to its own fullest image.

    Raises:
      ValueError: an output has not one row for each row of the inputs.
    """
    if any(len(array) != sum(rows) for array in outputs.values()):
        raise ValueError("an output has another number of rows than the inputs")
    parts, start = [], 0
    for count in rows:
        part = {name: array[start:start + count] for name, array in outputs.items()}
        if "num_detections" in part:
            most = int(part["num_detections"].max())
            part = {name: array[:, :most] if name.startswith("detection_") and array.ndim > 1
                    else array for name, array in part.items()}
        parts.append(part)
        start += count
    return parts


def _stopping() -> RequestError:
    return RequestError(grpc.StatusCode.UNAVAILABLE, "this server is stopping; ask another one")
