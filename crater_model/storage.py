"""Where artifacts live: a local folder or a Google Cloud Storage prefix, behind one interface.

An artifact is a whole folder under a key such as "tfrecords/3f9a-256". It is made and read as
plain local files: `path(key)` is the folder to fill, `publish(key)` makes it known to everybody,
`fetch(key)` gives it back. `artifact.json`, which publishing writes last, lists path, bytes and
CRC32C of every file: a reader sees the whole artifact or none of it.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import re
from abc import ABC, abstractmethod
from pathlib import Path

import google_crc32c

from crater_model.errors import ConfigError, CraterError, DataError
from crater_model.files import whole_folder, write_json

MANIFEST = "artifact.json"
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=+-]*(/[A-Za-z0-9_][A-Za-z0-9_.=+-]*)*")
_TRANSFERS = 8  # at the same time; each is a thread that waits for the network


class Storage(ABC):
    """A place for artifacts; make one with `Storage.from_url`."""

    @staticmethod
    def from_url(url: str | os.PathLike, cache: str | os.PathLike | None = None) -> Storage:
        """The storage at a folder or at gs://BUCKET[/PREFIX].

        Args:
          url: a folder (made when first needed) or a gs:// address.
          cache: for gs://, the local folder that working copies go to; default
            $CRATER_CACHE or ~/.cache/crater.

        Raises:
          ConfigError: the address has another scheme or no bucket.
        """
        text = os.fspath(url)
        if "://" not in text:
            return FolderStorage(text)
        scheme, _, rest = text.partition("://")
        bucket, _, prefix = rest.rstrip("/").partition("/")
        if scheme != "gs" or not bucket:
            raise ConfigError(
                f"storage {text}: expected a folder or gs://BUCKET/PREFIX; set CRATER_STORAGE")
        cache = cache or os.environ.get("CRATER_CACHE") or Path.home() / ".cache" / "crater"
        return BucketStorage(bucket, prefix, Path(cache) / bucket / prefix)

    @abstractmethod
    def path(self, key: str) -> Path:
        """The local folder of this artifact: fill it, then `publish`. It may not exist yet."""

    @abstractmethod
    def url(self, key: str) -> str:
        """Where others find the artifact: a path or a gs:// address."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether the artifact has been published."""

    @abstractmethod
    def publish(self, key: str) -> dict:
        """Makes the artifact known and returns its manifest (see `describe_folder`).

        Raises:
          DataError: there is nothing at `path(key)`.
        """

    @abstractmethod
    def fetch(self, key: str) -> Path:
        """The local folder with the published artifact in it.

        Raises:
          DataError: it was never published, or its files differ from its manifest.
        """


class FolderStorage(Storage):
    """Artifacts in a local (or mounted) folder: no copies are made."""

    def __init__(self, root: str | os.PathLike):
        self.root = Path(root).expanduser().absolute()

    def path(self, key: str) -> Path:
        return self.root / _checked(key)

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


def _cloud_errors(method):
    """Turns what google-cloud-storage raises into one line that names the artifact."""

    @functools.wraps(method)
    def call(self, key: str):
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError

        try:
            return method(self, key)
        except (GoogleAPIError, GoogleAuthError, OSError) as error:
            reason = " ".join(str(error).split())[:300]
            raise CraterError(f"{self.url(key)}: {method.__name__} failed ({reason}); check the "
                              "bucket's name, your rights and the network") from error

    return call


