"""What it costs to turn tiles' detections into the craters of a large image, and what comes out.

An oracle stands for the network (see `tests/mapping/oracle.py`): it finds each known crater in every tile and
at every scale that shows it, cut at the tile's edge, off by a pixel of the network, scored at
random. The images are tiled GeoTIFFs, read in windows.

- `scenes`: `mapping.map_image` with its journal over `--side` px square with `--craters` and over
  a quarter of it; how many craters are lost or doubled; Mpx/s without the oracle's own time;
  the largest resident size of the process while it maps (`streamed_peak_mb`; the craters go to
  the journal as they are found), then with all of them in one table (`peak_mb`), and their
  ratios between the scenes.
- `merging`: one detection a crater out of `--detections`. `all_pairs` compares the outlines of all
  pairs, one by one, as the old system did: measured for some outlines against all others
  (`measured_pairs`, for `--seconds`) and carried forward to all pairs (`seconds`).
- `end_to_end`: a scene of `--small` px, small enough for the old way, in full: the same detections as
  typed arrays through `map_image`, and as JSON with masks of 33 x 33 numbers, each resized to its
  box, its contour taken in whole pixels, each outline compared with all that were kept before it.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import cv2
import numpy as np
import shapely

from benchmarks.data import geotiff
from benchmarks.harness import fill, peak_mb, ratio
from tests.mapping.oracle import (
    SCALES,
    TILE,
    Oracle,
    field,
    lost_and_doubled,
    nested,
    places,
    truth,
)

FULL = {"side": 8192, "craters": 20_000, "detections": 50_000, "seconds": 20.0, "small": 4096}
QUICK = {"side": 1536, "craters": 700, "detections": 1500, "seconds": 0.5, "small": 1024}
MASK = 33  # cells of a mask's side, as the old system's


def write_places(path: str, side: int) -> dict:
    """A tiled GeoTIFF that the oracle can read, written in bands."""
    import rasterio

    with geotiff(Path(path), side) as file:
        for top in range(0, side, 256):
            piece = places(np.arange(side), np.arange(top, min(side, top + 256)))
            file.write(piece, 1, window=rasterio.windows.Window(0, top, side, len(piece)))
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


def scene(path: str, journal: str, side: int, craters: int) -> dict:
    """Maps a scene, and leaves its journal."""
    from crater_model.imagery.raster import open_raster
    from crater_model.mapping.craters import Craters
    from crater_model.mapping.journal import Journal
    from crater_model.mapping.sweep import map_image

    before = peak_mb()
    stream = Timed(Oracle(field(side, side, craters), side, side).stream)
    started = time.perf_counter()
    with open_raster(path) as raster, Journal(Path(journal), {}) as left:
        found = sum(map(len, map_image(stream, raster, TILE, SCALES, journal=left)))
        seconds, streamed = time.perf_counter() - started, peak_mb()
        Craters.joined(list(left.found()))
    without = seconds - stream.seconds
    return {"side_px": side, "craters": craters, "tiles": stream.tiles,
            "detections": stream.detections, "found": found, "seconds": round(seconds, 2),
            "seconds_without_oracle": round(without, 2), "peak_before_mb": before,
            "streamed_peak_mb": streamed, "megapixels_per_second": round(side**2 / 1e6 / without, 2)}


def score(journal: str, side: int, craters: int) -> dict:
    """What is right and wrong in the journal that `scene` has left."""
    from crater_model.mapping.craters import Craters
    from crater_model.mapping.journal import Journal

    with Journal(Path(journal), {}) as left:
        outlines = Craters.joined(list(left.found())).outlines
    known = field(side, side, craters)
    result = lost_and_doubled(truth(known, side, side), outlines)
    inner = known[nested(known)]
    missed = lost_and_doubled(truth(inner, side, side), outlines)["lost"]
    return {**result, "wrong_percent": round(100 * sum(result.values()) / craters, 3),
            "nested": len(inner), "nested_lost": missed}


def merging(count: int, side: int, craters: int, seconds: float) -> dict:
    """Ours over the first `count` candidates of a scene, all pairs for `seconds`."""
    from crater_model.mapping.candidates import Candidates, candidates
    from crater_model.mapping.merge import same_crater_keep

    oracle = Oracle(field(side, side, craters), side, side, mask=MASK)
    found = Candidates.joined([candidates(oracle.look(tile), tile, (side, side), None)
                               for tile in oracle.tiles])
    found = found.select(np.arange(min(count, len(found.cut))))
    values = found.craters
    started = time.perf_counter()
    keep = same_crater_keep(values.outlines, values.scores, values.classes, found.cut)
    spent = time.perf_counter() - started
    pairs = all_pairs(values.outlines, seconds)
    return {"detections": len(keep), "kept": int(keep.sum()), "ours": {"seconds": round(spent, 3)},
            "all_pairs": pairs, "times_all_pairs": ratio(pairs["seconds"], spent)}


def _pair(one, other) -> float:
    """IoU, as it is mostly written."""
    if not one.intersects(other):
        return 0.0
    shared = one.intersection(other).area
    return shared / (one.area + other.area - shared)


def all_pairs(outlines: np.ndarray, seconds: float) -> dict:
    """One by one: some outlines against all, and how long all would take."""
    n, pairs = len(outlines), 0
    started = time.perf_counter()
    for index in np.random.default_rng(0).permutation(n):
        sum(_pair(outlines[index], other) >= 0.2 for other in outlines)
        pairs += n
        if time.perf_counter() - started > seconds:
            break
    spent = time.perf_counter() - started
    return {"measured_pairs": pairs, "measured_seconds": round(spent, 2),
            "pairs": n * (n - 1) // 2, "seconds": round(spent / pairs * n * (n - 1) / 2, 1)}


def _small(side: int, craters: int):
    """A small scene's craters, its tiles and what is found in each."""
    known = field(side, side, craters, largest=side / 17)
    oracle = Oracle(known, side, side, mask=MASK)
    return truth(known, side, side), oracle.tiles, [oracle.look(tile) for tile in oracle.tiles]


