"""What a materialization left in the storage, file by file, for its asset's page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg

from crater_model.storage import MANIFEST, Storage

ROWS = 50  # of the table; `artifact.json` lists every file


def artifact_files(storage: Storage, key: str) -> dict[str, Any]:
    """Metadata: the files of a published artifact, each with path, bytes and CRC32C (base64)."""
    manifest = storage.manifest(key)
    files = manifest["files"]
    shown = [dg.TableRecord({name: file[name] for name in ("path", "bytes", "crc32c")})
             for file in files[:ROWS]]
    schema = dg.TableSchema([dg.TableColumn("path", "string"), dg.TableColumn("bytes", "int"),
                             dg.TableColumn("crc32c", "string")])
    return {"artifact_files": dg.MetadataValue.table(shown, schema),
            "artifact_file_count": len(files), "artifact_bytes": manifest["bytes"],
            "artifact_manifest": f"{storage.url(key)}/{MANIFEST}"}


def dataset_artifact(storage: Storage, folder: Path) -> dict[str, Any]:
    """Metadata of a data set: its artifact, or nothing where it is used where it lies."""
    key = f"datasets/{folder.name}"
    if folder != storage.path(key) or not storage.exists(key):
        return {}
    return {"artifact": key, "url": storage.url(key), **artifact_files(storage, key)}
