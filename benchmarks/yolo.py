"""What a Mask R-CNN of this project learns in a few minutes, beside YOLO11n-seg.

    python benchmarks/yolo.py terrain --yolo-python PYTHON --out DIR [--minutes 4] [--quick]
    CRATER_REAL_DATA=DATA python benchmarks/yolo.py mosaics --yolo-python PYTHON --out DIR
        [--minutes 10] [--train-scenes 2] [--quick]

Prints one JSON object. PYTHON (or CRATER_YOLO_PYTHON) is the Python of an environment of its own
with Ultralytics, which this project neither needs nor imports:
`python -m venv yolo && yolo/bin/pip install ultralytics` (licence: AGPL-3.0).

All sides train from scratch on the same images of 256 px and the same cores for the same
minutes of wall clock: `seconds` are those of the whole process, with imports, tracing and our
validation, `cpu_seconds` what the cores were busy for. How many of our steps fit is measured first
(`pace`). YOLO keeps its own defaults, sees one validation image only, and may use all cores, where
it would leave one out (`--sides yolo_stock` lets it); it is trained with `overlap_mask` and without
it (`yolo`, `yolo_apart`), and the better one is compared. The sides are asked about the same tiles
of the same held-out scenes, YOLO for masks at the tile's full resolution, both for all from a score
of 0.001 on. From there on one path scores both (`yolo_score.py`).

- `terrain`: 500 rendered scenes as `crater synthesize` makes them: 390 train, 100 are scored;
- `mosaics`: `DATA/moon_nac_train`, 12 mosaics of 800 x 800 px full of small craters, cut into
  chips of 128 px and scaled up twice; 8 train, 2 are scored, whole, in their own px. `fine_tuned`
  has as many minutes as the others but begins with weights from rendered terrain as full of
  craters (`pretraining`, two thirds as many steps, once and for all). `--train-scenes` leaves
  fewer mosaics to train on.

`_10px` counts the craters of 10 px or more as COCO's ranges of area do. What is finished is kept
in DIR and not repeated.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import time
from pathlib import Path

from common import in_child, kept, machine, main_child, print_json, ratio, say
from yolo_sides import TASKS

PEER = Path(__file__).with_name("yolo_peer.py")
# What changes the preset `demo`; docs/training-log.md says why.
TERRAIN = {"runtime.mixed_precision_dtype": "bfloat16",
           "task.model.detection_generator.pre_nms_score_threshold": 0.001}
MOSAICS = {**TERRAIN}
# Other sizes, contrasts and shades than the terrain's own: more like what comes after.
PRETRAINING = {**MOSAICS, "task.train_data.parser.aug_scale_max": 1.6,
               "task.train_data.parser.aug_brightness": 0.5,
               "task.train_data.parser.aug_contrast": 0.3}
RATE = "trainer.optimizer_config.learning_rate.cosine.initial_learning_rate"
FINE_TUNING = {**MOSAICS, RATE: 1.5e-3}
# Rendered terrain as full of small craters as the mosaics' chips.
LIKE_MOSAICS = {"scenes": 400, "count": 60}
PACE_STEPS = 100
SIDES = ("ours", "fine_tuned", "yolo", "yolo_apart")
# Named in --sides only: the peer as it comes, which leaves one core to the system.
STOCK = "yolo_stock"
SCORES = ("mask_AP", "mask_AP50", "mask_AP_10px", "mask_AP50_10px")


class Bench:
    """One experiment: its folder, its minutes, and the environment of the peer."""

    def __init__(self, out: Path, python: str, minutes: float):
        self.out, self.python, self.seconds = out, python, 60.0 * minutes

    def child(self, name: str, task: str, **arguments) -> dict:
        """The kept or new result of a task of ours; `seconds` is its whole process's time."""
        return self._kept(name, functools.partial(in_child, __file__, task), arguments)

    def peer(self, name: str, *arguments) -> dict:
        """The same for a task of the peer."""
        return self._kept(name, self._ask_peer, {"arguments": [str(a) for a in arguments]})

    def _kept(self, name: str, make, arguments: dict) -> dict:
        def timed(**arguments) -> dict:
            say(f"{name} ...")
            started, cpu = time.perf_counter(), _children_cpu()
            result = make(**arguments)
            if "failed" in result:
                raise SystemExit(f"{name}: {result['failed']}")
            return {"seconds": round(time.perf_counter() - started, 1),
                    "cpu_seconds": round(_children_cpu() - cpu, 1), **result}

        return kept(self.out / f"{name}.json", timed, **arguments)

    def _ask_peer(self, arguments: list[str]) -> dict:
        environment = {**os.environ, "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false",
                       "YOLO_CONFIG_DIR": str(self.out), "CUDA_VISIBLE_DEVICES": "-1"}
        done = subprocess.run([self.python, str(PEER), *arguments], env=environment,
                              capture_output=True, text=True)
        if done.returncode:
            return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
        return json.loads(done.stdout.strip().splitlines()[-1])

    def steps(self, name: str, data: Path, settings: dict) -> int:
        """How many steps fit into the time, start and end included."""
        pace = self.child(f"{name}-pace", "train", folder=str(data), settings=settings,
                          model=str(self.out / f"{name}-pace"), steps=PACE_STEPS, start=None)
        step = pace["seconds_per_step"]
        left = self.seconds - (pace["seconds"] - PACE_STEPS * step)
        return max(PACE_STEPS, int(0.99 * left / step))

    def ours(self, name: str, data: Path, settings: dict, start: Path | None = None,
             steps: int | None = None, scored: bool = True) -> dict:
        """One training of ours and its scores."""
        model = self.out / name
        result = self.child(f"{name}-training", "train", folder=str(data), model=str(model),
                            settings=settings, steps=steps or self.steps(name, data, settings),
                            start=str(start) if start else None)
        scores = self.child(f"{name}-scores", "score", folder=str(data), side="ours",
                            found=str(model)) if scored else {}
        return _side(result, scores, "steps", "seconds_per_step")

    def yolo(self, name: str, data: Path, *settings: str) -> dict:
        """One training of the peer and its scores; see `yolo_peer.train` for the settings."""
        folder = (self.out / name).resolve()
        result = self.peer(f"{name}-training", "train", data / "yolo" / "data.yaml", folder,
                           self.seconds, *settings)
        self.peer(f"{name}-masks", "predict", result["weights"], data / "yolo" / "images" / "test",
                  folder / "found")
        scores = self.child(f"{name}-scores", "score", folder=str(data), side="yolo",
                            found=str(folder / "found"))
        return _side(result, scores, "epochs", "batch", "optimizer", "packages")


