"""What `yolo.py` runs in processes of this project: the data, our training, and the scores."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path

SIDE = 256
# Of the rendered scenes: to train on, to choose the last checkpoint by, to score on.
TERRAIN_SPLITS, MOSAIC_SPLITS = (0.78, 0.02, 0.20), (0.7, 0.15, 0.15)
# Network px per px of a mosaic: its median crater of 9 px becomes one of 18.
SCALE = 2.0
BATCH = 16


def prepare(folder: str, mosaics: str | None, scenes: int, train_scenes: int | None) -> dict:
    """`scenes`, cut into `chips`, and those as `records` and as `yolo`, below `folder`.

    Args:
      mosaics: a data set of large images, which keep their split or get one; None renders
        `scenes` scenes.
      train_scenes: how many of the training scenes there are to be; None: all.
    """
    from crater_model.annotations.dataset import load_dataset
    from crater_model.synthesis import synthesize

    root = Path(folder)
    if mosaics is None:
        synthesize(root / "rendered", scenes, (SIDE, SIDE))
        assign(root / "rendered", root / "scenes", TERRAIN_SPLITS, train_scenes)
        chips = cut(root, 1.0)
    else:
        assign(Path(mosaics), root / "scenes", MOSAIC_SPLITS, train_scenes)
        chips = cut(root, SCALE)
    write_yolo(chips, root / "yolo")
    found = {}
    for name in ("scenes", "chips"):
        for scene in load_dataset(root / name).scenes:
            counts = found.setdefault(scene.split, defaultdict(int))
            counts[name] += 1
            counts["craters" if name == "scenes" else "labels_in_chips"] += len(scene.instances)
    return found


def prepare_like(folder: str, scenes: int, count: int) -> dict:
    """Rendered terrain with `count` craters drawn in each scene, as `records`."""
    from crater_model.synthesis import synthesize

    root = Path(folder)
    synthesize(root / "rendered", scenes, (SIDE, SIDE), seed=1, empty_share=0.0, count=count)
    assign(root / "rendered", root / "scenes", TERRAIN_SPLITS, None)
    chips = cut(root, 1.0).scenes
    return {"scenes": scenes, "chips": len(chips), "labels": sum(len(c.instances) for c in chips)}


def cut(root: Path, scale: float):
    """The chips of `root`'s scenes, and records of them."""
    from crater_model.annotations.dataset import load_dataset
    from crater_model.chips import cut_chips
    from crater_model.records.write import write_records

    cut_chips(root / "scenes", root / "chips", SIDE, scales=[scale])
    write_records(root / "chips", root / "records")
    return load_dataset(root / "chips")


def assign(source: Path, out: Path, shares: tuple, train_scenes: int | None) -> None:
    """The data set with every scene's split written down, and no more training scenes than that."""
    import dataclasses

    from crater_model.annotations.dataset import load_dataset, save_dataset
    from crater_model.annotations.splits import dataset_splits

    data = load_dataset(source)
    splits = dataset_splits(data, shares)
    train = [s.scene for s in data.scenes if splits[s.scene] == "train"][train_scenes:]
    left_out = set(train) if train_scenes else set()
    save_dataset(out, ((dataclasses.replace(scene, split=splits[scene.scene]),
                        data.image_path(scene))
                       for scene in data.scenes if scene.scene not in left_out), data.label_map)


def write_yolo(chips, folder: Path) -> None:
    """The same chips as YOLO reads them; of the validation ones a single one, since it costs time.

    `test` holds the images to score on, without labels.
    """
    from yolo_score import label_lines

    counts = defaultdict(int)
    for scene in chips.scenes:
        counts[scene.split] += 1
        if scene.split == "validation" and counts["validation"] > 1:
            continue
        image = folder / "images" / scene.split / scene.file_name
        image.parent.mkdir(parents=True, exist_ok=True)
        image.unlink(missing_ok=True)
        os.link(chips.image_path(scene), image)
        if scene.split != "test":
            labels = folder / "labels" / scene.split / f"{image.stem}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text("".join(f"{line}\n" for line in label_lines(scene)))
    names = "".join(f"  {key - 1}: {name}\n" for key, name in sorted(chips.label_map.items()))
    (folder / "data.yaml").write_text(f"path: {folder.resolve()}\ntrain: images/train\n"
                                      f"val: images/validation\nnames:\n{names}")


def train(folder: str, model: str, settings: dict, steps: int, start: str | None) -> dict:
    """Our training with one validation at its end.

    Args:
      start: a finished model directory whose weights it begins with; None: from scratch.
    """
    from crater_model.training import train as run

    values = {**settings, "trainer.train_steps": steps, "trainer.validation_interval": steps,
              "trainer.checkpoint_interval": steps}
    if start:
        values["task.init_checkpoint"] = start
    result = run(f"{folder}/records", model, "demo", values, sample_1_of_n_eval_examples=8)
    rows = [row for row in result["history"] if row["kind"] == "train"]
    return {"steps": steps, "seconds_per_step": _pace(rows), "validation": result["metric"]}


def _pace(rows: list[dict]) -> float | None:
    """Seconds a step after the first loops, which trace the graph."""
    if len(rows) < 4:
        return None
    first, last = rows[2], rows[-1]
    return round((last["seconds"] - first["seconds"]) / (last["step"] - first["step"]), 4)


def score(folder: str, side: str, found: str) -> dict:
    """Scores on the test scenes.

    Args:
      side: "ours" (`found` is a model directory) or "yolo" (a folder of masks).
    """
    from crater_model.annotations.dataset import load_dataset
    from yolo_score import coco_scores, merged

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
    from crater_model.detector import Detector
    from yolo_score import Found

    detector = Detector.load(model)
    for start in range(0, len(tiles), BATCH):
        images = [chips.encoded_image(tile) for tile in tiles[start:start + BATCH]]
        for detections in detector.detect(images):
            yield Found.of(detections.polygons(), detections.scores)


def yolo_outlines(chips, tiles: list, folder: Path):
    """The same from the masks that `yolo_peer.py` wrote."""
    import numpy as np

    from yolo_score import Found, mask_outlines

    for tile in tiles:
        with np.load(folder / f"{tile.file_name}.npz") as kept:
            height, width = kept["size"]
            scores = kept["scores"]
            masks = np.unpackbits(kept["masks"], axis=-1, count=int(width))
        yield Found.of(mask_outlines(masks.reshape(-1, height, width)), scores)


TASKS = {"prepare": prepare, "prepare_like": prepare_like, "train": train, "score": score}
