"""How fast batches for training come, and in how much memory, beside Model Garden's pipeline.

Every side runs in a process of its own, with the model of the preset `demo` at the images' size
and batches of 4, for `--seconds` at least; the first batches, which wait for the pipeline to
fill, do not count. `peak_mb` is the whole process's; `imports_peak_mb` what it was after
importing TensorFlow alone, and everything that a training imports. The sides:

- `ours`: `detector.inputs.build_inputs` for training, on records as `crater records write`
  makes them; `validation` is the same for validation, in the same process afterwards;
- `ours_full_buffer`: `ours` at the largest size with as many records as its shuffle buffer
  holds (1000), for the memory (`--buffer`);
- `ours_and_targets`: `ours`, and the anchors' targets, which Model Garden makes in its pipeline
  and our training step on its device, made in this process as well;
- `model_garden`: its own task's `build_inputs`, on the same records with full masks (it turns
  nothing by 90 degrees; the other settings are equal);
- `png`: decoding the image files and nothing else, the floor (once for each size).

Goals: at 1024 px with 400 craters 25 images/s on two cores, 100 times Model Garden's rate and
less than 1.5 GB; at 256 px with 20 craters 5 times its rate.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from benchmarks.data import terrain_dataset
from benchmarks.harness import fill, grid, peak_mb, ratio, repeated

FULL = {"sizes": (256, 512, 1024), "craters": (20, 100, 400), "seconds": 3.0, "buffer": True}
QUICK = {"sizes": (256,), "craters": (20,), "seconds": 2.0, "buffer": False}
BATCH = 4
FILL = 3  # batches that do not count
# A pipeline as fast as ours runs through this many images again and again.
IMAGES = {256: 64, 512: 32, 1024: 16}
BUFFER = 1000  # the preset's shuffle buffer


def rate(dataset, seconds: float, fill: int = FILL, work=None) -> dict:
    """Images a second over at least `seconds` and two batches; `work` is done on each."""
    batches = iter(dataset)
    work = work or (lambda batch: None)
    for _ in range(fill):
        work(next(batches))
    found = repeated(lambda: work(next(batches)), seconds, least=2)
    images = BATCH / found["seconds"]
    return {"images_per_second": round(images, 2 if images < 10 else 1),
            "cpu_ms_per_image": round(1e3 * found["cpu_seconds"] / BATCH, 1),
            "images": found["times"] * BATCH}


def experiment(records: str, size: int):
    """The demo at another size of image, fitted to the records."""
    from crater_model.detector.experiment import fit_to_records, load_experiment
    from crater_model.records.manifest import read_manifest

    found = load_experiment("demo", {
        "task.model.input_size": [size, size, 3], "task.train_data.input_path": records,
        "task.validation_data.input_path": records, "task.validation_data.split": "train"})
    return fit_to_records(found, read_manifest(records))


def ours(records: str, size: int, seconds: float, validate: bool = True) -> dict:
    import tensorflow  # noqa: F401

    imports = {"tensorflow": peak_mb()}
    import crater_model.detector.task  # noqa: F401
    from crater_model.detector.inputs import build_inputs

    imports["all"] = peak_mb()
    task, shape = experiment(records, size).task, [size, size, 3]
    found = {**rate(build_inputs(task.train_data, shape), seconds),
             "training_peak_mb": peak_mb(), "imports_peak_mb": imports}
    if validate:
        found["validation"] = rate(build_inputs(task.validation_data, shape).repeat(), seconds)
    return found


def ours_and_targets(records: str, size: int, seconds: float) -> dict:
    import tensorflow as tf

    from crater_model.detector import targets
    from crater_model.detector.inputs import build_inputs

    task = experiment(records, size).task
    anchors = targets.anchors_of(task.model, (size, size))

    @tf.function
    def assign(boxes, classes):
        return targets.rpn_targets(anchors, boxes, classes, task.train_data.parser)

    batches = build_inputs(task.train_data, [size, size, 3])
    return rate(batches, seconds,
                work=lambda batch: assign(batch[1]["gt_boxes"], batch[1]["gt_classes"]))


def model_garden(records: str, size: int, seconds: float) -> dict:
    from official.vision.configs import maskrcnn
    from official.vision.tasks.maskrcnn import MaskRCNNTask

    task = experiment(records, size).task
    parser = task.train_data.parser
    images = json.loads((Path(records) / "manifest.json").read_text())["splits"]["train"]["images"]
    data = maskrcnn.DataConfig(
        input_path=f"{records}/train-*", is_training=True, global_batch_size=BATCH,
        dtype="float32", shuffle_buffer_size=images, seed=0,
        parser=maskrcnn.Parser(
            aug_rand_hflip=parser.aug_rand_hflip, aug_rand_vflip=parser.aug_rand_vflip,
            rpn_batch_size_per_im=parser.rpn_batch_size_per_im,
            max_num_instances=parser.max_num_instances))
    garden = MaskRCNNTask(maskrcnn.MaskRCNNTask(model=task.model, train_data=data))
    return rate(garden.build_inputs(data), seconds, fill=1)


def png(images: str, seconds: float) -> dict:
    import tensorflow as tf

    files = tf.data.Dataset.list_files(f"{images}/*.png", shuffle=False).repeat()
    decoded = files.map(lambda name: tf.io.decode_png(tf.io.read_file(name), channels=3),
                        num_parallel_calls=tf.data.AUTOTUNE)
    return rate(decoded.batch(BATCH).prefetch(tf.data.AUTOTUNE), seconds)


def fill_buffer(records: Path, out: Path) -> None:
    """Copies records; their manifest names its files again and again, up to a full buffer."""
    shutil.copytree(records, out, dirs_exist_ok=True)
    manifest = json.loads((records / "manifest.json").read_text())
    split = manifest["splits"]["train"]
    times = -(-BUFFER // split["images"])
    split.update(images=split["images"] * times, files=split["files"] * times)
    (out / "manifest.json").write_text(json.dumps(manifest))


def measure(bench, sizes, craters, seconds: float, buffer: bool) -> dict:
    cases: dict[str, dict] = {}
    for size in sorted(sizes):
        floor = None
        for count in sorted(craters):
            name = f"{size}px_{count}"
            folder = bench.folder / name
            data = bench.child(f"{name}/data", terrain_dataset, folder=folder / "data", size=size,
                               craters=count, images=IMAGES.get(size, 2 * BATCH))
            for kind, more in (("compact", ()), ("full", ("--full-masks",))):
                bench.crater(f"{name}/{kind}_records", "records", "write", folder / "data",
                             folder / kind, *more, splits="1,0,0")
            found = {**bench.sides(name, (ours, ours_and_targets), records=folder / "compact",
                                   size=size, seconds=seconds),
                     **bench.sides(name, (model_garden,), records=folder / "full", size=size,
                                   seconds=seconds)}
            floor = floor or bench.child(f"{name}/png", png, images=folder / "data" / "images",
                                         seconds=seconds)
            mine, targets, garden = (one.get("images_per_second") for one in found.values())
            cases[name] = {
                "size": size, "craters": count, "data": data, **found, "png": floor,
                "times_model_garden": ratio(mine, garden),
                "with_targets_times_model_garden": ratio(targets, garden),
                "share_of_png": ratio(mine, floor["images_per_second"]),
                "memory_share_of_model_garden": ratio(found["ours"].get("training_peak_mb"),
                                                      found["model_garden"].get("peak_mb"))}
    full = {}
    if buffer:
        fill_buffer(folder / "compact", bench.folder / "buffer")
        full["ours_full_buffer"] = bench.child(
            "ours_full_buffer", ours, may_fail=True, records=bench.folder / "buffer", size=size,
            seconds=seconds, validate=False)
    return {"batch": BATCH, "cases": cases, **full}


def table(found: dict) -> str:
    rate = "{%s.images_per_second}"
    cases = grid({"px": "{size}", "craters": "{craters}", "ours, images/s": rate % "ours",
                  "validation": rate % "ours.validation", "with targets": rate % "ours_and_targets",
                  "Model Garden": rate % "model_garden", "ours / Model Garden": "{times_model_garden}",
                  "PNG": rate % "png", "ours, MB": "{ours.training_peak_mb}",
                  "Model Garden, MB": "{model_garden.peak_mb}"}, found["cases"].values())
    memory = fill("""
        | our memory | MB |
        |---|---|
        | TensorFlow's import | {first.ours.imports_peak_mb.tensorflow} |
        | all imports | {first.ours.imports_peak_mb.all} |
        | the largest images and a full shuffle buffer of 1000 | {full.training_peak_mb} |""",
        {"first": next(iter(found["cases"].values())), "full": found.get("ours_full_buffer")})
    return f"{cases}\n\n{memory}"
