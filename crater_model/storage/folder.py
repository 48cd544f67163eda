"""Artifacts in a local (or mounted) folder: no copies are made."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from crater_model.errors import DataError
from crater_model.files import write_json
from crater_model.storage.base import Storage, Work, checked
from crater_model.storage.locks import Held, held
from crater_model.storage.manifest import MANIFEST, describe_folder, differences


class FolderStorage(Storage):
    """Artifacts under a folder. An owner that dies frees its work at once (see `locks`)."""

    def __init__(self, root: str | os.PathLike):
        self.root = Path(root).expanduser().absolute()

    def path(self, key: str) -> Path:
        return self.root / checked(key)

    def url(self, key: str) -> str:
        return str(self.path(key))

    def exists(self, key: str) -> bool:
        return (self.path(key) / MANIFEST).is_file()

    def publish(self, key: str) -> dict:
        manifest = describe_folder(self.path(key))
        write_json(self.path(key) / MANIFEST, manifest)
        return manifest

    def fetch(self, key: str) -> Path:
        if not self.exists(key):
            raise DataError(f"{self.path(key)}: no such artifact; materialize it first")
        return self.path(key)

    def source(self, key: str) -> str:
        return str(self.fetch(key))

    def manifest(self, key: str) -> dict:
        return json.loads((self.fetch(key) / MANIFEST).read_text())

    def verify(self, key: str) -> list[str]:
        return differences(self.path(key), self.manifest(key))

    @contextmanager
    def working(self, key: str, owner: str, last: Sequence[str] = ()) -> Iterator[Work]:
        path = self.path(key)
        with held(path.with_name(f".{path.name}.lease"), owner, self.url(key)) as lock:
            yield _Held(lock)


class _Held(Work):
    """The right as long as the lock is held and nobody asks for it."""

    def __init__(self, lock: Held):
        self._lock = lock

    def check(self) -> None:
        self._lock.check()
