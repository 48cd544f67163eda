"""Unfinished work in the bucket: copied there as it grows, taken up on another machine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Container, Sequence
from pathlib import Path

from crater_model.errors import CraterError
from crater_model.files import whole_folder
from crater_model.storage.base import Work
from crater_model.storage.lease import Lease
from crater_model.storage.manifest import files_in
from crater_model.storage.objects import Objects, cloud_errors

SYNC_SECONDS = 10.0
_log = logging.getLogger(__name__)


class Unfinished(Work):
    """The copy of a folder that is being filled, in the background of who fills it.

    Every holder of the lease copies to a folder of its own, `KEY/in-progress-TOKEN/`, and the
    lease names the one to go on from: one that was taken for dead and is not mixes nothing up.

    Args:
      name: the artifact's name in the bucket.
      folder: where it is made.
      last: files that speak of others, such as an index of checkpoints: they are read before and
        written after the others, so that nothing is spoken of that is not there.
      local: the right to the folder on this machine.
    """

    def __init__(self, objects: Objects, name: str, folder: Path, lease: Lease,
                 last: Sequence[str], local: Work):
        self._objects, self._name, self._folder = objects, name, folder
        self._lease, self._last, self._local = lease, last, local
        self._prefix = f"{name}/in-progress-{lease.token}/"
        self._sent: dict[str, object] = {}  # path -> what it was when it was copied
        self._lost: CraterError | None = None
        self._started = False
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=arguments, daemon=True) for arguments in (
                (SYNC_SECONDS, self.sync, "copying"), (lease.seconds / 6, lease.renew, "renewing"))]

    def check(self) -> None:
        self._local.check()
        if self._lost:
            raise self._lost

    def start(self) -> None:
        """Takes up what an earlier holder left, where it is newer, and begins to copy."""
        left = self._lease.state.get("folder")
        if left and self._lease.state["changed"] > _newest(self._folder):
            prefix = f"{self._name}/{left}/"
            with whole_folder(self._folder) as beside:
                self._objects.download(prefix, list(self._objects.list(prefix)), beside)
        self._started = True
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the background; a copy that is being made is waited for."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def end(self, done: Callable[[], bool]) -> None:
        """Removes the copy, or brings it up to date and frees the lease for who goes on."""
        if self._lost:
            self._objects.delete_below(self._prefix)
            return
        try:
            with cloud_errors(self._lease.what, "copying"):
                if done():
                    self._objects.delete_below(f"{self._name}/in-progress-")
                    self._lease.remove()
                else:
                    if self._started:
                        self.sync()
                    self._lease.renew(owner=None)
        except CraterError as error:  # whatever ended the work is what must be heard
            _log.warning("%s", error)

    def sync(self) -> None:
        """Copies what has changed; a folder that changes meanwhile is copied again."""
        while not self._round():
            pass

    def _round(self) -> bool:
        spoken = {name: (self._folder / name).read_bytes() for name in self._last
                  if (self._folder / name).is_file()}
        try:
            files = _stamps(self._folder, spoken)
            changed = [path for path, stamp in files.items() if self._sent.get(path) != stamp]
            self._objects.upload(self._folder, changed, self._prefix, new=False)
        except FileNotFoundError:  # an old checkpoint went meanwhile
            return False
        # The index goes before the checkpoints that it no longer names: is it the same still?
        if any((self._folder / name).read_bytes() != data for name, data in spoken.items()
               if name == self._last[-1]):
            return False
        for name, data in spoken.items():
            if self._sent.get(name) != data:
                self._objects.put(self._prefix + name, data)
                changed.append(name)
        gone = set(self._sent) - set(files) - set(spoken)
        self._objects.delete(self._prefix + path for path in gone)
        self._sent = {**files, **spoken}
        if changed:
            self._point_here()
        return True

    def _point_here(self) -> None:
        before, here = self._lease.state.get("folder"), self._prefix.split("/")[-2]
        self._lease.renew(folder=here, changed=_newest(self._folder))
        if before and before != here:
            self._objects.delete_below(f"{self._name}/{before}/")

    def _repeat(self, seconds: float, action: Callable[[], None], doing: str) -> None:
        while not self._stop.wait(seconds):
            try:
                with cloud_errors(self._lease.what, doing):
                    action()
            except CraterError as error:
                if error.__cause__ is None:  # no trouble of the network: the lease is lost
                    self._lost = error
                    return
                _log.warning("%s; it is tried again", error)


def _stamps(folder: Path, but: Container[str]) -> dict[str, tuple[int, int]]:
    """Path -> bytes and time of every file but these and those TensorFlow is still writing."""
    found = {}
    for path in files_in(folder):
        name, stat = path.relative_to(folder).as_posix(), path.stat()
        if name not in but and "_temp/" not in name:
            found[name] = (stat.st_size, stat.st_mtime_ns)
    return found


def _newest(folder: Path) -> float:
    """When a file of the folder was last written, s; 0 without any."""
    times = []
    for path in files_in(folder):
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:
            continue
    return max(times, default=0.0)
