"""How fast a step of training is, and what it learns, beside Model Garden's own task.

    python benchmarks/train_step.py [--quick] [--size 256] [--craters 26]
    python benchmarks/train_step.py --parity --out DIR [--plain] [--seeds 0,1,2] [--steps 400]

Prints one JSON object. Every training runs in a process of its own, on CPU, with Model Garden's
trainer (without its checkpoints and summaries) on the same rendered terrain, of which an image
shows about 20 craters. All sides have the settings of the preset `demo`: architecture, losses,
anchors, thresholds, sample sizes, capacities, optimizer, schedule, batches of 4, flips; turns by
90 degrees are off, since Model Garden has none. From one seed all start with the same weights
(`same_start`), and each shuffles in its own way. The sides:

- `ours`: `CraterMaskRCNNTask` on records as `crater records write` makes them. It standardises
  each image, reads features where they are (Model Garden reads half a cell off), and makes the
  anchors' targets in the step; its mask targets come from grids of 32 cells on the box;
- `model_garden`: `official.vision.tasks.maskrcnn.MaskRCNNTask` with its own decoder, parser and
  model on the same records with full masks. It normalises with ImageNet's mean and deviation;
  its mask targets come from crops of 112 cells;
- `plain` (with `--plain`): `ours` with Model Garden's normalisation and half cell.

Without `--parity`, for two sides: `full` is the input pipeline and the step, `step` the step on
one batch again and again; both after the first loop, which traces the graph (`start_seconds`,
with the making of the model). `peak_mb` is the whole process's, that of the imports included.
`cpu_times_model_garden` compares processor time, which other work on the machine hardly moves.

With it, each side is trained from each seed and scored on other scenes by one `Evaluator`, at
the last step, each side preparing the images in its own way. `seconds` run from making the model
to the last step; `seconds_without_tracing` are those of as many steps at the rate after the
first loop. Means `agree` if they differ by at most twice the standard error of the difference.
Finished trainings are kept in DIR, and are not repeated if it is named again.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
from pathlib import Path

from common import in_child, kept, machine, main_child, print_json, ratio, say
from train_sides import SCORES, prepare, speed, train

SIDES = ("ours", "model_garden")
TASKS = {"prepare": prepare, "speed": speed, "train": train}


def measure(size: int, craters: int, scenes: int, seconds: float) -> dict:
    """Both sides' rates and their ratios."""
    with tempfile.TemporaryDirectory() as folder:
        data = in_child(__file__, "prepare", folder=folder, size=size, craters=craters,
                        scenes=scenes)
        found = {"machine": machine(), "data": data}
        for side in SIDES:
            say(f"{side} ...")
            found[side] = in_child(__file__, "speed", side=side, folder=folder, size=size,
                                   seconds=seconds)
            say(f"  {found[side]}")
    ours, garden = ({kind: found[side].get(kind, {}) for kind in ("full", "step")}
                    for side in SIDES)
    for kind, name in (("full", "times_model_garden"), ("step", "step_times_model_garden")):
        for unit, prefix in (("seconds_per_step", ""), ("cpu_seconds_per_step", "cpu_")):
            found[prefix + name] = ratio(garden[kind].get(unit), ours[kind].get(unit))
    found["memory_share_of_model_garden"] = ratio(
        ours["full"].get("peak_mb"), garden["full"].get("peak_mb"))
    return found


def parity(out: Path, sides: tuple[str, ...], seeds: list[int], size: int, craters: int,
           scenes: int, held_out: int, steps: int) -> dict:
    """Every side trained from every seed, and how their scores compare."""
    data = _kept(out / "data.json", "prepare", folder=str(out), size=size, craters=craters,
                 scenes=scenes, held_out=held_out)
    runs: dict[str, dict] = {side: {} for side in sides}
    found = {"machine": machine(), "data": data, "steps": steps, "runs": runs}
    for seed in seeds:
        for side in sides:
            runs[side][seed] = _kept(
                out / f"{side}-{seed}.json", "train", side=side, folder=str(out), size=size,
                steps=steps, seed=seed)
            say(f"{side}, seed {seed}: {runs[side][seed]}")
    complete = {side: [run for run in runs[side].values() if "scores" in run] for side in sides}
    found["same_start"] = all(
        len({runs[side][seed].get("start") for side in sides}) == 1 for seed in seeds)
    found["sides"] = {side: summary(complete[side]) for side in sides}
    found["differences"] = {
        f"{side}_less_model_garden": {
            name: difference(*([run["scores"][name] for run in complete[which]]
                               for which in (side, "model_garden")))
            for name in ("mask_AP", "mask_AP50", "box_AP")}
        for side in sides if side != "model_garden"}
    for name in ("seconds", "seconds_without_tracing", "cpu_seconds"):
        ours, garden = (found["sides"][side].get(name) for side in SIDES)
        found[f"{name}_times_model_garden"] = ratio(garden, ours)
    return found


def _kept(path: Path, task: str, **arguments) -> dict:
    result = kept(path, functools.partial(in_child, __file__, task), **arguments)
    if "failed" in result and task == "prepare":
        raise SystemExit(f"the data: {result['failed']}")
    return result


def summary(runs: list[dict]) -> dict:
    """Means over the seeds, with the scores' standard deviations."""
    if not runs:
        return {}
    found = {"trainings": len(runs), "peak_mb": max(run["training_peak_mb"] for run in runs)}
    for name in ("seconds", "seconds_without_tracing", "cpu_seconds", "steps_per_second"):
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true",
                        help="128 px, few craters and scenes, 2 s; 20 steps from one seed")
    parser.add_argument("--size", type=int, help="px, a multiple of 64")
    parser.add_argument("--craters", type=int, help="drawn in a scene; about 4 in 5 are labelled")
    parser.add_argument("--scenes", type=int, help="to train on")
    parser.add_argument("--seconds", type=float, help="that a rate is measured for at least")
    parser.add_argument("--parity", action="store_true", help="train and score")
    parser.add_argument("--plain", action="store_true", help="the third side as well")
    parser.add_argument("--seeds", type=_numbers, help="separated by commas")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--held-out", type=int, help="scenes to score on")
    parser.add_argument("--out", type=Path, help="keeps finished trainings")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        main_child(options.child, TASKS)
        return
    defaults = (dict(size=128, craters=8, scenes=16, seconds=2.0, seeds=[0], steps=20, held_out=6)
                if options.quick else dict(size=256, craters=26, scenes=200, seconds=20.0,
                                           seeds=[0, 1, 2], steps=400, held_out=60))
    chosen = {name: getattr(options, name) or value for name, value in defaults.items()}
    if not options.parity:
        print_json(measure(*(chosen[name] for name in ("size", "craters", "scenes", "seconds"))))
        return
    del chosen["seconds"]
    sides = (*SIDES, "plain") if options.plain else SIDES
    with tempfile.TemporaryDirectory() as folder:
        print_json(parity(options.out or Path(folder), sides, **chosen))


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
