"""How long scoring takes, in how much memory, and what it finds, beside Model Garden's.

    python benchmarks/evaluation.py [--quick] [--craters 60,100,300] [--images 40]

Prints one JSON object. For each number of craters, images of 512 x 512 px are filled with
ellipses; nine in ten of them are found, a little off, and one detection in ten is a false alarm,
with masks of 28 x 28. The same images are scored, each time in a process of its own, by

- `ours`: `evaluation.Evaluator`: boxes, masks and the crater measures; `result_seconds` is the
  part after the last image;
- `model_garden`: its `COCOEvaluator` with masks, the labels in a file as its task keeps them;
- `pycocotools`: `COCOeval` for boxes and masks on the run-length masks that `ours` made, with
  its limit of detections; to be compared with `result_seconds`.

Seconds are without imports and without making the data. `differences` are our scores less
theirs. From pycocotools there is none. Model Garden's boxes score the same until an image holds
more than 100 detections, of which it takes the best 100. Its masks score lower: it cuts a box to
whole pixels before it fills in the mask, so that small craters come out up to a pixel off.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from common import found_ellipses, in_child, machine, main_child, peak_mb, print_json, ratio, say

SIDE, MASK = 512, 28
CRATERS, IMAGES = (60, 100, 300), 40
NAMES = ("AP", "AP50", "AP75")


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

    shape, drawn = np.round(mask() * 255).astype(np.uint8), found_ellipses(images, craters, SIDE)
    return [(str(number), Detections(
        boxes(found), scores, np.ones(len(found), np.int64),
        np.repeat(shape[None], len(found), axis=0), (SIDE, SIDE)),
        Truth([[ring] for ring in rings(real)], np.ones(len(real), np.int64),
              np.zeros(len(real), bool), (SIDE, SIDE)))
        for number, (real, found, scores) in enumerate(drawn, start=1)]


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
            "peak_before_mb": before,
            "most_detections": max(len(detections) for _, detections, _ in made),
            "scores": {f"{kind}_{name}": _number(scores[f"{kind}_{name}"])
                       for kind in ("box", "mask") for name in NAMES},
            "crater_scores": {name: _number(scores[name])
                              for name in ("precision", "recall", "f1", "catalogue_f1")}}


def model_garden(images: int, craters: int) -> dict:
    import tensorflow as tf
    from official.vision.evaluation.coco_evaluator import COCOEvaluator

    drawings = list(found_ellipses(images, craters, SIDE))
    most = max(len(found) for _, found, _ in drawings)
    batches = [_prediction(tf, number, found, scores, most)
               for number, (_, found, scores) in enumerate(drawings, start=1)]
    with tempfile.TemporaryDirectory() as folder:
        labels = Path(folder) / "annotation.json"
        labels.write_text(json.dumps(_coco(drawings)))
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


def _coco(drawings) -> dict:
    """The labels as a COCO document, areas and boxes of the outlines."""
    annotations = []
    for number, (real, _, _) in enumerate(drawings, start=1):
        for (x, y, rx, ry), ring in zip(real, rings(real)):
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": 0,
                "bbox": [x - rx, y - ry, 2 * rx, 2 * ry], "area": float(np.pi * rx * ry),
                "segmentation": [ring.ravel().tolist()]})
    return _document(len(drawings), annotations)


def _document(images: int, annotations: list[dict]) -> dict:
    return {"images": [{"id": i + 1, "width": SIDE, "height": SIDE} for i in range(images)],
            "annotations": annotations, "categories": [{"id": 1, "name": "crater"}]}


def pycocotools(images: int, craters: int) -> dict:
    made = typed(images, craters)
    truth, found = _annotations(made)
    most = max(100, *(len(detections) for _, detections, _ in made))
    before, started, scores = peak_mb(), time.perf_counter(), {}
    for kind, prefix in (("bbox", "box"), ("segm", "mask")):
        values = _plain(kind, truth, found, images, most)
        scores.update({f"{prefix}_{name}": value for name, value in zip(NAMES, values)})
    return {"seconds": round(time.perf_counter() - started, 3), "peak_before_mb": before,
            "scores": scores}


def _annotations(made: list) -> tuple[list[dict], list[dict]]:
    """Labels and detections as COCO keeps them, with the run-length masks that ours scores."""
    from pycocotools import mask as rle

    from crater_model.scores.evaluator import encode_rings

    truth, found = [], []
    for image, (_, detections, labels) in enumerate(made, start=1):
        for instance in labels.rings:
            mask = encode_rings(instance, SIDE, SIDE)
            (left, top), (right, bottom) = instance[0].min(axis=0), instance[0].max(axis=0)
            truth.append({
                "id": len(truth) + 1, "image_id": image, "category_id": 1, "iscrowd": 0,
                "segmentation": mask, "area": float(rle.area(mask)),
                "bbox": [left, top, right - left, bottom - top]})
        for shape, box, score in zip(detections.polygons(), detections.boxes, detections.scores):
            ring = np.asarray(shape.exterior.coords)[:-1]
            ymin, xmin, ymax, xmax = (float(v) for v in box)
            found.append({
                "image_id": image, "category_id": 1, "score": float(score),
                "segmentation": encode_rings([ring], SIDE, SIDE),
                "bbox": [xmin, ymin, xmax - xmin, ymax - ymin]})
    return truth, found


def _plain(kind: str, truth: list[dict], found: list[dict], images: int, most: int) -> list:
    """The scores of `NAMES` by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    labels = COCO()
    labels.dataset = _document(images, [dict(entry) for entry in truth])
    labels.createIndex()
    # Without a box it takes the mask's, and with one it makes the mask anew.
    unwanted = "segmentation" if kind == "bbox" else "bbox"
    results = labels.loadRes([{k: v for k, v in entry.items() if k != unwanted}
                              for entry in found])
    run = COCOeval(labels, results, kind)
    run.params.maxDets = [1, 10, most]
    run.evaluate()
    run.accumulate()
    precision = run.eval["precision"][:, :, :, 0, -1]  # of every size, with the last limit
    return [_number(part.mean()) for part in (precision, precision[0], precision[5])]


