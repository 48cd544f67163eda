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

and an annotation `label_source` (what was drawn: outline, mask, ellipse, circle, box or
catalogue) and `diameter_km` (of the whole object on the ground).
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from crater_model.annotations.georeference import Georeference
from crater_model.annotations.pixels import encode_png, file_digest, is_png_or_jpeg, read_file
from crater_model.annotations.raster import Raster, open_scene, read_whole
from crater_model.annotations.stretch import Stretch
from crater_model.errors import CraterError, DataError
from crater_model.files import make_folder, whole_folder

ANNOTATIONS = "annotations.json"
IMAGES = "images"
SPLITS = ("train", "validation", "test")
# Written coordinates keep a thousandth of a pixel.
DECIMALS = 3
# and a diameter a millimetre.
DECIMALS_KM = 6


@dataclass(frozen=True, eq=False)
class Instance:
    """One labelled object, usually a crater.

    Attributes:
      id: COCO annotation id.
      class_id: id in the data set's label map, from 1.
      rings: outlines, float64 [n, 2] each, x and y in px, not closed; the object is
        their union (one ring, unless something covers its middle).
      area: px^2 inside the outlines.
      crowd: a group marked as one (COCO's `iscrowd`).
      source: what was drawn: "outline", "mask", "ellipse", "circle", "box" or "catalogue";
        of the last four the outline is an ellipse made here.
      diameter_km: of the whole object on the ground, where it is known.
    """

    id: int
    class_id: int
    rings: tuple[np.ndarray, ...]
    area: float
    crowd: bool = False
    source: str = "outline"
    diameter_km: float | None = None

    @functools.cached_property
    def box(self) -> tuple[float, float, float, float]:
        """ymin, xmin, ymax, xmax in px."""
        points = self.rings[0] if len(self.rings) == 1 else np.concatenate(self.rings)
        (xmin, ymin), (xmax, ymax) = points.min(axis=0), points.max(axis=0)
        return float(ymin), float(xmin), float(ymax), float(xmax)

    @property
    def diameter(self) -> float:
        """Diameter in px of the circle with the same area."""
        return 2.0 * float(np.sqrt(self.area / np.pi))


@dataclass(frozen=True, eq=False)
class Scene:
    """One image of the data set with its labels: a whole scene or a chip of one.

    Attributes:
      id: COCO image id, a whole number from 0.
      file_name: path below `images/`.
      width, height: px.
      instances: its labels; any number, none included.
      scene: name of the source scene; chips of one scene share it. Empty: file_name.
      split: "train", "validation", "test", or None where nobody has decided.
      offset: x, y of the image's corner in the source scene, in the scene's px.
      scale: px of this image per px of the source scene.
      ground: what it shows; images that share it never stand in two splits. Empty: scene.
      georeference: its place on a body, or None.
      stretch: how its 8 bits were made from more, or None.
    """

    id: int
    file_name: str
    width: int
    height: int
    instances: tuple[Instance, ...] = ()
    scene: str = ""
    split: str | None = None
    offset: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    ground: str = ""
    georeference: Georeference | None = None
    stretch: Stretch | None = None

    def __post_init__(self):
        if not self.scene:
            object.__setattr__(self, "scene", self.file_name)
        if not self.ground:
            object.__setattr__(self, "ground", self.scene)

    def to_scene(self, points: np.ndarray) -> np.ndarray:
        """Points [n, 2] (x, y) in this image's px, given in the source scene's px."""
        return np.asarray(points, np.float64) / self.scale + np.asarray(self.offset)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set that has been read; the images stay on disk until asked for.

    Attributes:
      root: the folder.
      label_map: class id (1..C) -> name.
      scenes: every image, in the file's order.
      info: COCO's `info`: JSON values that say where the data came from.
    """

    root: Path
    label_map: dict[int, str]
    scenes: tuple[Scene, ...]
    info: dict = field(default_factory=dict)

    def image_path(self, scene: Scene) -> Path:
        return self.root / IMAGES / scene.file_name

    def open_image(self, scene: Scene) -> Raster:
        """The image, to be read in windows.

        Raises:
          DataError: the file is missing, broken, not 8-bit or of another size.
        """
        path = self.image_path(scene)
        raster = open_scene(path)
        if (raster.width, raster.height) != (scene.width, scene.height):
            raster.close()
            raise DataError(size_problem(path, scene, raster.width, raster.height))
        return raster

    def read_image(self, scene: Scene) -> np.ndarray:
        """The whole image, uint8 [height, width] (grey) or [height, width, 3] (RGB).

        Raises:
          DataError: as `open_image`, or it is too large for that.
        """
        with self.open_image(scene) as raster:
            return read_whole(raster)

    def encoded_image(self, scene: Scene) -> bytes:
        """The whole image as PNG or JPEG: the file's bytes, or a TIFF's pixels as PNG.

        Raises:
          DataError: as `read_image`.
        """
        path = self.image_path(scene)
        pixels = self.read_image(scene)
        return read_file(path) if is_png_or_jpeg(path) else encode_png(pixels)

    @functools.cached_property
    def fingerprint(self) -> str:
        """"sha256:..." over annotations.json and every image's name and bytes."""
        total = hashlib.sha256((self.root / ANNOTATIONS).read_bytes())
        for scene in sorted(self.scenes, key=lambda s: s.file_name):
            total.update(scene.file_name.encode() + b"\0")
            total.update(file_digest(self.image_path(scene)))
        return f"sha256:{total.hexdigest()}"


def is_dataset(folder: str | Path) -> bool:
    """Whether a folder has the form of a data set, whatever its contents are worth."""
    return (Path(folder) / ANNOTATIONS).is_file() and (Path(folder) / IMAGES).is_dir()


def load_dataset(folder: str | Path) -> Dataset:
    """Reads a data set and checks everything that needs no decoding of pixels.

    Raises:
      DataError: names the first problem and says how many more there are
        (`validate.check_dataset` lists them all).
    """
    from crater_model.annotations.coco import parse

    parsed = parse(folder)
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
    entries, annotations = [], []
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


def size_problem(path: str | Path, scene: Scene, width: int, height: int) -> str:
    return (f"{path}: is {width}x{height} px, but {ANNOTATIONS} says {scene.width}x{scene.height} "
            f"for image {scene.id}; correct its width and height")


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
    return entry


def _annotation(instance: Instance, number: int, image_id: int) -> dict:
    ymin, xmin, ymax, xmax = instance.box
    bbox = [xmin, ymin, xmax - xmin, ymax - ymin]
    more = {} if instance.source == "outline" else {"label_source": instance.source}
    if instance.diameter_km is not None:
        more["diameter_km"] = round(float(instance.diameter_km), DECIMALS_KM)
    return {
        "id": number, "image_id": int(image_id), "category_id": int(instance.class_id),
        "iscrowd": int(instance.crowd), "area": round(float(instance.area), DECIMALS),
        "bbox": [round(v, DECIMALS) for v in bbox],
        "segmentation": [np.round(np.asarray(ring, np.float64), DECIMALS).ravel().tolist()
                         for ring in instance.rings], **more}
