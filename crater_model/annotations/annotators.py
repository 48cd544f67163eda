"""Sets of labels by several people of the same images: kept apart, and one of them used.

In the data-set form an annotation says its `annotator`, an image which `annotators` labelled it
(also where they found nothing), and `info.annotator` which set is used: one person's, or the
consensus of all. Whoever reads a data set gets that set alone unless all are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from crater_model.annotations.scene import Dataset, Instance, Scene
from crater_model.detections.matching import Shapes, match
from crater_model.detections.truth import truth_of

# The set that is made of those of all people.
CONSENSUS = "consensus"
# The key of `info` that says which set is used.
USED = "annotator"


def annotators(dataset: Dataset) -> dict[str, int]:
    """Annotator -> labels, in the order of their names; empty where no label says one."""
    found: dict[str, int] = {}
    for scene in dataset.scenes:
        for name in (*scene.annotators, *(i.annotator for i in scene.instances if i.annotator)):
            found.setdefault(name, 0)
        for instance in scene.instances:
            if instance.annotator:
                found[instance.annotator] += 1
    return dict(sorted(found.items()))


def used_labels(dataset: Dataset) -> tuple[Dataset, str | None]:
    """The data set with the labels of the set that `info.annotator` names, and what is wrong.

    Without such a name all labels are taken, which is a problem where an image has those of
    several people: its craters would be there several times.
    """
    sets = annotators(dataset)
    if not sets:
        return dataset, None
    used = dataset.info.get(USED)
    if used is None:
        several = next((s for s in dataset.scenes if len(sets_of(s)) > 1), None)
        if several is None:
            return dataset, None
        return dataset, (f"image {several.file_name} has labels of {', '.join(sets_of(several))}, "
                         "and info.annotator does not say which are used; name one there, or "
                         "import the labels again")
    if used not in sets:
        return dataset, (f"info.annotator is {used!r}, expected one of {', '.join(sets)}; correct "
                         "it")
    return replace(dataset, scenes=tuple(_only(scene, used) for scene in dataset.scenes)), None


def sets_of(scene: Scene) -> list[str]:
    """Who labelled a scene, sorted."""
    return sorted({*scene.annotators, *(i.annotator for i in scene.instances if i.annotator)})


def _only(scene: Scene, used: str) -> Scene:
    """The scene with one set; labels without an annotator are everybody's."""
    return replace(scene, annotators=(), instances=tuple(
        replace(i, annotator="") for i in scene.instances if i.annotator in ("", used)))


def consensus(scene: Scene) -> list[Instance]:
    """The craters that at least half of a scene's annotators mark, and two at the least (one
    where there is but one).

    Labels of two people are of one crater by the rule that catalogues are compared with (see
    `detections.matching`): of craters of a few px outlines differ too much. Of the outlines of
    a crater the one whose area is the median is taken.
    """
    names = sets_of(scene)
    needed = min(len(names), max(2, math.ceil(len(names) / 2)))
    groups: list[list[Instance]] = []
    shapes = Shapes.of([], np.zeros(0, int))
    for name in names:
        own = [i for i in scene.instances if i.annotator == name and not i.crowd]
        found = shapes_of(scene, own)
        which = match("catalogue", found, shapes, np.ones(len(found)))
        for group, index in zip(groups, which.tolist(), strict=True):
            if index >= 0:
                group.append(own[index])
        new = sorted(set(range(len(own))) - set(which.tolist()))
        groups += [[own[index]] for index in new]
        first = found.select(np.array(new, int))
        shapes = Shapes.of([*shapes.polygons, *first.polygons],
                           np.concatenate([shapes.classes, first.classes]))
    agreed = [sorted(group, key=lambda i: i.area) for group in groups if len(group) >= needed]
    return [replace(group[len(group) // 2], annotator=CONSENSUS) for group in agreed]


def shapes_of(scene: Scene, instances: Sequence[Instance]) -> Shapes:
    """Labels of a scene in the form that matching needs."""
    truth = truth_of(instances, (scene.height, scene.width))
    return Shapes.of(truth.outlines(), truth.classes)
