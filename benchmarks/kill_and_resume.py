"""One training killed at random moments and started again each time, against undisturbed ones.

    python benchmarks/kill_and_resume.py [--kills 10] [--seeds 0,1,2]

The peer is the same training left alone: from the same seed, and from others, whose scores say
what noise is. SIGKILL comes at moments drawn evenly from the first minute of each start: during
imports, tracing, steps, checkpoints and validations. After each kill every file that is left is
read; at the end nothing half-written may lie in the model directory. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import ROOT, machine, print_json, say

FULL = {"size": 128, "scenes": 300, "kills": 10, "longest": 45.0, "settings": {
    "trainer.train_steps": 240, "trainer.validation_interval": 60,
    "trainer.checkpoint_interval": 20, "task.model.input_size": [128, 128, 3]}}
QUICK = {"size": 64, "scenes": 12, "kills": 2, "longest": 30.0, "settings": {
    "trainer.train_steps": 12, "trainer.validation_interval": 4, "trainer.steps_per_loop": 2,
    "trainer.checkpoint_interval": 2, "task.model.input_size": [64, 64, 3],
    "task.train_data.global_batch_size": 2, "task.model.backbone.resnet.depth_multiplier": 0.25,
    "task.model.decoder.fpn.num_filters": 16}}


def measure(case: dict, seeds: list[int], folder: Path) -> dict:
    """Trains undisturbed from every seed, and once more from the first with kills."""
    from crater_model.records.write import write_records
    from crater_model.synthesis import synthesize

    size = case["size"]
    data = synthesize(folder / "terrain", case["scenes"], (size, size))
    write_records(folder / "terrain", folder / "records", splits=(0.7, 0.3, 0.0))
    undisturbed = {}
    for seed in seeds:
        process = start(case, seed, folder / f"seed-{seed}")
        undisturbed[seed] = summary(finish(process))
        say(f"undisturbed, seed {seed}: {undisturbed[seed]}")
    killed, kills = with_kills(case, seeds[0], folder / "killed")
    scores = [run["mask_AP"] for run in undisturbed.values()]
    return {
        "machine": machine(), "data": data, "settings": case["settings"],
        "undisturbed": undisturbed, "killed": killed, "kills": kills,
        "undisturbed_mask_AP": {"mean": round(statistics.mean(scores), 4), "deviation": round(
            statistics.stdev(scores), 4) if len(scores) > 1 else None},
        "killed_less_same_seed": round(killed["mask_AP"] - undisturbed[seeds[0]]["mask_AP"], 4),
        "mask_AP_ratio": round(killed["mask_AP"] / statistics.mean(scores), 4) if all(scores)
        else None}


def with_kills(case: dict, seed: int, model: Path) -> tuple[dict, list[dict]]:
    """The result of a training that was killed `kills` times, and what each kill left."""
    moments, kills = random.Random(0), []
    while len(kills) < case["kills"]:
        process = start(case, seed, model)
        moment = moments.uniform(0.0, case["longest"])
        try:
            process.wait(moment)
            raise SystemExit(f"the training ended before its kill number {len(kills) + 1}: "
                             "raise the steps")
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        kills.append({"seconds": round(moment, 1), **inspect(model)})
        say(f"kill {len(kills)}: {kills[-1]}")
    result = finish(start(case, seed, model))
    left = inspect(model)
    steps = [row["step"] for row in result["history"] if row["kind"] == "validation"]
    if left["half_written"] or steps != sorted(set(steps)):
        raise SystemExit(f"{model}: left {left}, validations at {steps}")
    return {**summary(result), "validations": steps}, kills


def inspect(model: Path) -> dict:
    """Reads all that a model directory holds; anything unreadable raises."""
    import tensorflow as tf

    from crater_model.training import read_history

    rows, checkpoints = read_history(model), 0
    for index in model.rglob("ckpt-*.index"):
        reader = tf.train.load_checkpoint(str(index.with_suffix("")))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)  # each has a checksum
        checkpoints += 1
    latest = tf.train.latest_checkpoint(str(model))
    best = [row["step"] for row in rows if row["kind"] == "validation"]
    if best and not list((model / "best").glob("ckpt-*.index")):
        raise SystemExit(f"{model}: validated at {best}, but best/ holds no checkpoint")
    half = [path.name for path in model.rglob("*")
            if path.name.startswith(".") or path.name.endswith("_temp")]
    return {"step": int(latest.rpartition("-")[2]) if latest else 0, "checkpoints": checkpoints,
            "rows": len(rows), "half_written": half}


def start(case: dict, seed: int, model: Path) -> subprocess.Popen:
    """The command line's training, in a process of its own."""
    settings = {**case["settings"], "task.train_data.seed": seed}
    command = [sys.executable, "-m", "crater_model.cli", "train", str(model.parent / "records"),
               "--model-dir", str(model), "--json"]
    command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                            text=True)


def finish(process: subprocess.Popen) -> dict:
    started = time.monotonic()
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the training ended with {process.returncode}")
    return {**json.loads(output), "wall": round(time.monotonic() - started, 1)}


def summary(result: dict) -> dict:
    return {"mask_AP": round(result["metrics"].get("mask_AP", 0.0), 4),
            "loss": round(result["loss"], 4), "steps": result["steps"],
            "seconds_of_last_start": result["wall"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny network, two kills, one seed")
    parser.add_argument("--kills", type=int)
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")])
    options = parser.parse_args()
    case = dict(QUICK if options.quick else FULL)
    if options.kills is not None:
        case["kills"] = options.kills
    with tempfile.TemporaryDirectory() as folder:
        print_json(measure(case, options.seeds or ([0] if options.quick else [0, 1, 2]),
                           Path(folder)))


if __name__ == "__main__":
    main()
