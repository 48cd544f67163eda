"""What a validation looks like: true and predicted rims on the fullest images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from crater_model.detections import Detections
from crater_model.detections.truth import Truth
from crater_model.pictures.comparison import LEGEND, comparison
from crater_model.pictures.drawing import INLINE_BYTES, fit_png, legend, sheet
from crater_model.records.read import read_split

Shown = tuple[int, Detections, Truth]
_SIDE = 320


def rims_picture(records: str | Path, split: str, shown: Sequence[Shown],
                 threshold: float | None) -> bytes | None:
    """A PNG of at most about 100 kB as text: labels blue, detections orange, with a legend.

    Args:
      records: the folder of records that was validated on, and the `split` of it.
      shown: source id, detections and truth of each image, in px of the network's input.
      threshold: the lowest score drawn, 0..1; 0.5 if None.

    Returns:
      None without an image.
    """
    wanted = {source_id: (found, truth) for source_id, found, truth in shown}
    parts = []
    for record in read_split(records, split, 1).as_numpy_iterator():
        pair = wanted.pop(int(record["source_id"]), None)
        if pair is not None:
            height, width = pair[1].size
            image = cv2.resize(record["image"], (width, height), interpolation=cv2.INTER_AREA)
            parts.append((image, *pair))
        if not wanted:
            break
    if not parts:
        return None
    return fit_png(lambda side: legend(sheet([
        np.ascontiguousarray(comparison(image, found, truth, threshold,
                                        zoom=side / max(image.shape[:2])))
        for image, found, truth in parts], 2), LEGEND), _SIDE, INLINE_BYTES)
