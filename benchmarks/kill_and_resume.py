"""One training killed at random moments and started again each time, against undisturbed ones.

The peer is the same training left alone: from the same seed, and from others, whose scores say
what noise is. SIGKILL comes at random moments, `--longest` seconds late at most: of every two, one
after steps have been made (in steps, checkpoints and validations), one at any time since the start
(in imports, restoring and tracing too). After each kill every file that is left is read; at the end
nothing half-written may lie in the model directory.
"""

from __future__ import annotations

import json
import random
import signal
import statistics
import subprocess
import time
from pathlib import Path

from benchmarks.harness import ROOT, crater, fill, say

FULL = {"size": 128, "scenes": 300, "kills": 10, "longest": 20.0, "seeds": (0, 1, 2), "steps": 600}
QUICK = {"size": 64, "scenes": 12, "kills": 2, "longest": 1.0, "seeds": (0,), "steps": 12}
# With fewer steps than this a training is no more than its machinery, and its network tiny.
FEW = 100
SMALL = {"trainer.steps_per_loop": 2, "task.train_data.global_batch_size": 2,
         "task.model.backbone.resnet.depth_multiplier": 0.25,
         "task.model.decoder.fpn.num_filters": 16}


def settings_of(size: int, steps: int) -> dict:
    """A validation ten times or three times, three or two checkpoints between them."""
    few = steps < FEW
    interval = steps // (3 if few else 10)
    return {"trainer.train_steps": steps, "trainer.validation_interval": interval,
            "trainer.checkpoint_interval": interval // (2 if few else 3),
            "task.model.input_size": [size, size, 3], **(SMALL if few else {})}


def measure(bench, size: int, scenes: int, kills: int, longest: float, seeds, steps: int) -> dict:
    """Trains undisturbed from every seed, and once more from the first with kills."""
    data = bench.crater("data", "synthesize", bench.folder / "terrain", scenes=scenes,
                        size=f"{size}x{size}")
    bench.crater("written", "records", "write", bench.folder / "terrain", bench.folder / "records",
                 splits="0.7,0.3,0")
    settings = settings_of(size, steps)
    undisturbed = {}
    for seed in seeds:
        undisturbed[seed] = summary(finish(start(settings, seed, bench.folder / f"seed-{seed}")))
        say(f"undisturbed, seed {seed}: {undisturbed[seed]}")
    killed, left = with_kills(settings, seeds[0], bench.folder / "killed", kills, longest)
    scores = [run["mask_AP"] for run in undisturbed.values()]
    return {"data": data, "training": settings, "undisturbed": undisturbed, "killed": killed,
            "kills": left, "undisturbed_mask_AP": {
                "mean": round(statistics.mean(scores), 4),
                "deviation": round(statistics.stdev(scores), 4) if len(scores) > 1 else None}}


def with_kills(settings: dict, seed: int, model: Path, kills: int,
               longest: float) -> tuple[dict, list[dict]]:
    """The result of a training that was killed `kills` times, and what each kill left."""
    moments, found = random.Random(0), []
    for number in range(kills):
        process, began = start(settings, seed, model), time.monotonic()
        if number % 2 == 0:
            wait_for_steps(process, model)
        time.sleep(moments.uniform(0.0, longest))
        if process.poll() is not None:
            raise SystemExit(f"the training ended before its kill number {number + 1}: "
                             "raise the steps")
        process.send_signal(signal.SIGKILL)
        process.wait()
        found.append({"seconds": round(time.monotonic() - began, 1), **inspect(model)})
        say(f"kill {number + 1}: {found[-1]}")
    result = finish(start(settings, seed, model))
    left = inspect(model)
    steps = [row["step"] for row in result["history"] if row["kind"] == "validation"]
    if left["half_written"] or steps != sorted(set(steps)):
        raise SystemExit(f"{model}: left {left}, validations at {steps}")
    return {**summary(result), "validations": steps}, found


def wait_for_steps(process: subprocess.Popen, model: Path) -> None:
    """Waits until this start of the training has written a row."""
    rows = model / "metrics.jsonl"
    before = (rows.stat().st_mtime_ns, rows.stat().st_size) if rows.exists() else (0, 0)
    while process.poll() is None:
        time.sleep(0.02)
        # A start first writes the file anew, without what came after its checkpoint.
        if rows.exists() and (now := (rows.stat().st_mtime_ns, rows.stat().st_size)) != before:
            if now[1] > before[1]:
                return
            before = now


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


def start(settings: dict, seed: int, model: Path) -> subprocess.Popen:
    """The command line's training, in a process of its own."""
    command = crater("train", model.parent / "records", "--json", model_dir=model,
                     settings={**settings, "task.train_data.seed": seed})
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


def table(found: dict) -> str:
    return fill("""
        | training | mask AP |
        |---|---|
        | killed {settings.kills} times | {killed.mask_AP:.3f} |
        | undisturbed, same seed | {undisturbed.0.mask_AP:.3f} |
        | undisturbed, other seeds | {undisturbed.1.mask_AP:.3f}, {undisturbed.2.mask_AP:.3f} |
        | undisturbed, mean and deviation | {scores.mean:.3f} ± {scores.deviation:.3f} |""",
        {**found, "scores": found["undisturbed_mask_AP"]})
