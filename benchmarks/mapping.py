"""What it costs to turn tiles' detections into the craters of a large image, and what comes out.

    python benchmarks/mapping.py [--quick]

Prints one JSON object. An oracle stands for the network (see `oracle.py`): it finds each known
crater in every tile and at every scale that shows it, cut at the tile's edge, off by a pixel of
the network, scored at random. The images are tiled GeoTIFFs, read in windows.

- `scenes`: `mapping.map_image` with its journal over 8192 x 8192 px with 20,000 craters and over
  a quarter of it; how many craters are lost or doubled; Mpx/s without the oracle's own time;
  the largest resident size of the process while it maps (`streamed_peak_mb`; the craters go to
  the journal as they are found), then with all of them in one table (`peak_mb`), and their
  ratios between the scenes.
- `merging`: one detection a crater out of 50,000. `all_pairs` compares the outlines of all pairs,
  one by one, as the old system did; `all_pairs_in_rows` does so for one against all others at
  once in numpy. Each is measured for some outlines against all others (`measured_pairs`) and
  carried forward to all pairs (`seconds`).
- `end_to_end`: a scene small enough for the old way, in full: the same detections as typed arrays
  through `map_image`, and as JSON with masks of 33 x 33 numbers, each resized to its box, its
  contour taken in whole pixels, each outline compared with all that were kept before it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import shapely

from common import in_child, machine, main_child, peak_mb, print_json, ratio, say

FULL = {"side": 8192, "craters": 20_000, "detections": 50_000, "seconds": 20.0, "small": 4096}
QUICK = {"side": 1536, "craters": 700, "detections": 1500, "seconds": 0.5, "small": 1024}
MASK = 33  # cells of a mask's side, as the old system's


def write_places(path: Path, side: int) -> None:
    """A tiled GeoTIFF that the oracle can read, written in bands."""
    import rasterio

    from oracle import places

    options = {"driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "uint8",
               "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate",
               "crs": "IAU_2015:30100",
               "transform": rasterio.transform.from_origin(10, 5, 1e-4, 1e-4)}
    with rasterio.open(path, "w", **options) as file:
        for top in range(0, side, 256):
            piece = places(np.arange(side), np.arange(top, min(side, top + 256)))
            file.write(piece, 1, window=rasterio.windows.Window(0, top, side, len(piece)))


def prepare(path: str, side: int) -> dict:
    write_places(Path(path), side)
    return {"bytes": Path(path).stat().st_size}


class Timed:
    """A stream that knows how long it took itself."""

    def __init__(self, stream):
        self._stream, self.seconds, self.detections, self.tiles = stream, 0.0, 0, 0

    def __call__(self, images):
        for image in images:
            started = time.perf_counter()
            found, = self._stream([image])
            self.seconds += time.perf_counter() - started
            self.detections, self.tiles = self.detections + len(found), self.tiles + 1
            yield found


def scene(path: str, side: int, craters: int, folder: str) -> dict:
    """Maps a scene, and leaves its journal in the folder."""
    from crater_model.imagery.raster import open_raster
    from crater_model.mapping.craters import Craters
    from crater_model.mapping.journal import Journal
    from crater_model.mapping.sweep import map_image
    from oracle import SCALES, TILE, Oracle, field

    before = peak_mb()
    stream = Timed(Oracle(field(side, side, craters), side, side).stream)
    started = time.perf_counter()
    with open_raster(path) as raster, Journal(Path(folder) / "journal", {}) as journal:
        found = sum(map(len, map_image(stream, raster, TILE, SCALES, journal=journal)))
        seconds, streamed = time.perf_counter() - started, peak_mb()
        Craters.joined(list(journal.found()))
    without = seconds - stream.seconds
    return {"side_px": side, "craters": craters, "tiles": stream.tiles,
            "detections": stream.detections, "found": found, "seconds": round(seconds, 2),
            "seconds_without_oracle": round(without, 2), "peak_before_mb": before,
            "streamed_peak_mb": streamed, "megapixels_per_second": round(side**2 / 1e6 / without, 2)}


def score(folder: str, side: int, craters: int) -> dict:
    """What is right and wrong in the journal that `scene` has left."""
    from crater_model.mapping.craters import Craters
    from crater_model.mapping.journal import Journal
    from oracle import field, lost_and_doubled, nested, truth

    with Journal(Path(folder) / "journal", {}) as journal:
        outlines = Craters.joined(list(journal.found())).outlines
    known = field(side, side, craters)
    result = lost_and_doubled(truth(known, side, side), outlines)
    wrong = sum(result.values())
    inner = known[nested(known)]
    missed = lost_and_doubled(truth(inner, side, side), outlines)["lost"]
    return {**result, "wrong_percent": round(100 * wrong / craters, 3), "nested": len(inner),
            "nested_lost": missed}


def _detections(count: int, side: int, craters: int):
    """The first `count` candidates of a scene, in the order of its tiles."""
    from crater_model.mapping.candidates import Candidates, candidates
    from crater_model.mapping.sweep import OVERLAP
    from crater_model.mapping.tiles import plan
    from oracle import SCALES, TILE, Oracle, field

    oracle = Oracle(field(side, side, craters), side, side, mask=MASK)
    tiles = [tile for band in plan(side, side, TILE, SCALES, OVERLAP) for tile in band.tiles()]
    found = Candidates.joined([candidates(oracle.look(tile), tile, (side, side), None)
                               for tile in tiles])
    return found.select(np.arange(min(count, len(found.cut))))


def merging(count: int, side: int, craters: int, seconds: float) -> dict:
    """Ours over all, the others for `seconds` each."""
    from crater_model.mapping.merge import same_crater_keep

    found = _detections(count, side, craters)
    values = found.craters
    started = time.perf_counter()
    keep = same_crater_keep(values.outlines, values.scores, values.classes, found.cut)
    spent = time.perf_counter() - started
    result = {"detections": len(keep), "kept": int(keep.sum()),
              "ours": {"seconds": round(spent, 3)}}
    for name, row in (("all_pairs", _pairs), ("all_pairs_in_rows", _row)):
        result[name] = _all_pairs(values.outlines, row, seconds)
        result[f"times_{name}"] = ratio(result[name]["seconds"], spent)
    return result


def _pair(one, other) -> float:
    """IoU, as it is mostly written."""
    if not one.intersects(other):
        return 0.0
    shared = one.intersection(other).area
    return shared / (one.area + other.area - shared)


def _pairs(one, others) -> int:
    """How many are the same, one by one."""
    return sum(_pair(one, other) >= 0.2 for other in others)


def _row(one, others) -> int:
    """The same, all at once."""
    shared = shapely.area(shapely.intersection(one, others))
    return int((shared >= 0.2 * (shapely.area(one) + shapely.area(others) - shared)).sum())


def _all_pairs(outlines: np.ndarray, row, seconds: float) -> dict:
    n, pairs = len(outlines), 0
    started = time.perf_counter()
    for index in np.random.default_rng(0).permutation(n):
        row(outlines[index], outlines)
        pairs += n
        if time.perf_counter() - started > seconds:
            break
    spent = time.perf_counter() - started
    return {"measured_pairs": pairs, "measured_seconds": round(spent, 2),
            "pairs": n * (n - 1) // 2, "seconds": round(spent / pairs * n * (n - 1) / 2, 1)}


def _small(side: int, craters: int):
    """Tiles of a small scene and what is found in each."""
    from crater_model.mapping.sweep import OVERLAP
    from crater_model.mapping.tiles import plan
    from oracle import SCALES, TILE, Oracle, field

    known = field(side, side, craters, largest=side / 17)
    oracle = Oracle(known, side, side, mask=MASK)
    tiles = [tile for band in plan(side, side, TILE, SCALES, OVERLAP) for tile in band.tiles()]
    return known, tiles, [oracle.look(tile) for tile in tiles]


def ours(path: str, side: int, craters: int) -> dict:
    from crater_model.imagery.raster import open_raster
    from crater_model.mapping.craters import Craters
    from crater_model.mapping.sweep import map_image
    from oracle import SCALES, TILE, lost_and_doubled, truth

    known, tiles, answers = _small(side, craters)

    def stream(images):
        for _, answer in zip(images, answers, strict=True):
            yield answer

    before, started = peak_mb(), time.perf_counter()
    with open_raster(path) as raster:
        found = Craters.joined(list(map_image(stream, raster, TILE, SCALES)))
    return _outcome(started, before, side, answers,
                    lost_and_doubled(truth(known, side, side), found.outlines))


def old_way(path: str, side: int, craters: int) -> dict:
    """JSON masks, whole pixels, every pair with one that is kept; the image is read as ours is."""
    from crater_model.imagery.raster import open_raster
    from oracle import lost_and_doubled, truth

    known, tiles, answers = _small(side, craters)
    texts = [json.dumps({
        "detection_boxes": found.boxes.tolist(), "detection_scores": found.scores.tolist(),
        "detection_masks": (found.masks / np.float32(255)).tolist()}) for found in answers]
    before, started = peak_mb(), time.perf_counter()
    outlines, scores = [], []
    with open_raster(path) as raster:
        for tile, text in zip(tiles, texts):
            raster.read(tile.x0, tile.y0, tile.x1 - tile.x0, tile.y1 - tile.y0)
            answer = json.loads(text)
            for box, score_, mask in zip(*(answer[f"detection_{name}"]
                                           for name in ("boxes", "scores", "masks"))):
                outline = _whole_px_outline(np.array(mask, np.float32), box, tile)
                if outline is not None:
                    outlines.append(outline)
                    scores.append(score_)
    polygons = time.perf_counter()
    kept: list = []
    for index in np.argsort(-np.array(scores), kind="stable"):
        if all(_pair(outlines[index], other) < 0.2 for other in kept):
            kept.append(outlines[index])
    return {**_outcome(started, before, side, answers,
                       lost_and_doubled(truth(known, side, side), np.array(kept, object))),
            "comparing_seconds": round(time.perf_counter() - polygons, 2)}


def _whole_px_outline(mask: np.ndarray, box, tile):
    ymin, xmin, ymax, xmax = (int(round(v)) for v in box)
    size = max(1, xmax - xmin), max(1, ymax - ymin)
    solid = (cv2.resize(mask, size) > 0.5).astype(np.uint8)
    contours, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours or len(largest := max(contours, key=cv2.contourArea)) < 4:
        return None
    outline = shapely.Polygon(largest[:, 0] + (xmin + tile.x0, ymin + tile.y0))
    return outline if outline.is_valid else outline.buffer(0)


def _outcome(started: float, before: int, side: int, answers: list, result: dict) -> dict:
    seconds = time.perf_counter() - started
    return {"seconds": round(seconds, 3),
            "megapixels_per_second": round(side**2 / 1e6 / seconds, 3),
            "detections": sum(map(len, answers)), "peak_before_mb": before, **result}


TASKS = {"prepare": prepare, "scene": scene, "score": score, "merging": merging,
         "ours": ours, "old_way": old_way}


def child(task: str, **arguments) -> dict:
    """A task's result; the benchmark ends where it has none."""
    found = in_child(__file__, task, **arguments)
    if "failed" in found:
        raise SystemExit(f"{task}: {found['failed']}")
    say(f"{task} {arguments}: {found}")
    return found


