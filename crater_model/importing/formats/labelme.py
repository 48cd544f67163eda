"""labelme: one JSON file an image, with its shapes.

After the tool's own source (github.com/wkentaro/labelme: _label_file.py, utils/shape.py).
Its coordinates are px of the image, counted from the first pixel's corner; a mask's two
points are its first and its last pixel.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from crater_model.annotations import outline
from crater_model.errors import DataError
from crater_model.importing.formats.sets import Sets
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
    split_of,
)

NAME = "labelme"
TITLE = "labelme (one JSON file an image)"

# A larger mask (px of its box) would take more than a GB to outline.
_MOST_MASK_PIXELS = 2**24


def recognise(source: Source) -> list[Path]:
    """The JSON files that labelme wrote."""
    return [path for path in source.with_suffix(".json") if _is_labelme(head(path))]


def _is_labelme(text: str) -> bool:
    return text.lstrip().startswith("{") and '"shapes"' in text and (
        '"imagePath"' in text or ('"points"' in text and '"label"' in text))


def read(source: Source, files: list[Path], notes: Notes) -> Reading:
    """The images of the files, with their shapes; several files of one image that mark the
    same craters are several people's.

    Raises:
      DataError: a file has no list of shapes.
    """
    if source.embedded:
        first_one = next(iter(source.embedded))
        notes.count("image(s) were taken from their label file (imageData)",
                    source.name(first_one), len(source.embedded))
    sets = Sets(source)
    for file in files:
        name, document = source.name(file), read_json(file)
        shapes = document.get("shapes") if isinstance(document, dict) else None
        if not isinstance(shapes, list):
            raise DataError(f"{file}: has no list of shapes, expected a file of labelme; save it "
                            "again")
        with notes.entry(name):
            path = _find(source, file, document)
            split = split_of(path, source.image_root) or split_of(file, source.root)
            image = LabelledImage(path, split=split, size=_size(document))
            for numbers, parts in _objects(shapes):
                where = f"{name}: shape {', '.join(map(str, numbers))}"
                with notes.entry(where):
                    image.labels.append(_label(parts, where))
            sets.add(file, image)
    return Reading(sets.images(notes, together=False))


def _find(source: Source, file: Path, document: dict) -> Path:
    if file in source.embedded:
        return source.embedded[file]
    try:
        return source.find_image(document.get("imagePath"), file)
    except Bad as error:
        if document.get("imageData"):
            raise Bad(f"{error} (labelme shows the copy in the file's imageData; save that as an "
                      "image)") from None
        raise


def _size(document: dict) -> tuple[int, int] | None:
    """Width and height that the file says, px."""
    said = document.get("imageWidth"), document.get("imageHeight")
    if None in said:
        return None
    width, height = (int(number(value, "image size")) for value in said)
    return width, height


def _objects(shapes: list) -> list[tuple[list[int], list]]:
    """Shapes of one object each, with their numbers from 1: those that share a group_id and
    a label are one."""
    groups: dict[object, tuple[list[int], list]] = {}
    for place, shape in enumerate(shapes, start=1):
        group = shape.get("group_id") if isinstance(shape, dict) else None
        key = place if group is None else (str(group), str(shape.get("label")))
        numbers, found = groups.setdefault(key, ([], []))
        numbers.append(place)
        found.append(shape)
    return list(groups.values())


def _label(shapes: list, where: str) -> Label:
    rings: list[np.ndarray] = []
    sources: set[str] = set()
    holes = False
    name: Any = ""
    for shape in shapes:
        if not isinstance(shape, dict):
            raise Bad(f"is {type(shape).__name__}, expected an object; save it again")
        name = shape.get("label")
        if not isinstance(name, str) or not name.strip():
            raise Bad(f"has the label {name!r}, expected the name of its class; name it")
        try:
            if shape.get("shape_type") == "mask":
                found, hole = _mask(shape)
                source, holes = "mask", holes or hole
            else:
                found, source = _outlines(shape)
        except ArithmeticError:
            raise Bad("has a coordinate that is far too large; draw it again") from None
        rings += found
        sources.add(source)
    return Label(tuple(rings), name.strip(), sources.pop() if len(sources) == 1 else "outline",
                 where, holes=holes)


def _outlines(shape: dict) -> tuple[outline.Rings, str]:
    """The shape's rings and what was drawn."""
    kind = shape.get("shape_type") or "polygon"  # labelme 3 had polygons only
    if kind == "polygon":
        return (points(shape.get("points")),), "outline"
    if kind == "circle":
        middle, rim = _corners(shape, 2)
        radius = math.dist(middle, rim)
        return (outline.ellipse(middle[0], middle[1], radius, radius),), "circle"
    if kind == "rectangle":
        # Two opposite corners in any order; relatives of labelme write all four.
        corners = _corners(shape, 2, 4)
        middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
        rx, ry = (corners.max(axis=0) - corners.min(axis=0)) / 2
        return (outline.ellipse(middle[0], middle[1], rx, ry),), "box"
    if kind in ("oriented_rectangle", "rotation"):
        corners = _corners(shape, 4)
        along, across = corners[1] - corners[0], corners[2] - corners[1]
        angle = math.degrees(math.atan2(along[1], along[0]))
        x, y = corners.mean(axis=0)
        return (outline.ellipse(x, y, np.hypot(*along) / 2,
                                np.hypot(*across) / 2, angle),), "box"
    if kind == "mask":
        return _mask(shape)[0], "mask"
    raise Bad(f"is drawn as {str(kind)[:40]}, which is no outline; draw a polygon, circle, "
              "rectangle or mask in its place")


def _corners(shape: dict, *counts: int) -> np.ndarray:
    """The shape's points, float64 [n, 2], where n is one of `counts`."""
    said = shape.get("points")
    if not isinstance(said, list) or len(said) not in counts or not all(
            isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in said):
        raise Bad(f"is a {shape.get('shape_type')} without its {counts[0]} points x, y; draw it "
                  "again")
    return np.array([[number(value, "coordinate") for value in pair] for pair in said])


def _mask(shape: dict) -> tuple[outline.Rings, bool]:
    """Outlines of a mask, and whether it has holes: a PNG of its box only, from its first pixel
    to its last."""
    (left, top), (right, bottom) = np.floor(_corners(shape, 2))
    width, height = right - left + 1, bottom - top + 1
    try:
        with Image.open(io.BytesIO(base64.b64decode(shape.get("mask") or "", validate=True)),
                        formats=["PNG"]) as image:
            if image.size != (width, height) or width * height > _MOST_MASK_PIXELS:
                raise Bad(f"has a mask of {image.width}x{image.height} px for a box of "
                          f"{width:.0f}x{height:.0f} px, expected the same size and at most "
                          f"{_MOST_MASK_PIXELS} px; draw it again")
            rings, holes = outline.trace(np.asarray(image.convert("L")))
    except Bad:
        raise
    except (binascii.Error, TypeError):
        raise Bad("has a mask that is not base64; save it again") from None
    except Exception as error:  # Pillow raises nearly anything on broken images
        raise Bad(f"has a mask that is no PNG image ({error}); save it again") from None
    if not rings:
        raise Bad("has an empty mask; delete it")
    return tuple(ring + (left, top) for ring in rings), holes
