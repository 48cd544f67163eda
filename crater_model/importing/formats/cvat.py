"""CVAT for images 1.1: one XML file with the labels of many images.

After docs.cvat.ai/docs/manual/advanced/xml_format and the tool's own source
(cvat/apps/dataset_manager/formats). Its coordinates are px of the image, counted from the
first pixel's corner; rotations are in deg, clockwise as seen, around the shape's middle. A
mask's runs go along the rows of its box and begin with pixels outside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

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
    split_of,
)

NAME = "cvat"
TITLE = "CVAT for images (XML)"

# A larger mask (px of its box) would take more than a GB to outline.
_MOST_MASK_PIXELS = 2**24
# Elements inside each other; CVAT's own files have seven.
_MOST_DEPTH = 50


def recognise(source: Source) -> list[Path]:
    """The XML files with CVAT's annotations, of images or of a video."""
    return [path for path in source.with_suffix(".xml") if _is_cvat(head(path))]


def _is_cvat(text: str) -> bool:
    return bool(re.search(r"<annotations[\s>]", text)
                and re.search(r"<(meta|version|image|track)[\s/>]", text))


def read(source: Source, files: list[Path], notes: Notes) -> Reading:
    """The images that the files list, with their shapes.

    Raises:
      DataError: a file is not whole XML, declares entities, or is of a video.
    """
    images: dict[Path, LabelledImage] = {}
    first: dict[Path, str] = {}
    classes: dict[str, None] = {}
    for file in files:
        name, image, place = source.name(file), None, 0
        for event, element, parent in _elements(file):
            within = parent.tag if parent is not None else None
            if event == "start" and element.tag == "image" and within == "annotations":
                image, place = None, 0
                with notes.entry(f"{name}: image entry {element.get('id')}"):
                    image = _image(source, file, element, first)
                    images[image.path], first[image.path] = image, name
            elif event == "start" and element.tag == "track":
                raise DataError(f"{file}: has tracks, so it is CVAT for video; export the task as "
                                "CVAT for images, with its images")
            elif event == "end" and element.tag == "label" and within == "labels":
                if text := (element.findtext("name") or "").strip():
                    classes[text] = None
            elif event == "end" and within == "image" and element.tag == "tag":
                notes.count("tags of whole images were left out", name)
            elif event == "end" and within == "image":
                place += 1
                if image is not None:
                    where = f"{name}: image {image.path.name}, shape {place}"
                    with notes.entry(where):
                        image.labels.append(_label(element, where))
    return Reading([images[path] for path in sorted(images)], tuple(classes))


def _elements(file: Path) -> Iterator[tuple[str, Element, Element | None]]:
    """"start" or "end", element and parent; what has ended is forgotten, so that a file of
    any length takes little memory."""
    stack: list[Element] = []
    try:
        with file.open("rb") as stream:
            for event, element in iterparse(stream, ("start", "end"), forbid_dtd=True):
                if event == "end":
                    stack.pop()
                parent = stack[-1] if stack else None
                yield event, element, parent
                if event == "start":
                    stack.append(element)
                elif parent is not None and parent.tag != "label":
                    parent.remove(element)
                if len(stack) > _MOST_DEPTH:
                    raise DataError(f"{file}: has elements more than {_MOST_DEPTH} deep, expected "
                                    "CVAT for images; export it again")
    except DefusedXmlException:
        raise DataError(f"{file}: declares a document type or entities, which CVAT does not; "
                        "export it again") from None
    except (ParseError, ValueError, LookupError) as error:
        raise DataError(f"{file}: is not whole XML ({error}); export it again") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from None


def _image(source: Source, file: Path, element: Element, first: dict[Path, str]) -> LabelledImage:
    said, subset = element.get("name"), element.get("subset") or ""
    path = source.find_image(f"{subset}/{said}" if said and subset else said, file)
    if path in first:
        raise Bad(f"is of the image {path.name}, which {first[path]} labels already; keep one of "
                  "the two entries")
    size = None
    if element.get("width") is not None and element.get("height") is not None:
        size = (int(number(element.get("width"), "width")),
                int(number(element.get("height"), "height")))
    # Some tools write a file a subset, train.xml.
    split = (split_of(Path(subset, "_"), Path()) or split_of(Path(file.stem, "_"), Path())
             or split_of(path, source.image_root))
    return LabelledImage(path, split=split, size=size)


def _label(element: Element, where: str) -> Label:
    name = (element.get("label") or "").strip()
    if not name:
        raise Bad("has no label; name its class")
    try:
        rings, source = _outlines(element)
    except ArithmeticError:
        raise Bad("has a coordinate that is far too large; draw it again") from None
    return Label(rings, name, source, where)


def _outlines(element: Element) -> tuple[outline.Rings, str]:
    """The shape's rings and what was drawn."""
    def value(key: str, default: str | None = None) -> float:
        return number(element.get(key, default), key)

    if element.tag == "polygon":
        pairs = (element.get("points") or "").strip(" ;").split(";")
        return (points([pair.split(",") for pair in pairs]),), "outline"
    if element.tag == "box":
        left, top, right, bottom = map(value, ("xtl", "ytl", "xbr", "ybr"))
        return (outline.ellipse((left + right) / 2, (top + bottom) / 2, (right - left) / 2,
                                (bottom - top) / 2, value("rotation", "0")),), "box"
    if element.tag == "ellipse":
        return (outline.ellipse(value("cx"), value("cy"), value("rx"), value("ry"),
                                value("rotation", "0")),), "ellipse"
    if element.tag == "mask":
        return _mask(element), "mask"
    raise Bad(f"is drawn as {element.tag[:40]}, which is no outline; draw a polygon, ellipse, "
              "rectangle or mask in its place")


def _mask(element: Element) -> outline.Rings:
    left, top, width, height = (
        int(number(element.get(key), key)) for key in ("left", "top", "width", "height"))
    if not (width > 0 and height > 0 and width * height <= _MOST_MASK_PIXELS):
        raise Bad(f"has a mask of {width}x{height} px, expected 1 to {_MOST_MASK_PIXELS} px; draw "
                  "it as a polygon")
    try:
        runs = np.array([int(run) for run in (element.get("rle") or "").split(",")], np.int64)
    except (ValueError, OverflowError):
        raise Bad("has a mask whose rle is not a list of whole numbers; export it again") from None
    if runs.min() < 0 or runs.max() > width * height or runs.sum() != width * height:
        raise Bad(f"has a mask whose runs do not add up to {width}x{height} px; export it again")
    inside = (np.arange(len(runs)) % 2).astype(np.uint8)
    rings = outline.from_mask(np.repeat(inside, runs).reshape(height, width))
    if not rings:
        raise Bad("has an empty mask; delete it")
    return tuple(ring + (left, top) for ring in rings)
