"""COCO instances JSON as labelling tools write it: any ids; polygons, run-lengths or boxes.

`annotations/coco.py` reads this project's own form strictly; here, exports of CVAT, Label
Studio, Roboflow, Datumaro, Detectron's tools and others are taken as they come. Format:
https://cocodataset.org/#format-data
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from crater_model.annotations import outline
from crater_model.annotations.scene import SPLITS
from crater_model.errors import DataError
from crater_model.imagery.raster import read_header
from crater_model.importing.formats.run_lengths import outlines_of_runs
from crater_model.importing.formats.sets import Sets
from crater_model.importing.formats.source import (
    Bad,
    Label,
    LabelledImage,
    Notes,
    Reading,
    Source,
    head,
    is_whole,
    number,
    read_json,
    shown,
    split_of,
)

NAME = "coco"
TITLE = "COCO instances JSON"

Id = int | float | str

# Larger files are known by their beginning alone (bytes).
_PARSE_BYTES = 16 * 2**20
# What was drawn, as `Label.source` has it.
_SOURCES = ("outline", "mask", "ellipse", "circle", "box", "catalogue")
# A box reaches at most this far from its image's corner (px).
_FAR = 1e7

_KEYS = re.compile(r'"(images|annotations|categories|info)"\s*:')
_LISTS = re.compile(r'"(images|annotations|categories)"\s*:\s*\[')
_SURE = re.compile(r'"images"\s*:\s*\[\s*\{[^{}\[\]]*"file_name"|'
                   r'"annotations"\s*:\s*\[\s*\{[^{}]*"image_id"')
_OTHERS = re.compile(r'"(shapes|imagePath|_via_\w+|regions|FeatureCollection)"')


def recognise(source: Source) -> list[Path]:
    """The JSON files that are COCO, or were until they were damaged."""
    return [path for path in source.with_suffix(".json") if _is_coco(path)]


def _is_coco(path: Path) -> bool:
    start = head(path)
    if not start.lstrip().startswith("{") or not _KEYS.search(start):
        return False
    if _SURE.search(start):
        return True
    likely = bool(_LISTS.search(start)) and not _OTHERS.search(start)
    try:
        if path.stat().st_size > _PARSE_BYTES:
            return likely
        document = read_json(path)
    except (DataError, OSError):
        return likely
    return all(isinstance(document.get(key), list) for key in ("images", "annotations"))


def read(source: Source, files: list[Path], notes: Notes) -> Reading:
    """Reads one file or several (`instances_train.json`, `instances_val.json`).

    Raises:
      DataError: a file is not JSON or has no lists `images` and `annotations`.
    """
    sets = Sets(source)
    classes: dict[str, None] = {}
    for path in files:
        file = _File(source, path, notes)
        classes |= dict.fromkeys(file.read())
        for image in file.images.values():
            sets.add(path, image)
    return Reading(sets.images(notes), tuple(classes))


@dataclass(eq=False)
class _Entry:
    """An entry of `images`: how messages call it, the image if it can be used, and the
    (width, height) px of its file once a run-length mask needs them."""

    shown: str
    image: LabelledImage | None = None
    size: tuple[int, int] | None = None


@dataclass(eq=False)
class _File:
    """One JSON file while it is read; `images` is what it has given so far."""

    source: Source
    path: Path
    notes: Notes
    images: dict[Path, LabelledImage] = field(default_factory=dict)
    names: dict[Id, str] = field(default_factory=dict)
    entries: dict[Id, _Entry] = field(default_factory=dict)
    seen: set[Id] = field(default_factory=set)
    used: set[Id] = field(default_factory=set)
    drawn: str | None = None

    def read(self) -> list[str]:
        """Adds to `images` what the file holds; gives its classes in order."""
        document = read_json(self.path)
        for key in ("images", "annotations"):
            if not isinstance(document, dict) or not isinstance(document.get(key), list):
                raise DataError(f"{self.path}: has no list {key!r}, expected COCO instances form; "
                                "export it as that")
        info, categories = document.get("info"), document.get("categories")
        self.drawn = info.get("label_source") if isinstance(info, dict) else None
        categories = categories if isinstance(categories, list) else []
        for what, entries, take in (("category", categories, self._category),
                                    ("image", document["images"], self._image),
                                    ("annotation", document["annotations"], self._annotation)):
            for place, entry in enumerate(entries, start=1):
                where = f"{self.source.name(self.path)}: {what} {_called(entry, place)}"
                with self.notes.entry(where):
                    take(entry, where)
        return self._classes(categories)

    def _category(self, entry: Any, where: str) -> None:
        key, name = _id(entry, "id"), entry.get("name")
        if not isinstance(name, str) or not name.strip():
            raise Bad(f"has the name {shown(name)}, expected a text; name it")
        if key in self.names:
            raise Bad(f"({shown(name)}) has the id of the category {shown(self.names[key])}; give "
                      "each its own")
        self.names[key] = name.strip()

    def _classes(self, categories: list) -> list[str]:
        """Names in the file's order, without the one that Roboflow puts above the others."""
        below: dict[str, set] = {}
        for entry in categories:
            above = entry.get("supercategory") if isinstance(entry, dict) else None
            if isinstance(above, str) and isinstance(entry.get("id"), Id):
                below.setdefault(above.strip(), set()).add(entry["id"])
        return [name for key, name in self.names.items()
                if key in self.used or not below.get(name, set()) - {key}]

    def _image(self, entry: Any, where: str) -> None:
        key, said = _id(entry, "id"), entry.get("file_name")
        if key in self.entries:
            raise Bad(f"({shown(said)}) has the id of the image {self.entries[key].shown}; give "
                      "each image its own, also as the image_id of its annotations")
        self.entries[key] = _Entry(shown(said))
        path, split = self._find(said), self._split(entry)
        sides = entry.get("width"), entry.get("height")
        size = sides if all(is_whole(side) and 0 < side < _FAR for side in sides) else None
        if size is None and any(sides):
            raise Bad(f"({shown(said)}) has the width and height {shown(sides)}, expected whole "
                      "numbers of px; correct or delete them")
        if path in self.images:
            image = self.images[path]
            self.notes.count("image(s) are listed twice, and their labels were put together", where)
            if (split, size) != (image.split, image.size):
                raise Bad(f"({shown(said)}) has the split {split} and size {shown(size)}, but "
                          f"{image.split} and {shown(image.size)} where it is listed before; "
                          "delete one of the entries")
        self.entries[key].image = self.images.setdefault(
            path, LabelledImage(path, split=split, size=size, annotators=_people(entry)))

    def _find(self, said: object) -> Path:
        """The image's file; of several of its name the one in the folder of the file's
        subset (`images/train/a.png` for `instances_train.json`)."""
        name = file_name(said)
        try:
            return self.source.find_image(name, self.path, any_suffix=True)
        except Bad:
            subset = self.path.stem.rpartition("_")[2]
            try:
                return self.source.find_image(f"{subset}/{name}", self.path, any_suffix=True)
            except Bad:
                pass
            raise

    def _split(self, entry: dict) -> str | None:
        split = entry.get("split")
        if split is None:
            words = " ".join(re.findall("[a-z]+", self.path.stem.lower()))
            found = re.findall(r"\b(train|val|test)", words)
            if len(found) == 1:
                return "validation" if found[0] == "val" else found[0]
            return split_of(self.path, self.source.root)
        known = split_of(Path(split, "_"), Path()) if isinstance(split, str) else None
        if known is not None:
            return known
        if split not in SPLITS:
            raise Bad(f"has the split {shown(split)}, expected one of {', '.join(SPLITS)}; correct "
                      "it")
        return split

    def _annotation(self, entry: Any, where: str) -> None:
        found = _lookup(self.entries, _id(entry, "image_id"))
        if found is None:
            raise Bad(f"is of the image {shown(entry['image_id'])}, which is not listed; correct "
                      "its image_id")
        if found.image is None:
            self.notes.lose("annotation(s) are of images that cannot be used", where)
            return
        where += f" (image {found.shown})"
        with self.notes.entry(where):
            if isinstance(key := entry.get("id"), Id):
                if key in self.seen:
                    self.notes.count("annotation(s) have the id of another (ignored)", where)
                self.seen.add(key)
            found.image.labels.append(self._label(entry, found, where))

    def _label(self, entry: dict, image: _Entry, where: str) -> Label:
        category = _same_id(self.names, _id(entry, "category_id"))
        if category not in self.names:
            known = ", ".join(f"{key} ({name})" for key, name in self.names.items()) or "none"
            raise Bad(f"has the category {shown(category)}, expected one of {shown(known)}; add it "
                      "to categories or correct it")
        rings, made, holes = _rings(entry, image)
        if made == "outline" and len(rings) == 1 and _is_upright(rings[0]):
            self.notes.count("outline(s) are upright rectangles (if they are boxes, delete their "
                             "segmentation to have ellipses put into them)", where)
        crowd = entry.get("iscrowd") in (1, True, "1")
        if crowd:
            self.notes.count("annotation(s) are crowds (some tools mark every mask so: if they are "
                             "single objects, set iscrowd to 0)", where)
        said = entry.get("label_source") or (self.drawn if made != "box" else None) or made
        drawn = next((kind for kind in reversed(_SOURCES) if kind in str(said)[:80].lower()), None)
        if drawn is None:
            self.notes.count(f"annotation(s) have a label_source without {', '.join(_SOURCES)}, "
                             "which was ignored", where)
        diameter = entry.get("diameter_km")
        if diameter is not None:
            diameter = number(diameter, "diameter_km")
            if diameter <= 0:
                raise Bad(f"has the diameter_km {diameter:g}, expected more than 0; correct it")
        self.used.add(category)
        return Label(rings, self.names[category], drawn or made, where, crowd, diameter,
                     annotator=who if isinstance(who := entry.get("annotator"), str) else "",
                     holes=holes)


