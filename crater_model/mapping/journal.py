"""What a run over a large image has found so far, so that a killed one goes on from there.

A folder with
  run.json             what is mapped, with which model, how: another run is refused
  craters-000000.npz   craters found for good, in the order they were found
  state.npz            from where to go on, what is undecided there, and how many of the
                       craters' files belong to it
Each file is written beside and renamed, the craters before the state: whenever the process
ends, the state that stands names whole files, and what came after it is found again.
"""

from __future__ import annotations

import fcntl
import io
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from crater_model.errors import ConfigError, CraterError
from crater_model.files import make_folder, write_bytes, write_json
from crater_model.mapping.craters import Craters

_COLUMNS = ("scores", "classes", "scales", "edge")


class Journal:
    """One image's journal, open for one run. Use it as a context manager.

    Attributes:
      folder: where it is kept; a run that ends before anything was found leaves none.
      position: the first band that is not done yet; 0 at the beginning.
    """

    def __init__(self, folder: str | Path, run: dict[str, Any], every_s: float = 5.0):
        """
        Args:
          run: what makes the result what it is (image, model, parameters), as JSON has it.
          every_s: seconds between two states, so that writing them costs little.

        Raises:
          ConfigError: the folder was begun by a run of something else; the message names it.
          CraterError: another process is at work in it.
        """
        self.folder, self.position, self._every_s = Path(folder), 0, every_s
        self._pending: list[Craters] = []
        self._files, self._saved = 0, time.monotonic()
        make_folder(self.folder)
        self._lock = (self.folder / "lock").open("w")
        try:
            self._begin(json.loads(json.dumps(run)))
        except BaseException:
            self._lock.close()
            raise

    def _begin(self, run: dict[str, Any]) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CraterError(f"{self.folder}: another run is at work here; wait for its end, or "
                              "name another output") from None
        try:
            before = json.loads((self.folder / "run.json").read_text())
        except FileNotFoundError:
            write_json(self.folder / "run.json", run)
            return
        for name, value in run.items():
            if value != before.get(name):
                raise ConfigError(
                    f"{self.folder}: was begun with {name} {before.get(name)}, now it is "
                    f"{value}; run it as before to go on, or delete the folder to start anew")
        if self._state.exists():
            with np.load(self._state) as state:
                self.position, self._files = int(state["position"]), int(state["files"])

    @property
    def _state(self) -> Path:
        return self.folder / "state.npz"

    def found(self) -> Iterator[Craters]:
        """What earlier runs have found for good."""
        for number in range(self._files):
            with np.load(self._file(number)) as values:
                yield _unpacked(values)

    def waiting(self) -> tuple[Craters, np.ndarray]:
        """What was undecided at `position`, and whether a tile's inner edge cuts it."""
        with np.load(self._state) as values:
            return _unpacked(values), values["cut"]

    def add(self, found: Craters, position: int, waiting: Craters, cut: np.ndarray,
            last: bool = False) -> None:
        """Takes what is found for good, and from where to go on; written if it is time to."""
        self._pending.append(found)
        if not last and time.monotonic() - self._saved < self._every_s:
            return
        write_bytes(self._file(self._files), _packed(Craters.joined(self._pending)))
        write_bytes(self._state, _packed(waiting, position=position, files=self._files + 1,
                                         cut=cut))
        self._files, self._pending, self.position = self._files + 1, [], position
        self._saved = time.monotonic()

    def _file(self, number: int) -> Path:
        return self.folder / f"craters-{number:06d}.npz"

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_) -> None:
        if not self._state.exists():
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()


def _packed(craters: Craters, **more) -> bytes:
    """An .npz file of numbers alone; coordinates as they are, to the last bit."""
    parts = {}
    if len(craters):
        _, parts["points"], (parts["rings"], parts["polygons"]) = shapely.to_ragged_array(
            craters.outlines)
    file = io.BytesIO()
    np.savez(file, size=craters.size, label_map=json.dumps(craters.label_map), **parts, **more,
             **{name: getattr(craters, name) for name in _COLUMNS})
    return file.getvalue()


def _unpacked(values) -> Craters:
    outlines = np.empty(0, object)
    if len(values["scores"]):
        outlines = shapely.from_ragged_array(
            shapely.GeometryType.POLYGON, values["points"],
            (values["rings"], values["polygons"]))
    label_map = {int(number): name
                 for number, name in json.loads(str(values["label_map"])).items()}
    return Craters(outlines, **{name: values[name] for name in _COLUMNS},
                   size=tuple(values["size"].tolist()), label_map=label_map)
