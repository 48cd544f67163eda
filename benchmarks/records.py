"""How long records take to write and how large they are, beside Model Garden's converter.

    python benchmarks/records.py [--quick] [--cases 256:20:400,1024:400:16]

Prints one JSON object. Each case (px a side, craters an image, images) is one data set, written
three times, each in a process of its own; time runs from reading the labels to the last file,
without imports:

- `ours`: `records.write.write_records`, which decodes every image to see that it is whole;
- `ours_full_masks`: with a full-size mask for each crater beside the compact ones;
- `model_garden`: `create_coco_tf_record` with PNG masks, in as many processes as it takes by
  itself (one for each core); `peak_mb` is that of the first alone.

`size` is the records' share of the image files' own bytes. Goals: at 1024 px with 400 craters
at most 1.15, written 5 times as fast as by Model Garden.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from common import in_child, machine, main_child, print_json, ratio, say, terrain_dataset, timed

CASES = ((256, 20, 400), (1024, 400, 16))
QUICK = ((256, 20, 64), (1024, 400, 4))
SHARDS = 4


def ours(data: str, out: str, full_masks: bool = False) -> dict:
    import tensorflow  # noqa: F401  (imported late otherwise, and not to be timed)

    from crater_model.records.write import write_records

    seconds = timed(lambda: write_records(data, out, (1, 0, 0), SHARDS, full_masks))
    return _written(seconds, Path(data), Path(out))


def ours_full_masks(data: str, out: str) -> dict:
    return ours(data, out, full_masks=True)


def model_garden(data: str, out: str) -> dict:
    from absl import flags
    from official.vision.data import create_coco_tf_record as converter

    flags.FLAGS(["benchmark"])
    Path(out).mkdir()
    labels = f"{data}/annotations.json"
    seconds = timed(lambda: converter._create_tf_record_from_coco_annotations(
        labels, [f"{data}/images"], f"{out}/train", SHARDS, object_annotations_file=labels,
        include_masks=True))
    return _written(seconds, Path(data), Path(out))


def _written(seconds: float, data: Path, out: Path) -> dict:
    """The time, and the shards beside the image files."""
    images = [path.stat().st_size for path in (data / "images").iterdir()]
    size = sum(path.stat().st_size for path in out.glob("*tfrecord*"))
    return {"seconds": round(seconds, 3), "images_per_second": round(len(images) / seconds, 2),
            "bytes": size, "size": round(size / sum(images), 3), "instances": _instances(out)}


def _instances(out: Path) -> int:
    """Labels in the records: Model Garden's converter leaves out what touches the border."""
    import tensorflow as tf

    files = [str(path) for path in out.glob("*tfrecord*")]
    count = 0
    for record in tf.data.TFRecordDataset(files).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        count += len(features["image/object/class/label"].int64_list.value)
    return count


def prepare(folder: str, size: int, craters: int, images: int) -> dict:
    return terrain_dataset(Path(folder), size, craters, images)


TASKS = {"ours": ours, "ours_full_masks": ours_full_masks, "model_garden": model_garden,
         "prepare": prepare}


def one_case(root: Path, size: int, craters: int, images: int) -> dict:
    say(f"{size} px, {craters} craters, {images} images ...")
    data = in_child(__file__, "prepare", folder=str(root / "data"), size=size, craters=craters,
                    images=images)
    found = {"data": data}
    for side in ("ours", "ours_full_masks", "model_garden"):
        found[side] = in_child(__file__, side, data=str(root / "data"), out=str(root / side))
        say(f"  {side}: {found[side]}")
    ours_, garden = found["ours"], found["model_garden"]
    found["times_model_garden"] = ratio(garden.get("seconds"), ours_.get("seconds"))
    found["full_masks_times_model_garden"] = ratio(
        garden.get("seconds"), found["ours_full_masks"].get("seconds"))
    found["size_share_of_model_garden"] = ratio(ours_.get("bytes"), garden.get("bytes"))
    return found


def measure(cases) -> dict:
    found = {"machine": machine(), "cases": {}}
    for size, craters, images in cases:
        with tempfile.TemporaryDirectory() as folder:
            found["cases"][f"{size}px_{craters}"] = one_case(Path(folder), size, craters, images)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer images")
    parser.add_argument("--cases", help="SIZE:CRATERS:IMAGES, separated by commas")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        main_child(options.child, TASKS)
        return
    cases = QUICK if options.quick else CASES
    if options.cases:
        cases = [tuple(int(v) for v in case.split(":")) for case in options.cases.split(",")]
    print_json(measure(cases))


if __name__ == "__main__":
    main()
