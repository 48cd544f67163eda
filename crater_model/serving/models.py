"""Models as a server holds them: named, in numbered versions that come and go.

The folder layout, the version numbers and the states are TF Serving's
(https://github.com/tensorflow/serving): BASE/<version>/saved_model.pb, the version an
integer; START, LOADING, AVAILABLE, UNLOADING, END. Two things differ on purpose: when the
newest version cannot be loaded an older one is served also at the start, and the last
version goes on being served when its folder vanishes.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from tensorflow_serving.apis import get_model_status_pb2

from crater_model.errors import ServingError
from crater_model.serving.servable import ModelVersion, RequestError
from crater_model.serving.versions import Policy, fingerprint, scan, version_folders

State = get_model_status_pb2.ModelVersionStatus
NEWEST = None  # a label's version: whichever is the newest that can be asked


@dataclass
class _Slot:
    """A version: its state, why it failed, and how many requests use it."""

    state: int = State.START
    error: str = ""
    loaded: ModelVersion | None = None
    users: int = 0
    failed_as: frozenset | None = None  # the folder's fingerprint when loading failed


class Model:
    """The versions of one model below a folder, the newest the default."""

    def __init__(self, name: str, folder: str | Path, policy: Policy = Policy(),
                 labels: Mapping[str, int | None] | None = None):
        """
        Args:
          folder: the parent of the versions, or one version.
          policy: which versions to serve; those that a label names are kept besides.
          labels: label -> version number, or NEWEST.

        Raises:
          ServingError: there is no version, or not one that a label names.
        """
        self.name, self.folder, self.policy = name, Path(folder), policy
        self.labels = dict(labels or {})
        self._lock = threading.Lock()
        wanted = policy.wanted(version_folders(folder))
        self._slots = {number: _Slot() for number in sorted(wanted)}
        missing = sorted(self._labelled() - wanted)
        if missing:
            raise ServingError(f"model {name}: a label names version {missing[0]}, "
                               f"which is not among {sorted(wanted)}")

    def load(self) -> None:
        """Loads what the policy asks for; one that fails is reported by `states`.

        Raises:
          ServingError: no version can be loaded.
        """
        self.update()
        if not self.available():
            errors = [slot.error for _, slot in sorted(self._slots.items()) if slot.error]
            raise ServingError(errors[-1] if errors else
                               f"model {self.name}: there is no version to load")

    def update(self) -> None:
        """Brings what is loaded in line with the folder: new versions first, then the old
        ones leave, each when its last request has ended. For one thread at a time."""
        folders = scan(self.folder)
        with self._lock:  # so that this does not grow with the versions of years
            for number in [n for n, s in self._slots.items()
                           if n not in folders and s.state == State.END]:
                del self._slots[number]
        tried: set[int] = set()  # a folder that is being copied changes all the time: once a look
        while (wanted := self._next_to_load(folders, tried)) is not None:
            tried.add(wanted)
            self._load(wanted, folders[wanted])
        if self._retire(self._wanted(folders)):
            gc.collect()  # TensorFlow's functions are cycles: give the memory back now

    @contextmanager
    def lease(self, version: int | None = None, label: str | None = None
              ) -> Iterator[ModelVersion]:
        """A loaded version by number or label, the newest when neither is given; it stays
        loaded until the block ends.

        Raises:
          RequestError: INVALID_ARGUMENT for an unknown label, NOT_FOUND for a version that
            is not loaded.
        """
        number = self.number(version, label)
        with self._lock:
            slot = self._slots.get(number)
            if slot is None or slot.state != State.AVAILABLE:
                raise absent(self.name, None if version is None and label is None else number,
                             f"it has {self._available()}")
            slot.users += 1
            loaded = slot.loaded
        assert loaded is not None  # it is available
        try:
            yield loaded
        finally:
            with self._lock:
                slot.users -= 1
                self._end_if_unused(number, slot)

    def _labelled(self) -> set[int]:
        return {number for number in self.labels.values() if number is not None}

    def number(self, version: int | None, label: str | None) -> int:
        """The version number that a request means."""
        if label is not None:
            if label not in self.labels:
                raise unknown_label(label, f"model {self.name} has {sorted(self.labels)}")
            version = self.labels[label]
        return max(self.available(), default=0) if version is None else version

    def states(self, version: int | None = None) -> list[tuple[int, int, str]]:
        """(version, state, error text), newest first; of one version when it is named."""
        with self._lock:
            found = [(n, slot.state, slot.error)
                     for n, slot in sorted(self._slots.items(), reverse=True)
                     if version in (None, n)]
        if not found:
            raise RequestError(grpc.StatusCode.NOT_FOUND,
                               f"Could not find version {version} of model {self.name}")
        return found

    def available(self) -> list[int]:
        """The versions that can be asked, oldest first."""
        with self._lock:
            return self._available()

    def _available(self) -> list[int]:
        return sorted(n for n, slot in self._slots.items() if slot.state == State.AVAILABLE)

    def _wanted(self, folders: Mapping[int, Path]) -> set[int]:
        """The policy over the versions that can be loaded, and what labels name."""
        failed = {n: slot.failed_as for n, slot in self._slots.items() if slot.error}
        usable = [n for n in folders if n not in failed or failed[n] != fingerprint(folders[n])]
        return self.policy.wanted(usable) | (self._labelled() & set(usable))

    def _next_to_load(self, folders: Mapping[int, Path], tried: set[int]) -> int | None:
        wanted = self._wanted(folders) - tried
        with self._lock:
            waiting = [n for n in wanted
                       if self._slots.setdefault(n, _Slot()).state in (State.START, State.END)]
        return max(waiting, default=None)

    def _load(self, number: int, folder: Path) -> None:
        slot, before = self._slots[number], fingerprint(folder)
        with self._lock:
            slot.state, slot.error = State.LOADING, ""
        try:
            loaded = ModelVersion(folder, number)
        except ServingError as error:
            with self._lock:
                slot.state, slot.error, slot.failed_as = State.END, str(error), before
            print(f"model {self.name}: version {number} is not served: {error}",
                  file=sys.stderr, flush=True)
            return
        with self._lock:
            slot.state, slot.loaded = State.AVAILABLE, loaded
        print(f"model {self.name}: version {number} is loaded", file=sys.stderr, flush=True)

    def _retire(self, wanted: set[int]) -> bool:
        """Unloads what is not wanted any more, if something that is can be asked."""
        with self._lock:
            available = set(self._available())
            leaving = available - wanted if available & wanted else set()
            for number in leaving:
                self._slots[number].state = State.UNLOADING
                self._end_if_unused(number, self._slots[number])
        return bool(leaving)

    def _end_if_unused(self, number: int, slot: _Slot) -> None:
        if slot.state == State.UNLOADING and not slot.users:
            slot.state, slot.loaded = State.END, None
            print(f"model {self.name}: version {number} is unloaded", file=sys.stderr, flush=True)


class Models:
    """The models that a server holds, by name."""

    def __init__(self, models: Mapping[str, Model]):
        self._models = dict(models)

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def __contains__(self, name: str) -> bool:
        return name in self._models

    def model(self, name: str) -> Model | None:
        """The model of this name."""
        return self._models.get(name)

    @contextmanager
    def lease(self, name: str, version: int | None = None, label: str | None = None
              ) -> Iterator[ModelVersion]:
        """See `Model.lease`; a model that is not there lacks every version and label."""
        if not name:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                               "ModelSpec has no name specified.")
        if name not in self._models:
            has = f"this server has {', '.join(sorted(self._models))}"
            raise absent(name, version, has) if label is None else unknown_label(label, has)
        with self._models[name].lease(version, label) as loaded:
            yield loaded


def absent(name: str, version: int | None, has: str) -> RequestError:
    """No such version is loaded, in TF Serving's words (basic_manager.cc) and what there is."""
    which = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return RequestError(grpc.StatusCode.NOT_FOUND,
                        f"Servable not found for request: {which}; {has}")


def unknown_label(label: str, has: str) -> RequestError:
    """No such label, in TF Serving's words (server_core.cc) and what there is."""
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                        f"Unrecognized servable version label: {label}; {has}")
