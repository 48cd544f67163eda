"""Artifacts in Google Cloud Storage, worked on in a local folder.

`KEY/artifact.json` names the folder beside it that holds the files, `KEY/20261124T180912-3fa9c1/`
for one. A publication uploads to a folder of its own and then swaps `artifact.json`, on the
condition that nobody has done so since: of two writers one wins, readers follow the one that did,
and the files of the replaced one go afterwards.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from crater_model.errors import CraterError, DataError
from crater_model.files import whole_folder, write_json
from crater_model.storage.base import Storage, Work, checked
from crater_model.storage.folder import FolderStorage
from crater_model.storage.lease import Lease
from crater_model.storage.locks import waiting
from crater_model.storage.manifest import MANIFEST, compare, describe_folder, differences
from crater_model.storage.objects import Conflict, Document, Objects, cloud_errors
from crater_model.storage.unfinished import Unfinished

if TYPE_CHECKING:
    from google.cloud.storage import Client

LEASE_SECONDS = 180.0  # an owner that gives no sign of life for so long is taken for dead
_ABANDONED = timedelta(days=1)  # files of a publication that never came to its end
_TRIES = 3  # an artifact may be replaced while it is fetched


class BucketStorage(Storage):
    """Artifacts under gs://BUCKET/PREFIX; see `open_storage`.

    Attributes:
      objects: the bucket's objects.
    """

    def __init__(self, bucket: str, prefix: str, local: str | os.PathLike,
                 client: Callable[[], Client] | None = None, stream: bool = False):
        self.bucket_name, self.prefix, self.stream = bucket, prefix, stream
        self.objects = Objects(bucket, client)
        self._local = FolderStorage(local)
        self._seen: dict[str, int] = {}  # key -> the generation of its manifest

    def path(self, key: str) -> Path:
        return self._local.path(key)

    def url(self, key: str) -> str:
        return f"gs://{self.bucket_name}/{self._name(key)}"

    def exists(self, key: str) -> bool:
        with cloud_errors(self.url(key), "looking"):
            return bool(self._look(key).generation)

    def source(self, key: str) -> str:
        return (f"{self.url(key)}/{self.manifest(key)['folder']}" if self.stream
                else str(self.fetch(key)))

    def manifest(self, key: str) -> dict:
        with cloud_errors(self.url(key), "looking"):
            found = self._look(key)
        if not found.generation:
            raise DataError(f"{self.url(key)}: no such artifact; materialize it first")
        return found.value

    def verify(self, key: str) -> list[str]:
        manifest = self.manifest(key)
        with cloud_errors(self.url(key), "verify"):
            return self._wrong(key, manifest)

    def publish(self, key: str) -> dict:
        folder = self.path(key)
        described = describe_folder(folder)
        with cloud_errors(self.url(key), "publish"):
            seen = self._seen.get(key)
            old = self._look(key)
            same = old.generation and old.value["files"] == described["files"]
            if not (same and not self._wrong(key, old.value)):
                if seen not in (None, old.generation):
                    raise CraterError(self._lost(key))
                self._upload(key, described, old)
        write_json(folder / MANIFEST, described)
        return described

    def fetch(self, key: str) -> Path:
        from google.api_core.exceptions import NotFound

        folder = self.path(key)
        with waiting(folder.with_name(f".{folder.name}.lock")):
            for _ in range(_TRIES):
                manifest = self.manifest(key)
                if not differences(folder, manifest):
                    return folder
                try:
                    with cloud_errors(self.url(key), "fetch"):
                        self._download(key, manifest, folder)
                    return folder
                except CraterError as error:
                    if not isinstance(error.__cause__, NotFound):
                        raise
        wrong = self.verify(key) or ["it is replaced again and again"]
        raise DataError(f"{self.url(key)}: {wrong[0]}; materialize it anew")

    @contextmanager
    def working(self, key: str, owner: str, last: Sequence[str] = ()) -> Iterator[Work]:
        seconds = float(os.environ.get("CRATER_LEASE_SECONDS") or LEASE_SECONDS)
        name, url = self._name(key), self.url(key)
        with self._local.working(key, owner) as local:
            with cloud_errors(url, "taking it up"):
                lease = Lease(self.objects, f"{name}/in-progress.json", owner, seconds, url)
            unfinished = Unfinished(self.objects, name, self.path(key), lease, last, local)
            try:
                with cloud_errors(url, "taking it up"):
                    unfinished.start()
                yield unfinished
            finally:
                unfinished.stop()
                # Whoever published it: what is unfinished is of no use any more.
                unfinished.end(done=lambda: self.exists(key))

    def _look(self, key: str) -> Document:
        found = self.objects.read(f"{self._name(key)}/{MANIFEST}")
        self._seen[key] = found.generation
        return found

    def _wrong(self, key: str, manifest: dict) -> list[str]:
        found = self.objects.list(f"{self._name(key)}/{manifest['folder']}/")
        return compare(manifest, {path: (blob.size, partial(getattr, blob, "crc32c"))
                                  for path, blob in found.items()})

    def _upload(self, key: str, described: dict, old: Document) -> None:
        name = self._name(key)
        manifest = {**described, "folder": f"{datetime.now(UTC):%Y%m%dT%H%M%S}-"
                                           f"{secrets.token_hex(3)}"}
        prefix = f"{name}/{manifest['folder']}/"
        try:
            self.objects.upload(self.path(key), [file["path"] for file in manifest["files"]],
                                prefix)
            wrong = self._wrong(key, manifest)
            if wrong:
                raise DataError(f"{self.path(key)}: changed while it was published: {wrong[0]}; "
                                "materialize it again")
            self._seen[key] = self.objects.write(f"{name}/{MANIFEST}", manifest, old.generation)
        except Conflict:
            self.objects.delete_below(prefix)
            if self._look(key).value.get("files") != described["files"]:
                raise CraterError(self._lost(key)) from None
        except (DataError, FileNotFoundError):
            self.objects.delete_below(prefix)
            raise
        else:
            self._sweep(name, manifest["folder"], old)

    def _sweep(self, name: str, folder: str, old: Document) -> None:
        """Removes the files of the replaced artifact and of publications that broke off."""
        long_ago = datetime.now(UTC) - _ABANDONED
        self.objects.delete([
            f"{name}/{path}" for path, blob in self.objects.list(f"{name}/").items()
            if "/" in path and not path.startswith((f"{folder}/", "in-progress-"))
            and (path.split("/")[0] == old.value.get("folder") or blob.updated < long_ago)])

    def _download(self, key: str, manifest: dict, folder: Path) -> None:
        with whole_folder(folder) as beside:
            self.objects.download(f"{self._name(key)}/{manifest['folder']}/",
                                  [file["path"] for file in manifest["files"]], beside)
            wrong = differences(beside, manifest)
            if wrong:
                raise DataError(f"{self.url(key)}: {wrong[0]}; it is damaged: materialize it anew")
            write_json(beside / MANIFEST, {name: manifest[name] for name in ("files", "bytes")})

    def _lost(self, key: str) -> str:
        return (f"{self.url(key)}: another process has published this artifact while this one was "
                "being made; nothing of this one was kept: materialize it again to use the other")

    def _name(self, key: str) -> str:
        return "/".join(part for part in (self.prefix, checked(key)) if part)
