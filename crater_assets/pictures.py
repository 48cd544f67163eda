"""Pictures on an asset's page, in line.

Dagster's UI shows Markdown in line only below 1,000 characters, which no picture in it is. What
its web server hands out beside its own pages are the logs of steps (`/logs/...`), from a folder or
from a bucket, wherever dagster.yaml keeps them; so pictures are kept there too, each under the hash
of its bytes, and the Markdown names them by that address. It holds on any port, behind any
proxy, and for whoever may open the UI.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from typing import IO, Any, cast

import dagster as dg

# What a compute log manager writes to has no public name.
from dagster._core.storage.compute_log_manager import ComputeIOType

_FOLDER = "pictures"
_log = logging.getLogger(__name__)


def picture(instance: dg.DagsterInstance, png: bytes, title: str) -> dg.MarkdownMetadataValue:
    """A PNG as metadata, shown in line.

    Where the instance keeps no logs, or these cannot be written now, the metadata holds it: then
    it is a link to press. A training must not fail of its pictures.
    """
    try:
        address = _kept(instance, png)
    except Exception as error:  # a bucket's, a disk's, a log manager's of somebody's own
        _log.warning("%s: cannot be kept with the logs: %s", title, " ".join(str(error).split()))
        address = ""
    address = address or f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return dg.MetadataValue.md(f"![{title}]({address})")


def _kept(instance: dg.DagsterInstance, png: bytes) -> str:
    """The picture's address on the web server; "" where there are no logs."""
    manager: Any = instance.compute_log_manager
    key = [_FOLDER, hashlib.sha256(png).hexdigest()[:32]]
    if not manager.get_log_data(key).stderr:
        # Were two to write it at once, the file would hold it twice, and look the same.
        with manager.open_log_stream(key, ComputeIOType.STDERR) as out:
            if out is None:
                return ""
            cast(IO[str], out).buffer.write(png)  # type: ignore[attr-defined]
    return f"/logs/{'/'.join(key)}/err"
