"""Time and memory that cutting chips takes, beside the usual way of cutting them.

    python benchmarks/chips.py [--real DIR] [--side 40000]

Prints one JSON object. Each case runs in a process of its own, whose peak memory and wall
time (from reading the labels to the finished folder, without imports) are measured:

- `moon`: the 4096 x 4096 px GeoTIFF of `moon_geo` in the folder that `--real` or
  CRATER_REAL_DATA names, at three scales (goal: below 500 MB);
- `whole_image`: the usual way with the same chips: opened and resized whole by Pillow,
  then sliced; the labels are clipped and written as in `moon`;
- `sparse`: a GeoTIFF of 40,000 x 40,000 px, nearly all of it without data (the same goal);
- `labels`: writing 50,000 outlines of 64 points, the labels' own memory;
- `imports`: nothing but the imports.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from common import peak_mb

SIZE, OVERLAP = 256, 0.25
SCALES = (0.5, 0.25, 0.125)
RASTER = "moon_gld100_hillshade_eqc.tif"
MOON = "+proj=eqc +R=1737400 +units=m"
PATCH = 2048  # side of the sparse image's filled pieces, px


def moon_dataset(folder: Path, real: Path) -> None:
    """The real labels, with the GeoTIFF as their image."""
    from crater_model.imagery.raster import read_header

    source = real / "moon_geo"
    document = json.loads((source / "annotations.json").read_text())
    (folder / "images").mkdir(parents=True)
    (folder / "images" / RASTER).symlink_to((source / RASTER).resolve())
    place = read_header(source / RASTER).georeference
    document["images"][0].update(file_name=RASTER, georeference=place.to_json())
    (folder / "annotations.json").write_text(json.dumps(document))


def sparse_dataset(folder: Path, side: int) -> None:
    """A few noisy patches in an image that holds nothing else, and labels on them."""
    import numpy as np
    import rasterio
    from rasterio.windows import Window

    from crater_model.annotations.outline import ellipse

    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    annotations = []
    with rasterio.open(folder / "images" / "sparse.tif", "w", driver="GTiff", width=side,
                       height=side, count=1, dtype="uint8", tiled=True, blockxsize=256,
                       blockysize=256, compress="deflate", sparse_ok=True, nodata=0,
                       crs=MOON, transform=rasterio.Affine(100, 0, -2e6, 0, -100, 2e6)) as out:
        for left, top in rng.integers(0, (side - PATCH) // 256, (12, 2)).tolist():
            left, top = left * 256, top * 256
            pixels = rng.integers(1, 256, (PATCH, PATCH), dtype=np.uint8)
            out.write(pixels, 1, window=Window(left, top, PATCH, PATCH))
            for radius in np.exp(rng.uniform(np.log(10), np.log(200), 25)):
                x, y = rng.uniform(radius, PATCH - radius, 2)
                ring = ellipse(left + x, top + y, radius, radius).ravel().tolist()
                annotations.append({"id": len(annotations) + 1, "image_id": 1, "category_id": 1,
                                    "segmentation": [ring]})
    (folder / "annotations.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "sparse.tif", "width": side, "height": side}],
        "annotations": annotations, "categories": [{"id": 1, "name": "crater"}]}))


def cut(folder: Path) -> dict:
    """Cuts the data set and says how many chips that gave."""
    from crater_model.chips import cut_chips

    report = cut_chips(folder, folder.parent / "chips", SIZE, SCALES, OVERLAP)
    return {"chips": report.chips, "instances": report.instances, "lost": report.lost,
            "left_out_invalid": report.left_out_invalid}


def cut_whole(folder: Path) -> dict:
    """The usual way: the image whole, at each scale whole. Labels as in `cut`."""
    import numpy as np
    from PIL import Image

    from crater_model.annotations.dataset import load_dataset, save_dataset
    from crater_model.chips.windows import Outlines, positions

    Image.MAX_IMAGE_PIXELS = None
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

    save_dataset(folder.parent / "whole", chips(), dataset.label_map)
    return {"chips": count, "instances": labels}


def write_labels(folder: Path) -> dict:
    """Outlines that exist only while they are written."""
    import numpy as np

    from crater_model.annotations.dataset import save_dataset
    from crater_model.annotations.scene import Instance, Scene

    turns = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    ring = 128 + 60 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    pixels = np.zeros((256, 256), np.uint8)
    scenes = ((Scene(i, f"{i}.png", 256, 256, tuple(
        Instance(0, 1, (ring + j / 7,), 11000.0) for j in range(100))), pixels)
        for i in range(500))
    save_dataset(folder, scenes, {1: "crater"})
    return {"instances": 50_000}


def nothing(folder: Path) -> dict:
    return {}


WORK = {"moon": cut, "whole_image": cut_whole, "sparse": cut, "labels": write_labels,
        "imports": nothing}


def child(case: str, folder: Path) -> None:
    import crater_model.annotations.coco  # noqa: F401

    started = time.perf_counter()
    found = WORK[case](folder)
    seconds = time.perf_counter() - started
    print(json.dumps({"peak_mb": peak_mb(), "seconds": round(seconds, 2), **found}))


def run(case: str, folder: Path, side: int) -> dict:
    """One case in a process of its own; Mpx/s are px of the image, once for each scale."""
    print(f"{case} ...", file=sys.stderr, flush=True)
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, __file__, "--case", case, "--folder", folder],
                          env={**os.environ, "PYTHONPATH": str(root)}, check=True,
                          stdout=subprocess.PIPE, text=True)
    values = json.loads(done.stdout)
    if side:
        values["mpx_per_second"] = round(len(SCALES) * side**2 / 1e6 / values["seconds"], 1)
    return values


def prepare(what: str, folder: Path, argument: str) -> None:
    """Writes a case's data set in a process of its own, which ends with its memory."""
    root = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, __file__, "--prepare", what, "--folder", folder,
                    "--argument", argument], check=True,
                   env={**os.environ, "PYTHONPATH": str(root)})


def measure(real: Path | None, side: int) -> dict:
    found = {"scales": SCALES, "size": SIZE, "cores": len(os.sched_getaffinity(0))}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found["imports"] = run("imports", folder, 0)
        if real is not None:
            prepare("moon", folder / "moon" / "data", str(real))
            ours = found["moon"] = run("moon", folder / "moon" / "data", 4096)
            usual = found["whole_image"] = run("whole_image", folder / "moon" / "data", 4096)
            found["moon_against_whole_image"] = {
                "time": round(ours["seconds"] / usual["seconds"], 2),
                "memory": round(ours["peak_mb"] / usual["peak_mb"], 2)}
        prepare("sparse", folder / "sparse" / "data", str(side))
        found["sparse"] = run("sparse", folder / "sparse" / "data", side)
        found["labels"] = run("labels", folder / "labels", 0)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, default=os.environ.get("CRATER_REAL_DATA"),
                        help="folder that holds moon_geo")
    parser.add_argument("--side", type=int, default=40_000, help="of the sparse image, px")
    for name in ("--case", "--prepare", "--argument"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        child(options.case, options.folder)
    elif options.prepare == "moon":
        moon_dataset(options.folder, Path(options.argument))
    elif options.prepare == "sparse":
        sparse_dataset(options.folder, int(options.argument))
    else:
        real = options.real and Path(options.real)
        if real is None or not (real / "moon_geo").is_dir():
            print("no folder with moon_geo was named: without the real image", file=sys.stderr)
            real = None
        json.dump(measure(real, options.side), sys.stdout, indent=2)
        print()


if __name__ == "__main__":
    main()
