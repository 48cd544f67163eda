"""Which scenes train, which choose the best checkpoint, and which only test."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

from crater_model.annotations.dataset import SPLITS, Dataset
from crater_model.errors import ConfigError


def assign_splits(scene_names: Iterable[str], fractions: Sequence[float] = (0.7, 0.15, 0.15),
                  seed: int = 0, fixed: Mapping[str, str] | None = None) -> dict[str, str]:
    """Gives every scene a split; whole scenes, so chips of one never part.

    The order in which names are given does not matter. Every split with a fraction above
    zero gets a scene as long as there are enough of them, training first.

    Args:
      scene_names: source scenes; a name given twice counts once.
      fractions: shares of train, validation and test; at least 0, adding up to 1.
      seed: another seed, another assignment.
      fixed: scenes whose split is already decided; the others fill up the shares.

    Returns:
      Scene name -> "train", "validation" or "test", sorted by name.

    Raises:
      ConfigError: fractions that are not three shares of one.
    """
    fractions = _checked(fractions)
    fixed = dict(fixed or {})
    names = set(scene_names)
    splits = {name: fixed[name] for name in names if name in fixed}
    free = sorted(names - set(splits), key=lambda name: _order(name, seed))
    taken = [sum(split == kind for split in splits.values()) for kind in SPLITS]
    wanted = _counts(len(names), fractions)
    # Fixed scenes may overfill one split; what is left is shared by what is missing.
    missing = [max(0, want - have) for want, have in zip(wanted, taken)]
    while sum(missing) > len(free):
        missing[missing.index(max(missing))] -= 1
    start = 0
    for kind, count in zip(SPLITS, missing):
        splits.update((name, kind) for name in free[start:start + count])
        start += count
    splits.update((name, SPLITS[0]) for name in free[start:])
    return dict(sorted(splits.items()))


def dataset_splits(dataset: Dataset, fractions: Sequence[float] = (0.7, 0.15, 0.15),
                   seed: int = 0) -> dict[str, str]:
    """Scene name -> split for a data set; what its images already say is kept."""
    fixed = {scene.scene: scene.split for scene in dataset.scenes if scene.split is not None}
    return assign_splits((scene.scene for scene in dataset.scenes), fractions, seed, fixed)


def _checked(fractions: Sequence[float]) -> list[float]:
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
