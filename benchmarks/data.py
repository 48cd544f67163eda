"""Images that benchmarks are made on: rendered terrain with so many labels, tiled GeoTIFFs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import rasterio
import shapely

from crater_model.annotations.dataset import save_dataset
from crater_model.annotations.outline import ellipse
from crater_model.annotations.scene import Instance, Scene
from crater_model.synthesis import render_scene

DISTINCT = 8  # scenes, which come in turn


def terrain_dataset(folder: str, size: int, craters: int, images: int) -> dict:
    """A data set of `images` square scenes of `size` px with exactly `craters` labels each.

    The scenes are rendered terrain. The labels are the rendered rims; where fewer of them show
    than wanted, ellipses are added at random places (they cost as much to store, read and match
    as others).

    Returns:
      what it holds, with the image files' bytes and bits per px.
    """
    made = [_scene(size, craters, number) for number in range(min(DISTINCT, images))]
    save_dataset(folder, _repeated(made, size, images), {1: "crater"})
    total = sum(path.stat().st_size for path in (Path(folder) / "images").iterdir())
    return {"size_px": size, "craters": craters, "images": images, "distinct_images": len(made),
            "rendered_labels": sum(shown for _, _, shown in made) // len(made),
            "image_bytes": total, "bits_per_px": round(8 * total / images / size**2, 2)}


def _scene(size: int, craters: int, number: int):
    """(PNG bytes, outlines, how many of them show) of one rendered scene."""
    rng = np.random.default_rng((size, craters, number))
    rendered = render_scene((size, craters, number), size, size, count=craters)
    rims = [np.clip(rim, 0, size) for rim in rendered.rims[:craters]]
    shown = len(rims)
    while len(rims) < craters:
        # Of two rims, so that these are larger than the rendered ones; most are `size` / 8.
        low, high = ((rims[rng.integers(shown)].min(axis=0), rims[rng.integers(shown)].max(axis=0))
                     if shown else (np.zeros(2), np.full(2, size / 8)))
        radius = float(np.clip(np.abs(high - low).max() / 2, 3, size / 8))
        x, y = rng.uniform(radius, size - radius, 2)
        rims.append(ellipse(x, y, radius, radius * rng.uniform(0.8, 1.0)))
    _, png = cv2.imencode(".png", rendered.image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return png.tobytes(), rims, shown


def _repeated(made: list, size: int, images: int) -> Iterable:
    for number in range(images):
        png, rims, _ = made[number % len(made)]
        instances = tuple(Instance(0, 1, (rim,), shapely.Polygon(rim).area) for rim in rims)
        yield Scene(number + 1, f"{number:05d}.png", size, size, instances, split="train"), png


def geotiff(path: Path, side: int, **more):
    """A GeoTIFF of `side` px on the Moon in tiles of 256 px, uint8, open for writing."""
    options = {"crs": "IAU_2015:30100", "compress": "deflate",
               "transform": rasterio.transform.from_origin(10, 5, 1e-4, 1e-4), **more}
    return rasterio.open(path, "w", driver="GTiff", width=side, height=side, count=1,
                         dtype="uint8", tiled=True, blockxsize=256, blockysize=256, **options)
