"""YOLO: one text file an image, a line a label, in shares of the image's width and height.

After docs.ultralytics.com/datasets (detect, segment, obb) and Darknet's description of its
lists (github.com/AlexeyAB/darknet). A line is `class x y width height`, x and y its middle, or
`class x1 y1 x2 y2 x3 y3 ...`, or the four corners of a turned box in the same way. Label
files lie beside their images or in a folder `labels` beside `images`; data.yaml, classes.txt
or obj.names name the classes; data.yaml, lists such as train.txt, or folders tell the splits.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from crater_model.annotations import outline
from crater_model.errors import DataError
from crater_model.imagery.raster import read_header
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
    read_text,
    split_of,
)

NAME = "yolo"
TITLE = "YOLO (one text file an image)"

_NAME_LISTS = ("classes.txt", "obj.names", "classes.names")
_NO_LABELS = (*_NAME_LISTS, "predefined_classes.txt")
_CLASS = "crater"
# Shares may leave 0..1 where an outline leaves its image; coordinates in px do by far.
_SHARES = (-0.5, 1.5)
# Share of a set's outlines that are rectangles where it is one of turned boxes.
_RECTANGLES = 0.9
# A side that leaves its row or column by less is upright (px).
_UPRIGHT_PX = 0.5
# Parsing a longer YAML file takes minutes, and a data.yaml is short.
_MOST_YAML = 2**20


def recognise(source: Source) -> list[Path]:
    """The label files: their lines fit, and they have an image's name or lie in `labels`."""
    stems = {image.stem.lower() for image in source.images}
    placed = [path for path in source.with_suffix(".txt") if path.name.lower() not in _NO_LABELS
              and (path.stem.lower() in stems or "labels" in _folders(source, path)
                   or path.parent.name.lower() == "labels")]
    fitting = {path for path in placed if _fits(head(path, 4096))}
    # Beside good label files, an empty or broken one with an image's name is one too.
    return [path for path in placed if fitting
            and (path in fitting or path.stem.lower() in stems)]


def _fits(text: str) -> bool:
    """Whether the first lines are labels; the last of them may be cut off."""
    lines = [line.split() for line in text.split("\n")[:5] if line.strip()]
    try:
        return bool(lines) and all(
            len(values) >= 5 and float(values[0]).is_integer()
            and all(_SHARES[0] <= float(value) <= _SHARES[1] for value in values[1:])
            for values in lines[:max(1, len(lines) - 1)])
    except (ValueError, OverflowError):
        return False


def _folders(source: Source, path: Path) -> list[str]:
    """Lower-case names of the folders between the source and a file."""
    root = source.root if path.is_relative_to(source.root) else source.image_root
    return [part.lower() for part in path.relative_to(root).parts[:-1]]


def read(source: Source, files: list[Path], notes: Notes) -> Reading:
    """The images of the label files, and those beside them that have none.

    Raises:
      DataError: the names of the classes cannot be read, or differ between two files.
    """
    settings = _settings(source)
    names = _class_names(source, settings)
    suffixes = defaultdict(set)
    for path in source.images:
        suffixes[path.stem.lower()].add(path.suffix)
    images: dict[Path, LabelledImage] = {}
    first: dict[Path, str] = {}
    for file in files:
        name = source.name(file)
        with notes.entry(name):
            path = _find(source, file, suffixes[file.stem.lower()])
            if path in first:
                raise Bad(f"is of the image {path.name}, which {first[path]} labels already; keep "
                          "one of the two files")
            images[path], first[path] = LabelledImage(path), name
            images[path].labels.extend(_labels(read_text(file), path, name, names, notes))
    if source.path.is_dir():
        for path in _without_file(source, images):
            images[path] = LabelledImage(path)
    _put_into_turned_boxes(images.values(), notes)
    splits = _splits(source, settings, notes)
    for path, image in images.items():
        image.split = splits.get(path) or split_of(path, source.image_root)
    if not names and {label.name for i in images.values() for label in i.labels} == {"class_0"}:
        for image in images.values():
            image.labels = [replace(label, name=_CLASS) for label in image.labels]
    return Reading([images[path] for path in sorted(images)], tuple(names.values()))


