"""Which format the labels of a source have, and which of its files are theirs."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from crater_model.errors import DataError
from crater_model.importing.formats import FORMATS, results
from crater_model.importing.formats.source import Source

# Files with these may be labels.
_LABEL_SUFFIXES = (".json", ".geojson", ".xml", ".csv", ".tsv", ".gpkg", ".shp", ".kml", ".fgb",
                   ".parquet", ".geoparquet", ".scc", ".diam", ".dat", ".tab")


def recognise(source: Source, name: str | None
              ) -> tuple[ModuleType, list[Path], list[str], list[Path]]:
    """The format of a source, or the one of this name: it, its label files, names of other
    formats that are there too, and files that look like labels and are of no format.

    Raises:
      DataError: there are no images, or no labels of a known form.
    """
    if not source.images:
        raise DataError(f"{source.image_root}: holds no image, expected PNG, JPEG, TIFF, PDS or "
                        "ISIS files; name the folder with the images (--images)")
    ours, found = results.recognise(source), []
    for reader in FORMATS:
        if name in (None, reader.NAME):
            files = reader.recognise(source)
            # Another name for one of our own files only says which of them.
            theirs = [path for path in files if reader is results or path not in ours]
            if theirs or (name and files):
                found.append((reader, theirs) if theirs else (results, files))
    if not found:
        what = "labels of a known form" if name is None else f"labels of the format {name}"
        raise DataError(f"{source.path}: holds no {what}, expected one of "
                        f"{', '.join(f'{r.NAME} ({r.TITLE})' for r in FORMATS)}; name the label "
                        "file itself or its --format")
    (reader, files), others = found[0], found[1:]
    read = {path for _, paths in found for path in paths}
    unread = [p for p in source.with_suffix(*_LABEL_SUFFIXES) if p not in read]
    return reader, files, [other.NAME for other, _ in others], unread
