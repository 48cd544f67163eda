"""Scores equal pycocotools', and every image counts."""

import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from crater_model.detections import Detections
from crater_model.detections.truth import Truth, truth_from_grids
from crater_model.scores.evaluator import Evaluator, encode_rings

HEIGHT, WIDTH = 180, 280
SIZE = (HEIGHT, WIDTH)
CLASSES = {1: "a", 2: "b", 3: "nowhere"}


def ellipse(x, y, rx, ry, n=40):
    a = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([x + rx * np.cos(a), y + ry * np.sin(a)], axis=1)


def disc(m=28):
    c = (np.arange(m) + 0.5) / m * 2 - 1
    return np.where(c[:, None]**2 + c[None]**2 < 1, 255, 0).astype(np.uint8)


def detections(ellipses, scores, classes=None):
    boxes = [[y - ry, x - rx, y + ry, x + rx] for x, y, rx, ry in ellipses]
    n = len(ellipses)
    return Detections(np.array(boxes, np.float32).reshape(n, 4), np.array(scores, np.float32),
                      np.array(classes or [1] * n, np.int64),
                      np.repeat(disc()[None], n, axis=0).reshape(n, 28, 28), SIZE)


def truth(ellipses, classes=None, crowd=None):
    n = len(ellipses)
    return Truth([[ellipse(*e)] for e in ellipses], np.array(classes or [1] * n, np.int64),
                 np.array(crowd or [False] * n, bool), SIZE)


