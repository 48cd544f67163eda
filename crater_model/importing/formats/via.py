"""VGG Image Annotator (VIA): annotations as JSON or CSV, and projects, of VIA 1, 2 and 3.

After the tool's own description and source (gitlab.com/vgg/via: CodeDoc.md, via.js,
_via_file_annotator.js). Its coordinates are px of the image, counted from the first
pixel's corner. An ellipse's `theta` is in radians, clockwise as seen: the tool hands it
to the canvas as it is. VIA's export to COCO is read by `coco`.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crater_model.annotations import outline
from crater_model.errors import DataError
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
    read_text,
    split_of,
)

NAME = "via"
TITLE = "VGG Image Annotator (JSON, CSV or project)"

# Region attributes that hold the class, in the order in which they are asked.
_CLASS_KEYS = ("class", "label", "name", "type", "category", "class_name", "object", "object_name")
_CLASS = "crater"
_CSV_COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
# VIA 3 writes a shape as its number, then coordinates.
_SHAPES_3 = {1: "point", 2: "rect", 3: "circle", 4: "ellipse", 5: "line", 6: "polyline",
             7: "polygon", 8: "extreme_rect", 9: "extreme_circle"}
_KEYS_3 = {"rect": ("x", "y", "width", "height"), "circle": ("cx", "cy", "r"),
           "ellipse": ("cx", "cy", "rx", "ry")}
_IMAGE_3 = 2
_CHOICES_3 = (2, 3, 4)  # checkbox, radio, select: the value is an option's number


def recognise(source: Source) -> list[Path]:
    """The JSON and CSV files that VIA wrote."""
    return [path for path in source.with_suffix(".json", ".csv") if _is_via(path)]


def _is_via(path: Path) -> bool:
    text = head(path).lstrip()
    if path.suffix.lower() == ".csv":
        return _CSV_COLUMNS[1] in text.partition("\n")[0] or "# CSV_HEADER = metadata_id" in text
    if not text.startswith("{"):
        return False
    return ('"_via_img_metadata"' in text or '"shape_attributes"' in text
            or ('"filename"' in text and ('"file_attributes"' in text or '"regions"' in text))
            or ('"project"' in text and '"data_format_version"' in text))


def read(source: Source, files: list[Path], notes: Notes) -> Reading:
    """The images that the files list, with their regions.

    Raises:
      DataError: a file is no VIA annotations after all.
    """
    images: dict[Path, LabelledImage] = {}
    seen: dict[Path, tuple[str, list]] = {}
    for file in files:
        name = source.name(file)
        for place, (said, regions) in enumerate(_entries(file), start=1):
            with notes.entry(f"{name}: image entry {place}"):
                path = source.find_image(said, file)
                if path in seen:
                    _repeated(seen[path], name, regions, notes)
                    continue
                seen[path] = name, regions
                images[path] = LabelledImage(path, split=split_of(path, source.image_root))
                for order, region in enumerate(regions, start=1):
                    where = f"{name}: image {path.name}, region {order}"
                    with notes.entry(where):
                        images[path].labels.append(_label(region, where))
    return Reading([images[path] for path in sorted(images)])


def _repeated(first: tuple[str, list], name: str, regions: list, notes: Notes) -> None:
    """The same export in two forms is no problem, two sets of regions for an image are."""
    if regions != first[1]:
        raise Bad(f"is of an image that {first[0]} has other regions for; keep one of the two "
                  "entries")
    notes.count("image entries repeat another with the same regions and were left out", name)


def _entries(file: Path) -> Iterator[tuple[object, list]]:
    """What the file says of each image: its name and its regions, each an object with
    `shape_attributes` and `region_attributes` (or something broken)."""
    if file.suffix.lower() == ".csv":
        yield from _csv_entries(file)
        return
    document = read_json(file)
    if isinstance(document, dict) and {"view", "file", "metadata"} <= document.keys():
        yield from _project_3_entries(file, document)
        return
    if isinstance(document, dict) and "_via_img_metadata" in document:
        document = document["_via_img_metadata"]
    if not isinstance(document, dict):
        raise DataError(f"{file}: has no object of images, expected annotations or a project of "
                        "VIA; export it again")
    for entry in document.values():
        if not isinstance(entry, dict):
            yield None, []
            continue
        regions = entry.get("regions") or []
        # VIA 1 numbers the regions in an object.
        regions = list(regions.values()) if isinstance(regions, dict) else regions
        yield entry.get("filename"), regions if isinstance(regions, list) else [regions]


def _csv_entries(file: Path) -> Iterator[tuple[str, list]]:
    try:
        table = pd.read_csv(io.StringIO(read_text(file)), dtype=str, keep_default_na=False,
                            index_col=False).fillna("")
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{file}: is not CSV ({' '.join(str(error).split())}); export it again"
                        ) from None
    table = table.rename(columns=lambda name: str(name).strip().lstrip("#"))
    missing = [name for name in _CSV_COLUMNS if name not in table]
    if missing:
        raise DataError(f"{file}: has no column {', '.join(missing)}, expected VIA's annotations; "
                        "export them as JSON from VIA")
    sizes = table["file_size"] if "file_size" in table else pd.Series("", table.index)
    regions: dict[tuple[str, str], list] = {}
    for said, size, shape, attributes in zip(
            table["filename"], sizes, *(table[name] for name in _CSV_COLUMNS[1:]), strict=True):
        found = regions.setdefault((said, size), [])
        if shape.strip() not in ("", "{}"):  # the row of an image without regions
            found.append({"shape_attributes": _parsed(shape),
                          "region_attributes": _parsed(attributes or "{}")})
    for (said, _), found in regions.items():
        yield said, found


def _parsed(text: str) -> object:
    """The JSON value of a cell, or its text where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _project_3_entries(file: Path, document: dict) -> Iterator[tuple[object, list]]:
    views, listed, metadata = document["view"], document["file"], document["metadata"]
    attributes: Any = document.get("attribute")
    if not all(isinstance(part, dict) for part in (views, listed, metadata, attributes)):
        raise DataError(f"{file}: lacks an object view, file, metadata or attribute, expected a "
                        "project of VIA 3; save it again")
    regions: dict[str, list] = {}
    for entry in metadata.values():
        if not isinstance(entry, dict):
            raise DataError(f"{file}: has metadata that are no objects; save the project again")
        if entry.get("xy"):  # else it is of a whole image or of a span of time
            regions.setdefault(str(entry.get("vid")), []).append(_region_3(entry, attributes))
    for key, view in views.items():
        ids = view.get("fid_list") if isinstance(view, dict) else None
        shown = [listed.get(str(i)) for i in ids] if isinstance(ids, list) else []
        if (len(shown) == 1 and isinstance(shown[0], dict)
                and shown[0].get("type", _IMAGE_3) == _IMAGE_3):
            yield shown[0].get("fname") or shown[0].get("src"), regions.get(key, [])
        elif key in regions:
            raise DataError(f"{file}: has regions in the view {key}, which is not of one image; "
                            "export the frames as images and label those")


