"""What a materialization left in the storage, for its asset's page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg

from crater_model.storage import MANIFEST, Storage


def artifact_files(storage: Storage, key: str) -> dict[str, Any]:
    """Metadata of a published artifact: how much it is, and where each file stands with bytes and
    CRC32C (base64). A table of them would take the page."""
    manifest = storage.manifest(key)
    return {"artifact_files": f"{len(manifest['files'])} files, {_size(manifest['bytes'])}",
            "artifact_manifest": dg.MetadataValue.path(f"{storage.url(key)}/{MANIFEST}")}


def dataset_artifact(storage: Storage, folder: Path) -> dict[str, Any]:
    """Metadata of a data set: its artifact, or nothing where it is used where it lies."""
    key = f"datasets/{folder.name}"
    if folder != storage.path(key) or not storage.exists(key):
        return {}
    return {"artifact": key, "url": storage.url(key), **artifact_files(storage, key)}


def _size(number: int) -> str:
    """Bytes as people say them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= factor:
            return f"{number / factor:.3g} {unit}"
    return f"{number} bytes"
