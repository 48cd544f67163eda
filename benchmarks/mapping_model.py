"""A trained model on one large rendered scene, from the image to the map.

The scene is rendered as training scenes are, with other random numbers, and mapped through
`mapping.detect.searched`, as `crater detect` does. A crater is `lost` where no outline shares an IoU
of 0.25 with it, `doubled` where a second one does, and an outline `of_none` where it shares that with
no labelled crater; all of them as shares of the craters too. The random numbers behind the light
decide much: one scene has one sun.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import shapely

from benchmarks.data import geotiff
from benchmarks.harness import fill
from tests.mapping.oracle import lost_and_doubled

FULL = {"model": "", "side": 8192, "craters": 20_000, "threshold": 0.5}
QUICK = {"side": 1024, "craters": 300}
SEED = 8192


def render(path: str, side: int, craters: int) -> dict:
    """Renders the scene into a GeoTIFF in tiles, its rims beside it."""
    from crater_model.synthesis.scene import render_scene

    rendered = render_scene(SEED, side, side, count=craters)
    with geotiff(Path(path), side, compress="none") as file:
        file.write(rendered.image, 1)
    rims = [shapely.polygons(rim) for rim in rendered.rims]
    Path(path).with_suffix(".wkb").write_bytes(shapely.to_wkb(shapely.geometrycollections(rims)))
    return {"labelled": len(rims), "sun_elevation_deg": round(rendered.sun[1], 1)}


def mapped(path: str, model: str, threshold: float) -> dict:
    """Maps the scene and compares with its labels."""
    from crater_model.mapping.detect import searched

    known = np.array(shapely.from_wkb(Path(path).with_suffix(".wkb").read_bytes()).geoms, object)
    started = time.perf_counter()
    with searched([path], Path(path).with_suffix(".partial"), model=model,
                  threshold=threshold) as (maps, parameters):
        seconds = time.perf_counter() - started
        craters = maps[0].craters
    counts = lost_and_doubled(known, craters.outlines)
    height, width = craters.size
    return {"found": len(craters), **counts,
            "percent": {name: round(100 * n / len(known), 2) for name, n in counts.items()},
            "seconds": round(seconds, 1), "parameters": parameters,
            "megapixels_per_second": round(width * height / 1e6 / seconds, 3)}


def measure(bench, model: str, side: int, craters: int, threshold: float) -> dict:
    if not model:
        raise SystemExit("name a --model, a model directory or SavedModel")
    path = bench.folder / "scene.tif"
    scene = bench.child("scene", render, path=path, side=side, craters=craters)
    found = bench.child("mapped", mapped, path=path, model=Path(model).absolute(),
                        threshold=threshold)
    return {"side_px": side, "scene": scene, "map": found}


def table(found: dict) -> str:
    return fill("""
        | | {side_px} x {side_px} px |
        |---|---|
        | labelled craters | {scene.labelled:,} |
        | found at score {settings.threshold} | {map.found:,} |
        | lost | {map.lost:,} ({map.percent.lost:.1f} %) |
        | doubled | {map.doubled:,} ({map.percent.doubled:.2f} %) |
        | of no labelled crater | {map.of_none:,} ({map.percent.of_none:.1f} %) |
        | seconds, megapixels a second | {map.seconds:.0f}, {map.megapixels_per_second:.2f} |
        | MB, with TensorFlow | {map.peak_mb:,} |""", found)
