"""A labelled data set on disk: `images/` and `annotations.json` in COCO instances form.

This is the one form that the rest of the package works on: images of 8 bits, grey or RGB,
PNG, JPEG or (for scenes that are read in windows) TIFF. Beside COCO's own keys an image
may say

- `scene`: the source scene it was cut from; its own file name otherwise;
- `offset` ([x, y] of its corner in the scene, scene px) and `scale` (its px per scene px),
  so that a point of a chip lies at `offset + point / scale` in the scene;
- `split`: train, validation or test;
- `ground`: a name for what it shows; images that share it never stand in two splits;
- `georeference`: `crs` and `transform` (see `georeference.Georeference`);
- `stretch`: how its 8 bits were made from more (see `stretch.Stretch`);
- `annotators`: who labelled it (see `annotators`);

and an annotation `label_source` (what was drawn: outline, mask, ellipse, circle, box or
catalogue) , `diameter_km` (of the whole object on the ground) and `annotator`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from crater_model.annotations.coco import parse
from crater_model.annotations.scene import ANNOTATIONS, IMAGES, Dataset, Instance, Scene
from crater_model.errors import CraterError, DataError
from crater_model.files import make_folder, whole_folder
from crater_model.imagery.pixels import encode_png

# Written coordinates keep a thousandth of a pixel.
DECIMALS = 3
# and a diameter a millimetre.
DECIMALS_KM = 6


def is_dataset(folder: str | Path) -> bool:
    """Whether a folder has the form of a data set, whatever its contents are worth."""
    return (Path(folder) / ANNOTATIONS).is_file() and (Path(folder) / IMAGES).is_dir()


def load_dataset(folder: str | Path, every_annotator: bool = False) -> Dataset:
    """Reads a data set and checks everything that needs no decoding of pixels.

    Args:
      folder: of the data set.
      every_annotator: whether the labels of all people are wanted, where several labelled
        the same images, instead of the set that is used (see `annotators`).

    Raises:
      DataError: names the first problem and says how many more there are
        (`validate.check_dataset` lists them all).
    """
    parsed = parse(folder, every_annotator)
    if parsed.problems:
        more = len(parsed.problems) - 1
        raise DataError(parsed.problems[0] + (f" (and {more} more)" if more else ""))
    return parsed.dataset


ImageSource = bytes | np.ndarray | Path | Callable[[Path], None]


def save_dataset(folder: str | Path, images: Iterable[tuple[Scene, ImageSource]],
                 label_map: dict[int, str], info: dict | None = None) -> Path:
    """Writes a data set whole or not at all, replacing an older data set at `folder`.

    Args:
      folder: where; a folder that holds something other than a data set is refused.
      images: each scene with its file's bytes or path (written as they are), its pixels
        (uint8 [h, w] or [h, w, 3], written as PNG) or a function that writes the file to
        the path it is given. Taken one at a time, so a generator of any length will do.
        Annotations are numbered from 1 in this order.
      label_map: class id (1..C) -> name.
      info: COCO's `info` object: JSON values that say where the data came from.

    Raises:
      CraterError: the folder cannot be written, or a scene's name, id or size is not
        one that a data set can hold.
    """
    folder = Path(folder)
    refuse_other_folder(folder, ANNOTATIONS, "a data set")
    # As text, annotations take a tenth of the memory that their numbers would.
    entries: list[dict[str, Any]] = []
    annotations: list[str] = []
    names, ids = set(), set()
    with whole_folder(folder) as beside:
        make_folder(beside / IMAGES)
        for scene, image in images:
            if scene.file_name in names or scene.id in ids:
                raise DataError(f"{scene.file_name}: image {scene.id} was given twice while "
                                f"writing {folder}; give each image its own name and id")
            names.add(scene.file_name)
            ids.add(scene.id)
            path = beside / IMAGES / scene.file_name
            make_folder(path.parent)
            _write_image(path, image)
            entries.append(_image_entry(scene))
            for instance in scene.instances:
                number = len(annotations) + 1
                annotations.append(_json(_annotation(instance, number, scene.id)))
        categories = [{"id": i, "name": name} for i, name in sorted(label_map.items())]
        with (beside / ANNOTATIONS).open("w") as file:
            file.write(f'{{"info":{_json(info or {})},"images":{_json(entries)},"annotations":[')
            file.writelines(text if number == 0 else f",{text}"
                            for number, text in enumerate(annotations))
            file.write(f'],"categories":{_json(categories)}}}\n')
    return folder


def _json(value) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _write_image(path: Path, image: ImageSource) -> None:
    if isinstance(image, Path):
        shutil.copyfile(image, path)
    elif callable(image):
        image(path)
    else:
        path.write_bytes(image if isinstance(image, bytes) else encode_png(image))


def refuse_other_folder(folder: Path, holds: str, what: str) -> None:
    """Raises CraterError if `folder` has contents but no file `holds` (so is not `what`)."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / holds).exists():
        raise CraterError(f"{folder}: holds other files and no {holds}, so it is not {what} to "
                          "replace; name a new folder")


def _image_entry(scene: Scene) -> dict:
    entry = {"id": int(scene.id), "file_name": scene.file_name,
             "width": int(scene.width), "height": int(scene.height)}
    if scene.scene != scene.file_name:
        entry["scene"] = scene.scene
    if scene.split is not None:
        entry["split"] = scene.split
    if tuple(scene.offset) != (0.0, 0.0) or scene.scale != 1.0:
        entry["offset"] = [float(v) for v in scene.offset]
        entry["scale"] = float(scene.scale)
    if scene.ground != scene.scene:
        entry["ground"] = scene.ground
    if scene.georeference is not None:
        entry["georeference"] = scene.georeference.to_json()
    if scene.stretch is not None:
        entry["stretch"] = scene.stretch.to_json()
    if scene.annotators:
        entry["annotators"] = list(scene.annotators)
    return entry


def _annotation(instance: Instance, number: int, image_id: int) -> dict:
    ymin, xmin, ymax, xmax = instance.box
    bbox = [xmin, ymin, xmax - xmin, ymax - ymin]
    more: dict[str, Any] = ({} if instance.source == "outline"
                            else {"label_source": instance.source})
    if instance.diameter_km is not None:
        more["diameter_km"] = round(float(instance.diameter_km), DECIMALS_KM)
    if instance.annotator:
        more["annotator"] = instance.annotator
    return {
        "id": number, "image_id": int(image_id), "category_id": int(instance.class_id),
        "iscrowd": int(instance.crowd), "area": round(float(instance.area), DECIMALS),
        "bbox": [round(v, DECIMALS) for v in bbox],
        "segmentation": [np.round(np.asarray(ring, np.float64), DECIMALS).ravel().tolist()
                         for ring in instance.rings], **more}
