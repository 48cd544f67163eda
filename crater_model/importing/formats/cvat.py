"""CVAT for images 1.1: one XML file with the labels of many images; and CVAT for video where
every frame of a track is an image with a shape of its own.

After docs.cvat.ai/docs/manual/advanced/xml_format and the tool's own source
(cvat/apps/dataset_manager/formats). Its coordinates are px of the image, counted from the
first pixel's corner; rotations are in deg, clockwise as seen, around the shape's middle. A
mask's runs go along the rows of its box and begin with pixels outside it.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from crater_model.annotations import outline
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

NAME = "cvat"
TITLE = "CVAT for images (XML)"

# A larger mask (px of its box) would take more than a GB to outline.
_MOST_MASK_PIXELS = 2**24


def recognise(source: Source) -> list[Path]:
    """The XML files with CVAT's annotations, of images or of a video."""
    return [path for path in source.with_suffix(".xml") if _is_cvat(head(path))]


def _is_cvat(text: str) -> bool:
    return bool(re.search(r"<annotations[\s>]", text)
                and re.search(r"<(meta|version|image|track)[\s/>]", text))


def read(source: Source, files: list[Path], notes: Notes) -> Reading:
    """The images that the files list, with their shapes.

    Raises:
      DataError: a file is not whole XML, or declares entities.
    """
    images: dict[Path, LabelledImage] = {}
    first: dict[Path, str] = {}
    classes: dict[str, None] = {}
    for file in files:
        name, image, place = source.name(file), None, 0
        tracks = _Tracks(source, file, images, first)
        for event, element, parent in elements(file, "CVAT for images", ("label",)):
            within = parent.tag if parent is not None else None
            if event == "start" and element.tag == "image" and within == "annotations":
                image, place = None, 0
                with notes.entry(f"{name}: image entry {element.get('id')}"):
                    image = _image(source, file, element, first)
                    images[image.path], first[image.path] = image, name
            elif event == "end" and within == "track":
                tracks.shape(element, parent)
            elif event == "end" and element.tag == "track":
                with notes.entry(f"{name}: track {element.get('id')}"):
                    tracks.end(element, notes)
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


class _Tracks:
    """The tracks of one file: an object's shapes in some frames, each frame an image."""

    def __init__(self, source: Source, file: Path, images: dict[Path, LabelledImage],
                 first: dict[Path, str]):
        self._source, self._file, self._images, self._first = source, file, images, first
        self._shapes: list[tuple[str | None, bool, tuple[outline.Rings, str] | Bad]] = []

    def shape(self, element: Element, parent: Element | None) -> None:
        """A shape of the track that is being read; what is wrong with it is said at its end."""
        outside = element.get("outside") == "1"
        found: tuple[outline.Rings, str] | Bad = Bad("")
        if not outside:
            try:
                found = _outlines(element)
            except ArithmeticError:
                found = Bad("has a coordinate that is far too large; draw it again")
            except ValueError as error:
                found = Bad(str(error))
        self._shapes.append((element.get("frame"), outside, found))

    def end(self, element: Element, notes: Notes) -> None:
        """The track is complete: its shapes become labels of their frames' images.

        Raises:
          Bad: it moves on between frames that it has shapes for.
        """
        shapes, self._shapes = self._shapes, []
        name = (element.get("label") or "").strip()
        if not name:
            raise Bad("has no label; name its class")
        if not shapes:
            raise Bad("has no shape; delete it")
        frames = [int(number(frame, "frame")) for frame, _, _ in shapes]
        for (one, other), (_, outside, _) in zip(pairwise(frames), shapes, strict=False):
            if not outside and other != one + 1:
                raise Bad(f"has shapes in the frames {one} and {other} and none between, where it "
                          "goes on; export the task as CVAT for images")
        if not shapes[-1][1]:
            notes.count("track(s) have no end and were taken to be in the frames with a shape",
                        f"{self._source.name(self._file)}: track {element.get('id')}")
        for frame, (_, outside, found) in zip(frames, shapes, strict=True):
            if not outside:
                if isinstance(found, Bad):
                    raise Bad(f"frame {frame} {found}")
                rings, drawn = found
                where = (f"{self._source.name(self._file)}: track {element.get('id')}, frame "
                         f"{frame}")
                self._image(frame, notes).labels.append(Label(rings, name, drawn, where))

    def _image(self, frame: int, notes: Notes) -> LabelledImage:
        """The image of a frame: frame_000012, else the so-and-so-many-th by name."""
        source = self._source
        try:
            path = source.find_image(f"frame_{frame:06d}", self._file, any_suffix=True)
        except Bad:
            if not 0 <= frame < len(source.images):
                raise Bad(f"is in the frame {frame}, but there are {len(source.images)} images and "
                          f"none called frame_{frame:06d}; export the task with its images"
                          ) from None
            path = source.images[frame]
            notes.count("frame(s) of tracks were counted in the order of the images' names",
                        path.name)
        self._first[path] = source.name(self._file)
        return self._images.setdefault(path, LabelledImage(
            path, split=split_of(path, source.image_root)))


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
    if element.tag == "mask":
        rings, holes = _mask(element)
        return Label(rings, name, "mask", where, holes=holes)
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
        return _mask(element)[0], "mask"
    raise Bad(f"is drawn as {element.tag[:40]}, which is no outline; draw a polygon, ellipse, "
              "rectangle or mask in its place")


def _mask(element: Element) -> tuple[outline.Rings, bool]:
    """A mask's outlines, and whether it has holes."""
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
    rings, holes = outline.trace(np.repeat(inside, runs).reshape(height, width))
    if not rings:
        raise Bad("has an empty mask; delete it")
    return tuple(ring + (left, top) for ring in rings), holes
