"""Where artifacts live: a local folder or a Google Cloud Storage prefix, behind one interface.

An artifact is a whole folder under a key such as "tfrecords/3f9a-256". It is made and read as
plain local files: `path(key)` is the folder to fill, `publish(key)` makes it known to everybody,
`fetch(key)` gives it back. `artifact.json`, which publishing writes last, lists path, bytes and
CRC32C of every file: a reader sees the whole artifact or none of it, and `verify(key)` says
whether it is still so. `working(key, owner)` is for what takes long to make: one process at a
time, and in a bucket a copy of the unfinished work, to go on from on another machine.
"""

from crater_model.storage.base import Storage, Work
from crater_model.storage.manifest import MANIFEST, describe_folder, differences
from crater_model.storage.opening import open_storage

__all__ = ["MANIFEST", "Storage", "Work", "describe_folder", "differences", "open_storage"]