def _rings(entry: dict, image: _Entry) -> tuple[outline.Rings, str, bool]:
    """An annotation's outline (an ellipse where there is only a box), what was drawn, and
    whether it has holes."""
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, dict):
        rings, holes = outlines_of_runs(segmentation, _file_size(image))
        return rings, "mask", holes
    if isinstance(segmentation, list):
        polygons = [part for part in segmentation if part != []]
        if polygons and not any(isinstance(part, (list, dict)) for part in polygons):
            polygons = [polygons]  # one polygon without the list around it
        if polygons:
            return outline.from_polygons(polygons), "outline", False
    box = entry.get("bbox")
    if box in (None, []):
        raise Bad("has neither a segmentation nor a bbox; draw it or delete the annotation")
    if not isinstance(box, list) or len(box) != 4 or any(
            isinstance(value, (list, dict)) for value in box):
        raise Bad(f"has the bbox {shown(box)}, expected x, y, width, height; correct it")
    x, y, width, height = (number(value, "bbox") for value in box)
    if not (0 < width < _FAR and 0 < height < _FAR and max(abs(x), abs(y)) < _FAR):
        raise Bad(f"has the bbox {shown(box)}, expected x, y and a width and height above 0, in "
                  "px; correct it")
    attributes = entry.get("attributes")
    turn = attributes.get("rotation") if isinstance(attributes, dict) else None  # CVAT's, deg
    angle = 0.0 if turn is None else number(turn, "rotation")
    ring = outline.ellipse(x + width / 2, y + height / 2, width / 2, height / 2, angle)
    return (ring,), "box", False


