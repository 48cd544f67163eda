"""What the detector found in one image: one typed container, passed everywhere."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from shapely import Polygon

from crater_model.detections.contours import MASK_THRESHOLD, outlines


@dataclass(frozen=True)
class Detections:
    """Detections in one image, best first, in that image's own pixels.

    Attributes:
      boxes: float32 [n, 4], ymin, xmin, ymax, xmax in px; the first pixel's corner
        is at (0, 0).
      scores: float32 [n], 0..1.
      classes: int64 [n], ids of the label map (1 is the first class).
      masks: uint8 [n, m, m], probability x 255 on a grid of m x m cells that
        divides the box evenly (the sample stands at the middle of its cell).
      size: (height, width) of the image in px.
      label_map: class id -> name.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: np.ndarray
    size: tuple[int, int]
    label_map: dict[int, str] = field(default_factory=lambda: {1: "crater"})

    def __len__(self) -> int:
        return len(self.scores)

    def __post_init__(self):
        n = len(self.scores)
        shapes = [np.shape(a)[:1] for a in (self.boxes, self.scores, self.classes, self.masks)]
        if any(shape != (n,) for shape in shapes):
            raise ValueError(f"Invalid Detections: got lengths {shapes}, expected them equal")

    @classmethod
    def empty(cls, size: tuple[int, int], mask_size: int = 28, label_map=None) -> Detections:
        """No detection in an image of `size` (height, width) px."""
        return cls(
            np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64),
            np.zeros((0, mask_size, mask_size), np.uint8), size, label_map or {1: "crater"})

    def select(self, keep: np.ndarray) -> Detections:
        """The detections at these indices, or where this mask is true."""
        return Detections(self.boxes[keep], self.scores[keep], self.classes[keep],
                          self.masks[keep], self.size, self.label_map)

    def polygons(self, threshold: float = MASK_THRESHOLD) -> list[Polygon]:
        """The outline of each detection in px of the image (x right, y down), clipped to it.

        `threshold`: the probability, 0..1, at which the outline runs.
        """
        return outlines(self.masks, self.boxes, self.size, threshold)
