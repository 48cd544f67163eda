"""How long scoring takes, in how much memory, and what it finds, beside Model Garden's.

For each number of craters, images of 512 x 512 px are filled with ellipses; nine in ten of them
are found, a little off, and one detection in ten is a false alarm, with masks of 28 x 28. The same
images are scored, each time in a process of its own, by

- `ours`: `scores.Evaluator`: boxes, masks and the crater measures; `result_seconds` is the part
  after the last image;
- `model_garden`: its `COCOEvaluator` with masks, the labels in a file as its task keeps them;
- `pycocotools`: `COCOeval` for boxes and masks on the run-length masks that `ours` made, with its
  limit of detections; to be compared with `result_seconds`.

Seconds are without imports and without making the data. `differences` are our scores less theirs.
From pycocotools there is none. Model Garden's boxes score the same until an image holds more than
100 detections, of which it takes the best 100. Its masks score lower: it cuts a box to whole pixels
before it fills in the mask, so that small craters come out up to a pixel off.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import coco
from benchmarks.harness import grid, peak_mb, ratio

FULL = {"craters": (60, 100, 300), "images": 40}
QUICK = {"craters": (60, 100), "images": 10}
SIDE, MASK = 512, 28
NAMES = ("AP", "AP50", "AP75")


def found_ellipses(images: int, craters: int) -> Iterator[tuple]:
    """Labels and detections of square images, drawn from a fixed seed.

    Yields:
      labels [n, 4] (x, y, rx, ry in px), detections [k, 4], their scores float32 [k], best first.
    """
    rng = np.random.default_rng((images, craters))

    def draw(count: int):
        radius = np.minimum(4 * rng.uniform(0, 1, count) ** -0.6, SIDE / 8)
        return np.concatenate([rng.uniform(SIDE / 8, SIDE * 7 / 8, (count, 2)),
                               radius[:, None] * rng.uniform(0.8, 1.0, (count, 2))], axis=1)

    for _ in range(images):
        real, false = draw(craters), draw(craters // 10)
        near = real[rng.random(craters) < 0.9]
        near += rng.normal(0, 0.06, near.shape) * near[:, 2:3]
        near[:, 2:] = np.maximum(near[:, 2:], 2.0)
        scores = np.concatenate([rng.uniform(0.3, 1.0, len(near)),
                                 rng.uniform(0.05, 0.7, len(false))]).astype(np.float32)
        order = np.argsort(-scores)
        yield real, np.concatenate([near, false])[order], scores[order]


def boxes(ellipses: np.ndarray) -> np.ndarray:
    """ymin, xmin, ymax, xmax, float32 [n, 4]."""
    x, y, rx, ry = ellipses.T
    return np.stack([y - ry, x - rx, y + ry, x + rx], axis=1).astype(np.float32)


def mask() -> np.ndarray:
    """A disc's probability on its box, falling off over two cells; float32 [MASK, MASK]."""
    c = (np.arange(MASK) + 0.5) / MASK * 2 - 1
    inside = 1 - np.hypot(c[:, None], c[None])
    return np.clip(0.5 + inside * MASK / 4, 0, 1).astype(np.float32)


def rings(ellipses: np.ndarray) -> list[np.ndarray]:
    """Outlines, float64 [64, 2] each."""
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return [(x, y) + circle * (rx, ry) for x, y, rx, ry in ellipses]


def typed(images: int, craters: int) -> list:
    """By image: name, `Detections` and `Truth`."""
    from crater_model.detections import Detections
    from crater_model.detections.truth import Truth

    shape = np.round(mask() * 255).astype(np.uint8)
    return [(str(number), Detections(
        boxes(found), scores, np.ones(len(found), np.int64),
        np.repeat(shape[None], len(found), axis=0), (SIDE, SIDE)),
        Truth([[ring] for ring in rings(real)], np.ones(len(real), np.int64),
              np.zeros(len(real), bool), (SIDE, SIDE)))
        for number, (real, found, scores) in enumerate(found_ellipses(images, craters), start=1)]


def ours(images: int, craters: int) -> dict:
    from crater_model.scores.evaluator import Evaluator

    made = typed(images, craters)
    before, started = peak_mb(), time.perf_counter()
    scorer = Evaluator({1: "crater"})
    for image in made:
        scorer.add(*image)
    added = time.perf_counter()
    scores = scorer.result()
    done = time.perf_counter()
    return {"seconds": round(done - started, 3), "result_seconds": round(done - added, 3),
            "peak_before_mb": before, "scores": {
                f"{kind}_{name}": _number(scores[f"{kind}_{name}"])
                for kind in ("box", "mask") for name in NAMES}}


def model_garden(images: int, craters: int) -> dict:
    import tensorflow as tf
    from official.vision.evaluation.coco_evaluator import COCOEvaluator

    drawings = list(found_ellipses(images, craters))
    most = max(len(found) for _, found, _ in drawings)
    batches = [_prediction(tf, number, found, scores, most)
               for number, (_, found, scores) in enumerate(drawings, start=1)]
    with tempfile.TemporaryDirectory() as folder:
        labels = Path(folder) / "annotation.json"
        labels.write_text(json.dumps(_polygons(drawings)))
        before, started = peak_mb(), time.perf_counter()
        # Its limit of detections can be raised for boxes only, so it stays as it is.
        garden = COCOEvaluator(str(labels), include_mask=True, need_rescale_bboxes=True)
        for batch in batches:
            garden.update_state(None, batch)
        values = garden.result()
        seconds = time.perf_counter() - started
    return {"seconds": round(seconds, 3), "peak_before_mb": before, "scores": {
        f"{kind}_{name}": _number(values[f"{prefix}{name}"])
        for kind, prefix in (("box", ""), ("mask", "mask_")) for name in NAMES}}