def _children_cpu() -> float:
    """Processor seconds of the processes that have ended: other work on the machine lowers them."""
    times = os.times()
    return times.children_user + times.children_system


def _side(result: dict, scores: dict, *names: str) -> dict:
    found = {name: result.get(name) for name in ("seconds", "cpu_seconds", *names)}
    found.update({name: scores[name] for name in (*SCORES, "detections") if name in scores})
    say(f"  {found}")
    return found


def compared(sides: dict[str, dict]) -> dict:
    """The better of YOLO's sides, and how many times its scores ours are."""
    if not any(name.startswith("yolo") for name in sides):
        return {}
    better = max((name for name in sides if name.startswith("yolo")),
                 key=lambda name: sides[name]["mask_AP"])
    ours = [name for name in sides if "mask_AP" in sides[name] and not name.startswith("yolo")]
    return {"better_yolo": better, "times_yolo": {
        name: {score: ratio(sides[name][score], sides[better][score]) for score in SCORES}
        for name in ours}}


def terrain(bench: Bench, wanted: list[str], scenes: int, steps: int | None) -> dict:
    """Rendered terrain: ours and YOLO's, from scratch."""
    data = bench.out / "data"
    counts = bench.child("data", "prepare", folder=str(data), mosaics=None, scenes=scenes,
                         train_scenes=None)
    sides = {}
    if "ours" in wanted:
        sides["ours"] = bench.ours("ours", data, TERRAIN, steps=steps)
    return {"data": counts, **with_yolo(bench, wanted, data, sides)}


