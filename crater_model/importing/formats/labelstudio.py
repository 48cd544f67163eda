"""Label Studio: one JSON file with the tasks of a project, whole or as JSON-MIN.

After the tool's documentation (labelstud.io: "Label Studio JSON format of annotated tasks",
"Image segmentation"). Coordinates are percent of the image's width and height, a rotation is
in deg, clockwise as seen, around a rectangle's upper left corner and an ellipse's middle.
Annotations of one task by several people are kept apart (`completed_by`); predictions and
annotations that were cancelled are no labels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crater_model.annotations import outline
from crater_model.errors import DataError
from crater_model.importing.formats.brush import decode_brush
from crater_model.importing.formats.coco import file_name
from crater_model.importing.formats.source import (
    Bad,
    Label,
    LabelledImage,
    Notes,
    Reading,
    Source,
    head,
    number,
    points,
    read_json,
    shown,
    split_of,
)

NAME = "labelstudio"
TITLE = "Label Studio (JSON or JSON-MIN)"

_SHAPES = ("polygon", "ellipse", "rectangle", "brush")
# What is said of a whole image.
_OF_IMAGES = ("choices", "taxonomy", "textarea", "rating", "number", "pairwise", "datetime")
# What the tool puts before the names of uploaded files.
_UPLOADED = re.compile(r"[0-9a-f]{8}-")
_CLASS = "crater"


def recognise(source: Source) -> list[Path]:
    """The JSON files that are a list of tasks."""
    return [path for path in source.with_suffix(".json") if _is_label_studio(head(path))]


def _is_label_studio(text: str) -> bool:
    if not text.lstrip().startswith("["):
        return False
    return bool(('"annotations"' in text or '"completions"' in text)
                and '"data"' in text) or '"original_width"' in text


def read(source: Source, files: list[Path], notes: Notes) -> Reading:
    """The images of the tasks, with their regions.

    Raises:
      DataError: a file is no list of tasks.
    """
    images: dict[Path, LabelledImage] = {}
    for file in files:
        document, name = read_json(file), source.name(file)
        if not isinstance(document, list):
            raise DataError(f"{file}: is no list of tasks, expected an export of Label Studio; "
                            "export it again as JSON")
        for place, task in enumerate(document, start=1):
            where = f"{name}: task {place}"
            with notes.entry(where):
                _read_task(source, file, task, where, images, notes)
    if not any(len(image.annotators) > 1 for image in images.values()):
        for image in images.values():
            image.annotators = ()
            image.labels = [replace(label, annotator="") for label in image.labels]
    return Reading([images[path] for path in sorted(images)])


def _read_task(source: Source, file: Path, task: Any, where: str,
               images: dict[Path, LabelledImage], notes: Notes) -> None:
    if not isinstance(task, dict):
        raise Bad(f"is {shown(task)}, expected an object; export it again")
    sets = list(_sets(task, where, notes))
    path = _find(source, file, task)
    if path in images:
        raise Bad(f"is of the image {path.name}, as is another task; merge them")
    apart = len({who for who, _ in sets}) > 1
    image = images[path] = LabelledImage(
        path, split=split_of(path, source.image_root),
        annotators=tuple(dict.fromkeys(who for who, _ in sets)))
    for who, regions in sets:
        names = {region.get("id"): found for region in regions if isinstance(region, dict)
                 and (found := _class_name(region)) is not None}
        for place, region in enumerate(regions, start=1):
            what = f"{where} (image {path.name}), region {place}" + (f" of {who}" if apart else "")
            with notes.entry(what):
                label = _label(region, names, what, notes)
                if label is not None:
                    image.size = image.size or _size(region)
                    image.labels.append(replace(label, annotator=who))


def _sets(task: dict, where: str, notes: Notes) -> Iterator[tuple[str, list]]:
    """Who labelled the task, and the regions of each."""
    said = task.get("annotations", task.get("completions"))
    if said is None:  # JSON-MIN: the regions stand under the name of the control
        regions = [region for value in task.values() if isinstance(value, list)
                   for region in value if isinstance(region, dict) and "original_width" in region]
        yield str(task.get("annotator", "")), regions
        return
    if not isinstance(said, list) or not all(isinstance(entry, dict) for entry in said):
        raise Bad("has annotations that are no list of objects; export it again")
    if task.get("predictions"):
        notes.count("task(s) have predictions, which are no labels", where)
    for number_, entry in enumerate(said, start=1):
        if entry.get("was_cancelled"):
            notes.count("annotation(s) were cancelled and left out", where)
            continue
        regions = entry.get("result")
        if not isinstance(regions, list):
            raise Bad("has an annotation without a list of results; export it again")
        yield _person(entry.get("completed_by"), number_), regions


def _person(said: Any, place: int) -> str:
    if isinstance(said, dict):
        said = next((said[key] for key in ("email", "username", "first_name", "id")
                     if said.get(key)), None)
    return str(place if said is None else said)[:80]


def _find(source: Source, file: Path, task: dict) -> Path:
    """The task's image: the text of its data that names one, with or without what the tool
    puts before an uploaded file's name."""
    data = task.get("data") if isinstance(task.get("data"), dict) else task
    texts = [task.get("file_upload"), *(data.values() if isinstance(data, dict) else ())]
    problem = Bad("names no image; export it again")
    for text in texts:
        if not isinstance(text, str) or not re.search(r"\.\w{2,5}($|\?|&)", text):
            continue
        name = file_name(text)
        folder, _, last = name.rpartition("/")
        for said in (name, f"{folder}/{_UPLOADED.sub('', last, count=1)}"):
            try:
                return source.find_image(said, file, any_suffix=True)
            except Bad as error:
                problem = error
    raise problem