def _number(value) -> float:
    return round(float(value), 5)


def _differences(one: dict, other: dict) -> dict:
    """First less second, by score."""
    return {name: round(value - other[name], 5) for name, value in one.items()}


TASKS = {"ours": ours, "model_garden": model_garden, "pycocotools": pycocotools}


def one_case(images: int, craters: int) -> dict:
    say(f"{images} images, {craters} craters ...")
    found = {"images": images, "craters": craters, "size_px": SIDE}
    for side in TASKS:
        found[side] = in_child(__file__, side, images=images, craters=craters)
        say(f"  {side}: {found[side].get('seconds', found[side])}")
    ours_, garden, plain = (found[side] for side in TASKS)
    found["times_model_garden"] = ratio(garden.get("seconds"), ours_.get("seconds"))
    found["times_pycocotools"] = ratio(plain.get("seconds"), ours_.get("result_seconds"))
    found["differences"] = {
        name: _differences(ours_["scores"], other["scores"]) for name, other in (
            ("model_garden", garden), ("pycocotools", plain)) if "scores" in other}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 images with 60 and 100 craters")
    parser.add_argument("--craters", help="an image, separated by commas")
    parser.add_argument("--images", type=int)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        main_child(options.child, TASKS)
        return
    craters = [int(v) for v in options.craters.split(",")] if options.craters else (
        CRATERS[:2] if options.quick else CRATERS)
    images = options.images or (10 if options.quick else IMAGES)
    print_json({"machine": machine(), "cases": {
        f"{images}x{count}": one_case(images, count) for count in craters}})


if __name__ == "__main__":
    main()
