"""Writes the tables of README.md and benchmarks/README.md from `results`, one JSON file a benchmark.

    python -m benchmarks tables [--check]

A region between `<!-- table NAME -->` and `<!-- /table -->` gets what `results/NAME.json` shows, the one
between `<!-- benchmarks -->` and `<!-- /benchmarks -->` of README.md a choice of all. With `--check`
nothing is written, and the exit status is 1 where a page is not what this makes.
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

from benchmarks.harness import ROOT, fill

RESULTS = Path(__file__).with_name("results")
PAGES = (ROOT / "README.md", ROOT / "benchmarks" / "README.md")
CHOICE = """
| against | measured | here | peer | |
|---|---|---|---|---|
| Model Garden's decoder and parser | 1024 px, 400 craters, images/s and peak memory | {large.ours.images_per_second}, {large.ours.training_peak_mb} MB | {large.model_garden.images_per_second}, {large.model_garden.peak_mb} MB | {large.times_model_garden:.0f} times |
| | the same with the anchors' targets, which we make in the training step | {large.ours_and_targets.images_per_second}, {large.ours_and_targets.peak_mb} MB | | {large.with_targets_times_model_garden:.0f} times |
| | 256 px, 20 craters, images/s | {small.ours.images_per_second} | {small.model_garden.images_per_second} | {small.times_model_garden:.0f} times |
| Model Garden's COCO converter | 1024 px, 400 craters, records' size beside the PNGs' | {records.ours.size:.3f} | {records.model_garden.size:.3f} | {records.ours.times_model_garden:.0f} times as fast |
| Model Garden's task | mask AP after 400 steps, mean of three seeds | {training.sides.ours.mask_AP.mean:.3f} | {training.sides.model_garden.mask_AP.mean:.3f} | {training.sides.ours.seconds:.0f} against {training.sides.model_garden.seconds:.0f} s |
| opening the whole image with Pillow | 4096 x 4096 px into chips at three scales, seconds, MB | {chips.moon.seconds:.1f}, {chips.moon.peak_mb} | {chips.whole_image.seconds:.1f}, {chips.whole_image.peak_mb} | {chips.moon_against_whole_image.time:.1f} times the time; {chips.side:,} px square take {chips.sparse.peak_mb} MB |
| Model Garden's evaluator | 40 images with 300 craters, seconds | {scored.ours.seconds:.1f} | {scored.model_garden.seconds:.1f} | {scored.times_model_garden:.0f} times |
| YOLO11n-seg from scratch | mask AP on rendered terrain, four minutes each | {terrain.sides.ours.mask_AP:.3f} | {terrain.sides.yolo.mask_AP:.3f} | {terrain.times_yolo.ours.mask_AP:.2f} times ({terrain.times_other_yolo.mask_AP:.2f} against another run of it) |
| | mask AP (AP50) on NAC mosaics, about six minutes each | {mosaics.sides.ours.mask_AP:.3f} ({mosaics.sides.ours.mask_AP50:.3f}) | {mosaics.sides.yolo.mask_AP:.3f} ({mosaics.sides.yolo.mask_AP50:.3f}) | {mosaics.times_yolo.ours.mask_AP:.2f} ({mosaics.times_yolo.ours.mask_AP50:.2f}) times, with {mosaics.sides.ours.seconds:.0f} against {mosaics.sides.yolo.seconds:.0f} s |
| | the same, ours pre-trained on rendered terrain | {mosaics.sides.fine_tuned.mask_AP:.3f} ({mosaics.sides.fine_tuned.mask_AP50:.3f}) | | {mosaics.times_yolo.fine_tuned.mask_AP:.2f} ({mosaics.times_yolo.fine_tuned.mask_AP50:.2f}) times |
| the old system's JSON | bytes of a tile with 100 (500) craters | {wire.100.grpc.bytes:,} ({wire.500.grpc.bytes:,}) | {wire.100.old.bytes:,} | {wire.100.grpc.old_bytes_times:.0f} ({wire.500.grpc.old_bytes_times:.0f}) times less; {wire.100.grpc_gzip.old_bytes_times:.0f} ({wire.500.grpc_gzip.old_bytes_times:.0f}) in gzip |
| comparing all pairs | merging {merging.detections:,} detections, seconds | {merging.ours.seconds} | {merging.all_pairs.seconds:.0f} (extrapolated) | {merging.times_all_pairs:.0f} times |
"""


def result(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text())


def block(found: dict) -> str:
    """A result's tables, and when and where it was taken."""
    taken = found["taken"]
    notes = [text for text in (taken.get("source"), taken.get("beside")) if text]
    where = fill("Taken on {date} on {cores} cores ({processor}), {memory_gb} GB, Python {python}, "
                 "TensorFlow {packages.tensorflow}", taken)
    shown = importlib.import_module(f"benchmarks.{found['benchmark']}").table(found)
    return f"{shown}\n\n{'; '.join([where, *notes])}."


def choice() -> str:
    """The README's table: what each benchmark comes to."""
    cases = result("input_pipeline")["cases"]
    return fill(CHOICE, {
        "large": cases["1024px_400"], "small": cases["256px_20"],
        "records": result("records")["cases"]["1024:400:16"], "training": result("training"),
        "chips": result("chips"), "scored": result("evaluation")["cases"]["300"],
        "terrain": result("yolo_terrain"), "mosaics": result("yolo_mosaics"),
        "wire": result("serving")["wire"], "merging": result("mapping")["merging"]})


def written(text: str) -> str:
    """A page with its regions as `results` make them."""
    def table(match: re.Match) -> str:
        return f"{match[1]}\n{block(result(match[2]))}\n{match[3]}"

    text = re.sub(r"(<!-- table (\w+) -->)\n.*?(<!-- /table -->)", table, text, flags=re.S)
    return re.sub(r"(<!-- benchmarks -->)\n.*?(<!-- /benchmarks -->)",
                  lambda match: f"{match[1]}\n{choice()}\n{match[2]}", text, flags=re.S)


def main(arguments: list[str]) -> int:
    stale = [page for page in PAGES if written(page.read_text()) != page.read_text()]
    for page in stale:
        print(f"{page.relative_to(ROOT)}: {'is not what' if arguments else 'written from'} "
              "benchmarks/results")
        if not arguments:
            page.write_text(written(page.read_text()))
    return int(bool(stale and arguments))
