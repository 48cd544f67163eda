"""Server-side batching: requests that wait together run as one, in a queue with an end.

The rules are TF Serving's (batching_session.cc, and TensorFlow's shared_batch_scheduler.h):
requests for the same outputs of the same signature of a version are joined along axis 0, whatever
their sizes, run once, and split again; what fails fails for all that were joined. The queue is
bounded, and a request that finds it full is refused at once, so that a flood costs no memory.

It differs in what no answer shows: a lone request does not wait for others, a batch takes from
the queue what fits and not only what comes next, and the queue counts requests and not batches.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import grpc
import numpy as np

from crater_model.serving.joining import join, rows_of, split
from crater_model.serving.monitoring import QUEUING_LATENCY, RUNTIME_LATENCY, Metrics
from crater_model.serving.servable import ModelVersion, RequestError
from crater_model.serving.settings import Batching

_LOOK_S = 0.25  # how often a waiting request looks whether its client is still there


@dataclass(eq=False)
class Task:
    """A request on its way through the queue.

    Attributes:
      inputs: as `ModelVersion.checked` gives them.
      outputs: the names of those wanted.
      model: its model's name, for metrics.
      gone: says whether the client has given up.
      deadline: on `time.monotonic`; it is answered then at the latest.
      megapixels: of its images, which bound what is joined.
      rows: of its inputs, where requests are joined.
    """

    version: ModelVersion
    signature: str
    inputs: Mapping[str, np.ndarray]
    outputs: frozenset[str]
    model: str = ""
    gone: Callable[[], bool] = lambda: False
    deadline: float = math.inf
    megapixels: float = 0.0
    rows: int = 0
    arrived: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    result: dict[str, np.ndarray] | None = None
    error: RequestError | None = None

    @property
    def key(self) -> tuple:
        """Equal for requests that can be joined."""
        return self.version, self.signature, self.outputs

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

    def check(self, task: Task) -> None:
        """Counts the rows of a task where requests are joined.

        Raises:
          RequestError: INVALID_ARGUMENT where its inputs have no rows or not the same number, or
            more than a batch may have.
        """
        if not self._settings.joins:
            return
        task.rows, most = rows_of(task.inputs), self._settings.max_batch_size
        if task.rows > most:
            raise RequestError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Task size {task.rows} is larger than maximum input batch size {most}")

    def predict(self, task: Task) -> dict[str, np.ndarray]:
        """Waits for the task's outputs.

        Raises:
          RequestError: UNAVAILABLE when the queue is full or the server stops, CANCELLED when
            the client has given up, DEADLINE_EXCEEDED when its time is over, and what the model
            raises for it or for one that it was joined with.
        """
        with self._changed:
            if self._closed:
                raise _stopping()
            if len(self._queue) >= self._settings.max_queued:
                self._forget_the_gone()
            if len(self._queue) >= self._settings.max_queued:
                raise RequestError(
                    grpc.StatusCode.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full; "
                    f"{len(self._queue)} requests are waiting (max_queued, max_enqueued_batches); "
                    "try again later or add a server")
            self._queue.append(task)
            self._changed.notify_all()
        while not task.done.wait(min(_LOOK_S, max(0.0, task.deadline - time.monotonic()))):
            if task.gone():
                self._drop(task, _given_up())
            elif time.monotonic() >= task.deadline:
                self._drop(task, RequestError(
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                    "Timed out waiting for the model (rest_api_timeout_in_ms)"))
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

    def _drop(self, task: Task, error: RequestError) -> None:
        with self._changed:
            if task in self._queue:
                self._queue.remove(task)
        task.end(error=error)

    def _forget_the_gone(self) -> None:
        for task in [task for task in self._queue if task.gone()]:
            self._queue.remove(task)
            task.end(error=_given_up())

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
        first = self._queue[0]
        if not self._settings.joins:
            return [first]
        batch, rows, megapixels = [], 0, 0.0
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
        try:
            for task, result in zip(batch, self._results(batch), strict=True):
                task.end({name: result[name] for name in task.outputs})
        except Exception as error:  # a defect must not end the thread
            if not isinstance(error, RequestError):
                error = RequestError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
            for task in batch:
                task.end(error=error)

    def _results(self, batch: list[Task]) -> list[dict[str, np.ndarray]]:
        if not self._settings.joins:
            return [self._timed(task, task.inputs) for task in batch]
        inputs = join([task.inputs for task in batch], self._settings.pad_variable_length_inputs)
        return split(self._timed(batch[0], inputs), [task.rows for task in batch])

    def _timed(self, task: Task, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        start = time.monotonic()
        try:
            return task.version.run(inputs, task.signature)
        finally:
            self._metrics.observe(RUNTIME_LATENCY, time.monotonic() - start,
                                  model_name=task.model, API="Predict", runtime="TF2")


def _stopping() -> RequestError:
    return RequestError(grpc.StatusCode.UNAVAILABLE, "this server is stopping; ask another one")


def _given_up() -> RequestError:
    return RequestError(grpc.StatusCode.CANCELLED, "the client has given up")