def _find(source: Source, file: Path, suffixes: set[str]) -> Path:
    """The image of a label file: of the same name beside it, or in `images` for `labels`."""
    folders = list(Path(source.name(file)).parts[:-1])
    for place in reversed(range(len(folders))):
        if folders[place].lower() == "labels":
            folders[place] = "images"
            break
    known = next(iter(suffixes)) if len(suffixes) == 1 else ""
    said = PurePosixPath(*folders, file.stem + known)
    return source.find_image(str(said), file, any_suffix=not known)


def _without_file(source: Source, labelled: dict[Path, LabelledImage]) -> list[Path]:
    """Images without a label file that belong to the data set: others of their folder do, or
    the folder is called images."""
    folders = {path.parent for path in labelled}
    return [path for path in source.images if path not in labelled
            and (path.parent in folders or "images" in _folders(source, path))]


def _labels(text: str, image: Path, name: str, names: dict[int, str],
            notes: Notes) -> Iterator[Label]:
    lines = [(place, line.split()) for place, line in enumerate(text.splitlines(), start=1)
             if line.strip()]
    if not lines:
        return
    try:
        header = read_header(image)
    except DataError as error:
        raise Bad(f"is of an image that cannot be read: {error}") from None
    for place, values in lines:
        where = f"{name}: line {place}"
        with notes.entry(where):
            class_name = _class_name(values[0], names)
            ring, drawn = _outline(values[1:], header.width, header.height)
            yield Label((ring,), class_name, drawn, where)


def _class_name(text: str, names: dict[int, str]) -> str:
    value = number(text, "class")
    if value < 0 or value != int(value):
        raise Bad(f"has the class {text[:40]}, expected a whole number from 0; correct it")
    if names and int(value) not in names:
        raise Bad(f"has the class {text[:40]}, but only {', '.join(map(str, names))[:80]} have "
                  "names; name it or correct it")
    return names[int(value)] if names else f"class_{int(value)}"


def _outline(texts: list[str], width: int, height: int) -> tuple[np.ndarray, str]:
    """The ring of a line's values after the class, px, and what was drawn."""
    values = [number(text, "coordinate") for text in texts]
    if len(values) == 5:
        raise Bad("has six values, a detection with its confidence, expected a label; remove it "
                  "or its last value")
    if len(values) < 4 or len(values) % 2:
        raise Bad(f"has {len(values) + 1} values, expected a class and x, y, width, height or at "
                  "least three pairs x, y; correct it")
    far = [text for text, value in zip(texts, values, strict=True)
           if not _SHARES[0] <= value <= _SHARES[1]]
    if far:
        raise Bad(f"has the coordinate {far[0][:40]}, expected a share of the image's width or "
                  "height from 0 to 1; divide by it")
    if len(values) == 4:
        x, y, w, h = values
        return outline.ellipse(x * width, y * height, w * width / 2, h * height / 2), "box"
    return points(list(zip(values[::2], values[1::2], strict=True))) * (width, height), "outline"


def _put_into_turned_boxes(images: Iterable[LabelledImage], notes: Notes) -> None:
    """Ellipses for turned boxes, which are written like outlines of four points: where all
    of a data set's outlines have four and nearly all are rectangles, one at least turned."""
    outlines = [(image, place) for image in images for place, label in enumerate(image.labels)
                if label.source == "outline"]
    rings = [image.labels[place].rings[0] for image, place in outlines]
    boxes = [_turned_box(ring) for ring in rings]
    if not boxes or any(len(ring) != 4 for ring in rings) or (
            sum(box is not None for box in boxes) < _RECTANGLES * len(boxes)):
        return
    upright = all(min(abs(ring[1] - ring[0])) < _UPRIGHT_PX for ring in rings)
    for (image, place), box in zip(outlines, boxes, strict=True):
        label = image.labels[place]
        if upright:
            notes.count("outline(s) are upright rectangles (if they are boxes, write them as x, y, "
                        "width, height to have ellipses put into them)", label.where)
        elif box is not None:
            notes.count("turned box(es) (four corners at right angles) had ellipses put into them",
                        label.where)
            image.labels[place] = replace(label, rings=(box,), source="box")


