"""What `yolo.py` runs in processes of this project: the data and the scores."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path

BATCH = 16


def prepare(folder: str, source: str, shares: list[float], train_scenes: int) -> dict:
    """`scenes`, the data set of `source` with its splits written down, below `folder`.

    Args:
      shares: of train, validation and test, where the source says no split.
      train_scenes: how many of the training scenes there are to be; 0: all.
    """
    import dataclasses

    from crater_model.annotations.dataset import load_dataset, save_dataset
    from crater_model.annotations.splits import dataset_splits

    data = load_dataset(source)
    splits = dataset_splits(data, shares)
    train = [s.scene for s in data.scenes if splits[s.scene] == "train"][train_scenes:]
    left_out = set(train) if train_scenes else set()
    save_dataset(f"{folder}/scenes", (
        (dataclasses.replace(scene, split=splits[scene.scene]), data.image_path(scene))
        for scene in data.scenes if scene.scene not in left_out), data.label_map)
    return counts(f"{folder}/scenes")


def counts(folder: str) -> dict:
    from crater_model.annotations.dataset import load_dataset

    found = defaultdict(lambda: {"images": 0, "labels": 0})
    for scene in load_dataset(folder).scenes:
        found[scene.split]["images"] += 1
        found[scene.split]["labels"] += len(scene.instances)
    return found


def write_yolo(folder: str) -> dict:
    """The chips below `folder` as YOLO reads them; of the validation ones a single one, since it costs time.

    `test` holds the images to score on, without labels.
    """
    from benchmarks.yolo_score import label_lines
    from crater_model.annotations.dataset import load_dataset

    chips, out = load_dataset(f"{folder}/chips"), Path(folder, "yolo")
    validated = False
    for scene in chips.scenes:
        if scene.split == "validation":
            if validated:
                continue
            validated = True
        image = out / "images" / scene.split / scene.file_name
        image.parent.mkdir(parents=True, exist_ok=True)
        image.unlink(missing_ok=True)
        os.link(chips.image_path(scene), image)
        if scene.split != "test":
            labels = out / "labels" / scene.split / f"{image.stem}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text("".join(f"{line}\n" for line in label_lines(scene)))
    names = "".join(f"  {key - 1}: {name}\n" for key, name in sorted(chips.label_map.items()))
    (out / "data.yaml").write_text(f"path: {out.resolve()}\ntrain: images/train\n"
                                   f"val: images/validation\nnames:\n{names}")
    return counts(f"{folder}/chips")


def score(folder: str, side: str, found: str) -> dict:
    """Scores on the test scenes.

    Args:
      side: "ours" (`found` is a model directory) or "yolo" (a folder of masks).
    """
    from benchmarks.yolo_score import coco_scores, merged
    from crater_model.annotations.dataset import load_dataset

    started = time.perf_counter()
    scenes, chips = load_dataset(f"{folder}/scenes"), load_dataset(f"{folder}/chips")
    tiles = [tile for tile in chips.scenes if tile.split == "test"]
    outlines = {"ours": our_outlines, "yolo": yolo_outlines}[side](chips, tiles, Path(found))
    by_scene = defaultdict(list)
    for tile, shapes in zip(tiles, outlines):
        by_scene[tile.scene].append((tile, shapes))
    held_out = [scene for scene in scenes.scenes if scene.split == "test"]
    scores = coco_scores([(scene, merged((scene.width, scene.height), by_scene[scene.scene]))
                          for scene in held_out])
    return {**scores, "scenes": len(held_out), "tiles": len(tiles),
            "seconds": round(time.perf_counter() - started, 1)}


def our_outlines(chips, tiles: list, model: Path):
    """`Found` of each tile."""
    from benchmarks.yolo_score import Found
    from crater_model.detector import Detector

    detector = Detector.load(model)
    for start in range(0, len(tiles), BATCH):
        images = [chips.encoded_image(tile) for tile in tiles[start:start + BATCH]]
        for detections in detector.detect(images):
            yield Found.of(detections.polygons(), detections.scores)


def yolo_outlines(chips, tiles: list, folder: Path):
    """The same from the masks that `yolo_peer.py` wrote."""
    import numpy as np

    from benchmarks.yolo_score import Found, mask_outlines

    for tile in tiles:
        with np.load(folder / f"{tile.file_name}.npz") as kept:
            height, width = kept["size"]
            scores = kept["scores"]
            masks = np.unpackbits(kept["masks"], axis=-1, count=int(width))
        yield Found.of(mask_outlines(masks.reshape(-1, height, width)), scores)

