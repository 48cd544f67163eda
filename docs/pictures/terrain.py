"""Draws docs/pictures/terrain.png: two rows of scenes, the second once more with its labels.

    python docs/pictures/terrain.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from crater_model.synthesis import render_scene

SEED, COLUMNS, SIDE = 8, 4, 224
GREYS = 40  # in the palette; then white and the labels' yellow


def sheet() -> Image.Image:
    scenes = [[render_scene((SEED, row, i), SIDE, SIDE) for i in range(COLUMNS)]
              for row in range(2)]
    # Palette indices; few greys keep the file small.
    plain = [[(scene.image.astype(np.uint16) * GREYS // 256).astype(np.uint8) for scene in row]
             for row in scenes]
    labelled = [picture.copy() for picture in plain[1]]
    for picture, scene in zip(labelled, scenes[1], strict=True):
        # cv2 puts a pixel's centre, not its corner, at whole numbers.
        rims = [np.rint((rim - 0.5) * 16).astype(np.int32) for rim in scene.rims]
        cv2.polylines(picture, rims, True, GREYS + 1, shift=4)
    frame = {"top": 2, "bottom": 2, "left": 2, "right": 2,
             "borderType": cv2.BORDER_CONSTANT, "value": GREYS}
    drawn = Image.fromarray(np.vstack(
        [np.hstack([cv2.copyMakeBorder(p, **frame) for p in row]) for row in [*plain, labelled]]))
    drawn.putpalette([v * 255 // (GREYS - 1) for v in range(GREYS) for _ in range(3)]
                     + [255, 255, 255, 255, 210, 0])
    return drawn


if __name__ == "__main__":
    sheet().save(Path(__file__).with_suffix(".png"), optimize=True)
