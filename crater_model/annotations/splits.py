"""Which scenes train, which choose the best checkpoint, and which only test."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

from crater_model.annotations.ground import shared_ground
from crater_model.annotations.scene import SPLITS, Dataset
from crater_model.errors import ConfigError


def assign_splits(scene_names: Iterable[str], fractions: Sequence[float] = (0.7, 0.15, 0.15),
                  seed: int = 0, fixed: Mapping[str, str] | None = None,
                  groups: Iterable[Sequence[str]] = ()) -> dict[str, str]:
    """Gives every scene a split; whole scenes, so chips of one never part.

    The order in which names are given does not matter. Every split with a fraction above
    zero gets a scene as long as there are enough of them, training first.

    Args:
      scene_names: source scenes; a name given twice counts once.
      fractions: shares of train, validation and test; at least 0, adding up to 1.
      seed: another seed, another assignment.
      fixed: scenes whose split is already decided; the others fill up the shares.
      groups: scenes that show the same ground and get the same split, that of a decided
        one among them (the first of train, validation, test where these differ). A scene
        is in one group at most.

    Returns:
      Scene name -> "train", "validation" or "test", sorted by name.

    Raises:
      ConfigError: fractions that are not three shares of one.
    """
    fractions = checked_fractions(fractions)
    names = set(scene_names)
    splits = {name: split for name, split in dict(fixed or {}).items() if name in names}
    free = []
    for unit in units(names, groups):
        decided = {splits[name] for name in unit if name in splits}
        if decided:
            split = min(decided, key=SPLITS.index)
            splits.update({name: split for name in unit if name not in splits})
        else:
            free.append(unit)
    taken = [sum(split == kind for split in splits.values()) for kind in SPLITS]
    wanted = _counts(len(names), fractions)
    # Fixed scenes may overfill one split; what is left is shared by what is missing.
    missing = [max(0, want - have) for want, have in zip(wanted, taken, strict=True)]
    while sum(missing) > sum(map(len, free)):
        missing[missing.index(max(missing))] -= 1
    # Large groups first: single scenes then fill what they leave.
    free.sort(key=lambda unit: (-len(unit), min(_order(name, seed) for name in unit)))
    for left, unit in zip(range(len(free), 0, -1), free, strict=True):
        kind = _next_kind(len(unit), left, missing, taken)
        splits.update((name, SPLITS[kind]) for name in unit)
        taken[kind] += len(unit)
        missing[kind] -= len(unit)
    return dict(sorted(splits.items()))


def dataset_splits(dataset: Dataset, fractions: Sequence[float] = (0.7, 0.15, 0.15),
                   seed: int = 0) -> dict[str, str]:
    """Scene name -> split for a data set; what its images already say is kept.

    Scenes that show the same ground get the same split. To find them the images are read,
    unless all of them say their split.

    Raises:
      ConfigError: as `assign_splits`.
      DataError: an image is missing or broken.
    """
    fixed = {scene.scene: scene.split for scene in dataset.scenes if scene.split is not None}
    names = {scene.scene for scene in dataset.scenes}
    checked_fractions(fractions)
    groups = shared_ground(dataset) if names - set(fixed) else ()
    return assign_splits(names, fractions, seed, fixed, groups)


def units(names: set[str], groups: Iterable[Sequence[str]]) -> list[list[str]]:
    """What gets one split each: the groups, and every other scene alone."""
    found = [[name for name in group if name in names] for group in groups]
    grouped = {name for unit in found for name in unit}
    return [unit for unit in found if unit] + [[name] for name in sorted(names - grouped)]


def _next_kind(size: int, left: int, missing: Sequence[int], taken: Sequence[int]) -> int:
    """Which split the next `size` scenes go to, with `left` units still to place."""
    kinds = [kind for kind in range(3) if missing[kind] > 0]
    empty = [kind for kind in kinds if not taken[kind]]
    if len(empty) >= left:  # or a split would stay empty
        kinds = empty
    fitting = [kind for kind in kinds if missing[kind] >= size]
    if fitting:
        return fitting[0]
    return max(kinds, key=lambda kind: (missing[kind], -kind)) if kinds else 0


def checked_fractions(fractions: Sequence[float]) -> list[float]:
    """The shares of train, validation and test as numbers; ConfigError where they are none."""
    try:
        values = [float(value) for value in fractions]
    except (TypeError, ValueError):
        values = []
    if len(values) != 3 or min(values) < 0 or not math.isclose(sum(values), 1, abs_tol=1e-6):
        raise ConfigError(f"splits: got {fractions!r}, expected three shares (train, validation, "
                          "test) from 0 that add up to 1, such as 0.7,0.15,0.15")
    return values


def _counts(total: int, fractions: list[float]) -> list[int]:
    """Whole numbers in these shares: largest remainders, none at zero that need not be."""
    counts = [int(total * share) for share in fractions]
    by_remainder = sorted(range(3), key=lambda i: (counts[i] - total * fractions[i], i))
    for i in by_remainder[:total - sum(counts)]:
        counts[i] += 1
    for i in range(3):
        largest = counts.index(max(counts))
        if fractions[i] > 0 and counts[i] == 0 and counts[largest] > 1:
            counts[largest] -= 1
            counts[i] = 1
    return counts


def _order(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()
