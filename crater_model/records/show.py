"""Looking inside a folder of records: numbers, and the labels as training sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crater_model.annotations.outline import from_mask
from crater_model.pictures.drawing import INLINE_BYTES, class_color, fit_png, overlay, sheet
from crater_model.records.manifest import read_manifest


def summarize(folder: str | Path) -> dict:
    """What the manifest says, without the lists of files and scenes: JSON values."""
    manifest = read_manifest(folder)
    value = manifest.to_dict()
    value["splits"] = {
        name: {**split, "files": len(split["files"]), "scenes": len(split["scenes"]),
               "bytes": sum(file["bytes"] for file in split["files"])}
        for name, split in manifest.splits.items()}
    return value


def records_picture(folder: str | Path, split: str = "train", n: int = 6, columns: int = 3,
                    cell: int = 240, max_bytes: int | None = INLINE_BYTES) -> bytes:
    """A PNG of the first `n` records of a split, outlines drawn from the stored masks.

    Raises:
      DataError: no records there, or no such split.
    """
    from crater_model.records.read import read_split

    parts = [_labels(record)
             for record in read_split(folder, split, 1).take(n).as_numpy_iterator()]
    return fit_png(lambda side: sheet([
        overlay(image, rings, color=colors, zoom=side / max(image.shape[:2]))
        for image, rings, colors in parts], columns), cell, max_bytes)


def _labels(record: dict) -> tuple[np.ndarray, list, list]:
    """A record's image, the outlines on it in px and their colours."""
    image, rings, colors = record["image"], [], []
    for box, grid, class_id in zip(record["boxes"], record["grids"], record["classes"],
                                   strict=True):
        for ring in grid_outlines(grid, box * np.tile(image.shape[:2], 2)):
            rings.append(ring)
            colors.append(class_color(int(class_id)))
    return image, rings, colors


def grid_outlines(grid: np.ndarray, box: np.ndarray) -> list[np.ndarray]:
    """Outlines of a mask grid [g, g] that stands over `box` (ymin, xmin, ymax, xmax, px)."""
    low, high = np.array(box[1::-1], float), np.array(box[3:1:-1], float)
    return [low + ring / grid.shape[0] * (high - low) for ring in from_mask(grid)]
