"""Craters to map files: the suffix decides the format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from crater_model.errors import ConfigError
from crater_model.importing.formats.placing import Craters as CataloguedCraters
from crater_model.mapping.formats import (
    coco,
    craterstats,
    geojson,
    geopackage,
    picture,
    report,
    robbins,
)
from crater_model.mapping.maps import Map

_WRITERS: dict[str, Callable[..., Path]] = {
    ".gpkg": geopackage.write, ".geojson": geojson.write, ".csv": robbins.write,
    ".scc": craterstats.write_scc, ".diam": craterstats.write_diam, ".json": coco.write,
    ".png": picture.write, ".html": report.write}
SUFFIXES = tuple(_WRITERS)
# Those with one coordinate system, in which all images must lie.
ONE_BODY = (".gpkg", ".geojson", ".scc", ".diam", ".html")
# Those about each image, whatever others show.
EACH_IMAGE = (".json", ".png")


def write_maps(path: str | Path, maps: Sequence[Map], *,
               catalogue: CataloguedCraters | None = None,
               parameters: dict[str, Any] | None = None,
               numbers: coco.Numbers | None = None) -> Path:
    """Writes the craters of some images to one file, whole or not at all.

    Args:
      path: `.gpkg`, `.geojson`, `.csv` (Robbins-style), `.scc` or `.diam` (craterstats),
        `.json` (COCO results), `.png` (overlay of one image) or `.html` (report). The modules
        of `mapping.formats` say what is in each.
      maps: one or more images and their craters, measured once however many files are written.
      catalogue: known craters (`importing.formats.catalogue.load`) that a report compares
        with.
      parameters: of the search, for a report.
      numbers: the ids of images and classes in COCO results.

    Raises:
      ConfigError: an unknown suffix; a file in km of images without a georeference; images of
        several bodies in one coordinate system; a picture of several images.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise ConfigError(f"{path}: unknown suffix '{path.suffix}', expected one of "
                          f"{', '.join(SUFFIXES)}")
    if not maps:
        raise ConfigError(f"{path}: no image is given, expected at least one; name one")
    if suffix == ".html":
        return report.write(path, maps, catalogue, parameters)
    if suffix == ".json":
        return coco.write(path, maps, numbers)
    return _WRITERS[suffix](path, maps)
