"""What was found in one whole image, each crater once: one typed table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from shapely import Polygon


@dataclass(frozen=True)
class Craters:
    """Craters of one image, in its px: x right, y down, the first pixel's corner at (0, 0).

    Attributes:
      outlines: object [n], shapely polygons in px.
      scores: float32 [n], 0..1.
      classes: int64 [n], ids of the label map.
      scales: float32 [n], network px per image px of the pass that found it.
      edge: bool [n], whether the image's own edge (or missing data beside it) cuts the crater,
        so that its size is a lower limit.
      size: (height, width) of the image in px.
      label_map: class id -> name.
    """

    outlines: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    scales: np.ndarray
    edge: np.ndarray
    size: tuple[int, int]
    label_map: dict[int, str] = field(default_factory=lambda: {1: "crater"})

    def __post_init__(self):
        n = len(self.outlines)
        lengths = [len(a) for a in (self.scores, self.classes, self.scales, self.edge)]
        if any(length != n for length in lengths):
            raise ValueError(f"Invalid Craters: got lengths {[n, *lengths]}, expected them equal")

    def __len__(self) -> int:
        return len(self.outlines)

    @classmethod
    def empty(cls, size: tuple[int, int], label_map: dict[int, str] | None = None) -> Craters:
        """No crater in an image of `size` (height, width) px."""
        return cls(np.empty(0, object), np.zeros(0, np.float32), np.zeros(0, np.int64),
                   np.zeros(0, np.float32), np.zeros(0, bool), size, label_map or {1: "crater"})

    @classmethod
    def joined(cls, parts: Sequence[Craters]) -> Craters:
        """The craters of several tables of one image; at least one table."""
        columns = {name: np.concatenate([getattr(part, name) for part in parts])
                   for name in ("outlines", "scores", "classes", "scales", "edge")}
        label_map = {number: name for part in reversed(parts)
                     for number, name in part.label_map.items()}
        return cls(**columns, size=parts[0].size, label_map=label_map)

    @property
    def boxes(self) -> np.ndarray:
        """The outlines' bounds, float32 [n, 4]: ymin, xmin, ymax, xmax in px."""
        return shapely.bounds(self.outlines)[:, [1, 0, 3, 2]].astype(np.float32)

    def polygons(self) -> list[Polygon]:
        """The outlines, as `Detections.polygons` gives them."""
        return list(self.outlines)

    def select(self, keep: np.ndarray) -> Craters:
        """The craters at these indices, or where this mask is true."""
        return Craters(self.outlines[keep], self.scores[keep], self.classes[keep],
                       self.scales[keep], self.edge[keep], self.size, self.label_map)