def ours(path: str, side: int, craters: int) -> dict:
    from crater_model.imagery.raster import open_raster
    from crater_model.mapping.craters import Craters
    from crater_model.mapping.sweep import map_image

    known, _, answers = _small(side, craters)

    def stream(images):
        for _, answer in zip(images, answers, strict=True):
            yield answer

    before, started = peak_mb(), time.perf_counter()
    with open_raster(path) as raster:
        found = Craters.joined(list(map_image(stream, raster, TILE, SCALES)))
    return _outcome(started, before, side, answers, lost_and_doubled(known, found.outlines))


def old_way(path: str, side: int, craters: int) -> dict:
    """JSON masks, whole pixels, every pair with one that is kept; the image is read as ours is."""
    from crater_model.imagery.raster import open_raster

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
                       lost_and_doubled(known, np.array(kept, object))),
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


def measure(bench, side: int, craters: int, detections: int, seconds: float, small: int) -> dict:
    scenes = {}
    for name, share in (("whole", 1), ("quarter", 2)):
        size = {"side": side // share, "craters": craters // share**2}
        path, journal = (bench.folder / f"{name}.{end}" for end in ("tif", "journal"))
        bench.child(f"{name}_places", write_places, path=path, side=size["side"])
        mapped = bench.child(name, scene, path=path, journal=journal, **size)
        scenes[name] = {**bench.child(f"{name}_score", score, journal=journal, **size), **mapped}
    for what in ("streamed_peak", "peak"):
        scenes[f"{what}_ratio"] = ratio(scenes["whole"][f"{what}_mb"],
                                        scenes["quarter"][f"{what}_mb"])
    size = {"path": bench.folder / "small.tif", "side": small,
            "craters": craters * small**2 // side**2}
    merged = bench.child("merging", merging, count=detections, side=side, craters=craters,
                         seconds=seconds)
    bench.child("small_places", write_places, path=size["path"], side=small)
    both = {"side_px": small, "craters": size["craters"], "ours": bench.child("ours", ours, **size),
            "old_way": bench.child("old_way", old_way, **size)}
    both["times_old_way"] = ratio(both["old_way"]["seconds"], both["ours"]["seconds"])
    return {"scenes": scenes, "merging": merged, "end_to_end": both}


def table(found: dict) -> str:
    return fill("""
        | | {w.side_px} x {w.side_px} px, {w.craters:,} craters | {q.side_px} x {q.side_px} px, {q.craters:,} craters |
        |---|---|---|
        | lost, doubled, of no crater | {w.lost}, {w.doubled}, {w.of_none} | {q.lost}, {q.doubled}, {q.of_none} |
        | nested ones lost | {w.nested_lost} of {w.nested:,} | {q.nested_lost} of {q.nested:,} |
        | megapixels a second | {w.megapixels_per_second} | {q.megapixels_per_second} |
        | peak while mapping, MB | {w.streamed_peak_mb} | {q.streamed_peak_mb} |
        | peak with the table of all joined, MB | {w.peak_mb} | {q.peak_mb} |

        | | seconds | MB | lost, doubled, of no crater |
        |---|---|---|---|
        | merging {m.detections:,} detections | {m.ours.seconds} | | |
        | the same by all pairs, **{m.times_all_pairs:.0f} times** as long | {m.all_pairs.seconds:.0f} (extrapolated) | | |
        | end to end, {e.side_px} x {e.side_px} px | {e.ours.seconds:.1f} | {e.ours.peak_mb} | |
        | the same, the old way, {e.times_old_way:.1f} times as long | {e.old_way.seconds:.1f} | {e.old_way.peak_mb} | {e.old_way.lost}, {e.old_way.doubled}, {e.old_way.of_none} |
        """, {"w": found["scenes"]["whole"], "q": found["scenes"]["quarter"], "m": found["merging"],
              "e": found["end_to_end"]})