def _people(entry: dict) -> tuple[str, ...]:
    """Who labelled an image, where it says so (this project's own key)."""
    said = entry.get("annotators")
    return tuple(filter(None, said)) if isinstance(said, list) and all(
        isinstance(name, str) for name in said) else ()


def _file_size(image: _Entry) -> tuple[int, int]:
    """(width, height) px of the entry's file."""
    try:
        assert image.image is not None  # else its labels are left out
        image.size = image.size or read_header(image.image.path)[:2]
    except DataError as error:
        raise Bad(f"has a run-length mask, whose image is needed: {error}") from None
    return image.size


def _is_upright(ring: np.ndarray) -> bool:
    """Whether a ring has four sides, each along the rows or along the columns."""
    return len(ring) == 4 and bool(((ring != np.roll(ring, 1, axis=0)).sum(axis=1) == 1).all())


def file_name(said: object) -> str:
    """A `file_name` without what an address has behind its path; Label Studio's
    `/data/local-files/?d=folder/a.png` has the path there."""
    if not isinstance(said, str):
        raise Bad(f"has the file_name {shown(said)}, expected a text; correct it")
    if "?d=" in said:
        return unquote(said.rpartition("?d=")[2].partition("&")[0])
    if re.match(r"[a-z][a-z0-9+]+://", said):
        return unquote(said.partition("?")[0])
    return said


def _id(entry: Any, key: str) -> Id:
    """A number or text that stands for an entry; Bad says what stands there instead."""
    if not isinstance(entry, dict):
        raise Bad(f"is {shown(entry)}, expected an object; delete it")
    value = entry.get(key)
    if is_whole(value) or (isinstance(value, float) and math.isfinite(value)) or (
            isinstance(value, str) and value):
        return value
    raise Bad(f"has the {key} {shown(value)}, expected a number; correct it")


def _same_id(table: Mapping[Id, Any], key: Id) -> Id:
    """The key as the table has it: some tools write one id as number and as text."""
    if key in table:
        return key
    if isinstance(key, str) and re.fullmatch(r"\d{1,18}", key):
        return int(key) if int(key) in table else key
    return str(key) if str(key) in table else key


def _lookup(entries: Mapping[Id, _Entry], key: Id) -> _Entry | None:
    return entries.get(_same_id(entries, key))


def _called(entry: Any, place: int) -> str:
    key = entry.get("id") if isinstance(entry, dict) else None
    return shown(key) if isinstance(key, Id) else f"number {place}"
