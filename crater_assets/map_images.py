"""Images to map: the partitions of `crater_map`, read from a folder or a list.

`$CRATER_MAP_IMAGES` names an image, a folder of images, or a text file with a path on each line.
The asset is there only where it is set.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

from crater_assets.resources import absolute
from crater_model.errors import ConfigError

VARIABLE = "CRATER_MAP_IMAGES"
_LIST = ".txt"
_OTHER = re.compile(r"[^A-Za-z0-9_-]+")


def load_map_images(source: str | Path) -> dict[str, Path]:
    """{partition: image}, in the order of the names in a folder or of the lines of a list.

    A partition is named by its image's file name without suffix; with the suffix where two differ
    in nothing else. Relative paths in a list start at the list's folder; empty lines and those
    that begin with # are skipped.

    Raises:
      ConfigError: there is no such image, folder or list, it has no image, or two images have
        the same name.
    """
    source = Path(source)
    paths = _listed(source)
    if not paths:
        raise ConfigError(f"{VARIABLE} {source}: has no image; put images there or name another "
                          "folder, image or .txt list")
    stems = [_name(path.stem) for path in paths]
    found: dict[str, Path] = {}
    for path, stem in zip(paths, stems, strict=True):
        name = stem if stems.count(stem) == 1 else _name(path.name)
        if name in found:
            raise ConfigError(f"{VARIABLE} {source}: {found[name]} and {path} would both be "
                              f"the partition '{name}'; rename one")
        found[name] = path
    return found


@lru_cache
def map_images() -> dict[str, Path]:
    """The images of this code location; none where $CRATER_MAP_IMAGES is not set."""
    source = os.environ.get(VARIABLE, "")
    if "://" in source:
        raise ConfigError(f"{VARIABLE} {source}: expected a local path; images are read in "
                          "windows from a mounted volume or a local copy")
    return load_map_images(absolute(source)) if source else {}


def _listed(source: Path) -> list[Path]:
    if source.is_dir():
        return _images_in(source)
    if not source.is_file():
        raise ConfigError(f"{VARIABLE} {source}: there is no such image, folder or list")
    if source.suffix.lower() != _LIST:
        return [source]
    lines = [line.strip() for line in source.read_text().splitlines()]
    paths = [source.parent / line for line in lines if line and not line.startswith("#")]
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"{VARIABLE} {source}: {path} is not there; correct the line")
    return paths


def _images_in(folder: Path) -> list[Path]:
    """Its images; of a PDS label and its data the label, by which both are opened."""
    from crater_model.imagery.raster import SUFFIXES

    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    data = {path.stem for path in files if path.suffix.lower() == ".img"}
    labels = {path.stem for path in files if path.suffix.lower() in (".lbl", ".xml")} & data
    kinds = [path.suffix.lower() for path in files]
    return [path for path, kind in zip(files, kinds, strict=True) if kind in SUFFIXES
            and not (kind == ".img" and path.stem in labels)
            and not (kind == ".xml" and path.stem not in labels)]  # the notes of other programs


def _name(text: str) -> str:
    return _OTHER.sub("_", text).strip("_") or "image"
