"""Checking a data set from end to end before anything is trained on it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from crater_model.annotations.coco import parse
from crater_model.annotations.dataset import IMAGES, Dataset
from crater_model.annotations.pixels import decode_image, read_file
from crater_model.errors import DataError
from crater_model.progress import track

_PERCENTILES = {"min": 0, "p5": 5, "p25": 25, "median": 50, "p75": 75, "p95": 95, "max": 100}


@dataclass(frozen=True)
class DatasetReport:
    """What `check_dataset` found.

    Attributes:
      problems: one clear line each; the data set can be used only if there is none.
      warnings: one line each; what was put right or looks odd.
      statistics: images, scenes, instances, classes (name -> count), diameter_px and
        craters_per_image (min ... max), empty_images, image_sizes, fingerprint (None
        if there are problems); JSON values only.
    """

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    statistics: dict = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, allow_nan=False)


def check_dataset(folder: str | Path) -> DatasetReport:
    """Reads every label and decodes every image; lists all problems, raises none."""
    parsed = parse(folder)
    dataset = parsed.dataset
    problems, warnings = list(parsed.problems), list(parsed.warnings)
    same = defaultdict(list)
    for scene in track(dataset.scenes, "checking images"):
        if scene.file_name in parsed.bad_files:  # reported already
            continue
        path = dataset.image_path(scene)
        try:
            data = read_file(path)
            decode_image(data, path)
            same[hashlib.sha256(data).digest()].append(scene.file_name)
        except DataError as error:
            problems.append(str(error))
    warnings += _oddities(dataset, [names for names in same.values() if len(names) > 1])
    statistics = describe(dataset) if dataset.scenes else {}
    if statistics:
        statistics["fingerprint"] = None if problems else dataset.fingerprint
    return DatasetReport(problems, warnings, statistics)


def describe(dataset: Dataset) -> dict:
    """Counts and sizes of a data set, as JSON values."""
    instances = [i for scene in dataset.scenes for i in scene.instances]
    per_image = [len(scene.instances) for scene in dataset.scenes]
    classes = Counter(i.class_id for i in instances)
    sizes = Counter(f"{scene.width}x{scene.height}" for scene in dataset.scenes)
    return {
        "images": len(dataset.scenes),
        "scenes": len({scene.scene for scene in dataset.scenes}),
        "instances": len(instances),
        "classes": {name: classes[i] for i, name in dataset.label_map.items()},
        "diameter_px": _spread([i.diameter for i in instances]),
        "craters_per_image": _spread(per_image),
        "empty_images": per_image.count(0),
        "image_sizes": dict(sizes.most_common(10)),
    }


def _spread(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    found = np.percentile(values, list(_PERCENTILES.values()))
    spread = {name: round(float(value), 2) for name, value in zip(_PERCENTILES, found)}
    return {**spread, "mean": round(float(np.mean(values)), 2)}


def _oddities(dataset: Dataset, twins: list[list[str]]) -> list[str]:
    warnings = []
    if dataset.scenes and not any(scene.instances for scene in dataset.scenes):
        warnings.append(f"{dataset.root}: no image has a label, so there is nothing to learn")
    if twins:
        warnings.append(f"{dataset.root / IMAGES}: {len(twins)} image(s) are there more than once "
                        f"under other names ({' = '.join(twins[0][:3])}), which may put the same "
                        "image in training and test")
    listed = {scene.file_name for scene in dataset.scenes}
    folder = dataset.root / IMAGES
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    extra = sorted(found - listed)
    if dataset.scenes and extra:
        warnings.append(f"{folder}: {len(extra)} file(s) that annotations.json does not list are "
                        f"left out ({extra[0]}{', ...' if len(extra) > 1 else ''})")
    return warnings
