"""Pascal VOC: one XML file an image, with a box for each object.

After the challenge's development kit (host.robots.ox.ac.uk/pascal/VOC) and the tools that
write its form: LabelImg, roLabelImg (turned boxes: `robndbox`, its angle in radians,
clockwise as seen) and Roboflow (`polygon`). Coordinates are taken as px from the first pixel's
corner; the kit itself counts pixels from 1, which is at most a pixel beside. `confidence` is a
person's or a program's, and is not kept.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from crater_model.annotations import outline
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
    split_of,
)
from crater_model.importing.formats.xml_files import elements

NAME = "voc"
TITLE = "Pascal VOC (one XML file an image)"


def recognise(source: Source) -> list[Path]:
    """The XML files with an annotation of one image."""
    return [path for path in source.with_suffix(".xml") if _is_voc(head(path))]


def _is_voc(text: str) -> bool:
    return bool(re.search(r"<annotation[\s>]", text)
                and re.search(r"<(filename|size|object|folder|path|source)[\s/>]", text))


def read(source: Source, files: list[Path], notes: Notes) -> Reading:
    """The images of the files, with their boxes; several files of one image are several
    people's.

    Raises:
      DataError: a file is not whole XML, or declares entities.
    """
    sets = Sets(source)
    for file in files:
        name, found = source.name(file), _Annotation()
        for event, element, parent in elements(file, "Pascal VOC", ("object", "size")):
            if event == "end" and parent is not None and parent.tag == "annotation":
                found.take(element)
        with notes.entry(name):
            path = _find(source, file, found.filename)
            image = LabelledImage(path, split=split_of(path, source.image_root)
                                  or split_of(file, source.root), size=found.size())
            for place, element in enumerate(found.objects, start=1):
                where = f"{name}: object {place}"
                with notes.entry(where):
                    image.labels.append(_label(element, where, notes))
            sets.add(file, image)
    return Reading(sets.images(notes))


class _Annotation:
    """What one file says."""

    def __init__(self) -> None:
        self.filename, self.sides, self.objects = "", ("", ""), list[Element]()

    def take(self, element: Element) -> None:
        if element.tag == "filename":
            self.filename = (element.text or "").strip()
        elif element.tag == "size":
            self.sides = (element.findtext("width") or "").strip(), (
                element.findtext("height") or "").strip()
        elif element.tag == "object":
            self.objects.append(element)

    def size(self) -> tuple[int, int] | None:
        """Width and height that the file says, px; LabelImg may write 0."""
        if not all(self.sides):
            return None
        width, height = (int(number(side, "image size")) for side in self.sides)
        return (width, height) if width and height else None


def _find(source: Source, file: Path, said: str) -> Path:
    """The image: as the file says, or of the file's own name, as tools do that copy images."""
    try:
        return source.find_image(said or file.stem, file, any_suffix=True)
    except Bad:
        if said:
            try:
                return source.find_image(file.stem, file, any_suffix=True)
            except Bad:
                pass
        raise


def _label(element: Element, where: str, notes: Notes) -> Label:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise Bad("has no name; name its class")
    if element.find("confidence") is not None:
        number((element.findtext("confidence") or "").strip(), "confidence")
        notes.count("label(s) say a confidence, which is not kept", where)
    ring, drawn = _outline(element)
    return Label((ring,), name, drawn, where)


def _outline(element: Element) -> tuple[np.ndarray, str]:
    """The object's ring and what was drawn."""
    def value(parent: Element, key: str) -> float:
        return number((parent.findtext(key) or "").strip(), key)

    polygon, turned, box = (element.find(tag) for tag in ("polygon", "robndbox", "bndbox"))
    if polygon is not None and len(polygon):
        return points(_corners(polygon)), "outline"
    if turned is not None:
        x, y, width, height, angle = (value(turned, key) for key in ("cx", "cy", "w", "h", "angle"))
        return outline.ellipse(x, y, width / 2, height / 2, math.degrees(angle)), "box"
    if box is None:
        raise Bad("has neither a bndbox nor a polygon; draw it or delete it")
    left, top, right, bottom = (value(box, key) for key in ("xmin", "ymin", "xmax", "ymax"))
    return outline.ellipse((left + right) / 2, (top + bottom) / 2, (right - left) / 2,
                           (bottom - top) / 2), "box"


def _corners(polygon: Element) -> list[list[float]]:
    """The points of <x1>, <y1>, <x2>, ... or of <pt><x>, <y> elements."""
    if polygon.find("pt") is not None:
        return [[number((pt.findtext(axis) or "").strip(), axis) for axis in "xy"]
                for pt in polygon.iter("pt")]
    said = {child.tag: (child.text or "").strip() for child in polygon}
    places = sorted({int(key[1:]) for key in said if re.fullmatch(r"[xy]\d{1,6}", key)})
    return [[number(said.get(f"{axis}{place}", ""), f"{axis}{place}") for axis in "xy"]
            for place in places]
