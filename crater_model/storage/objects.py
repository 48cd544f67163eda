"""Objects of a Cloud Storage bucket: every call retried, every transfer checked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crater_model.errors import CraterError

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket, Client

TIMEOUT_S = 20.0  # without a byte from the server: then the request is made again
DEADLINE_S = 300.0  # of all tries of one request
_TRANSFERS = 8  # at the same time; each is a thread that waits for the network


class Conflict(Exception):
    """An object is no longer the one that was to be replaced."""


@dataclass(frozen=True)
class Document:
    """A JSON object of the bucket, and which of its generations this is.

    Attributes:
      generation: 0 where there is no such object; `value` is then empty.
      updated: when it was written, by the server's clock.
    """

    value: dict[str, Any]
    generation: int = 0
    updated: datetime | None = None


class Objects:
    """The objects of one bucket.

    Transient errors (no answer, a reset connection, 408, 429, 5xx) are retried with growing
    pauses for `DEADLINE_S`; other errors are those of google-cloud-storage (see `cloud_errors`).

    Args:
      client: makes the client; default: google-cloud-storage's own, which takes credentials and
        STORAGE_EMULATOR_HOST from the environment.
    """

    def __init__(self, bucket: str, client: Callable[[], Client] | None = None):
        self._name, self._client, self._bucket = bucket, client, None

    @property
    def bucket(self) -> Bucket:
        """The bucket, made when first needed."""
        if self._bucket is None:
            from google.cloud import storage

            self._bucket = (self._client or storage.Client)().bucket(self._name)
        return self._bucket

    def read(self, name: str) -> Document:
        """A JSON object as it is now."""
        from google.api_core.exceptions import NotFound, PreconditionFailed

        while True:
            blob = self.bucket.get_blob(name, **_patience())
            if blob is None:
                return Document({})
            try:
                data = self.bucket.blob(name).download_as_bytes(
                    if_generation_match=blob.generation, checksum="crc32c", **_patience())
            except (NotFound, PreconditionFailed):
                continue  # it has been replaced in between
            return Document(json.loads(data), blob.generation, blob.updated)

    def write(self, name: str, value: dict[str, Any], generation: int) -> int:
        """Writes a JSON object in the place of this generation of it (0: of none).

        Args:
          value: differs from everything else that anyone writes there.

        Returns:
          Its generation.

        Raises:
          Conflict: there is another generation now.
        """
        from google.api_core.exceptions import PreconditionFailed

        blob = self.bucket.blob(name)
        try:
            blob.upload_from_string(
                json.dumps(value, indent=2).encode(), content_type="application/json",
                if_generation_match=generation, checksum="crc32c", **_patience())
            return blob.generation
        except PreconditionFailed:
            found = self.read(name)
            if found.value == value:  # a first try got through and its answer was lost
                return found.generation
            raise Conflict(name) from None

    def list(self, prefix: str) -> dict[str, Blob]:
        """The objects below `prefix`, by the rest of their names."""
        return {blob.name.removeprefix(prefix): blob
                for blob in self.bucket.list_blobs(prefix=prefix, **_patience())}

    def upload(self, folder: Path, paths: Sequence[str], prefix: str, new: bool = True) -> None:
        """Files as objects, several at a time.

        Args:
          new: nobody has written there; nothing that is there is replaced.

        Raises:
          FileNotFoundError: a file has vanished.
        """
        from google.cloud.storage import transfer_manager

        transfer_manager.upload_many(
            [(str(folder / path), self.bucket.blob(prefix + path)) for path in paths],
            skip_if_exists=new, upload_kwargs={"checksum": "crc32c", **_patience()},
            max_workers=_TRANSFERS, worker_type=transfer_manager.THREAD, raise_exception=True)

    def put(self, name: str, data: bytes) -> None:
        """Bytes as an object."""
        self.bucket.blob(name).upload_from_string(data, checksum="crc32c", **_patience())

    def download(self, prefix: str, paths: Sequence[str], folder: Path) -> None:
        """Objects as files of a folder, several at a time."""
        from google.cloud.storage import transfer_manager

        transfer_manager.download_many_to_path(
            self.bucket, list(paths), destination_directory=str(folder), blob_name_prefix=prefix,
            download_kwargs={"checksum": "crc32c", **_patience()}, max_workers=_TRANSFERS,
            worker_type=transfer_manager.THREAD, raise_exception=True)

    def delete(self, names: Iterable[str], generation: int | None = None) -> None:
        """Removes objects (only this generation of them); missing ones are no error."""
        from google.api_core.exceptions import NotFound, PreconditionFailed

        for name in names:
            with suppress(NotFound, PreconditionFailed):
                self.bucket.blob(name).delete(if_generation_match=generation, **_patience())

    def delete_below(self, prefix: str) -> None:
        """Removes every object below `prefix`."""
        self.delete([prefix + name for name in self.list(prefix)])


@contextmanager
def cloud_errors(what: str, doing: str) -> Iterator[None]:
    """Turns what google-cloud-storage raises into one line that names the artifact.

    Raises:
      CraterError: instead.
    """
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption

    try:
        yield
    except (GoogleAPIError, GoogleAuthError, DataCorruption, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CraterError(f"{what}: {doing} failed ({reason}); check the bucket's name, your "
                          "rights and the network") from error


def _patience() -> dict[str, Any]:
    """How long a call waits, and that it is tried again. Every call here may be repeated: it
    reads, has a precondition, or writes where no one else does."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return {"timeout": float(os.environ.get("CRATER_GCS_TIMEOUT") or TIMEOUT_S),
            "retry": DEFAULT_RETRY.with_delay(initial=0.5).with_timeout(DEADLINE_S)}
