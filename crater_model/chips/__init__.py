"""Cutting scenes into chips of one size for training, at one scale or several.

A chip is a window of a scene, resampled; its corner and scale are written down, so that
a point of the chip lies at `offset + point / scale` in the scene, exactly. Scenes are read
in windows, so that they may be larger than the memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from crater_model.annotations.dataset import load_dataset, save_dataset
from crater_model.annotations.scene import Dataset
from crater_model.annotations.splitting import Splitting, split_dataset
from crater_model.chips.cutting import Cutter, Settings
from crater_model.errors import ConfigError
from crater_model.imagery.resample import MIN_SCALE

# Diameter in px that a detector of this kind sees best; scales bring the median near it.
TARGET_DIAMETER_PX = 16.0
MAX_SCALE = 2.0
# With more scenes than these no split is empty, unless nearly all show the same ground.
_FEW_SCENES = 12


@dataclass(frozen=True)
class ChipsReport:
    """What `cut_chips` did.

    Attributes:
      chips: images written.
      instances: labels written; a crater counts once for each chip it is in.
      scenes: source images, of which `unchanged` needed no cutting.
      dropped_small: labels left out of a chip because they are too small there.
      dropped_cut: labels left out of a chip because too little of them is inside.
      dropped_crowded: labels left out of a chip because it has enough larger ones.
      crowded: chips that this happened to, and `crowded_chips` the first of their names.
      left_out_invalid: chips left out because too little of them has data.
      left_out_empty: chips without craters left out because there are enough of them.
      lost: craters of the source that are in no chip at all.
      scales: px of a chip per px of its source image, and `chips_per_scale` the images
        written at each.
      splitting: how a scene was cut into blocks, where there were too few; else empty.
    """

    chips: int
    instances: int
    scenes: int
    unchanged: int
    dropped_small: int
    dropped_cut: int
    dropped_crowded: int
    crowded: int
    crowded_chips: tuple[str, ...]
    left_out_invalid: int
    left_out_empty: int
    lost: int
    scales: tuple[float, ...]
    chips_per_scale: tuple[int, ...]
    splitting: str = ""

    def to_dict(self) -> dict:
        return {name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(self).items()}


def choose_scale(dataset: Dataset) -> float:
    """The power of two, at most 2, that brings the median diameter nearest to 16 px."""
    diameters = [i.diameter for scene in dataset.scenes for i in scene.instances]
    if not diameters:
        return 1.0
    steps = round(math.log2(TARGET_DIAMETER_PX / float(np.median(diameters))))
    return min(MAX_SCALE, 2.0**steps)


def cut_chips(dataset_dir: str | Path, out_dir: str | Path, size: int,
              scales: Sequence[float] | str = "auto", overlap: float = 0.25,
              min_visible: float = 0.5, min_diameter: float = 4.0, min_valid: float = 0.5,
              max_craters: int | None = None, empties: float | None = None,
              seed: int = 0, splits: Sequence[float] | None = None) -> ChipsReport:
    """Cuts every image of a data set into chips and writes them as a data set.

    A scene smaller than the chip gives one chip of its own (scaled) size; one that needs
    neither cutting nor scaling passes through byte for byte, or as PNG where it is a TIFF.
    Splits, ground, georeferences and stretches go along. Pixels without data get the mean
    of their chip. Equal arguments give equal bytes.

    Args:
      dataset_dir: the data set to cut.
      out_dir: where the chips go (replaced as a whole); not the data set's own folder.
      size: side of a chip, px.
      scales: px of a chip per px of the image, each gives chips of its own; "auto" takes
        `choose_scale`.
      overlap: share of a chip that its neighbour shows too, 0 to below 1.
      min_visible: a crater stays in a chip with at least this share of its area, 0..1.
      min_diameter: smallest diameter kept, px of the chip, at least 1.
      min_valid: smallest share (0..1) of a chip's pixels that must have data.
      max_craters: most craters kept in a chip, the largest; None: all.
      empties: most chips without craters per chip with craters in the whole data set (0.25:
        one for four), drawn evenly; 0: none; None: all.
      seed: which chips without craters are drawn.
      splits: shares of train, validation and test that the chips are for. They matter only
        where there are fewer scenes with labels than splits: then a scene is cut into blocks
        first, and the chips say their split (see `annotations.splitting`). None: no scene
        is.

    Raises:
      DataError: the data set has a problem, no chip is left of it, or there are too few
        scenes and none that can be cut into blocks.
      ConfigError: an argument out of its range.
    """
    _check_windows(size, scales, overlap)
    _check_labels(min_visible, min_diameter, max_craters)
    _check_choice(min_valid, empties, seed)
    dataset = load_dataset(dataset_dir)
    out_dir = Path(out_dir)
    if out_dir.resolve() in (dataset.root.resolve(), *dataset.root.resolve().parents):
        raise ConfigError(f"{out_dir}: holds the data set that is to be cut; name another folder")
    splitting = _splitting(dataset, splits, seed)
    source = splitting.decided() if splitting.by == "blocks" else dataset
    scales = (choose_scale(dataset),) if scales == "auto" else tuple(map(float, scales))
    cutter = Cutter(source, Settings(size, scales, overlap, min_visible, min_diameter,
                                      min_valid, max_craters, empties, seed))
    info = {"description": f"chips of {size} px cut from {dataset.root.resolve().name}",
            "source": dataset.fingerprint, "scales": list(scales),
            **({"splitting": splitting.to_json()} if splitting.words else {})}
    save_dataset(out_dir, cutter.chips(), dataset.label_map, info)
    return ChipsReport(scenes=len(dataset.scenes), lost=cutter.lost, scales=scales,
                       crowded_chips=tuple(cutter.crowded_chips),
                       chips_per_scale=tuple(cutter.per_scale[scale] for scale in scales),
                       splitting=splitting.words,
                       **cutter.count)


def _splitting(dataset: Dataset, splits: Sequence[float] | None, seed: int) -> Splitting:
    """Without a look at the images where there are scenes enough."""
    if splits is None or len({scene.scene for scene in dataset.scenes}) > _FEW_SCENES:
        return Splitting(dataset, {})
    return split_dataset(dataset, splits, seed)


def _refuse(what: str, found, expected: str):
    raise ConfigError(f"{what}: got {found!r}, expected {expected}")


def _check_windows(size, scales, overlap) -> None:
    if not isinstance(size, int) or not 16 <= size <= 8192:
        _refuse("chip size", size, "a whole number from 16 to 8192 px")
    if isinstance(scales, str):
        if scales != "auto":
            _refuse("scales", scales, 'numbers above 0, or "auto"')
    elif not scales or len(set(scales)) < len(scales) or not all(
            MIN_SCALE <= scale <= 16 for scale in scales):
        _refuse("scales", scales, f"different numbers from {MIN_SCALE:g} to 16")
    if not 0 <= overlap <= 0.9:
        _refuse("overlap", overlap, "a share from 0 to 0.9")


def _check_labels(min_visible, min_diameter, max_craters) -> None:
    if not 0 <= min_visible <= 1:
        _refuse("min_visible", min_visible, "a share from 0 to 1")
    if not min_diameter >= 1:  # less would vanish in the rounding of the coordinates
        _refuse("min_diameter", min_diameter, "1 px or more")
    if max_craters is not None and not (isinstance(max_craters, int) and max_craters >= 1):
        _refuse("max_craters", max_craters, "a whole number from 1, or None for all")


def _check_choice(min_valid, empties, seed) -> None:
    if not 0 <= min_valid <= 1:
        _refuse("min_valid", min_valid, "a share from 0 to 1")
    if empties is not None and not 0 <= empties < math.inf:
        _refuse("empties", empties, "chips without craters per chip with craters, 0 or more, or "
                "None for all")
    if not isinstance(seed, int):
        _refuse("seed", seed, "a whole number")