def _region_3(entry: dict, attributes: dict) -> dict:
    """A region of VIA 3 as VIA 2 would write it."""
    xy, said = entry["xy"], entry.get("av")
    known = isinstance(xy, list) and isinstance(xy[0], int) and xy[0] in _SHAPES_3
    shape: dict[str, Any] = {"name": _SHAPES_3[xy[0]] if known else None}
    if known:
        shape.update(zip(_KEYS_3.get(shape["name"], ()), xy[1:], strict=False))
        shape.update(all_points_x=xy[1::2], all_points_y=xy[2::2])
    values = {}
    for key, value in said.items() if isinstance(said, dict) else ():
        about = attributes.get(key)
        about = about if isinstance(about, dict) else {}
        options = about.get("options")
        if about.get("type") in _CHOICES_3 and isinstance(options, dict):
            chosen = [options.get(i) for i in str(value).split(",") if i in options]
            value = {str(option): True for option in chosen}
        values[str(about.get("aname", key))] = value
    return {"shape_attributes": shape, "region_attributes": values}


def _label(region: Any, where: str) -> Label:
    shape = region.get("shape_attributes") if isinstance(region, dict) else None
    if not isinstance(shape, dict):
        raise Bad("has no object shape_attributes; export it again or delete the region")
    try:
        ring, source = _outline(shape)
    except ArithmeticError:
        raise Bad("has a coordinate that is far too large; draw it again") from None
    return Label((ring,), _class_name(region.get("region_attributes")), source, where)


def _outline(shape: dict) -> tuple[np.ndarray, str]:
    """The shape's ring and what was drawn."""
    def value(key: str) -> float:
        return number(shape.get(key), key)

    kind = shape.get("name")
    if kind in ("polygon", "extreme_rect", "extreme_circle"):
        xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
        if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys):
            raise Bad("has no equally long lists all_points_x and all_points_y; draw it again")
        ring = points(list(zip(xs, ys, strict=True)))
        return (ring, "outline") if kind == "polygon" else _extreme(ring, kind)
    if kind == "rect":
        rx, ry = value("width") / 2, value("height") / 2
        return outline.ellipse(value("x") + rx, value("y") + ry, rx, ry), "box"
    if kind == "circle":
        return outline.ellipse(value("cx"), value("cy"), value("r"), value("r")), "circle"
    if kind == "ellipse":
        angle = math.degrees(number(shape.get("theta") or 0.0, "theta"))
        return outline.ellipse(value("cx"), value("cy"), value("rx"), value("ry"), angle), "ellipse"
    raise Bad(f"is drawn as {str(kind)[:40]}, which is no outline; draw a polygon, ellipse, circle "
              "or rect in its place")


def _extreme(ring: np.ndarray, kind: str) -> tuple[np.ndarray, str]:
    """What VIA 3 makes of clicked points: the box around them or the circle through them."""
    if kind == "extreme_rect":
        (left, top), (right, bottom) = ring.min(axis=0), ring.max(axis=0)
        return outline.ellipse((left + right) / 2, (top + bottom) / 2, (right - left) / 2,
                               (bottom - top) / 2), "box"
    first, others = ring[0], ring[1:3] - ring[0]
    if abs(np.linalg.det(others)) < outline.MIN_AREA:
        raise Bad("has three points of a circle that lie on a line; draw it again")
    middle = np.linalg.solve(2 * others, (others ** 2).sum(axis=1))
    radius = float(np.hypot(*middle))
    x, y = first + middle
    return outline.ellipse(x, y, radius, radius), "circle"


def _class_name(attributes: object) -> str:
    """The value of an attribute like "class", else of the only one in words, else "crater"."""
    said = {}
    for key, value in attributes.items() if isinstance(attributes, dict) else ():
        if isinstance(value, dict):  # a checkbox: option -> whether it is ticked
            texts = [str(option).strip() for option, ticked in value.items() if ticked]
        else:
            texts = [str(value).strip()] if isinstance(value, (str, int, float)) else []
        if texts and texts[0]:
            said[str(key).strip().lower()] = texts
    for key in _CLASS_KEYS:
        if key in said:
            if len(said[key]) > 1:
                raise Bad(f"is {' and '.join(said[key])[:80]}, expected one class; untick the "
                          "others")
            return said[key][0]
    words = [texts[0] for texts in said.values() if len(texts) == 1 and not _is_number(texts[0])]
    return words[0] if len(words) == 1 else _CLASS


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
