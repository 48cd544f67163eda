"""How long records take to write and how large they are, beside Model Garden's converter.

Each of `--cases` (px a side : craters an image : images) is one data set, written three times,
each in a process of its own; time runs from reading the labels to the last file, without imports:

- `ours`: `records.write.write_records`, which decodes every image to see that it is whole;
- `ours_full_masks`: with a full-size mask for each crater beside the compact ones;
- `model_garden`: `create_coco_tf_record` with PNG masks, in as many processes as it takes by
  itself (one for each core); `peak_mb` is that of the first alone.

`size` is the records' share of the image files' own bytes. Goals: at 1024 px with 400 craters
at most 1.15, written 5 times as fast as by Model Garden.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.data import terrain_dataset
from benchmarks.harness import grid, ratio, timed

FULL = {"cases": ("256:20:400", "1024:400:16")}
QUICK = {"cases": ("256:20:64", "1024:400:4")}
SHARDS = 4


def ours(data: str, out: str, full_masks: bool = False) -> dict:
    import tensorflow  # noqa: F401  (imported late otherwise, and not to be timed)

    from crater_model.records.write import write_records

    seconds = timed(lambda: write_records(data, out, (1, 0, 0), SHARDS, full_masks))
    return written(seconds, Path(data), Path(out))


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
    return written(seconds, Path(data), Path(out))


def written(seconds: float, data: Path, out: Path) -> dict:
    """The time, and the shards beside the image files."""
    images = [path.stat().st_size for path in (data / "images").iterdir()]
    size = sum(path.stat().st_size for path in out.glob("*tfrecord*"))
    return {"seconds": round(seconds, 3), "images_per_second": round(len(images) / seconds, 2),
            "bytes": size, "size": round(size / sum(images), 3), "instances": _instances(out)}


def _instances(out: Path) -> int:
    """Labels in the records: Model Garden's converter leaves out what touches the border."""
    import tensorflow as tf

    files = [str(path) for path in out.glob("*tfrecord*")]
    return sum(len(tf.train.Example.FromString(record).features.feature[
        "image/object/class/label"].int64_list.value)
        for record in tf.data.TFRecordDataset(files).as_numpy_iterator())


def measure(bench, cases) -> dict:
    found = {}
    for name in cases:
        size, craters, images = map(int, name.split(":"))
        data = bench.folder / name / "data"
        written = bench.child(f"{name}/data", terrain_dataset, folder=data, size=size,
                              craters=craters, images=images)
        case = {side.__name__: bench.child(f"{name}/{side.__name__}", side, may_fail=True, data=data,
                                           out=data.with_name(f"{side.__name__}_records"))
                for side in (ours, ours_full_masks, model_garden)}
        for side in ("ours", "ours_full_masks"):
            case[side]["times_model_garden"] = ratio(case["model_garden"].get("seconds"),
                                                     case[side].get("seconds"))
        found[name] = {"data": written, **case, "size_share_of_model_garden": ratio(
            case["ours"].get("bytes"), case["model_garden"].get("bytes"))}
    return {"cases": found}


def table(found: dict) -> str:
    names = {"ours": "ours", "ours_full_masks": "ours with full masks",
             "model_garden": "Model Garden"}
    return grid({"px": "{data.size_px}", "craters": "{data.craters}", "images": "{data.images}",
                 "": "{side}", "seconds": "{seconds:.2f}", "size": "{size:.3f}",
                 "times as fast as Model Garden": "{times_model_garden:.1f}"},
                [{"data": case["data"], "side": name, **case[side]}
                 for case in found["cases"].values() for side, name in names.items()])
