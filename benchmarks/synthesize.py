"""How fast terrain is rendered, and what a data set of it holds.

    python benchmarks/synthesize.py [--scenes 400] [--workers 2] [--picture FILE.png]

Prints one JSON object: scenes/s with the data set written to disk (goal: 40 on two
cores at 256 x 256 px), CPU time a scene, and the labels' statistics. `--picture` writes
a contact sheet of scenes, one row of them once more with its labels.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from crater_model.annotations.dataset import load_dataset
from crater_model.synthesis import render_scene, synthesize

GREYS = 40  # in the contact sheet's palette; then white and the labels' yellow


def measure(scenes: int, workers: int) -> dict:
    """Renders a data set into a temporary folder and describes it."""
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        synthesize(Path(folder) / "terrain", scenes=scenes, workers=workers)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        dataset = load_dataset(Path(folder) / "terrain")
    diameters = [i.diameter for scene in dataset.scenes for i in scene.instances]
    counts = [len(scene.instances) for scene in dataset.scenes]
    percentiles = (5, 25, 50, 75, 95)
    return {
        "scenes": scenes, "workers": workers, "scenes_per_second": round(scenes / wall, 1),
        "cpu_ms_per_scene": round(1e3 * cpu / scenes, 1), "instances": len(diameters),
        "diameter_px_percentiles_5_25_50_75_95": np.percentile(diameters, percentiles).round(1)
        .tolist(),
        "craters_per_scene_percentiles_5_25_50_75_95": np.percentile(counts, percentiles)
        .round(1).tolist()}


def contact_sheet(path: Path, seed: int, columns: int = 4, side: int = 224) -> None:
    """Two rows of scenes, the second once more with its labels."""
    scenes = [[render_scene((seed, row, i), side, side) for i in range(columns)]
              for row in range(2)]
    plain = [[_shades(scene.image) for scene in row] for row in scenes]
    labelled = [picture.copy() for picture in plain[1]]
    for picture, scene in zip(labelled, scenes[1], strict=True):
        # cv2 puts a pixel's centre, not its corner, at whole numbers.
        rims = [np.rint((rim - 0.5) * 16).astype(np.int32) for rim in scene.rims]
        cv2.polylines(picture, rims, True, GREYS + 1, shift=4)
    frame = dict(top=2, bottom=2, left=2, right=2, borderType=cv2.BORDER_CONSTANT, value=GREYS)
    sheet = Image.fromarray(np.vstack(
        [np.hstack([cv2.copyMakeBorder(p, **frame) for p in row]) for row in [*plain, labelled]]))
    sheet.putpalette([v * 255 // (GREYS - 1) for v in range(GREYS) for _ in range(3)]
                     + [255, 255, 255, 255, 210, 0])
    sheet.save(path, optimize=True)


def _shades(image: np.ndarray) -> np.ndarray:
    """Palette indices; few greys keep the file small."""
    return (image.astype(np.uint16) * GREYS // 256).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--picture", type=Path, help="also write a contact sheet here")
    parser.add_argument("--seed", type=int, default=7, help="of the contact sheet")
    options = parser.parse_args()
    if options.picture:
        contact_sheet(options.picture, options.seed)
    json.dump(measure(options.scenes, options.workers), sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
