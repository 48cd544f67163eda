"""Cutting scenes into chips of one size for training, at one scale or several.

A chip is a window of a scene, resampled; its corner and scale are written down, so that
a point of the chip lies at `offset + point / scale` in the scene, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import shapely
from PIL import Image

from crater_model.annotations.dataset import Dataset, Instance, Scene, load_dataset, save_dataset
from crater_model.annotations.outline import from_shape
from crater_model.annotations.pixels import encode_png, read_file
from crater_model.errors import ConfigError, DataError
from crater_model.progress import track

# Diameter in px that a detector of this kind sees best; scales bring the median near it.
TARGET_DIAMETER_PX = 16.0
MAX_SCALE = 2.0
# Rounding of a scene's size in px at another scale.
_EPSILON = 1e-6


@dataclass(frozen=True)
class ChipsReport:
    """What `cut_chips` did.

    Attributes:
      chips: images written.
      instances: labels written; a crater counts once for each chip it is in.
      scenes: source images, of which `unchanged` needed no cutting.
      dropped_small: labels left out of a chip because they are too small there.
      dropped_cut: labels left out of a chip because too little of them is inside.
      lost: craters of the source that are in no chip at all.
      scales: px of a chip per px of its source image.
    """

    chips: int
    instances: int
    scenes: int
    unchanged: int
    dropped_small: int
    dropped_cut: int
    lost: int
    scales: tuple[float, ...]

    def to_dict(self) -> dict:
        return {**asdict(self), "scales": list(self.scales)}


def choose_scale(dataset: Dataset) -> float:
    """The power of two, at most 2, that brings the median diameter nearest to 16 px."""
    diameters = [i.diameter for scene in dataset.scenes for i in scene.instances]
    if not diameters:
        return 1.0
    steps = round(math.log2(TARGET_DIAMETER_PX / float(np.median(diameters))))
    return min(MAX_SCALE, 2.0**steps)


def resample(image: np.ndarray, left: float, top: float, width: int, height: int,
             scale: float) -> np.ndarray:
    """A window of an image at another scale.

    Args:
      image: uint8 [h, w] or [h, w, 3].
      left, top: the window's corner in px of `image`; fractions are allowed.
      width, height: of the result, px.
      scale: px of the result per px of `image`. Downwards areas are averaged, upwards
        the pixels are interpolated, both as the detector itself does it (bilinear); pixel
        edges, not middles, are aligned.

    Returns:
      uint8 [height, width] or [height, width, 3].
    """
    box = (left, top, min(left + width / scale, image.shape[1]),
           min(top + height / scale, image.shape[0]))
    if scale == 1.0 and float(left).is_integer() and float(top).is_integer():
        return image[int(top):int(top) + height, int(left):int(left) + width]
    how = Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image).resize((width, height), how, box))


def cut_chips(dataset_dir: str | Path, out_dir: str | Path, size: int,
              scales: Sequence[float] | str = "auto", overlap: float = 0.25,
              min_visible: float = 0.5, min_diameter: float = 4.0) -> ChipsReport:
    """Cuts every image of a data set into chips and writes them as a data set.

    A scene smaller than the chip gives one chip of its own (scaled) size; one that needs
    neither cutting nor scaling passes through byte for byte. Splits go along.

    Args:
      dataset_dir: the data set to cut.
      out_dir: where the chips go (replaced as a whole); not the data set's own folder.
      size: side of a chip, px.
      scales: px of a chip per px of the image, each gives chips of its own; "auto" takes
        `choose_scale`.
      overlap: share of a chip that its neighbour shows too, 0 to below 1.
      min_visible: a crater stays in a chip with at least this share of its area, 0..1.
      min_diameter: smallest diameter kept, px of the chip, at least 1.

    Raises:
      DataError: the data set has a problem.
      ConfigError: an argument out of its range.
    """
    _check_arguments(size, scales, overlap, min_visible, min_diameter)
    dataset = load_dataset(dataset_dir)
    out_dir = Path(out_dir)
    if out_dir.resolve() in (dataset.root.resolve(), *dataset.root.resolve().parents):
        raise ConfigError(f"{out_dir}: holds the data set that is to be cut; name another folder")
    scales = (choose_scale(dataset),) if scales == "auto" else tuple(map(float, scales))
    cutter = _Cutter(dataset, size, scales, overlap, min_visible, min_diameter)
    info = {"description": f"chips of {size} px cut from {dataset.root.resolve().name}",
            "source": dataset.fingerprint, "scales": list(scales)}
    save_dataset(out_dir, cutter.chips(), dataset.label_map, info)
    return cutter.report()


class _Cutter:
    """Yields the chips of a data set and counts what becomes of its labels."""

    def __init__(self, dataset: Dataset, size: int, scales: tuple[float, ...], overlap: float,
                 min_visible: float, min_diameter: float):
        self.dataset, self.size, self.scales, self.overlap = dataset, size, scales, overlap
        self.min_visible, self.min_diameter = min_visible, min_diameter
        self.count = dict.fromkeys(
            ("chips", "instances", "unchanged", "dropped_small", "dropped_cut"), 0)
        self.total = sum(len(scene.instances) for scene in dataset.scenes)
        self.kept: set[int] = set()

    def report(self) -> ChipsReport:
        return ChipsReport(scenes=len(self.dataset.scenes), lost=self.total - len(self.kept),
                           scales=self.scales, **self.count)

    def chips(self) -> Iterator[tuple[Scene, bytes]]:
        for scene in track(self.dataset.scenes, "cutting chips"):
            unchanged = False
            for scale in self.scales:
                if scale == 1.0 and max(scene.width, scene.height) <= self.size:
                    yield self._whole(scene)
                    unchanged = True
                else:
                    yield from self._cut(scene, scale)
            self.count["unchanged"] += unchanged

    def _whole(self, scene: Scene) -> tuple[Scene, bytes]:
        self.kept.update(instance.id for instance in scene.instances)
        self._add(len(scene.instances))
        return (replace(scene, id=self.count["chips"]),
                read_file(self.dataset.image_path(scene)))

    def _cut(self, scene: Scene, scale: float) -> Iterator[tuple[Scene, bytes]]:
        image = self.dataset.read_image(scene)
        outlines = np.array([_shape(instance) for instance in scene.instances], object)
        tree = shapely.STRtree(outlines)
        width, height = (math.floor(side * scale + _EPSILON) for side in (scene.width,
                                                                          scene.height))
        if not width or not height:
            raise DataError(f"{self.dataset.image_path(scene)}: is {scene.width}x{scene.height} "
                            f"px, nothing is left of it at scale {scale:g}; leave that scale out")
        chip_width, chip_height = min(self.size, width), min(self.size, height)
        for y in positions(height, chip_height, self.overlap):
            for x in positions(width, chip_width, self.overlap):
                left, top = x / scale, y / scale
                window = shapely.box(left, top, left + chip_width / scale,
                                     top + chip_height / scale)
                instances = self._visible(scene, outlines, tree, window, scale)
                self._add(len(instances))
                chip = Scene(
                    self.count["chips"], _chip_name(scene.file_name, scale, x, y), chip_width,
                    chip_height, instances, scene.scene, scene.split,
                    tuple(scene.to_scene([(left, top)])[0].tolist()), scene.scale * scale)
                yield chip, encode_png(resample(image, left, top, chip_width, chip_height, scale))

    def _visible(self, scene: Scene, outlines: np.ndarray, tree: shapely.STRtree,
                 window: shapely.Polygon, scale: float) -> tuple[Instance, ...]:
        """The labels of a chip, in its own px."""
        left, top = window.bounds[:2]
        found = []
        for number in sorted(tree.query(window, "intersects")):
            instance, whole = scene.instances[number], outlines[number]
            inside = window.covers(whole)
            part = whole if inside else whole.intersection(window)
            if part.area == 0:
                continue
            if not inside and part.area < self.min_visible * whole.area:
                self.count["dropped_cut"] += 1
                continue
            area = part.area * scale**2
            if 2 * math.sqrt(area / math.pi) < self.min_diameter:
                self.count["dropped_small"] += 1
                continue
            rings = instance.rings if inside else from_shape(part)
            rings = tuple((ring - (left, top)) * scale for ring in rings)
            found.append(Instance(instance.id, instance.class_id, rings, area, instance.crowd))
            self.kept.add(instance.id)
        return tuple(found)

    def _add(self, instances: int) -> None:
        self.count["chips"] += 1
        self.count["instances"] += instances


def positions(length: int, chip: int, overlap: float) -> list[int]:
    """First pixels of evenly spread windows of `chip` px that cover `length` px and share
    at least `overlap` of themselves."""
    steps = math.ceil((length - chip) / max(1.0, chip * (1 - overlap)))
    return [round(i * (length - chip) / steps) for i in range(steps + 1)] if steps > 0 else [0]


def _shape(instance: Instance) -> shapely.Geometry:
    shapes = [shapely.Polygon(ring) for ring in instance.rings]
    return shapes[0] if len(shapes) == 1 else shapely.union_all(shapes)


def _chip_name(file_name: str, scale: float, x: int, y: int) -> str:
    path = PurePosixPath(file_name)
    kind = path.suffix.lstrip(".").lower()
    mark = "" if kind == "png" else f"_{kind}"  # a.jpg and a.png must not become one name
    return str(path.with_name(f"{path.stem}{mark}_s{scale:g}_x{x:05d}_y{y:05d}.png"))


def _check_arguments(size, scales, overlap, min_visible, min_diameter) -> None:
    def refuse(what: str, found, expected: str):
        raise ConfigError(f"{what}: got {found!r}, expected {expected}")

    if not isinstance(size, int) or not 16 <= size <= 8192:
        refuse("chip size", size, "a whole number from 16 to 8192 px")
    if isinstance(scales, str):
        if scales != "auto":
            refuse("scales", scales, 'numbers above 0, or "auto"')
    elif not scales or len(set(scales)) < len(scales) or not all(
            0 < scale <= 16 for scale in scales):
        refuse("scales", scales, "different numbers above 0 and up to 16")
    if not 0 <= overlap <= 0.9:
        refuse("overlap", overlap, "a share from 0 to 0.9")
    if not 0 <= min_visible <= 1:
        refuse("min_visible", min_visible, "a share from 0 to 1")
    if not min_diameter >= 1:  # less would vanish in the rounding of the coordinates
        refuse("min_diameter", min_diameter, "1 px or more")
