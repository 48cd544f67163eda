"""A labelled image and its labels: what a data set is made of, once it is read."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from crater_model.errors import DataError
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.orientation import is_as_shown
from crater_model.imagery.part import PartRaster
from crater_model.imagery.pixels import encode_png, file_digest, read_file
from crater_model.imagery.raster import Raster, open_scene, read_whole
from crater_model.imagery.stretch import Stretch

ANNOTATIONS = "annotations.json"
IMAGES = "images"
SPLITS = ("train", "validation", "test")


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
      annotator: who drew it, where several people labelled the image.
    """

    id: int
    class_id: int
    rings: tuple[np.ndarray, ...]
    area: float
    crowd: bool = False
    source: str = "outline"
    diameter_km: float | None = None
    annotator: str = ""

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
      annotators: who labelled it, also without finding anything; none where one set is all.
      part: (file_name, x, y) where it is no file but a window of that one (see `parts`).
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
    part: tuple[str, int, int] | None = None
    annotators: tuple[str, ...] = ()

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
        return self.root / IMAGES / (scene.part[0] if scene.part else scene.file_name)

    def open_image(self, scene: Scene) -> Raster:
        """The image, to be read in windows.

        Raises:
          DataError: the file is missing, broken, not 8-bit or of another size.
        """
        path = self.image_path(scene)
        raster = open_scene(path)
        if scene.part is not None:
            return PartRaster(raster, *scene.part[1:], scene.width, scene.height)
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
        """The whole image as PNG or JPEG: the file's bytes, or as PNG the pixels of a TIFF and of
        what decoders would show otherwise (EXIF's orientation).

        Raises:
          DataError: as `read_image`.
        """
        path = self.image_path(scene)
        pixels = self.read_image(scene)
        as_it_is = scene.part is None and is_as_shown(path)
        return read_file(path) if as_it_is else encode_png(pixels)

    @functools.cached_property
    def fingerprint(self) -> str:
        """"sha256:..." over annotations.json and every image's name and bytes."""
        total = hashlib.sha256((self.root / ANNOTATIONS).read_bytes())
        for name in sorted({s.part[0] if s.part else s.file_name for s in self.scenes}):
            total.update(name.encode() + b"\0")
            total.update(file_digest(self.root / IMAGES / name))
        return f"sha256:{total.hexdigest()}"


def size_problem(path: str | Path, scene: Scene, width: int, height: int) -> str:
    return (f"{path}: is {width}x{height} px, but {ANNOTATIONS} says {scene.width}x{scene.height} "
            f"for image {scene.id}; correct its width and height")