def _label(region: Any, names: dict, where: str, notes: Notes) -> Label | None:
    """The region as a label; None where it says something else."""
    if not isinstance(region, dict) or not isinstance(value := region.get("value", region), dict):
        raise Bad(f"is {shown(region)}, expected an object; export it again")
    kind = str(region.get("type") or next(
        (key for key in value if key.endswith("labels")), ""))
    if kind.startswith(_OF_IMAGES) or kind == "labels":
        if kind != "labels":
            notes.count("answer(s) for whole images were left out", where)
        return None
    shape = kind.removesuffix("labels")
    if shape not in _SHAPES:
        raise Bad(f"is drawn as {shown(kind)}, which is no outline; draw a polygon, ellipse, "
                  "rectangle or brush mask in its place")
    if region.get("image_rotation"):
        raise Bad(f"was drawn on the image turned by {shown(region['image_rotation'])} deg; turn "
                  "the image file and label it anew")
    width, height = _size(region) or (0, 0)
    if not width or not height:
        raise Bad("has no original_width and original_height; export it again")
    name = _class_name(region) or names.get(region.get("id")) or _CLASS
    if shape == "brush":
        rings, holes = outline.trace(decode_brush(value.get("rle"), width, height))
        if not rings:
            raise Bad("has an empty mask; delete it")
        return Label(rings, name, "mask", where, holes=holes)
    ring, drawn = _outline(shape, value, width, height)
    return Label((ring,), name, drawn, where)


def _outline(shape: str, value: dict, width: int, height: int) -> tuple[np.ndarray, str]:
    """The ring of a shape, px, and what was drawn."""
    def share(key: str) -> float:
        return number(value.get(key), key) / 100

    if shape == "polygon":
        if value.get("closed") is False:
            raise Bad("is an open line; close it")
        return points(value.get("points")) * (width / 100, height / 100), "outline"
    angle = number(value.get("rotation") or 0.0, "rotation")
    x, y = share("x") * width, share("y") * height
    if shape == "ellipse":
        return outline.ellipse(x, y, share("radiusX") * width, share("radiusY") * height,
                               angle), "ellipse"
    rx, ry = share("width") * width / 2, share("height") * height / 2
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return outline.ellipse(x + rx * cos - ry * sin, y + rx * sin + ry * cos, rx, ry, angle), "box"


def _class_name(region: dict) -> str | None:
    """The region's class; None where it says none."""
    value = region.get("value", region)
    for key, said in value.items() if isinstance(value, dict) else ():
        if key.endswith("labels") and isinstance(said, list) and said:
            if len(said) > 1:
                raise Bad(f"is {shown(' and '.join(map(str, said)))}, expected one class; choose "
                          "one")
            if isinstance(said[0], str) and said[0].strip():
                return said[0].strip()
    return None


def _size(region: dict) -> tuple[int, int] | None:
    """Width and height of the image that was labelled, px."""
    sides = region.get("original_width"), region.get("original_height")
    if None in sides:
        return None
    width, height = (int(number(side, "original size")) for side in sides)
    return (width, height) if width > 0 and height > 0 else None
