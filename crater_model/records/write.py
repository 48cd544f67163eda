"""Writing a data set as sharded TFRecords with a manifest beside them."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import crater_model
from crater_model.annotations.dataset import load_dataset, refuse_other_folder
from crater_model.annotations.scene import SPLITS, Dataset, Scene
from crater_model.annotations.splitting import FRACTIONS, split_dataset
from crater_model.errors import ConfigError
from crater_model.files import whole_folder
from crater_model.imagery.stretch import PERCENTILES
from crater_model.progress import Progress
from crater_model.records import schema
from crater_model.records.manifest import MANIFEST, Manifest, file_entry
from crater_model.records.masks import GRID, encode_grids, encode_mask, full_mask

# Files of about this size read well from a disk and from a bucket; but a few of them at
# least, so that they can be read side by side.
_SHARD_BYTES = 100 * 2**20
_MIN_SHARDS = 4
_JPEG_MAGIC = b"\xff\xd8"


def write_records(dataset_dir: str | Path, out_dir: str | Path,
                  splits: Sequence[float] = FRACTIONS, shards: int | None = None,
                  full_masks: bool = False, seed: int = 0) -> Manifest:
    """Writes `{split}-00000-of-0000N.tfrecord` files and `manifest.json`.

    The same data and arguments give the same bytes. Every image is decoded once, so that
    a broken one stops here and not in the middle of a training.

    Args:
      dataset_dir: the data set (COCO form).
      out_dir: where; replaced as a whole at the end. A folder that holds something other
        than records is refused.
      splits: shares of train, validation and test, by scene; splits that the data set
        names are kept. Where there are fewer scenes with labels than splits, one is cut into
        blocks (see `annotations.splitting`), and the manifest says so.
      shards: files a split (never more than it has images); None chooses by size.
      full_masks: adds a full-size 0/1 PNG for each instance, which Model Garden's own
        parser and the TF Object Detection API want.
      seed: of the assignment to splits and of the order of the images.

    Raises:
      DataError: the data set has a problem, or too few scenes and none that can be cut.
      ConfigError: shares or shards that make no sense.
    """
    if shards is not None and shards < 1:
        raise ConfigError(f"shards: got {shards}, expected at least 1")
    out_dir = Path(out_dir)
    refuse_other_folder(out_dir, MANIFEST, "a records folder")
    splitting = split_dataset(load_dataset(dataset_dir), splits, seed)
    dataset, split_of = splitting.dataset, splitting.split_of
    # Chips know how they were shared out before they were cut.
    said = dataset.info.get("splitting") if splitting.by == "scenes" else None
    entries, done = {}, 0
    total = len(dataset.scenes)
    with whole_folder(out_dir) as beside, Progress("writing records", total) as progress:
        for split in SPLITS:
            scenes = [s for s in dataset.scenes if split_of[s.scene] == split]
            scenes.sort(key=lambda s: hashlib.sha256(f"{seed}\0{s.file_name}".encode()).digest())
            examples = _examples(dataset, scenes, full_masks, progress, done)
            done += len(scenes)
            count = _shard_count(dataset, scenes) if shards is None else min(shards, len(scenes))
            files = _write_files(examples, beside, split, count)
            counts = [len(scene.instances) for scene in scenes]
            entries[split] = {
                "images": len(scenes), "instances": sum(counts), "empty_images": counts.count(0),
                "max_instances": max(counts, default=0), "files": files,
                "scenes": sorted({scene.scene for scene in scenes})}
        manifest = Manifest(
            root=out_dir, label_map=dataset.label_map, source=dataset.fingerprint, splits=entries,
            mask_grid=GRID, full_masks=full_masks,
            image_size=(max(s.height for s in dataset.scenes),
                        max(s.width for s in dataset.scenes)),
            scales=tuple(sorted({scene.scale for scene in dataset.scenes})),
            created_by=f"crater_model {crater_model.__version__}",
            stretch_percentiles=_percentiles(dataset),
            splitting=said if isinstance(said, dict) else splitting.to_json())
        manifest.write(beside)
    return manifest


def encode_example(scene: Scene, data: bytes, full_masks: bool = False):
    """The tf.train.Example of one image.

    Args:
      scene: the image's labels.
      data: its file's bytes (PNG or JPEG).
      full_masks: adds `image/object/mask`.
    """
    import tensorflow as tf

    def strings(values):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    def whole(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def real(values):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    height, width, instances = scene.height, scene.width, scene.instances
    boxes = [instance.box for instance in instances]
    features = {
        schema.ENCODED: strings([data]),
        schema.FORMAT: strings([b"jpeg" if data.startswith(_JPEG_MAGIC) else b"png"]),
        schema.FILE_NAME: strings([scene.file_name.encode()]),
        schema.HEIGHT: whole([height]),
        schema.WIDTH: whole([width]),
        schema.SOURCE_ID: strings([str(scene.id).encode()]),
        schema.YMIN: real([box[0] / height for box in boxes]),
        schema.XMIN: real([box[1] / width for box in boxes]),
        schema.YMAX: real([box[2] / height for box in boxes]),
        schema.XMAX: real([box[3] / width for box in boxes]),
        schema.LABEL: whole([instance.class_id for instance in instances]),
        schema.AREA: real([instance.area for instance in instances]),
        schema.IS_CROWD: whole([int(instance.crowd) for instance in instances]),
        schema.MASK_GRID: strings([encode_grids(instances)])}
    if full_masks:
        features[schema.MASK] = strings(
            [encode_mask(full_mask(instance, height, width)) for instance in instances])
    return tf.train.Example(features=tf.train.Features(feature=features))


def _examples(dataset: Dataset, scenes: list[Scene], full_masks: bool, progress: Progress,
              done: int) -> Iterator[bytes]:
    for number, scene in enumerate(scenes, start=1):
        example = encode_example(scene, dataset.encoded_image(scene), full_masks)
        yield example.SerializeToString(deterministic=True)
        progress.update(done + number)


def _percentiles(dataset: Dataset) -> tuple[float, float]:
    """Those that most of the stretched images were stretched by."""
    found = Counter(s.stretch.percentiles for s in dataset.scenes if s.stretch is not None)
    return found.most_common(1)[0][0] if found else PERCENTILES


def _shard_count(dataset: Dataset, scenes: list[Scene]) -> int:
    size = sum(dataset.image_path(scene).stat().st_size for scene in scenes)
    return min(len(scenes), max(_MIN_SHARDS, math.ceil(size / _SHARD_BYTES)))


def _write_files(examples: Iterator[bytes], folder: Path, split: str, count: int) -> list[dict]:
    """Deals the examples out to `count` files in turn; returns their manifest entries."""
    import tensorflow as tf

    paths = [folder / f"{split}-{number:05d}-of-{count:05d}.tfrecord" for number in range(count)]
    with ExitStack() as stack:
        writers = [stack.enter_context(tf.io.TFRecordWriter(str(path))) for path in paths]
        for number, example in enumerate(examples):
            writers[number % count].write(example)
    return [file_entry(path) for path in paths]
