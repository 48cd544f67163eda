"""COCO's run-length masks: lists of counts, or the same as compressed text."""

from __future__ import annotations

import numpy as np

from crater_model.annotations import outline
from crater_model.importing.formats.source import Bad, is_whole, shown

# The box of a run-length mask; its trace takes some 50 bytes a pixel (px).
_MOST_PIXELS = 2**23
# The columns that it covers, over their whole height, a byte a pixel (px).
_MOST_DECODED = 2**28


def outlines_of_runs(segmentation: dict, file_size: tuple[int, int]) -> tuple[outline.Rings, bool]:
    """Outlines of a run-length mask, px, and whether it has holes (they are filled); only the
    columns that it covers are decoded.

    Args:
      segmentation: COCO's `size` and `counts` (a list, or compressed text).
      file_size: (width, height) px of the image's file, which the mask must have.

    Raises:
      Bad: the mask is of another size, broken, empty or too large.
    """
    width, height = file_size
    size, runs = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise Bad(f"has a run-length mask of the size {shown(size)} (height, width), but its image "
                  f"file has [{height}, {width}]; export it again")
    runs = _runs(runs) if isinstance(runs, str) else runs
    if (not isinstance(runs, list) or not all(map(is_whole, runs)) or min(runs, default=-1) < 0
            or sum(runs) != width * height):
        raise Bad(f"has a run-length mask whose counts do not add up to {width}x{height} px; "
                  "export it again")
    ends = np.cumsum(runs, dtype=np.int64)
    starts, stops = ends[:-1:2], ends[1::2]
    starts, stops = starts[stops > starts], stops[stops > starts]
    if not len(starts):
        raise Bad("has an empty run-length mask; draw it or delete the annotation")
    left, right = int(starts[0] // height), int((stops[-1] - 1) // height) + 1
    tops, bottoms = starts % height, (stops - 1) % height
    rows = height if (stops - starts > bottoms - tops + 1).any() else bottoms.max() - tops.min() + 1
    if rows * (right - left) > _MOST_PIXELS or height * (right - left) > _MOST_DECODED:
        raise Bad(f"has a run-length mask over {right - left}x{rows} px, too large to be traced; "
                  "draw it as a polygon")
    part = np.diff(np.clip(ends, left * height, right * height), prepend=left * height).tolist()
    rings, holes = outline.trace_rle({"size": [height, right - left], "counts": part},
                                     right - left, height)
    return tuple(ring + (left, 0) for ring in rings), holes


def _runs(text: str) -> list[int]:
    """The counts in COCO's compressed text: five bits a letter from "0", the sixth says that
    more follow; from the fourth number on each is the difference to the last but one."""
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise Bad("has a run-length mask whose counts are not COCO's compressed text; export "
                      "it again")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise Bad("has a run-length mask whose counts end in the middle of a number; export it "
                  "again")
    return runs
