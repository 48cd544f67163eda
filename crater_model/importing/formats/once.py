"""Each crater once: of points and outlines, layers and files that show the same craters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from crater_model.errors import DataError
from crater_model.importing.formats.source import Label, Notes

# Craters are one where their centres differ by less than this share of the radius, and their
# sizes by less than this factor.
_CENTRE, _SIZE = 0.25, 1.3
# Points of which so many have an outline are the outlines' points.
_MOST = 0.5


@dataclass(eq=False)
class Group:
    """Labels of one kind of one layer.

    Attributes:
      name: what messages call it. points: whether they are circles around points.
      wanted: whether somebody has named the layer.
    """

    name: str
    points: bool
    labels: dict[Path, list[Label]]
    wanted: bool = False


def once(groups: Sequence[Group], notes: Notes) -> dict[Path, list[Label]]:
    """The labels of all groups by image, outlines before points, without those that an earlier
    group has.

    Raises:
      DataError: some points have outlines in another layer and some have none, so that it is
        not known whether those were deleted or never drawn.
    """
    taken: dict[Path, list[Label]] = {}
    for group in sorted(groups, key=lambda group: group.points):
        same = {path: _same(labels, taken.get(path, [])) for path, labels in group.labels.items()}
        count = sum(len(labels) for labels in group.labels.values())
        matched = sum(int(found.sum()) for found in same.values())
        if matched:
            first = next(label for path, labels in group.labels.items()
                         for label, known in zip(labels, same[path], strict=True) if known)
            notes.count("crater(s) were given twice (as point and outline, or in several layers) "
                        "and taken once", first.where, matched)
        if group.points and _MOST * count <= matched < count and not group.wanted and not any(
                other.name == group.name and other.labels and not other.points
                for other in groups):
            raise DataError(
                f"{group.name}: {matched} of its {count} points have an outline in another layer "
                f"and {count - matched} have none, which may have been deleted or never drawn; "
                "name the layers to read with --layer (both, to have those points as circles)")
        for path, labels in group.labels.items():
            taken.setdefault(path, []).extend(
                label for label, known in zip(labels, same[path], strict=True) if not known)
    return taken


def _same(labels: Sequence[Label], known: Sequence[Label]) -> np.ndarray:
    """Which labels [n] show a crater that is among the known ones."""
    found = np.zeros(len(labels), bool)
    if not labels or not known:
        return found
    places, sizes = _circles(labels)
    others, other_sizes = _circles(known)
    tree = cKDTree(others)
    for index, near in enumerate(tree.query_ball_point(places, _CENTRE * sizes)):
        ratio = other_sizes[near] / sizes[index]
        found[index] = bool(((ratio < _SIZE) & (ratio > 1 / _SIZE)).any())
    return found


def _circles(labels: Sequence[Label]) -> tuple[np.ndarray, np.ndarray]:
    """Middles [n, 2] and half the extents [n] of labels, px."""
    rings = [np.concatenate(label.rings) for label in labels]
    low, high = (np.array([end(ring, axis=0) for ring in rings]) for end in (np.min, np.max))
    return (low + high) / 2, np.maximum((high - low).mean(axis=1) / 2, 1e-6)