def _prediction(tf, number: int, found: np.ndarray, scores: np.ndarray, most: int) -> dict:
    """One image's detections as its model gives them: a batch of one, padded to `most`."""
    pad = most - len(found)
    masks = np.repeat(mask()[None], len(found), axis=0)
    values = {
        "source_id": np.array([number]), "num_detections": np.array([len(found)]),
        "image_info": np.array([[[SIDE, SIDE], [SIDE, SIDE], [1, 1], [0, 0]]], np.float32),
        "detection_boxes": np.pad(boxes(found), ((0, pad), (0, 0)))[None],
        "detection_scores": np.pad(scores, (0, pad))[None],
        "detection_classes": np.pad(np.ones(len(found), np.int64), (0, pad))[None],
        "detection_masks": np.pad(masks, ((0, pad), (0, 0), (0, 0)))[None]}
    return {name: tf.constant(value) for name, value in values.items()}


def _polygons(drawings) -> dict:
    """The labels as a COCO document, areas and boxes of the outlines."""
    annotations = [
        {"image_id": number, "category_id": 1, "iscrowd": 0, "area": float(np.pi * rx * ry),
         "bbox": [x - rx, y - ry, 2 * rx, 2 * ry], "segmentation": [ring.ravel().tolist()]}
        for number, (real, _, _) in enumerate(drawings, start=1)
        for (x, y, rx, ry), ring in zip(real, rings(real))]
    return coco.document([(SIDE, SIDE)] * len(drawings), _numbered(annotations))


def _numbered(entries: list[dict]) -> list[dict]:
    return [{"id": number, **entry} for number, entry in enumerate(entries, start=1)]


def pycocotools(images: int, craters: int) -> dict:
    made = typed(images, craters)
    truth, found = _masks(made)
    labels = coco.document([(SIDE, SIDE)] * images, truth)
    most = max(100, *(len(detections) for _, detections, _ in made))
    before, started, scores = peak_mb(), time.perf_counter(), {}
    for kind, prefix, unwanted in (("bbox", "box", "segmentation"), ("segm", "mask", "bbox")):
        # Without a box it takes the mask's, and with one it makes the mask anew.
        results = [{k: v for k, v in one.items() if k != unwanted} for one in found]
        precision = coco.precision(kind, labels, results, most)[..., 0]
        scores.update({f"{prefix}_{name}": _number(part.mean()) for name, part in zip(
            NAMES, (precision, precision[0], precision[5]))})
    return {"seconds": round(time.perf_counter() - started, 3), "peak_before_mb": before,
            "scores": scores}


def _masks(made: list) -> tuple[list[dict], list[dict]]:
    """Labels and detections as COCO keeps them, with the run-length masks that ours scores."""
    from pycocotools import mask as rle

    truth, found = [], []
    for image, (_, detections, labels) in enumerate(made, start=1):
        for instance in labels.rings:
            (left, top), (right, bottom) = instance[0].min(axis=0), instance[0].max(axis=0)
            entry = coco.entry(image, instance, (SIDE, SIDE), iscrowd=0,
                               bbox=[left, top, right - left, bottom - top])
            truth.append({**entry, "area": float(rle.area(entry["segmentation"]))})
        for shape, box, score in zip(detections.polygons(), detections.boxes, detections.scores):
            ymin, xmin, ymax, xmax = (float(v) for v in box)
            found.append(coco.entry(
                image, [np.asarray(shape.exterior.coords)[:-1]], (SIDE, SIDE),
                score=float(score), bbox=[xmin, ymin, xmax - xmin, ymax - ymin]))
    return _numbered(truth), found


def _number(value) -> float:
    return round(float(value), 5)


def measure(bench, craters, images: int) -> dict:
    found = {}
    for count in craters:
        case = bench.sides(f"{images}x{count}", (ours, model_garden, pycocotools), images=images,
                           craters=count)
        mine, garden, plain = case.values()
        found[str(count)] = {
            **case, "times_model_garden": ratio(garden.get("seconds"), mine.get("seconds")),
            "times_pycocotools": ratio(plain.get("seconds"), mine.get("result_seconds")),
            "differences": {name: {score: round(mine["scores"][score] - value, 5)
                                   for score, value in case[name].get("scores", {}).items()}
                            for name in ("model_garden", "pycocotools")}}
    return {"size_px": SIDE, "images": images, "cases": found}


def table(found: dict) -> str:
    names = {"ours": "ours", "model_garden": "Model Garden", "pycocotools": "pycocotools"}
    rows = [{"craters": craters, "side": name, **case[side]}
            for craters, case in found["cases"].items() for side, name in names.items()]
    for row in rows:  # it scores only, from masks that are there
        if row["side"] == "pycocotools":
            row["result_seconds"] = row.pop("seconds")
    return grid({"craters": "{craters}", "": "{side}", "seconds": "{seconds}",
                 "of it scoring": "{result_seconds}", "MB": "{peak_mb}",
                 "box AP": "{scores.box_AP:.3f}", "mask AP": "{scores.mask_AP:.3f}"}, rows)