def _turned_box(ring: np.ndarray) -> np.ndarray | None:
    """The ellipse in a rectangle of four points, px; None where it is none."""
    if len(ring) != 4:
        return None
    along, across = ring[1] - ring[0], ring[2] - ring[1]
    longest = max(np.hypot(*along), np.hypot(*across))
    # Opposite sides are equal and neighbours stand upright on each other, but for rounding.
    off = max(1.0, 0.02 * longest)
    if min(np.hypot(*along), np.hypot(*across)) <= 0 or np.hypot(
            *(ring[0] - ring[1] + ring[2] - ring[3])) > off or abs(along @ across) > off * longest:
        return None
    x, y = ring.mean(axis=0)
    return outline.ellipse(x, y, np.hypot(*along) / 2, np.hypot(*across) / 2,
                           math.degrees(math.atan2(along[1], along[0])))


def _settings(source: Source) -> list[tuple[Path, dict]]:
    """The YAML files that name classes, with what they say."""
    found = []
    for path in source.with_suffix(".yaml", ".yml"):
        if not re.search(r"^\s*[\"']?names[\"']?\s*:", head(path, _MOST_YAML), re.MULTILINE):
            continue
        try:
            if path.stat().st_size > _MOST_YAML:
                raise ValueError("longer than 1 MiB")
            document = yaml.safe_load(read_text(path))
        except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
            raise DataError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())}), "
                            "expected the names of the classes; correct it") from None
        if isinstance(document, dict) and "names" in document:
            if "kpt_shape" in document:
                raise DataError(f"{path}: is of key points (kpt_shape), expected boxes or "
                                "outlines; export those")
            found.append((path, document))
    return found


def _class_names(source: Source, settings: list[tuple[Path, dict]]) -> dict[int, str]:
    """Class number -> name; empty where no file names them."""
    said = [(path, _listed(path, document["names"])) for path, document in settings]
    for path in source.files:
        if path.name.lower() in _NAME_LISTS:
            lines = [line.strip() for line in read_text(path).splitlines()]
            said.append((path, dict(enumerate(line for line in lines if line))))
    for path, names in said[1:]:
        if names != said[0][1]:
            raise DataError(f"{path}: names other classes than {said[0][0]}; keep one of the two "
                            "files")
    return said[0][1] if said else {}


def _listed(path: Path, names: Any) -> dict[int, str]:
    entries = dict(enumerate(names)) if isinstance(names, list) else names
    try:
        result = {int(key): str(entries[key]).strip() for key in entries
                  if isinstance(entries[key], (str, int))}
    except (TypeError, ValueError):
        result = {}
    if not result or len(result) != len(entries) or not all(result.values()):
        raise DataError(f"{path}: has the names {reprlib.repr(names)}, expected a list of the "
                        "classes' names; correct it")
    return dict(sorted(result.items()))


def _splits(source: Source, settings: list[tuple[Path, dict]], notes: Notes) -> dict[Path, str]:
    """The splits that lists of images and the YAML files tell."""
    lists = {path: split for path in source.with_suffix(".txt") if (split := _split(path.stem))}
    folders: list[tuple[str, str]] = []
    for _, document in settings:
        for key, value in document.items():
            split = _split(str(key))
            for said in value if isinstance(value, list) else [value]:
                parts = [part for part in str(said).lower().replace("\\", "/").split("/")
                         if part not in ("", ".", "..")]
                if split and parts and parts[-1].endswith(".txt"):
                    lists.update((path, split) for path in source.files
                                 if path.name.lower() == parts[-1])
                elif split and parts:
                    folders.append((f"/{'/'.join(parts)}/", split))
    splits: dict[Path, str] = {}
    for path in source.images if folders else ():
        lies = f"/{'/'.join(_folders(source, path))}/"
        within = [(len(folder), split) for folder, split in folders if folder in lies]
        best = {split for length, split in within if length == max(within)[0]}
        if len(best) == 1:
            splits[path] = best.pop()
    return splits | _from_lists(source, lists, notes)


def _from_lists(source: Source, lists: dict[Path, str], notes: Notes) -> dict[Path, str]:
    splits: dict[Path, str] = {}
    for file, split in lists.items():
        for place, line in enumerate(read_text(file).splitlines(), start=1):
            with notes.entry(f"{source.name(file)}: line {place}"):
                try:
                    path = source.find_image(line.strip(), file)
                except Bad:  # not an image of this data set
                    continue
                if splits.setdefault(path, split) != split:
                    raise Bad(f"puts the image {path.name} into {split}, but another list into "
                              f"{splits[path]}; keep it in one")
    return splits


def _split(name: str) -> str | None:
    return split_of(Path(name, "_"), Path())
