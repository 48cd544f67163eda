"""What every storage can do."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from crater_model.errors import ConfigError

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=+-]*(/[A-Za-z0-9_][A-Za-z0-9_.=+-]*)*")


class Work:
    """The right to make an artifact, given by `Storage.working`."""

    def check(self) -> None:
        """Returns while the right is still held.

        Raises:
          CraterError: another process has taken over.
        """


class Storage(ABC):
    """A place for artifacts; `open_storage` opens one."""

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

        It takes the place of what this object last saw (`exists`, `fetch`) under the key.

        Raises:
          DataError: there is nothing at `path(key)`.
          CraterError: another process has published something else since then; what it
            published stays, and nothing of this artifact is kept.
        """

    @abstractmethod
    def fetch(self, key: str) -> Path:
        """The local folder with the published artifact in it.

        Raises:
          DataError: it was never published, or its files differ from its manifest.
        """

    @abstractmethod
    def source(self, key: str) -> str:
        """Where TensorFlow reads the published files: a local folder (see `fetch`), or the
        gs:// address they lie at where this storage streams."""

    @abstractmethod
    def manifest(self, key: str) -> dict:
        """The published artifact's manifest.

        Raises:
          DataError: it was never published.
        """

    @abstractmethod
    def verify(self, key: str) -> list[str]:
        """What in the storage is not as the manifest says, a line each that names the file.

        Every file must be there with its size and CRC32C; of a bucket no file is downloaded.

        Raises:
          DataError: it was never published.
        """

    @abstractmethod
    def working(self, key: str, owner: str, last: Sequence[str] = ()
                ) -> AbstractContextManager[Work]:
        """Gives the right to make the artifact to one process at a time.

        In a bucket, what is in `path(key)` is copied there while the block runs, and what an
        interrupted process had copied is put into `path(key)` at its start where it is newer.
        The copy goes when the artifact is published.

        Args:
          owner: who that is, for the others to read. The same owner takes over from itself.
          last: files that speak of others, in order: copied after all others.

        Raises:
          CraterError: another owner holds the right; names it and since when.
        """


def checked(key: str) -> str:
    """The key itself.

    Raises:
      ConfigError: it is not one.
    """
    if not _KEY.fullmatch(key):
        raise ConfigError(f"artifact key {key!r}: expected names of letters, digits and _.=+- "
                          "joined by /")
    return key
