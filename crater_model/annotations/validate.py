"""Checking a data set from end to end before anything is trained on it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from crater_model.annotations.coco import parse
from crater_model.annotations.duplicates import same_craters
from crater_model.annotations.ground import SharedGround, find_shared_ground
from crater_model.annotations.ground.likeness import MOST_WITH_PARTS, side_for
from crater_model.annotations.scene import IMAGES, Dataset, Instance, Scene
from crater_model.annotations.splitting import split_dataset
from crater_model.errors import DataError
from crater_model.imagery.pixels import file_digest
from crater_model.imagery.previews import Preview, for_each, preview

# Pairs that a warning names.
_NAMED = 3
_PERCENTILES = {"min": 0, "p5": 5, "p25": 25, "median": 50, "p75": 75, "p95": 95, "max": 100}


@dataclass(frozen=True)
class DatasetReport:
    """What `check_dataset` found.

    Attributes:
      problems: one clear line each; the data set can be used only if there is none.
      warnings: one line each; what was put right or looks odd.
      statistics: see `describe`; also annotators (name -> labels, where several people labelled
        images; all else is of the set that is used), duplicates (pairs of labels of one crater),
        look_alikes and overlapping (images that show what one of another scene shows, told
        by their pixels and by their places on the map), compared (what of the pixels), and
        fingerprint (None if there are problems); JSON values only.
      look_alikes: file names of two images that look the same, and how much (0..1).
    """

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    statistics: dict = field(default_factory=dict)
    look_alikes: list[tuple[str, str, float]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, allow_nan=False)


def check_dataset(folder: str | Path) -> DatasetReport:
    """Reads every label and decodes every image; lists all problems, raises none."""
    parsed = parse(folder)
    dataset = parsed.dataset
    images = _decode(dataset, [s for s in dataset.scenes if s.file_name not in parsed.bad_files])
    problems = parsed.problems + images.problems
    if not dataset.scenes:
        return DatasetReport(problems, list(parsed.warnings))
    shared = find_shared_ground([s for s in dataset.scenes if s.file_name in images.previews],
                                images.previews)
    twice = [(scene, pair) for scene in dataset.scenes for pair in same_craters(scene)]
    statistics = {
        **describe(dataset), "annotators": parsed.annotators, "duplicates": len(twice),
        "look_alikes": _count(shared.alike), "overlapping": _count(shared.overlapping),
        "compared": ("whole images and parts" if len(dataset.scenes) <= MOST_WITH_PARTS
                     else "whole images only"),
        "fingerprint": None if problems else dataset.fingerprint}
    warnings = [*parsed.warnings, *_oddities(dataset), *_duplicate_warning(dataset, twice),
                *_copy_warning(dataset, images.copies), *_ground_warnings(dataset, shared)]
    if not problems:
        warnings += _split_warning(dataset, shared)
    pairs = [(one.file_name, other.file_name, value) for one, other, value in shared.alike]
    return DatasetReport(problems, warnings, statistics, pairs)


@dataclass(frozen=True)
class _Images:
    """What decoding every image gave: problems, small pictures by file name, and lists of
    files with the same bytes."""

    problems: list[str]
    previews: dict[str, Preview]
    copies: list[list[str]]


def _decode(dataset: Dataset, scenes: Sequence[Scene]) -> _Images:
    side = side_for(len(scenes))

    def read(scene: Scene) -> tuple[bytes, Preview] | str:
        try:
            with dataset.open_image(scene) as raster:
                small = preview(raster, side)
            return file_digest(dataset.image_path(scene)), small
        except DataError as error:
            return str(error)

    problems, previews, same = [], {}, defaultdict(list)
    for scene, found in zip(scenes, for_each(scenes, read, "checking images"), strict=True):
        if isinstance(found, str):
            problems.append(found)
        else:
            same[found[0]].append(scene.file_name)
            previews[scene.file_name] = found[1]
    return _Images(problems, previews, [names for names in same.values() if len(names) > 1])


def describe(dataset: Dataset) -> dict:
    """Counts and sizes of a data set, as JSON values.

    images, scenes, instances, classes (name -> count), diameter_px and craters_per_image
    (min ... max), diameter_km (the same of the labels whose size on the ground is known;
    None where none is), label_sources (what was drawn -> count), empty_images, image_sizes,
    splits (split -> images, where images say one), stretched (percentiles -> images whose
    8 bits were made from more).
    """
    instances = [i for scene in dataset.scenes for i in scene.instances]
    per_image = [len(scene.instances) for scene in dataset.scenes]
    classes = Counter(i.class_id for i in instances)
    sizes = Counter(f"{scene.width}x{scene.height}" for scene in dataset.scenes)
    splits = Counter(scene.split or "undecided" for scene in dataset.scenes)
    stretches = Counter("{:g} to {:g} %".format(*scene.stretch.percentiles)
                        for scene in dataset.scenes if scene.stretch is not None)
    return {
        "images": len(dataset.scenes),
        "scenes": len({scene.scene for scene in dataset.scenes}),
        "instances": len(instances),
        "classes": {name: classes[i] for i, name in dataset.label_map.items()},
        "label_sources": dict(Counter(i.source for i in instances).most_common(10)),
        "diameter_px": _spread([i.diameter for i in instances]),
        "diameter_km": _spread(diameters_km(dataset), 4),
        "craters_per_image": _spread(per_image),
        "empty_images": per_image.count(0),
        "image_sizes": dict(sizes.most_common(10)),
        "splits": dict(sorted(splits.items())) if set(splits) != {"undecided"} else {},
        "stretched": dict(stretches.most_common(10)),
    }


def diameters_km(dataset: Dataset) -> list[float]:
    """Sizes on the ground of the labels for which they are known: as labelled, or measured
    where the image has a place on a body."""
    def measured(scene: Scene, instance: Instance) -> float | None:
        if instance.diameter_km is not None or scene.georeference is None:
            return instance.diameter_km
        try:
            return scene.georeference.diameter_km(instance.rings)
        except DataError:
            return None

    found = (measured(scene, i) for scene in dataset.scenes for i in scene.instances)
    return [value for value in found if value is not None]


def _spread(values: Sequence[float], decimals: int = 2) -> dict[str, float] | None:
    if not values:
        return None
    found = np.percentile(values, list(_PERCENTILES.values()))
    spread = {name: round(float(value), decimals)
              for name, value in zip(_PERCENTILES, found, strict=True)}
    return {**spread, "mean": round(float(np.mean(values)), decimals)}


def _count(pairs: list[tuple]) -> int:
    """How many images are in these pairs."""
    return len({scene.file_name for pair in pairs for scene in pair[:2]})


def _oddities(dataset: Dataset) -> list[str]:
    warnings = []
    if not any(scene.instances for scene in dataset.scenes):
        warnings.append(f"{dataset.root}: no image has a label, so there is nothing to learn")
    listed = {scene.file_name for scene in dataset.scenes}
    folder = dataset.root / IMAGES
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    extra = sorted(found - listed)
    if extra:
        warnings.append(f"{folder}: {len(extra)} file(s) that annotations.json does not list are "
                        f"left out ({extra[0]}{', ...' if len(extra) > 1 else ''})")
    return warnings


def _duplicate_warning(dataset: Dataset, twice: list[tuple[Scene, tuple[int, int]]]) -> list[str]:
    if not twice:
        return []
    named = _first([f"annotations {one} and {other} of {scene.file_name}"
                    for scene, (one, other) in twice])
    return [f"{dataset.root}: {len(twice)} pair(s) of labels mark the same crater twice "
            f"({named}); delete one of each"]


def _copy_warning(dataset: Dataset, copies: list[list[str]]) -> list[str]:
    if not copies:
        return []
    return [f"{dataset.root / IMAGES}: {len(copies)} image(s) are there more than once under other "
            f"names ({' = '.join(copies[0][:_NAMED])}); keep one of each"]


def _ground_warnings(dataset: Dataset, shared: SharedGround) -> list[str]:
    """What different scenes show together, and what of that stands in different splits."""
    warnings = []
    for pairs, text in ((shared.alike, "look like an image of another scene"),
                        (shared.overlapping, "overlap an image of another scene on the map")):
        if pairs:
            named = _first([f"{pair[0].file_name} and {pair[1].file_name}" for pair in pairs])
            warnings.append(f"{dataset.root}: {_count(pairs)} image(s) {text} ({named}); they go "
                            "to the same split")
    split_of = {s.scene: (s.split, s.file_name) for s in dataset.scenes if s.split is not None}
    torn = []
    for group in shared.groups:
        by_split: dict[str, str] = {}
        for name in group:
            if name in split_of:
                by_split.setdefault(*split_of[name])
        if len(by_split) > 1:
            torn.append(" and ".join(f"{name} in {split}" for split, name in by_split.items()))
    if torn:
        text = (f"{dataset.root}: NEAR-DUPLICATES ACROSS SPLITS: {len(torn)} group(s) of scenes "
                f"show the same ground in different splits ({_first(torn)}), so that a test would "
                "ask for what was trained on; correct the images' split")
        warnings.insert(0, text)
    return warnings


def _split_warning(dataset: Dataset, shared: SharedGround) -> list[str]:
    """What will be done, or must be, where there are fewer scenes than splits."""
    try:
        words = split_dataset(dataset, groups=shared.groups).words
    except DataError as error:
        return [str(error)]
    return [f"{dataset.root}: {words}"] if words else []


def _first(texts: list[str]) -> str:
    return ", ".join(texts[:_NAMED]) + (", ..." if len(texts) > _NAMED else "")