def mosaics(bench: Bench, wanted: list[str], source: str, train_scenes: int | None,
            start: Path | None, terrain_scenes: int, steps: int | None) -> dict:
    """Real mosaics: ours from scratch and fine-tuned, and YOLO's from scratch."""
    data, like = bench.out / "data", bench.out / "like"
    counts = bench.child("data", "prepare", folder=str(data), mosaics=source, scenes=0,
                         train_scenes=train_scenes)
    steps, sides = steps or bench.steps("ours", data, MOSAICS), {}
    if "ours" in wanted:
        sides["ours"] = bench.ours("ours", data, MOSAICS, steps=steps)
    if "fine_tuned" in wanted and start is None:
        start = bench.out / "pretraining"
        bench.child("like", "prepare_like", folder=str(like), scenes=terrain_scenes,
                    count=LIKE_MOSAICS["count"])
        sides["pretraining"] = bench.ours("pretraining", like, PRETRAINING, steps=2 * steps // 3,
                                          scored=False)
    if "fine_tuned" in wanted:
        sides["fine_tuned"] = bench.ours("fine_tuned", data, FINE_TUNING, start, steps)
    return {"data": counts, **with_yolo(bench, wanted, data, sides)}


def with_yolo(bench: Bench, wanted: list[str], data: Path, sides: dict[str, dict]) -> dict:
    """The sides with YOLO's, and the comparison."""
    for name, more in (("yolo", ("true",)), ("yolo_apart", ("false",)), (STOCK, ("true", "stock"))):
        if name in wanted:
            sides[name] = bench.yolo(name, data, *more)
    return {**sides, **compared(sides)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", nargs="?", choices=("terrain", "mosaics"))
    parser.add_argument("--yolo-python", default=os.environ.get("CRATER_YOLO_PYTHON"),
                        metavar="PYTHON")
    parser.add_argument("--out", type=Path, help="keeps what is finished")
    parser.add_argument("--minutes", type=float, help="a side")
    parser.add_argument("--steps", type=int, help="of ours, instead of measuring how many fit")
    parser.add_argument("--train-scenes", type=int, help="mosaics to train on; all of them")
    parser.add_argument("--sides", default=",".join(SIDES), help="some of them, with commas")
    parser.add_argument("--start", type=Path, metavar="MODEL_DIR",
                        help="a finished pretraining, instead of one more")
    parser.add_argument("--quick", action="store_true", help="few scenes, one minute a side")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        main_child(options.child, TASKS)
        return
    if not (options.experiment and options.out and options.yolo_python):
        parser.error("terrain or mosaics, --yolo-python and --out are needed")
    is_terrain = options.experiment == "terrain"
    wanted = options.sides.split(",")
    if unknown := set(wanted) - {*SIDES, STOCK}:
        parser.error(f"--sides: there is no {', '.join(sorted(unknown))}; expected some of "
                     f"{', '.join((*SIDES, STOCK))}")
    minutes = options.minutes or (1 if options.quick else 4 if is_terrain else 10)
    bench = Bench(options.out.resolve(), options.yolo_python, minutes)
    found = {"machine": machine(), "experiment": options.experiment, "minutes": minutes}
    if is_terrain:
        found.update(terrain(bench, wanted, 50 if options.quick else 500, options.steps))
    else:
        if not os.environ.get("CRATER_REAL_DATA"):
            parser.error("CRATER_REAL_DATA names the folder that holds moon_nac_train")
        source = str(Path(os.environ["CRATER_REAL_DATA"], "moon_nac_train").resolve())
        train_scenes = options.train_scenes or (1 if options.quick else None)
        found.update(mosaics(bench, wanted, source, train_scenes, options.start,
                             20 if options.quick else LIKE_MOSAICS["scenes"], options.steps))
    print_json(found)


if __name__ == "__main__":
    main()