def scenes(case: dict, folder: Path) -> dict:
    found = {}
    for name, share in (("whole", 1), ("quarter", 2)):
        side, craters = case["side"] // share, case["craters"] // share**2
        place = folder / name
        place.mkdir()
        child("prepare", path=str(place / "scene.tif"), side=side)
        mapped = child("scene", path=str(place / "scene.tif"), side=side, craters=craters,
                       folder=str(place))
        scored = child("score", folder=str(place), side=side, craters=craters)
        found[name] = {**mapped, **{k: v for k, v in scored.items() if k != "peak_mb"}}
    for what in ("streamed_peak_mb", "peak_mb"):
        found[f"{what[:-3]}_ratio"] = ratio(found["whole"][what], found["quarter"][what])
    return found


def measure(case: dict, folder: Path) -> dict:
    result = {"machine": machine(), "scenes": scenes(case, folder)}
    merged = child("merging", count=case["detections"], side=case["side"],
                   craters=case["craters"], seconds=case["seconds"])
    side = case["small"]
    small = {"path": str(folder / "small.tif"), "side": side,
             "craters": case["craters"] * side**2 // case["side"]**2}
    child("prepare", path=small["path"], side=side)
    both = {"side_px": side, "craters": small["craters"],
            "ours": child("ours", **small), "old_way": child("old_way", **small)}
    both["times_old_way"] = ratio(both["old_way"]["seconds"], both["ours"]["seconds"])
    return {**result, "merging": merged, "end_to_end": both}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a scene of 1536 x 1536 px")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        main_child(options.child, TASKS)
        return
    with tempfile.TemporaryDirectory() as folder:
        print_json(measure(QUICK if options.quick else FULL, Path(folder)))


if __name__ == "__main__":
    main()
