"""Time and memory that cutting chips takes, beside the usual way of cutting them.

Each case runs in a process of its own, whose peak memory and wall time (from reading the labels to
the finished folder, without imports) are measured:

- `moon`: the 4096 x 4096 px GeoTIFF of `moon_geo` in the folder that `--real` or CRATER_REAL_DATA
  names, at three scales (goal: below 500 MB); without such a folder it is left out;
- `whole_image`: the usual way with the same chips: opened and resized whole by Pillow, then
  sliced; the labels are clipped and written as in `moon`;
- `sparse`: a GeoTIFF of `--side` px a side, nearly all of it without data (the same goal).
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import grid, peak_mb, ratio, say

FULL = {"real": os.environ.get("CRATER_REAL_DATA", ""), "side": 40_000}
QUICK = {"side": 8_000}
SIZE, OVERLAP, SCALES = 256, 0.25, (0.5, 0.25, 0.125)
RASTER = "moon_gld100_hillshade_eqc.tif"
MOON_SIDE = 4096
PATCH = 2048  # side of the sparse image's filled pieces, px


def moon_dataset(folder: str, real: str) -> dict:
    """The real labels, with the GeoTIFF as their image."""
    from crater_model.imagery.raster import read_header

    source, root = Path(real) / "moon_geo", Path(folder)
    document = json.loads((source / "annotations.json").read_text())
    (root / "images").mkdir(parents=True)
    (root / "images" / RASTER).symlink_to((source / RASTER).resolve())
    place = read_header(source / RASTER).georeference
    document["images"][0].update(file_name=RASTER, georeference=place.to_json())
    (root / "annotations.json").write_text(json.dumps(document))
    return {"craters": len(document["annotations"])}


def sparse_dataset(folder: str, side: int) -> dict:
    """A few noisy patches in an image that holds nothing else, and labels on them."""
    import numpy as np
    import rasterio
    from rasterio.windows import Window

    from benchmarks.data import geotiff
    from crater_model.annotations.outline import ellipse

    rng, root = np.random.default_rng(0), Path(folder)
    (root / "images").mkdir(parents=True)
    annotations = []
    with geotiff(root / "images" / "sparse.tif", side, sparse_ok=True, nodata=0,
                 crs="+proj=eqc +R=1737400 +units=m",
                 transform=rasterio.Affine(100, 0, -2e6, 0, -100, 2e6)) as out:
        for left, top in (256 * rng.integers(0, (side - PATCH) // 256, (12, 2))).tolist():
            pixels = rng.integers(1, 256, (PATCH, PATCH), dtype=np.uint8)
            out.write(pixels, 1, window=Window(left, top, PATCH, PATCH))
            for radius in np.exp(rng.uniform(np.log(10), np.log(200), 25)):
                x, y = rng.uniform(radius, PATCH - radius, 2)
                ring = ellipse(left + x, top + y, radius, radius).ravel().tolist()
                annotations.append({"id": len(annotations) + 1, "image_id": 1, "category_id": 1,
                                    "segmentation": [ring]})
    (root / "annotations.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "sparse.tif", "width": side, "height": side}],
        "annotations": annotations, "categories": [{"id": 1, "name": "crater"}]}))
    return {"craters": len(annotations)}


def windows(folder: str, out: str) -> dict:
    """Cuts the data set and says how many chips that gave."""
    import crater_model.annotations.coco  # noqa: F401  not to be timed
    from crater_model.chips import cut_chips

    before, started = peak_mb(), time.perf_counter()
    report = cut_chips(folder, out, SIZE, SCALES, OVERLAP)
    return {"seconds": round(time.perf_counter() - started, 2), "imports_mb": before,
            "chips": report.chips, "instances": report.instances, "lost": report.lost,
            "left_out_invalid": report.left_out_invalid}


def whole_image(folder: str, out: str) -> dict:
    """The usual way: the image whole, at each scale whole. Labels as in `windows`."""
    import numpy as np
    from PIL import Image

    from crater_model.annotations.dataset import load_dataset, save_dataset
    from crater_model.chips.windows import Outlines, positions

    Image.MAX_IMAGE_PIXELS = None
    before, started = peak_mb(), time.perf_counter()
    dataset = load_dataset(folder)
    scene, outlines = dataset.scenes[0], Outlines(dataset.scenes[0].instances)
    image = Image.open(dataset.image_path(scene))
    count = labels = 0

    def chips():
        nonlocal count, labels
        for scale in SCALES:
            width, height = int(image.width * scale), int(image.height * scale)
            pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
            for y in positions(height, SIZE, OVERLAP):
                for x in positions(width, SIZE, OVERLAP):
                    shown = outlines.inside(x / scale, y / scale, SIZE, SIZE, scale, 0.5, 4.0)
                    count, labels = count + 1, labels + len(shown.instances)
                    chip = replace(scene, id=count, file_name=f"{scale:g}_{x}_{y}.png",
                                   width=SIZE, height=SIZE, instances=shown.instances,
                                   offset=(x / scale, y / scale), scale=scale, georeference=None)
                    yield chip, np.ascontiguousarray(pixels[y:y + SIZE, x:x + SIZE])

    save_dataset(out, chips(), dataset.label_map)
    return {"seconds": round(time.perf_counter() - started, 2), "imports_mb": before,
            "chips": count, "instances": labels}


def measure(bench, real: str, side: int) -> dict:
    found = {"scales": SCALES, "size": SIZE, "side": side}

    def case(name: str, function, data: str, side: int) -> dict:
        found[name] = bench.child(name, function, folder=bench.folder / data,
                                  out=bench.folder / f"{name}_chips")
        megapixels = len(SCALES) * side**2 / 1e6  # once for each scale
        found[name]["mpx_per_second"] = round(megapixels / found[name]["seconds"], 1)
        return found[name]

    if real and (Path(real) / "moon_geo").is_dir():
        found["data"] = bench.child("moon_data", moon_dataset, folder=bench.folder / "moon_geo",
                                    real=real)
        ours, usual = (case("moon", windows, "moon_geo", MOON_SIDE),
                       case("whole_image", whole_image, "moon_geo", MOON_SIDE))
        found["moon_against_whole_image"] = {
            "time": ratio(ours["seconds"], usual["seconds"]),
            "memory": ratio(ours["peak_mb"], usual["peak_mb"])}
    else:
        say("no folder with moon_geo was named: without the real image")
    bench.child("sparse_data", sparse_dataset, folder=bench.folder / "sparse_geo", side=side)
    case("sparse", windows, "sparse_geo", side)
    return found


def table(found: dict) -> str:
    names = {"moon": "4096 x 4096 GeoTIFF, in windows", "whole_image": "the same, whole",
             "sparse": f"{found['side']:,} x {found['side']:,} sparse GeoTIFF, in windows"}
    return grid({"": "{text}", "peak MB": "{peak_mb}", "seconds": "{seconds:.1f}",
                 "chips": "{chips}"},
                [{"text": text, **found.get(name, {})} for name, text in names.items()])
