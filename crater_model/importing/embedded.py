"""Images that are only in their label files: labelme's `imageData`, put beside for an import."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from crater_model.errors import DataError
from crater_model.importing.formats import labelme
from crater_model.importing.formats.source import Bad, Source, read_json

_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "TIFF": ".tif"}


@contextmanager
def with_embedded(source: Source) -> Iterator[Source]:
    """The source with the images of labelme files whose own are not there, unpacked into a
    temporary folder; what cannot be unpacked is left for the reader to name."""
    files = labelme.recognise(source)
    with tempfile.TemporaryDirectory(prefix="crater_import_") as folder:
        known: dict[bytes, Path] = {}  # several people may have labelled one image
        for number, file in enumerate(files):
            found = _image(source, file)
            if found is not None:
                name, data = found
                path = known.setdefault(hashlib.sha256(data).digest(),
                                        Path(folder) / str(number) / name)
                if not path.exists():
                    path.parent.mkdir()
                    path.write_bytes(data)
                source.add_embedded(file, path)
        yield source


def _image(source: Source, file: Path) -> tuple[str, bytes] | None:
    """A name and the bytes of the image in a labelme file; None where it has none, it is no
    image, or the image is there as a file."""
    try:
        document = read_json(file)
        said, data = document["imagePath"], document["imageData"]
    except (DataError, KeyError, TypeError):
        return None
    if not isinstance(data, str) or not isinstance(said, str):
        return None
    try:
        source.find_image(said, file)
        return None
    except Bad:
        pass
    try:
        decoded = base64.b64decode(data, validate=True)
        with Image.open(io.BytesIO(decoded), formats=list(_SUFFIXES)) as image:
            suffix = _SUFFIXES[str(image.format)]
    except Exception:  # no base64; and Pillow raises nearly anything on broken images
        return None
    stem = Path(re.split(r"[/\\]", said)[-1]).stem.strip(". ") or file.stem
    return stem + suffix, decoded
