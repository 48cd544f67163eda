"""A storage by its address."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from crater_model.errors import ConfigError
from crater_model.storage.base import Storage
from crater_model.storage.bucket import BucketStorage
from crater_model.storage.folder import FolderStorage

if TYPE_CHECKING:
    from google.cloud.storage import Client


def open_storage(url: str | os.PathLike, cache: str | os.PathLike | None = None,
                 client: Callable[[], Client] | None = None, stream: bool = False) -> Storage:
    """The storage at a folder or at gs://BUCKET[/PREFIX].

    Args:
      url: a folder (made when first needed) or a gs:// address.
      cache: for gs://, the local folder that working copies go to; default
        $CRATER_CACHE or ~/.cache/crater.
      client: for gs://, makes the google.cloud.storage.Client; default as the environment
        says.
      stream: for gs://, `source` gives addresses in the bucket and no local copies.

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
    cache = Path(cache) if cache else cache_folder()
    return BucketStorage(bucket, prefix, cache / bucket / prefix, client, stream)


def cache_folder() -> Path:
    """The folder for what can be had again: $CRATER_CACHE or ~/.cache/crater."""
    return Path(os.environ.get("CRATER_CACHE") or Path.home() / ".cache" / "crater")
