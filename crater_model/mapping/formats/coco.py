"""COCO results: run-length masks in px of each image."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pycocotools import mask as rle

from crater_model.errors import ConfigError, DataError
from crater_model.files import write_bytes
from crater_model.importing.classes import key
from crater_model.importing.formats.source import read_json
from crater_model.mapping.maps import Map


@dataclass(frozen=True)
class Numbers:
    """How a ground truth numbers its images and classes.

    Attributes:
      path: the file. images: (file name, id) of each. classes: what spellings of a class have in
        common (`importing.classes.key`) -> id.
    """

    path: Path
    images: Sequence[tuple[str, Any]] = ()
    classes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> Numbers:
        """Those of a COCO file. Raises DataError where it has no images."""
        path = Path(path)
        try:
            found = read_json(path)
            images = [(str(entry["file_name"]), entry["id"]) for entry in found["images"]]
            classes = {key(str(entry["name"])): entry["id"]
                       for entry in found.get("categories", [])}
        except (KeyError, TypeError, AttributeError):
            raise DataError(f"{path}: has no list of images with id and file_name, expected a COCO "
                            "instances file; name another") from None
        return cls(path, images, classes)

    def image(self, name: str) -> Any:
        """The id of the image of this name, whatever its folders.

        Raises:
          ConfigError: it is not listed, or several of its name are.
        """
        parts = [part.lower() for part in name.replace("\\", "/").split("/")]
        found: dict[int, list[Any]] = {}
        for said, number in self.images:
            theirs = [part.lower() for part in said.replace("\\", "/").split("/")]
            same = next((i for i, (a, b) in enumerate(zip(parts[::-1], theirs[::-1], strict=False))
                         if a != b), min(len(parts), len(theirs)))
            found.setdefault(same, []).append(number)
        best = found[max(found)] if found and max(found) else []
        if len(best) != 1:
            raise ConfigError(f"{self.path}: lists {len(best)} images of the name {parts[-1]!r}, "
                              "expected one; give the file that lists the images searched")
        return best[0]

    def category(self, name: str) -> Any:
        """The id of a class. Raises ConfigError where it is not listed."""
        if key(name) not in self.classes:
            raise ConfigError(f"{self.path}: has no category {name!r}, which the model finds, "
                              f"expected one of {', '.join(self.classes) or 'none'}; add it there")
        return self.classes[key(name)]


def write(path: Path, maps: Sequence[Map], numbers: Numbers | None = None) -> Path:
    """Writes a result for each crater, with the `file_name` of its image and its `category` by
    name beside what COCO asks for.

    `image_id` and `category_id` are those of `numbers`; else images count from 1 in the order
    given, and classes are numbered as in the label map.

    Raises:
      ConfigError: an image or a class is not in `numbers`.
    """
    results = [result for number, entry in enumerate(maps, start=1)
               for result in _results(number if numbers is None else numbers.image(entry.name),
                                      entry, numbers)]
    return write_bytes(path, (json.dumps(results) + "\n").encode())


def _results(image_id: Any, entry: Map, numbers: Numbers | None):
    craters = entry.craters
    height, width = craters.size
    boxes = shapely.bounds(craters.outlines).reshape(-1, 4)
    file_name = entry.name.replace("\\", "/").rpartition("/")[2]
    for outline, box, score, class_id in zip(craters.outlines, boxes, craters.scores,
                                             craters.classes.tolist(), strict=True):
        ring = np.asarray(outline.exterior.coords)[:-1].reshape(-1).tolist()
        mask = rle.frPyObjects([ring], height, width)[0]
        left, top, right, bottom = box.tolist()
        name = craters.label_map.get(class_id, str(class_id))
        yield {"image_id": image_id, "file_name": file_name,
               "category_id": class_id if numbers is None else numbers.category(name),
               "category": name, "score": float(score),
               "bbox": [left, top, right - left, bottom - top],
               "segmentation": {"size": mask["size"], "counts": mask["counts"].decode()}}
