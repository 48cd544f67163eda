"""How fast batches for training come, and in how much memory, beside Model Garden's pipeline.

    python benchmarks/input_pipeline.py [--quick] [--sizes 256,512,1024] [--craters 20,100,400]

Prints one JSON object. Every side runs in a process of its own, with the model of the preset
`demo` at the images' size and batches of 4; the first batches, which wait for the pipeline to
fill, do not count. `peak_mb` is the whole process's; `imports_peak_mb` what it was after
importing TensorFlow alone, and everything that a training imports. The sides:

- `ours`: `detector.inputs.build_inputs` for training, on records as `crater records write`
  makes them; `validation` is the same for validation, in the same process afterwards;
- `ours_full_buffer`: `ours` at the largest size with as many records as its shuffle buffer
  holds (1000), for the memory;
- `ours_and_targets`: `ours`, and the anchors' targets, which Model Garden makes in its pipeline
  and our training step on its device, made in this process as well;
- `model_garden`: its own task's `build_inputs`, on the same records with full masks (it turns
  nothing by 90 degrees; the other settings are equal);
- `png`: decoding the image files and nothing else, the floor (once for each size).

Goals: at 1024 px with 400 craters 25 images/s on two cores, 100 times Model Garden's rate and
less than 1.5 GB; at 256 px with 20 craters 5 times its rate.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from common import in_child, machine, main_child, peak_mb, print_json, ratio, say, terrain_dataset

BATCH = 4
FILL = 3  # batches that do not count
SIZES, CRATERS = (256, 512, 1024), (20, 100, 400)
# A pipeline as fast as ours runs through this many images again and again.
IMAGES = {256: 64, 512: 32, 1024: 16}
BUFFER = 1000  # the preset's shuffle buffer


def rate(dataset, seconds: float, fill: int = FILL, work=None) -> dict:
    """Images a second over at least `seconds` and two batches; `work` is done on each."""
    batches = iter(dataset)
    work = work or (lambda batch: None)
    for _ in range(fill):
        work(next(batches))
    images, started, cpu = 0, time.perf_counter(), time.process_time()
    while images < 2 * BATCH or time.perf_counter() - started < seconds:
        work(next(batches))
        images += BATCH
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {"images_per_second": round(images / wall, 2 if images / wall < 10 else 1),
            "cpu_ms_per_image": round(1e3 * cpu / images, 1), "images": images}


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


def ours_full_buffer(records: str, size: int, seconds: float) -> dict:
    # The first batch comes when the buffer is full.
    return {**ours(records, size, seconds, validate=False), "records": BUFFER}


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


def write(folder: str, size: int, craters: int, images: int) -> dict:
    """The data set, and records of both kinds, below `folder`."""
    from crater_model.records.write import write_records

    root = Path(folder)
    found = terrain_dataset(root / "data", size, craters, images)
    write_records(root / "data", root / "compact", splits=(1, 0, 0))
    write_records(root / "data", root / "full", splits=(1, 0, 0), full_masks=True)
    return found


def fill_buffer(records: Path) -> None:
    """Lets the manifest name its files again and again, up to a full shuffle buffer."""
    path = records / "manifest.json"
    manifest = json.loads(path.read_text())
    split = manifest["splits"]["train"]
    times = -(-BUFFER // split["images"])
    split.update(images=split["images"] * times, files=split["files"] * times)
    path.write_text(json.dumps(manifest))


TASKS = {"ours": ours, "ours_full_buffer": ours_full_buffer, "png": png, "write": write,
         "ours_and_targets": ours_and_targets, "model_garden": model_garden}


def one_case(folder: Path, size: int, craters: int, seconds: float, floor: dict | None) -> dict:
    """All sides for one size and number of craters; `floor` is `png`'s, if it was measured."""
    say(f"{size} px, {craters} craters ...")
    data = in_child(__file__, "write", folder=str(folder), size=size, craters=craters,
                    images=IMAGES.get(size, 2 * BATCH))
    found = {"data": data}
    sides = {"ours": "compact", "ours_and_targets": "compact", "model_garden": "full"}
    for side, records in sides.items():
        found[side] = in_child(__file__, side, records=str(folder / records), size=size,
                               seconds=seconds)
        say(f"  {side}: {found[side]}")
    found["png"] = floor or in_child(
        __file__, "png", images=str(folder / "data" / "images"), seconds=seconds)
    rates = {side: values.get("images_per_second") for side, values in found.items()}
    found["times_model_garden"] = ratio(rates["ours"], rates["model_garden"])
    found["with_targets_times_model_garden"] = ratio(
        rates["ours_and_targets"], rates["model_garden"])
    found["share_of_png"] = ratio(rates["ours"], rates["png"])
    found["memory_share_of_model_garden"] = ratio(
        found["ours"].get("training_peak_mb"), found["model_garden"].get("peak_mb"))
    return found


def measure(sizes: list[int], craters: list[int], seconds: float, buffer: bool) -> dict:
    found = {"machine": machine(), "batch": BATCH, "cases": {}}
    with tempfile.TemporaryDirectory() as name:
        for size in sizes:
            floor = None
            for count in craters:
                folder = Path(name) / f"{size}_{count}"
                case = one_case(folder, size, count, seconds, floor)
                found["cases"][f"{size}px_{count}"] = case
                floor = case["png"]
        if buffer:
            say("a full shuffle buffer ...")
            fill_buffer(folder / "compact")
            found["ours_full_buffer"] = in_child(
                __file__, "ours_full_buffer", records=str(folder / "compact"), size=size,
                seconds=seconds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true",
                        help="256 px with 20 craters only, for 2 s each")
    parser.add_argument("--sizes", type=_numbers, help="px, separated by commas")
    parser.add_argument("--craters", type=_numbers, help="an image, separated by commas")
    parser.add_argument("--seconds", type=float, help="that a side is measured for at least")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        main_child(options.child, TASKS)
        return
    sizes = options.sizes or ([256] if options.quick else SIZES)
    craters = options.craters or ([20] if options.quick else CRATERS)
    seconds = options.seconds or (2.0 if options.quick else 3.0)
    print_json(measure(sorted(sizes), sorted(craters), seconds, buffer=not options.quick))


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
