"""Which scenes show the same ground, so that no two splits ever share any."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from crater_model.annotations.ground.footprints import Footprint, footprint, overlapping_pairs
from crater_model.annotations.ground.likeness import look_alikes, side_for
from crater_model.annotations.scene import Dataset, Scene
from crater_model.errors import DataError
from crater_model.imagery.previews import Preview, for_each, preview


@dataclass(frozen=True)
class SharedGround:
    """What `find_shared_ground` found.

    Attributes:
      groups: names of source scenes that show the same ground, two or more each, sorted.
      overlapping: pairs of images whose places on the map overlap.
      alike: pairs of images that look the same where they overlap, and how much (0..1).

    The pairs link every group, but where many images show one ground not every pair of
    them is there; nor is a pair of which it was known before (of one scene or `ground`).
    """

    groups: list[list[str]] = field(default_factory=list)
    overlapping: list[tuple[Scene, Scene]] = field(default_factory=list)
    alike: list[tuple[Scene, Scene, float]] = field(default_factory=list)


def shared_ground(dataset: Dataset) -> list[list[str]]:
    """Names of source scenes that show the same ground: groups of two or more, sorted.

    Scenes are one group where their `ground` is the same, where their places on a body
    overlap by more than a pixel, and where they look the same (see `look_alikes`). The
    order of the images does not matter.

    Raises:
      DataError: an image is missing or broken.
    """
    return find_shared_ground(dataset.scenes, load_previews(dataset)).groups


def load_previews(dataset: Dataset) -> dict[str, Preview]:
    """file_name -> small picture, of the images of a data set with two grounds or more."""
    if len({scene.ground for scene in dataset.scenes}) < 2:
        return {}
    side = side_for(len(dataset.scenes))

    def read(scene: Scene) -> Preview:
        with dataset.open_image(scene) as raster:
            return preview(raster, side)

    found = for_each(dataset.scenes, read, "comparing images")
    return {scene.file_name: picture for scene, picture in zip(dataset.scenes, found, strict=True)}


def find_shared_ground(scenes: Iterable[Scene], previews: dict[str, Preview]) -> SharedGround:
    """Compares places and pictures of all images of different scenes.

    Args:
      scenes: the images.
      previews: file_name -> small picture; an image that has none is compared by its place
        alone.
    """
    scenes = sorted(scenes, key=lambda scene: scene.file_name)
    sets = _Sets()
    for scene in scenes:
        sets.join(("ground", scene.ground), ("scene", scene.scene))
    found = SharedGround()
    _join_overlapping(scenes, sets, found.overlapping)
    _join_alike([s for s in scenes if s.file_name in previews], previews, sets, found.alike)
    names = {scene.scene for scene in scenes}
    groups = defaultdict(list)
    for name in sorted(names):
        groups[sets.top(("scene", name))].append(name)
    found.groups.extend(sorted(group for group in groups.values() if len(group) > 1))
    return found


def _join_overlapping(scenes: Sequence[Scene], sets: _Sets, found: list) -> None:
    places = [_footprint(scene) for scene in scenes]
    for i, j in overlapping_pairs(places, lambda i, j: sets.same(scenes[i], scenes[j])):
        sets.join(("scene", scenes[i].scene), ("scene", scenes[j].scene))
        found.append((scenes[i], scenes[j]))


def _footprint(scene: Scene) -> Footprint | None:
    try:
        return footprint(scene.georeference) if scene.georeference is not None else None
    except DataError:  # no longitudes and latitudes can be worked out
        return None


def _join_alike(scenes: Sequence[Scene], previews: dict[str, Preview], sets: _Sets,
                found: list) -> None:
    numbers: dict[Hashable, int] = {}
    ground = [numbers.setdefault(sets.top(("scene", s.scene)), len(numbers)) for s in scenes]
    order = sorted(range(len(scenes)), key=ground.__getitem__)
    scenes = [scenes[i] for i in order]
    pictures = [previews[scene.file_name] for scene in scenes]
    for pair in look_alikes(pictures, [ground[i] for i in order],
                            lambda i, j: sets.same(scenes[i], scenes[j])):
        one, other = scenes[pair.first], scenes[pair.second]
        sets.join(("scene", one.scene), ("scene", other.scene))
        found.append((one, other, pair.likeness))


class _Sets:
    """Things that belong together (union-find)."""

    def __init__(self):
        self._above: dict[Hashable, Hashable] = {}

    def top(self, thing: Hashable) -> Hashable:
        while (above := self._above.get(thing, thing)) != thing:
            self._above[thing] = self._above.get(above, above)
            thing = above
        return thing

    def join(self, one: Hashable, other: Hashable) -> None:
        self._above[self.top(one)] = self.top(other)

    def same(self, one: Scene, other: Scene) -> bool:
        return self.top(("scene", one.scene)) == self.top(("scene", other.scene))
