"""Label formats: one module each, which recognises its files and reads them.

A format is a module with

- `NAME`, as `crater dataset import --format NAME` has it, and `TITLE` for people;
- `recognise(source) -> list[Path]`: the label files of this format in the source, none
  where it is another's. It looks at names and a file's beginning and never raises on
  broken files;
- `read(source, files, notes) -> Reading`: the labels, in px of their images. What is
  wrong with one label or image goes to `notes`, and the reading goes on; DataError is
  for a file that cannot be read at all.
"""

from __future__ import annotations

from types import ModuleType

from crater_model.importing.formats import (
    catalogue,
    coco,
    cvat,
    labelme,
    labelstudio,
    masks,
    results,
    vector,
    via,
    voc,
    yolo,
)

# In the order in which they are tried; where files of several are found, the first counts. What
# this project has found itself is last: labels that somebody has made come before it.
FORMATS: tuple[ModuleType, ...] = (
    coco, via, cvat, labelme, labelstudio, voc, yolo, vector, catalogue, masks, results)
