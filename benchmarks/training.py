"""What a training learns and costs, beside Model Garden's own task.

Every training runs in a process of its own, on CPU, with Model Garden's trainer (without its
checkpoints and summaries) on the same rendered terrain. `--craters` are drawn in a scene; about 4 in 5
are labelled. All sides have the settings of the preset `demo`: architecture, losses, anchors,
thresholds, sample sizes, capacities, optimizer, schedule, batches of 4, flips; turns by 90 degrees
are off, since Model Garden has none. From one seed all start with the same weights (`same_start`), and
each shuffles in its own way. The `--sides`:

- `ours`: `CraterMaskRCNNTask` on records as `crater records write` makes them. It standardises
  each image, reads features where they are (Model Garden reads half a cell off), and makes the
  anchors' targets in the step; its mask targets come from grids of 32 cells on the box;
- `model_garden`: `official.vision.tasks.maskrcnn.MaskRCNNTask` with its own decoder, parser and
  model on the same records with full masks. It normalises with ImageNet's mean and deviation;
  its mask targets come from crops of 112 cells;
- `plain`: `ours` with Model Garden's normalisation and half cell.

Each is trained from each seed and scored on `--held-out` other scenes by one `Evaluator`, at the last
step, each side preparing the images in its own way. `seconds` run from making the model to the last
step; `seconds_without_tracing` are those of as many steps at the rate after the first loop;
`step_seconds` and `step_cpu_seconds` those of a step on one batch again and again, without the input
pipeline, measured for as long. Means `agree` if they differ by at most twice the standard error of
the difference.
"""

from __future__ import annotations

import statistics

from benchmarks.harness import grid, ratio
from benchmarks.train_sides import SCORES, train

FULL = {"sides": ("ours", "plain", "model_garden"), "seeds": (0, 1, 2), "size": 256, "craters": 60,
        "scenes": 200, "held_out": 60, "steps": 400, "step_seconds": 20.0}
QUICK = {"sides": ("ours", "model_garden"), "seeds": (0,), "size": 128, "craters": 8, "scenes": 16,
         "held_out": 6, "steps": 20, "step_seconds": 2.0}
HELD_OUT_SEED = 1_000
TIMES = ("seconds", "seconds_without_tracing", "cpu_seconds")
RATES = ("steps_per_second", "step_seconds", "step_cpu_seconds")


def measure(bench, sides, seeds, size: int, craters: int, scenes: int, held_out: int,
            steps: int, step_seconds: float) -> dict:
    """Every side trained from every seed, and how their scores compare."""
    folder = bench.folder
    data = {}
    for name, count, seed in (("train", scenes, 0), ("held_out", held_out, HELD_OUT_SEED)):
        data[name] = bench.crater(f"{name}_scenes", "synthesize", folder / name, scenes=count,
                                  size=f"{size}x{size}", count=craters, seed=seed)
        for kind, more in (("compact", ()), ("full", ("--full-masks",))):
            bench.crater(f"{name}_{kind}_records", "records", "write", folder / name,
                         folder / f"{name}_{kind}", *more, splits="1,0,0")
    runs: dict[str, dict] = {side: {} for side in sides}
    for seed in seeds:
        for side in sides:
            runs[side][seed] = bench.child(f"{side}-{seed}", train, may_fail=True, side=side,
                                           folder=folder, size=size, steps=steps, seed=seed,
                                           step_seconds=step_seconds)
    return {"data": data, "runs": runs, "same_start": all(
        len({runs[side][seed].get("start") for side in sides}) == 1 for seed in seeds),
        **compared(runs)}


def compared(runs: dict[str, dict]) -> dict:
    """The sides' means, and how far they are from Model Garden's."""
    complete = {side: [run for run in by_seed.values() if "scores" in run]
                for side, by_seed in runs.items()}
    found: dict = {"sides": {side: summary(done) for side, done in complete.items()}}
    garden = complete.get("model_garden", [])
    found["differences"] = {
        f"{side}_less_model_garden": {
            name: difference(*([run["scores"][name] for run in each] for each in (done, garden)))
            for name in ("mask_AP", "mask_AP50", "box_AP")}
        for side, done in complete.items() if side != "model_garden"}
    for name in (*TIMES, "step_seconds", "step_cpu_seconds"):
        ours, theirs = (found["sides"].get(side, {}).get(name) for side in ("ours", "model_garden"))
        found[f"{name}_times_model_garden"] = ratio(theirs, ours)
    return found


def summary(runs: list[dict]) -> dict:
    """Means over the seeds, with the scores' standard deviations."""
    if not runs:
        return {}
    found = {"trainings": len(runs), "peak_mb": max(run["training_peak_mb"] for run in runs)}
    for name in (*TIMES, *RATES):
        found[name] = round(statistics.mean(run[name] for run in runs), 3)
    for name in SCORES:
        values = [run["scores"][name] for run in runs]
        found[name] = {"mean": round(statistics.mean(values), 4), "deviation":
                       round(statistics.stdev(values), 4) if len(values) > 1 else None}
    return found


def difference(ours: list[float], garden: list[float]) -> dict:
    """How far our mean is above theirs, and whether that is more than noise."""
    if not ours or not garden:
        return {}
    found = {"difference": round(statistics.mean(ours) - statistics.mean(garden), 4),
             "standard_error": None, "agree": None}
    if min(len(ours), len(garden)) > 1:
        error = sum(statistics.variance(side) / len(side) for side in (ours, garden)) ** 0.5
        found.update(standard_error=round(error, 4), agree=abs(found["difference"]) <= 2 * error)
    return found


def table(found: dict) -> str:
    return grid({"": "{side}", "mask AP": "{mask_AP.mean:.3f} ± {mask_AP.deviation:.3f}",
                 "mask AP50": "{mask_AP50.mean:.3f} ± {mask_AP50.deviation:.3f}",
                 "box AP": "{box_AP.mean:.3f}", "seconds": "{seconds:.0f}",
                 "without tracing": "{seconds_without_tracing:.0f}",
                 "CPU seconds": "{cpu_seconds:.0f}", "MB": "{peak_mb}"},
                [{"side": side.replace("model_garden", "Model Garden"), **values}
                 for side, values in found["sides"].items()])