class BucketStorage(Storage):
    """Artifacts under gs://BUCKET/PREFIX, worked on in a local folder.

    Credentials and STORAGE_EMULATOR_HOST are taken as google-cloud-storage takes them.
    """

    def __init__(self, bucket: str, prefix: str, local: str | os.PathLike):
        self.bucket_name, self.prefix = bucket, prefix
        self._local = FolderStorage(local)
        self._bucket = None

    @property
    def bucket(self):
        """The google.cloud.storage.Bucket, made when first needed."""
        if self._bucket is None:
            from google.auth.credentials import AnonymousCredentials
            from google.cloud import storage

            # An emulator has no project and no accounts to log in with.
            emulator = os.environ.get("STORAGE_EMULATOR_HOST")
            client = (storage.Client(project="emulator", credentials=AnonymousCredentials())
                      if emulator else storage.Client())
            self._bucket = client.bucket(self.bucket_name)
        return self._bucket

    def path(self, key: str) -> Path:
        return self._local.path(key)

    def url(self, key: str) -> str:
        return f"gs://{self.bucket_name}/{self._name(key)}"

    @_cloud_errors
    def exists(self, key: str) -> bool:
        return self.bucket.blob(f"{self._name(key)}/{MANIFEST}").exists()

    @_cloud_errors
    def publish(self, key: str) -> dict:
        from google.cloud.storage import transfer_manager

        folder, name = self.path(key), self._name(key)
        manifest = describe_folder(folder)
        files = [file["path"] for file in manifest["files"]]
        manifest_blob = self.bucket.blob(f"{name}/{MANIFEST}")
        # While the files change, readers must find no manifest: it goes first, comes last.
        old = {blob.name for blob in self.bucket.list_blobs(prefix=f"{name}/")}
        if manifest_blob.name in old:
            manifest_blob.delete()
        transfer_manager.upload_many_from_filenames(
            self.bucket, files, source_directory=str(folder), blob_name_prefix=f"{name}/",
            max_workers=_TRANSFERS, worker_type=transfer_manager.THREAD, raise_exception=True)
        stale = old - {f"{name}/{file}" for file in files} - {manifest_blob.name}
        self.bucket.delete_blobs([self.bucket.blob(blob) for blob in stale],
                                 on_error=lambda blob: None)
        write_json(folder / MANIFEST, manifest)
        manifest_blob.upload_from_filename(str(folder / MANIFEST))
        return manifest

    @_cloud_errors
    def fetch(self, key: str) -> Path:
        from google.api_core.exceptions import NotFound
        from google.cloud.storage import transfer_manager

        folder, name = self.path(key), self._name(key)
        try:
            manifest = json.loads(
                self.bucket.blob(f"{name}/{MANIFEST}").download_as_bytes())
        except NotFound:
            raise DataError(f"{self.url(key)}: no such artifact; materialize it first") from None
        if not differences(folder, manifest):
            return folder
        with whole_folder(folder) as beside:
            transfer_manager.download_many_to_path(
                self.bucket, [file["path"] for file in manifest["files"]],
                destination_directory=str(beside), blob_name_prefix=f"{name}/",
                max_workers=_TRANSFERS, worker_type=transfer_manager.THREAD,
                raise_exception=True)
            wrong = differences(beside, manifest)
            if wrong:
                raise DataError(f"{self.url(key)}: {wrong[0]}; it is being replaced by another "
                                "process or is damaged: try again, then materialize it anew")
            write_json(beside / MANIFEST, manifest)
        return folder

    def _name(self, key: str) -> str:
        return "/".join(part for part in (self.prefix, _checked(key)) if part)


def describe_folder(folder: str | os.PathLike) -> dict:
    """{"files": [{"path", "bytes", "crc32c"}, ...], "bytes": total}, sorted by path.

    CRC32C is in base64, as Cloud Storage shows it. Hidden files (unfinished ones) are left out.

    Raises:
      DataError: the folder does not exist or holds no file.
    """
    folder = Path(folder)
    files = [{"path": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size,
              "crc32c": _crc32c(path)} for path in _files(folder)]
    if not files:
        raise DataError(f"{folder}: no files to publish, expected a filled folder")
    return {"files": files, "bytes": sum(file["bytes"] for file in files)}


def differences(folder: str | os.PathLike, manifest: dict) -> list[str]:
    """What in `folder` is not as the manifest says; empty when every file agrees."""
    folder, wrong = Path(folder), []
    for file in manifest["files"]:
        path = folder / file["path"]
        if not path.is_file():
            wrong.append(f"{file['path']} is missing")
        elif path.stat().st_size != file["bytes"]:
            wrong.append(f"{file['path']} has {path.stat().st_size} bytes, "
                         f"expected {file['bytes']}")
        elif _crc32c(path) != file["crc32c"]:
            wrong.append(f"{file['path']} has another checksum than {MANIFEST} says")
    listed = {file["path"] for file in manifest["files"]}
    found = {path.relative_to(folder).as_posix() for path in _files(folder)}
    return wrong + [f"{path} is not in {MANIFEST}" for path in sorted(found - listed)]


def _files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*")
        if path.is_file() and path != folder / MANIFEST
        and not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _crc32c(path: Path) -> str:
    with path.open("rb") as file:
        checksum = google_crc32c.Checksum()
        for _ in checksum.consume(file, 1 << 20):
            pass
        return base64.b64encode(checksum.digest()).decode()


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ConfigError(f"artifact key {key!r}: expected names of letters, digits and _.=+- "
                          "joined by /")
    return key
