"""What a Mask R-CNN of this project learns in a few minutes, beside YOLO11n-seg.

`--yolo-python` (or CRATER_YOLO_PYTHON) is the Python of an environment of its own with Ultralytics,
which this project neither needs nor imports: `python -m venv yolo && yolo/bin/pip install ultralytics`
(licence: AGPL-3.0).

All sides train from scratch on the same images of 256 px and the same cores for the same `--minutes`
of wall clock: `seconds` are those of the whole process, with imports, tracing and our validation,
`cpu_seconds` what the cores were busy for. How many of our steps fit is measured first (`pace`), unless
`--steps` says it. YOLO keeps its own defaults, sees one validation image only, and may use all cores,
where it would leave one out (`--sides yolo_stock` lets it); it is trained with `overlap_mask` and
without it (`yolo`, `yolo_apart`), and the better one is compared. The sides are asked about the same
tiles of the same held-out scenes, YOLO for masks at the tile's full resolution, both for all from a
score of 0.001 on. From there on one path scores both (`yolo_score.py`). `--experiment` is

- `terrain`: 500 rendered scenes as `crater synthesize` makes them: 390 train, 100 are scored;
- `mosaics`: `moon_nac_train` in the folder CRATER_REAL_DATA, 12 mosaics of 800 x 800 px full of small
  craters, cut into chips of 128 px and scaled up twice; 8 train, 2 are scored, whole, in their own
  px. `fine_tuned` has as many minutes as the others but begins with weights from rendered terrain as
  full of craters (`pretraining`, two thirds as many steps, once and for all; or `--start`, a finished
  one's model directory). `--train-scenes` leaves fewer mosaics to train on.

`_10px` counts the craters of 10 px or more as COCO's ranges of area do.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.harness import grid, ratio, say
from benchmarks.yolo_sides import prepare, score, write_yolo

SIDES = ("ours", "fine_tuned", "yolo", "yolo_apart")
# Named in --sides only: the peer as it comes, which leaves one core to the system.
STOCK = "yolo_stock"
FULL = {"experiment": "terrain", "yolo_python": os.environ.get("CRATER_YOLO_PYTHON", ""),
        "minutes": 4.0, "steps": 0, "sides": SIDES, "scenes": 500, "like_scenes": 400,
        "train_scenes": 0, "start": ""}
QUICK = {"minutes": 1.0, "scenes": 50, "like_scenes": 20}
PEER = Path(__file__).with_name("yolo_peer.py")
# What changes the preset `demo`; docs/training-log.md says why.
SETTINGS = {"runtime.mixed_precision_dtype": "bfloat16",
            "task.model.detection_generator.pre_nms_score_threshold": 0.001}
# Other sizes, contrasts and shades than the terrain's own: more like what comes after.
PRETRAINING = {**SETTINGS, "task.train_data.parser.aug_scale_max": 1.6,
               "task.train_data.parser.aug_brightness": 0.5,
               "task.train_data.parser.aug_contrast": 0.3}
RATE = "trainer.optimizer_config.learning_rate.cosine.initial_learning_rate"
FINE_TUNING = {**SETTINGS, RATE: 1.5e-3}
# Drawn in a scene of terrain that is to be as full of small craters as the mosaics' chips.
LIKE_MOSAICS = 60
PACE_STEPS = 100
SIDE = 256
# Of the rendered scenes: to train on, to choose the last checkpoint by, to score on.
TERRAIN_SPLITS, MOSAIC_SPLITS = (0.78, 0.02, 0.20), (0.7, 0.15, 0.15)
# Network px per px of a mosaic: its median crater of 9 px becomes one of 18.
SCALE = 2.0
SCORES = ("mask_AP", "mask_AP50", "mask_AP_10px", "mask_AP50_10px")


def data_of(bench, name: str, source: Path, shares: tuple, scale: float,
            train_scenes: int = 0) -> dict:
    """`scenes`, cut into `chips`, and those as `records` and as `yolo`, below the folder NAME."""
    folder = bench.folder / name
    scenes = bench.child(f"{name}-scenes", prepare, folder=folder, source=source, shares=shares,
                         train_scenes=train_scenes)
    bench.crater(f"{name}-chips", "dataset", "chips", folder / "scenes", folder / "chips", size=SIDE,
                 scales=scale)
    bench.crater(f"{name}-records", "records", "write", folder / "chips", folder / "records")
    return {"scenes": scenes, "chips": bench.child(f"{name}-yolo", write_yolo, folder=folder)}


def trained(bench, name: str, data: Path, settings: dict, steps: int) -> dict:
    """Our training with one validation at its end."""
    settings = {**settings, "trainer.train_steps": steps, "trainer.validation_interval": steps,
                "trainer.checkpoint_interval": steps}
    return bench.crater(f"{name}-training", "train", data / "records", model_dir=bench.folder / name,
                        sample_1_of_n_eval_examples=8, settings=settings)


def fitting_steps(pace: dict, seconds: float) -> int:
    """How many steps fit into the time, start and end included; the pace is of `PACE_STEPS`."""
    rows = [row for row in pace["history"] if row["kind"] == "train"][2:]  # after tracing
    step = (rows[-1]["seconds"] - rows[0]["seconds"]) / (rows[-1]["step"] - rows[0]["step"])
    left = seconds - (pace["process_seconds"] - PACE_STEPS * step)
    return max(PACE_STEPS, int(0.99 * left / step))


def ours(bench, name: str, data: Path, settings: dict, steps: int, start: str = "") -> dict:
    """One training of ours and its scores; it begins with the weights of the model `start`."""
    made = trained(bench, name, data, {
        **settings, **({"task.init_checkpoint": start} if start else {})}, steps)
    scores = bench.child(f"{name}-scores", score, folder=data, side="ours",
                         found=bench.folder / name)
    return side(made, scores, f"{steps} steps of 4")


def yolo(bench, name: str, data: Path, python: str, seconds: float, *settings: str) -> dict:
    """One training of the peer and its scores; see `yolo_peer.train` for the settings."""
    folder = bench.folder / name

    def peer(what: str, *arguments) -> dict:
        return bench.command(f"{name}-{what}", [python, PEER, *arguments], {
            "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false",
            "YOLO_CONFIG_DIR": str(bench.folder), "CUDA_VISIBLE_DEVICES": "-1"})

    made = peer("training", "train", data / "yolo" / "data.yaml", folder, seconds, *settings)
    peer("masks", "predict", made["weights"], data / "yolo" / "images" / "test", folder / "found")
    scores = bench.child(f"{name}-scores", score, folder=data, side="yolo",
                         found=folder / "found")
    return side(made, scores, f"{made['epochs']} epochs of {made['images']}")


def side(made: dict, scores: dict, training: str) -> dict:
    found = {"seconds": made["process_seconds"], "cpu_seconds": made["process_cpu_seconds"],
             "training": training, "made": {k: v for k, v in made.items() if k != "history"},
             **{name: scores[name] for name in SCORES if scores}}
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


def measure(bench, experiment: str, yolo_python: str, minutes: float, steps: int, sides,
            scenes: int, like_scenes: int, train_scenes: int, start: str) -> dict:
    """The sides that are wanted, and the comparison."""
    if unknown := set(sides) - {*SIDES, STOCK}:
        raise SystemExit(f"--sides: there is no {', '.join(sorted(unknown))}; expected some of "
                         f"{', '.join((*SIDES, STOCK))}")
    if not yolo_python and any(name.startswith("yolo") for name in sides):
        raise SystemExit("name --yolo-python, the Python of an environment with Ultralytics")
    data, found = bench.folder / "data", {}
    if experiment == "mosaics":
        if not os.environ.get("CRATER_REAL_DATA"):
            raise SystemExit("CRATER_REAL_DATA names the folder that holds moon_nac_train")
        source = Path(os.environ["CRATER_REAL_DATA"], "moon_nac_train").resolve()
        counts = data_of(bench, "data", source, MOSAIC_SPLITS, SCALE, train_scenes)
    elif experiment == "terrain":
        bench.crater("rendered", "synthesize", bench.folder / "rendered", scenes=scenes)
        counts = data_of(bench, "data", bench.folder / "rendered", TERRAIN_SPLITS, 1.0, train_scenes)
    else:
        raise SystemExit(f"--experiment: got {experiment}, expected terrain or mosaics")
    if not steps and {"ours", "fine_tuned"} & set(sides):
        steps = fitting_steps(trained(bench, "pace", data, SETTINGS, PACE_STEPS), 60.0 * minutes)
    if "ours" in sides:
        found["ours"] = ours(bench, "ours", data, SETTINGS, steps)
    if "fine_tuned" in sides and experiment == "mosaics":
        if not start:
            start = str(bench.folder / "pretraining")
            bench.crater("like-rendered", "synthesize", bench.folder / "like-rendered", seed=1,
                         scenes=like_scenes, count=LIKE_MOSAICS, empty_share=0.0)
            data_of(bench, "like", bench.folder / "like-rendered", TERRAIN_SPLITS, 1.0)
            made = trained(bench, "pretraining", bench.folder / "like", PRETRAINING, 2 * steps // 3)
            found["pretraining"] = side(made, {}, f"{2 * steps // 3} steps of 4")
        found["fine_tuned"] = ours(bench, "fine_tuned", data, FINE_TUNING, steps, start)
    for name, more in (("yolo", ("true",)), ("yolo_apart", ("false",)), (STOCK, ("true", "stock"))):
        if name in sides:
            found[name] = yolo(bench, name, data, yolo_python, 60.0 * minutes, *more)
    return {"data": counts, "sides": found, **compared(found)}


NAMES = {"ours": "ours, from scratch", "fine_tuned": "ours, pre-trained on terrain",
         "yolo": "YOLO11n-seg", "yolo_apart": "YOLO11n-seg, `overlap_mask` off",
         STOCK: "YOLO11n-seg as it comes, on one core"}


def table(found: dict) -> str:
    return grid({"": "{side}", "seconds": "{seconds:.0f}", "CPU seconds": "{cpu_seconds:.0f}",
                 "training": "{training}", "mask AP": "{mask_AP:.3f}", "AP50": "{mask_AP50:.3f}",
                 "AP, 10 px": "{mask_AP_10px:.3f}", "AP50, 10 px": "{mask_AP50_10px:.3f}"},
                [{"side": NAMES.get(name, name), **values}
                 for name, values in found["sides"].items() if "mask_AP" in values])
