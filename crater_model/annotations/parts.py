"""Parts of a scene as scenes of their own, for data sets of too few scenes.

A part's name says where it is, as media fragments do (w3.org/TR/media-frags): the window
`x,y,width,height` in px of `mosaic.tif#xywh=1400,0,600,800` and, where wider craters were left
out on purpose, `&widest=61`. So a part can be found again in the data set by its name alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from crater_model.annotations.clipping import Outlines
from crater_model.annotations.scene import Dataset, Instance, Scene
from crater_model.errors import DataError

# A crater stays with a part that has so much of its area.
_VISIBLE = 0.5
# By which written coordinates may make it wider.
ROUNDING_PX = 0.01
_NAME = re.compile(r"(.*)#xywh=(\d+),(\d+),(\d+),(\d+)(?:&widest=(\d+))?", re.DOTALL)


class Block(NamedTuple):
    """A window of a scene, px: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int


def part_of(scene: Scene, block: Block, number: int, widest: int | None = None) -> Scene:
    """The window as a scene with the labels that it shows.

    Args:
      scene: a whole image.
      block: inside it.
      number: the part's id.
      widest: leaves out labels that are wider or higher (px); None: none.
    """
    if not (block.width > 0 and block.height > 0 and block.x + block.width <= scene.width
            and block.y + block.height <= scene.height):
        raise DataError(f"{scene.file_name}: is {scene.width}x{scene.height} px, which does not "
                        f"hold the part {tuple(block)}; write the records again")
    kept = [i for i in scene.instances if widest is None or extent(i) <= widest + ROUNDING_PX]
    shown = Outlines(kept).inside(block.x, block.y, block.width, block.height, 1.0, _VISIBLE, 0.0)
    path = PurePosixPath(scene.file_name)
    name = f"{scene.scene}#xywh={','.join(map(str, block))}"
    name += "" if widest is None else f"&widest={widest}"
    place = scene.georeference
    return replace(
        scene, id=number, file_name=str(path.with_name(
            f"{path.stem}_x{block.x:05d}_y{block.y:05d}{path.suffix}")),
        width=block.width, height=block.height, instances=shown.instances, scene=name, ground=name,
        offset=tuple(scene.to_scene(np.array([block[:2]]))[0].tolist()),
        part=(scene.file_name, block.x, block.y),
        georeference=place and place.part(block.x, block.y, 1.0, block.width, block.height))


def extent(instance: Instance) -> float:
    """The larger side of the instance's box, px."""
    ymin, xmin, ymax, xmax = instance.box
    return max(ymax - ymin, xmax - xmin)


def whole_name(name: str) -> str:
    """The scene that a name is of, also where it is a part's."""
    found = _NAME.fullmatch(name)
    return found.group(1) if found else name


def chosen(dataset: Dataset, names: Iterable[str] | None) -> Dataset:
    """The data set with only these scenes, and parts, of its scenes; all if None.

    Names that it does not hold are passed over.
    """
    if names is None:
        return dataset
    wanted, by_name = set(names), {scene.scene: scene for scene in dataset.scenes}
    found = [scene for scene in dataset.scenes if scene.scene in wanted]
    for number, name in enumerate(sorted(wanted - set(by_name)), start=next_id(dataset)):
        match = _NAME.fullmatch(name)
        if match and match.group(1) in by_name:
            *window, widest = match.groups()[1:]
            found.append(part_of(by_name[match.group(1)], Block(*map(int, window)), number,
                                 None if widest is None else int(widest)))
    return replace(dataset, scenes=tuple(found))


def next_id(dataset: Dataset) -> int:
    """An image id that is free, and so are all above it."""
    return max((scene.id for scene in dataset.scenes), default=0) + 1
