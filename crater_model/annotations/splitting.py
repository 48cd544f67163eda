"""A data set's splits, also where it has fewer scenes than splits: then one is cut into blocks.

Chips, records and evaluations all ask here, so that they come to the same parts: by the
data, the shares and the seed alone.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from crater_model.annotations.blocks import Cut, cut_scene
from crater_model.annotations.ground import shared_ground
from crater_model.annotations.parts import next_id, part_of
from crater_model.annotations.scene import SPLITS, Dataset, Scene
from crater_model.annotations.splits import assign_splits, checked_fractions, units
from crater_model.errors import DataError

FRACTIONS = (0.7, 0.15, 0.15)


@dataclass(frozen=True)
class Splitting:
    """Which scene goes where.

    Attributes:
      dataset: the data set, a scene that was cut replaced by its parts.
      split_of: scene name -> "train", "validation" or "test"; parts have names of their own.
      by: "scenes" (whole ones) or "blocks" (of a scene that had to be cut).
      gap: px between blocks; 0 without.
      words: how it was done, one line; empty where there is nothing to be said.
    """

    dataset: Dataset
    split_of: dict[str, str]
    by: str = "scenes"
    gap: int = 0
    words: str = ""

    def decided(self) -> Dataset:
        """The data set whose scenes say these splits."""
        return replace(self.dataset, scenes=tuple(
            replace(scene, split=self.split_of[scene.scene]) for scene in self.dataset.scenes))

    def to_json(self) -> dict:
        return {"by": self.by, "gap_px": self.gap, "words": self.words}


def split_dataset(dataset: Dataset, fractions: Sequence[float] = FRACTIONS, seed: int = 0,
                  groups: Sequence[Sequence[str]] | None = None) -> Splitting:
    """Whole scenes where every split then has labels, else parts of one scene.

    What images already say is kept. Scenes that show the same ground get the same split.

    Args:
      dataset: with its images; they are read unless all of them say their split.
      fractions: shares of train, validation and test; at least 0, adding up to 1.
      seed: another seed, another assignment.
      groups: scenes that show the same ground, where that is known.

    Raises:
      ConfigError: fractions that are not three shares of one.
      DataError: an image is broken; or there are too few scenes, and none that can be cut.
    """
    fractions = checked_fractions(fractions)
    names = {scene.scene for scene in dataset.scenes}
    fixed = {scene.scene: scene.split for scene in dataset.scenes if scene.split is not None}
    if groups is None:
        groups = shared_ground(dataset) if names - set(fixed) else ()
    splits = assign_splits(names, fractions, seed, fixed, groups)
    craters = Counter[str]()
    for scene in dataset.scenes:
        craters[scene.scene] += len(scene.instances)
    wanted = [split for split, share in zip(SPLITS, fractions, strict=True) if share > 0]

    def lacking(found: dict[str, str]) -> list[str]:
        return [s for s in wanted if not any(craters[n] for n, k in found.items() if k == s)]

    if not craters.total() or not lacking(splits):
        return Splitting(dataset, splits)
    free = [unit for unit in units(names, groups) if not set(unit) & set(fixed)]
    labelled = [unit for unit in free if any(craters[name] for name in unit)]
    missing = lacking(fixed)
    if not labelled:
        return Splitting(dataset, splits, words=f"no image with labels is left for "
                         f"{' and '.join(missing)}: all say their split")
    if len(labelled) >= len(missing):
        first = assign_splits({name for unit in labelled for name in unit} | set(fixed), fractions,
                              seed, fixed, groups)
        if lacking(first):
            labelled.sort(key=lambda unit: -sum(craters[name] for name in unit))
            first = fixed | {name: split for unit, split in zip(labelled, missing, strict=False)
                             for name in unit}
        return Splitting(dataset, assign_splits(names, fractions, seed, first, groups))
    return _by_blocks(dataset, fractions, seed, groups, fixed, labelled, missing)


def _by_blocks(dataset: Dataset, fractions: Sequence[float], seed: int,
               groups: Sequence[Sequence[str]], fixed: dict[str, str],
               labelled: Sequence[Sequence[str]], missing: Sequence[str]) -> Splitting:
    """The scenes with one or several of them cut, in the best way to share them out."""
    share = dict(zip(SPLITS, fractions, strict=True))
    scenes = {unit[0]: [s for s in dataset.scenes if s.scene == unit[0]] for unit in labelled
              if len(unit) == 1}
    best: tuple[float, dict[str, list[str]], dict[str, Cut]] | None = None
    for sets in _shared_out(missing, len(labelled)):
        dealt = {unit[0]: set_ for unit, set_ in zip(labelled, sets, strict=True)}
        cuts = {}
        for name, set_ in dealt.items():
            images = scenes.get(name, [])
            if len(set_) > 1 and len(images) == 1:
                cut = cut_scene(images[0], [share[split] for split in set_], seed)
                if cut is not None:
                    cuts[name] = cut
        if all(len(set_) == 1 or name in cuts for name, set_ in dealt.items()):
            score = min(cut.score for cut in cuts.values())
            if best is None or score > best[0]:
                best = score, dealt, cuts
    if best is None:
        raise DataError(_too_small(dataset, labelled, missing))
    _, dealt, cuts = best
    cut_of = {scenes[name][0]: (dealt[name], cut) for name, cut in cuts.items()}
    parts, split_of, words = _cut(dataset, cut_of)
    split_of |= {name: dealt[unit[0]][0] for unit in labelled if unit[0] not in cuts
                 for name in unit}
    others = {s.scene for s in dataset.scenes} - set(cuts)
    split_of |= assign_splits(others, fractions, seed, fixed | split_of, groups)
    kept = [s for s in dataset.scenes if s.scene not in cuts]
    return Splitting(replace(dataset, scenes=(*kept, *parts)), dict(sorted(split_of.items())),
                     "blocks", max(cut.gap for cut in cuts.values()), "; ".join(words))


def _shared_out(missing: Sequence[str], number: int) -> Iterator[list[list[str]]]:
    """Every way to give each of so many units one split or more of the missing ones."""
    for owners in itertools.product(range(number), repeat=len(missing)):
        if set(owners) == set(range(number)):
            yield [[split for split, owner in zip(missing, owners, strict=True) if owner == n]
                   for n in range(number)]


def _cut(dataset: Dataset, cut_of: dict[Scene, tuple[list[str], Cut]]
         ) -> tuple[list[Scene], dict[str, str], list[str]]:
    """The parts, their splits, and what is to be said of each scene."""
    parts: list[Scene] = []
    split_of: dict[str, str] = {}
    words: list[str] = []
    for scene, (set_, cut) in cut_of.items():
        said = []
        for split, block in zip(set_, cut.blocks, strict=True):
            part = part_of(scene, block, next_id(dataset) + len(parts), cut.widest)
            parts.append(part)
            split_of[part.scene] = split
            said.append(f"{split} {block.width}x{block.height} px with {len(part.instances)}")
        lost = len(scene.instances) - sum(len(p.instances) for p in parts[-len(set_):])
        wider = "" if cut.widest is None else " that is used (wider ones are left out)"
        words.append(
            f"{scene.file_name} is cut into blocks, since there are fewer scenes with labels than "
            f"splits, with gaps of {cut.gap} px, as wide as the largest label{wider}: "
            f"{', '.join(said)} label(s); {lost} of {len(scene.instances)} are left out")
    return parts, split_of, words


def _too_small(dataset: Dataset, labelled: Sequence[Sequence[str]], missing: Sequence[str]) -> str:
    names = {name for unit in labelled for name in unit}
    images = [scene for scene in dataset.scenes if scene.scene in names]
    several = len(images) > len(labelled)
    first = images[0]
    why = (f"several images show the same ground ({first.file_name} and {images[1].file_name}); a "
           "scene that was cut into chips before is to be cut anew by crater dataset chips, which "
           "shares it out first" if several else
           f"{first.file_name} ({first.width}x{first.height} px, {len(first.instances)} label(s)) "
           "has no room for blocks with labels in each and gaps as wide as its largest label")
    leave = ("leave the test out (--splits 0.8,0.2,0)" if "test" in missing and len(missing) > 1
             else "say the images' split")
    return (f"{dataset.root}: has {len(labelled)} scene(s) with labels for "
            f"{' and '.join(missing)}, and {why}; add labelled scenes, or {leave}")
