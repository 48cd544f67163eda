"""A trained model on one large rendered scene, from the image to the map.

    python benchmarks/mapping_model.py --model MODEL_DIR [--side 8192] [--craters 20000]

Prints one JSON object. The scene is rendered as training scenes are, with other random numbers,
and mapped through `mapping.detect.searched`, as `crater detect` does. A crater is `lost` where no
outline shares an IoU of 0.25 with it, `doubled` where a second one does, and an outline `of_none`
where it shares that with no labelled crater; all of them as shares of the craters too. The random
numbers behind the light decide much: one scene has one sun.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import shapely

from common import in_child, machine, main_child, print_json, say

SEED = 8192
TILES = 256  # px, of the file


def render(path: str, side: int, craters: int) -> dict:
    """Renders the scene into a GeoTIFF in tiles, its rims beside it."""
    import rasterio

    from crater_model.synthesis.scene import render_scene

    rendered = render_scene(SEED, side, side, count=craters)
    with rasterio.open(path, "w", driver="GTiff", width=side, height=side, count=1, dtype="uint8",
                       tiled=True, blockxsize=TILES, blockysize=TILES, crs="IAU_2015:30100",
                       transform=rasterio.transform.from_origin(10, 5, 1e-4, 1e-4)) as file:
        file.write(rendered.image, 1)
    rims = [shapely.polygons(rim) for rim in rendered.rims]
    Path(path).with_suffix(".wkb").write_bytes(shapely.to_wkb(shapely.geometrycollections(rims)))
    return {"labelled": len(rims), "sun_elevation_deg": round(rendered.sun[1], 1)}


def mapped(path: str, model: str, threshold: float) -> dict:
    """Maps the scene and compares with its labels."""
    from crater_model.mapping.detect import searched
    from oracle import lost_and_doubled

    known = np.array(shapely.from_wkb(Path(path).with_suffix(".wkb").read_bytes()).geoms, object)
    started = time.perf_counter()
    with searched([path], Path(path).with_suffix(".partial"), model=model,
                  threshold=threshold) as (maps, parameters):
        seconds = time.perf_counter() - started
        craters = maps[0].craters
    counts = lost_and_doubled(known, craters.outlines)
    width = maps[0].craters.size[1]
    return {"found": len(craters), **counts,
            "percent": {name: round(100 * n / len(known), 2) for name, n in counts.items()},
            "seconds": round(seconds, 1), "parameters": parameters,
            "megapixels_per_second": round(width * craters.size[0] / 1e6 / seconds, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="model directory or SavedModel")
    parser.add_argument("--side", type=int, default=8192, help="px")
    parser.add_argument("--craters", type=int, default=20_000)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        main_child(options.child, {"render": render, "mapped": mapped})
        return
    if not options.model:
        parser.error("name a --model")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "scene.tif")
        say(f"rendering {options.side} x {options.side} px ...")
        scene = in_child(__file__, "render", path=path, side=options.side, craters=options.craters)
        say(f"  {scene}")
        found = in_child(__file__, "mapped", path=path, model=str(Path(options.model).absolute()),
                         threshold=options.threshold)
        print_json({"machine": machine(), "scene": scene, "map": found})


if __name__ == "__main__":
    main()
