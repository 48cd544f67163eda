"""Reading `annotations.json`, collecting every problem in it instead of the first."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

from PIL import Image

from crater_model.annotations import outline
from crater_model.annotations.annotators import annotators, used_labels
from crater_model.annotations.scene import (
    ANNOTATIONS,
    IMAGES,
    SPLITS,
    Dataset,
    Instance,
    Scene,
    size_problem,
)
from crater_model.errors import DataError
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.orientation import orientation, shown_size
from crater_model.imagery.pixels import image_problem, unreadable
from crater_model.imagery.raster import open_scene
from crater_model.imagery.stretch import Stretch

# An outline may leave its image by this much (rounding); it is then clipped.
TOLERANCE_PX = 1.0


class Bad(Exception):
    """What is wrong with one entry of the file; becomes one line of `problems`."""


@dataclass
class Parsed:
    """What was read (the good part, if there are problems) and what was found wrong.

    `bad_files` names the images whose file is missing or has an unfit header, `annotators`
    how many labels each of several people made (name -> labels).
    """

    dataset: Dataset
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    bad_files: set[str] = field(default_factory=set)
    annotators: dict[str, int] = field(default_factory=dict)


def parse(folder: str | Path, every_annotator: bool = False) -> Parsed:
    """Reads annotations.json and the images' headers; never raises on bad data.

    Args:
      folder: of the data set.
      every_annotator: as `dataset.load_dataset` has it.
    """
    root = Path(folder)
    parsed = Parsed(Dataset(root, {}, ()))
    document = _read_document(root, parsed.problems)
    if document is None:
        return parsed
    where = root / ANNOTATIONS

    def problem(text: str) -> None:
        parsed.problems.append(f"{where}: {text}")

    label_map = _label_map(document["categories"], problem)
    scenes = _images(document["images"], problem)
    counts: Counter[str] = Counter()
    info = document.get("info")
    info = info if isinstance(info, dict) else {}
    source = info.get("label_source")
    instances = _annotations(document["annotations"], scenes, label_map, problem, counts,
                             source if isinstance(source, str) else None)
    done = tuple(Scene(**{**scene.__dict__, "instances": tuple(instances[scene.id])})
                 for scene in scenes.values())
    _check_splits(done, problem)
    for scene in done:
        if text := _file_problem(root, scene):
            parsed.problems.append(text)
            parsed.bad_files.add(scene.file_name)
    parsed.warnings += _count_warnings(where, counts)
    parsed.dataset = Dataset(root, label_map, done, info)
    parsed.annotators = annotators(parsed.dataset)
    if not every_annotator:
        parsed.dataset, text = used_labels(parsed.dataset)
        if text:
            problem(text)
    return parsed


def _read_document(root: Path, problems: list[str]) -> dict | None:
    """The JSON object, or None with the reason added to `problems`."""
    path = root / ANNOTATIONS
    if not root.is_dir():
        kind = "is a file" if root.exists() else "does not exist"
        problems.append(f"{root}: {kind}, expected a data-set folder with {ANNOTATIONS} and "
                        f"{IMAGES}/; name the folder")
        return None
    if not (root / IMAGES).is_dir():
        kind = "is a file" if (root / IMAGES).exists() else "does not exist"
        problems.append(f"{root / IMAGES}: {kind}, expected the folder with the images; "
                        "put them there")
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        problems.append(f"{path}: cannot be read ({error.strerror}), expected the labels in COCO "
                        "instances form; put the file there")
        return None
    except (ValueError, RecursionError) as error:
        problems.append(f"{path}: is not JSON ({error}); export it again")
        return None
    missing = [key for key in ("images", "annotations", "categories")
               if not isinstance(document, dict) or not isinstance(document.get(key), list)]
    if missing:
        problems.append(f"{path}: has no list {' nor '.join(map(repr, missing))}, expected COCO "
                        "instances form; export it as that")
        return None
    if not document["images"]:
        problems.append(f"{path}: lists no image, expected at least one; add images")
    return document


def _label_map(categories: list, problem) -> dict[int, str]:
    label_map = {}
    for category in categories:
        try:
            number, name = _number(category, "id"), category.get("name")
        except Bad as bad:
            problem(f"category {bad}")
            continue
        if number in label_map:
            problem(f"category id {number} is there twice; give each its own")
        elif not isinstance(name, str) or not name:
            problem(f"category {number} has no name; add one")
        else:
            label_map[number] = name
    if sorted(label_map) != list(range(1, len(label_map) + 1)) or not label_map:
        found = ", ".join(map(str, sorted(label_map))) or "none"
        problem(f"category ids are {found}, expected 1, 2, ... without a gap; renumber them")
    return label_map


def _images(entries: list, problem) -> dict[int, Scene]:
    scenes: dict[int, Scene] = {}
    names = set()
    for place, entry in enumerate(entries):
        try:
            scene = _scene(entry)
        except Bad as bad:
            name = entry.get("file_name") if isinstance(entry, dict) else None
            problem(f"image {name or f'number {place + 1}'} {bad}")
            continue
        if scene.id in scenes:
            problem(f"image id {scene.id} is there twice ({scenes[scene.id].file_name} and "
                    f"{scene.file_name}); give each image its own id")
        elif scene.file_name in names:
            problem(f"image {scene.file_name} is listed twice (the second time as id {scene.id}); "
                    "merge the two entries")
        else:
            scenes[scene.id] = scene
            names.add(scene.file_name)
    return scenes


def _scene(entry: dict) -> Scene:
    number, name = _number(entry, "id"), entry.get("file_name")
    if not isinstance(name, str) or not name:
        raise Bad(f"(id {number}) has no file_name; add it")
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise Bad(f"lies outside {IMAGES}/, expected a path below it; move the image there")
    width, height = _number(entry, "width"), _number(entry, "height")
    if not width or not height:
        raise Bad(f"is {width}x{height} px; correct its width and height")
    split = entry.get("split")
    if split is not None and split not in SPLITS:
        raise Bad(f"has the split {split!r}, expected one of {', '.join(SPLITS)}")
    offset, scale = entry.get("offset", [0, 0]), entry.get("scale", 1.0)
    if not isinstance(offset, list) or len(offset) != 2 or not all(map(_finite, offset)):
        raise Bad(f"has the offset {offset!r}, expected [x, y] in px")
    if not _finite(scale) or scale <= 0:
        raise Bad(f"has the scale {scale!r}, expected a number above 0")
    people = entry.get("annotators", [])
    if not isinstance(people, list) or not all(isinstance(name, str) and name for name in people):
        raise Bad(f"has the annotators {people!r}, expected a list of names; correct it")
    place, stretch = entry.get("georeference"), entry.get("stretch")
    try:
        place = None if place is None else Georeference.from_json(place, width, height)
        stretch = None if stretch is None else Stretch.from_json(stretch)
    except DataError as error:
        raise Bad(f"has a wrong entry: {error}") from None
    return Scene(number, name, width, height, (), str(entry.get("scene") or name), split,
                 (float(offset[0]), float(offset[1])), float(scale),
                 str(entry.get("ground") or ""), place, stretch, annotators=tuple(people))


def _annotations(entries: list, scenes: dict[int, Scene], label_map: dict[int, str], problem,
                 counts: Counter, source: str | None) -> dict[int, list[Instance]]:
    instances, seen = defaultdict(list), set()
    for place, entry in enumerate(entries):
        label = f"annotation {place + 1} in order"
        try:
            number = _number(entry, "id")
            label = f"annotation {number}"
            image_id = entry.get("image_id")
            scene = scenes.get(image_id) if _whole(image_id) else None
            if scene is None:
                raise Bad(f"is of image {image_id!r}, which is not listed; correct its image_id")
            label += f" (image {scene.file_name})"
            if number in seen:
                raise Bad("has the id of another annotation; give each its own")
            seen.add(number)
            instances[image_id].append(
                _instance(number, entry, scene, label_map, counts, source))
        except Bad as bad:
            problem(f"{label} {bad}")
    return instances


def _instance(number: int, entry: dict, scene: Scene, label_map: dict[int, str],
              counts: Counter, default_source: str | None) -> Instance:
    category = entry.get("category_id")
    if not _whole(category) or category not in label_map:
        known = ", ".join(f"{i} ({name})" for i, name in label_map.items()) or "none"
        raise Bad(f"has the unknown category {category!r}, expected one of {known}; add it to "
                  "categories or correct it")
    segmentation = entry.get("segmentation")
    try:
        if isinstance(segmentation, dict):
            rings = outline.from_rle(segmentation, scene.width, scene.height)
            counts["rle"] += 1
        else:
            rings = outline.from_polygons(segmentation)
        rings, clipped = outline.clip_rounding(rings, scene.width, scene.height, TOLERANCE_PX)
        rings, area, repaired = outline.repair(rings)
    except ValueError as error:
        raise Bad(str(error)) from None
    counts["clipped"] += clipped
    counts["repaired"] += repaired
    made = "mask" if isinstance(segmentation, dict) else "outline"
    source, diameter = entry.get("label_source") or default_source or made, entry.get("diameter_km")
    return Instance(number, category, rings, area, bool(entry.get("iscrowd")), str(source),
                    float(diameter) if _finite(diameter) and diameter > 0 else None,
                    str(entry.get("annotator") or ""))


def _check_splits(scenes: tuple[Scene, ...], problem) -> None:
    """Ground that is shown in two splits would leak labels into the test."""
    splits = defaultdict(set)
    for scene in scenes:
        if scene.split is not None:
            splits[scene.ground].add(scene.split)
    for name, found in splits.items():
        if len(found) > 1:
            problem(f"scene {name} has images in the splits {' and '.join(sorted(found))}, "
                    "expected one split a scene; correct the images' split")


def _file_problem(root: Path, scene: Scene) -> str | None:
    """What is wrong with the image's file, as far as its header tells."""
    path = root / IMAGES / scene.file_name
    if not path.is_file():
        kind = "is not a file" if path.exists() else "is missing"
        return (f"{path}: {kind}, but {ANNOTATIONS} lists it as image {scene.id}; put the image "
                "there or delete the entry")
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            with open_scene(path) as raster:
                found = raster.width, raster.height
            return (None if found == (scene.width, scene.height)
                    else size_problem(path, scene, *found))
        with Image.open(path) as image:
            size = shown_size(*image.size, orientation(path))
            if size != (scene.width, scene.height):
                return size_problem(path, scene, *size)
            return image_problem(image, path)
    except DataError as error:
        return str(error)
    except Exception as error:  # Pillow's readers raise nearly anything on broken files
        return unreadable(path, error)


def _count_warnings(where: Path, counts: Counter) -> list[str]:
    texts = {
        "clipped": f"outline(s) left the image by up to {TOLERANCE_PX:g} px and were clipped to it",
        "repaired": "outline(s) crossed themselves and were repaired",
        "rle": "run-length masks were turned into outlines (holes in them filled)"}
    return [f"{where}: {counts[key]} {text}" for key, text in texts.items() if counts[key]]


def _number(entry, key: str) -> int:
    """A whole number from 0 under `key`; Bad says what stands there instead."""
    if not isinstance(entry, dict):
        raise Bad(f"is {type(entry).__name__}, expected an object")
    value = entry.get(key)
    if not _whole(value):
        raise Bad(f"has the {key} {value!r}, expected a whole number from 0; correct it")
    return value


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _finite(value: Any) -> TypeGuard[float]:
    return (isinstance(value, (int, float)) and not isinstance(value, bool)
            and math.isfinite(value))