def random_images(seed, count=12, most=25):
    """Images of small to large craters of two classes, some of them crowds; three quarters of
    them found, roughly, and other places too; images without any of either among them."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        n = int(rng.integers(most // 2, most)) if number % 5 else 0
        radii = np.exp(rng.uniform(np.log(3), np.log(75), (n, 1))) * rng.uniform(0.8, 1.2, (n, 2))
        real = np.column_stack([rng.uniform(5, WIDTH - 5, n), rng.uniform(5, HEIGHT - 5, n), radii])
        classes, crowd = rng.integers(1, 3, n), rng.random(n) < 0.15
        kept = rng.random(n) < 0.75
        found = real[kept] + rng.normal(0, 0.08, (kept.sum(), 4)) * radii[kept][:, :1]
        right = np.where(rng.random(len(found)) < 0.9, classes[kept], 3 - classes[kept])
        extra = np.column_stack([rng.uniform(5, WIDTH - 5, n), rng.uniform(5, HEIGHT - 5, n),
                                 rng.uniform(3, 30, (n, 2))])
        found = np.concatenate([found, extra])
        found_classes = np.concatenate([right, rng.integers(1, 4, n)])
        if number % 4 == 3:
            found, found_classes = found[:0], found_classes[:0]
        scores = rng.random(len(found)).round(2)  # some of them equal
        yield (str(number), detections(found, scores, found_classes.tolist()),
               truth(real, classes.tolist(), crowd.tolist()))


def reference(images, kind, most=100):
    """The same scores through pycocotools alone."""
    gt, dt, ids = [], [], []
    for index, (_, found, real) in enumerate(images, start=1):
        ids.append({"id": index, "width": WIDTH, "height": HEIGHT})
        for rings, class_id, crowd in zip(real.rings, real.classes, real.crowd):
            mask = encode_rings(rings, *SIZE)
            low, high = rings[0].min(axis=0), rings[0].max(axis=0)
            gt.append({"id": len(gt) + 1, "image_id": index, "category_id": int(class_id),
                       "segmentation": mask, "area": float(rle.area(mask)), "iscrowd": int(crowd),
                       "bbox": [*low, *(high - low)]})
        for shape, box, score, class_id in zip(found.polygons(), found.boxes, found.scores,
                                               found.classes):
            row = {"image_id": index, "category_id": int(class_id), "score": float(score)}
            ymin, xmin, ymax, xmax = (float(v) for v in box)
            if kind == "bbox":
                row["bbox"] = [xmin, ymin, xmax - xmin, ymax - ymin]
            else:
                row["segmentation"] = encode_rings(
                    [np.asarray(shape.exterior.coords)[:-1]], *SIZE)
            dt.append(row)
    coco = COCO()
    coco.dataset = {"images": ids, "annotations": gt,
                    "categories": [{"id": i, "name": name} for i, name in CLASSES.items()]}
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(dt), kind)
    evaluation.params.maxDets = [1, 10, most]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    stats = list(evaluation.stats)
    if most != 100:  # its summary writes 100 for this one only
        stats[0] = mean(evaluation.eval["precision"][:, :, :, 0, 2])
    names = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", None, None,
             "AR", "AR_small", "AR_medium", "AR_large")
    return {name: value for name, value in zip(names, stats) if name}


def mean(values):
    return values[values > -1].mean()


def assert_pycocotools(images, most=100):
    evaluator = Evaluator(CLASSES)
    for image in images:
        evaluator.add(*image)
    scores = evaluator.result()
    for kind, prefix in (("segm", "mask"), ("bbox", "box")):
        for name, value in reference(images, kind, most).items():
            expected = None if value < 0 else pytest.approx(value, abs=1e-9)
            assert scores[f"{prefix}_{name}"] == expected, (prefix, name)
    return scores


@pytest.mark.parametrize("seed", range(4))
def test_numbers_are_pycocotools(seed):
    images = list(random_images(seed))
    assert any(real.crowd.any() for _, _, real in images)
    scores = assert_pycocotools(images)
    assert all(0 < scores[f"mask_{name}"] < 1 for name in (
        "AP", "AP_small", "AP_medium", "AP_large", "AR", "AR_small", "AR_medium", "AR_large"))


def test_numbers_of_many_detections_are_pycocotools_without_its_limit():
    images = list(random_images(9, count=3, most=300))
    most = max(len(found) for _, found, _ in images)
    assert most > 200
    scores = assert_pycocotools(images, most)
    assert scores["mask_AP"] > reference(images, "segm", 100)["AP"] + 0.01


def test_numbers_without_large_ones_are_pycocotools():
    small = [(20, 30, 5, 5), (120, 90, 12, 12), (60, 130, 25, 25)]
    found = [(20.5, 30, 5, 5), (200, 90, 12, 12)]
    scores = assert_pycocotools([("a", detections(found, [0.4, 0.9]), truth(small)),
                                 ("b", detections([], []), truth([]))])
    assert scores["mask_AR_large"] is None and scores["mask_AR_medium"] == 0


def test_perfect_detections_score_one():
    craters = [(30, 20, 10, 8), (90, 50, 20, 20), (70, 70, 5, 5)]
    evaluator = Evaluator({1: "crater"})
    evaluator.add("a", detections(craters, [0.9, 0.8, 0.7]), truth(craters))
    scores = evaluator.result()
    assert scores["mask_AP50"] == 1.0 and scores["box_AP"] > 0.99
    assert scores["precision"] == scores["recall"] == scores["f1"] == 1.0
    assert scores["catalogue_f1"] == 1.0
    assert scores["threshold"] == pytest.approx(0.7)


def test_an_image_without_detections_counts():
    crater = [(40, 40, 10, 10)]
    evaluator = Evaluator({1: "crater"})
    evaluator.add("found", detections(crater, [0.9]), truth(crater))
    assert evaluator.result()["mask_AP50"] == 1.0
    evaluator.add("missed", detections([], []), truth(crater))
    assert evaluator.result()["mask_AP50"] == pytest.approx(0.5, abs=0.01)
    assert evaluator.result()["recall"] == 0.5


def test_an_image_without_labels_counts():
    crater = [(40, 40, 10, 10)]
    evaluator = Evaluator({1: "crater"})
    evaluator.add("a", detections(crater, [0.5]), truth(crater))
    evaluator.add("empty", detections(crater, [0.9]), truth([]))
    scores = evaluator.result()
    assert scores["mask_AP50"] == pytest.approx(0.5, abs=0.01)
    assert scores["precision"] == 0.5 and scores["images"] == 2


def test_nothing_labelled_is_no_score():
    evaluator = Evaluator({1: "crater"})
    evaluator.add("empty", detections([(40, 40, 10, 10)], [0.9]), truth([]))
    scores = evaluator.result()
    assert all(scores[name] is None for name in (
        "mask_AP", "mask_AR_small", "box_AP50", "f1", "catalogue_recall", "diameter_error"))
    assert evaluator.by_diameter() == []


def test_labels_without_any_detection_score_zero():
    evaluator = Evaluator({1: "crater"})
    evaluator.add("a", detections([], []), truth([(40, 40, 10, 10)]))
    scores = evaluator.result()
    assert scores["mask_AP"] == 0.0 and scores["recall"] == 0.0
    assert scores["box_AR_small"] == 0.0 and scores["box_AR_medium"] is None
    assert scores["mask_AP_large"] is None and scores["centre_error_px"] is None


def test_more_than_a_hundred_detections_count():
    craters = [(4 + 6 * (i % 22), 4 + 6 * (i // 22), 2.5, 2.5) for i in range(300)]
    evaluator = Evaluator({1: "crater"})
    evaluator.add("crowd", detections(craters, np.linspace(1, 0.1, 300)), truth(craters))
    assert evaluator.result()["box_AP50"] == 1.0


def test_the_catalogue_rule_allows_what_the_outlines_do_not():
    evaluator = Evaluator({1: "crater"})
    # 6 px off at radius 10: IoU 0.45, but (6/10)^2 = 0.36 < 1.8.
    evaluator.add("a", detections([(46, 40, 10, 10)], [0.9]), truth([(40, 40, 10, 10)]))
    scores = evaluator.result()
    assert scores["recall"] == 0.0 and scores["catalogue_recall"] == 1.0


def test_each_label_is_found_once():
    evaluator = Evaluator({1: "crater"})
    twice = [(40, 40, 10, 10), (40.5, 40, 10, 10)]
    evaluator.add("a", detections(twice, [0.9, 0.8]), truth([(40, 40, 10, 10)]))
    right = evaluator.matches()["outline"][1]
    assert right.tolist() == [True, False]
    assert evaluator.matches()["outline"][2] == 1


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="image a: detections are for"):
        Evaluator({1: "crater"}).add("a", Detections.empty((5, 6)), truth([]))


def test_truth_from_a_records_grid():
    from crater_model.annotations.scene import Instance
    from crater_model.records.masks import instance_grid

    ring = ellipse(50, 30, 20, 12)
    made = Instance(1, 1, (ring,), 1.0)
    grid = instance_grid(made)
    boxes = np.array([made.box, [-1] * 4], np.float32)
    got = truth_from_grids(boxes, np.array([1, -1]), np.stack([grid, grid * 0]),
                           np.zeros(2, bool), SIZE)
    assert len(got) == 1
    shape, expected = got.outlines()[0], truth([(50, 30, 20, 12)]).outlines()[0]
    assert shape.intersection(expected).area / shape.union(expected).area > 0.97
