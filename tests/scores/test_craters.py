"""The crater measures, by values: matching, crowds, classes, completeness, errors."""

import json

import numpy as np
import pytest
import shapely

from crater_model.detections import Detections
from crater_model.detections.matching import Shapes, covered, match
from crater_model.detections.truth import Truth
from crater_model.scores.craters import CraterMatcher

SIZE = (400, 600)


def circle(x, y, diameter, n=64):
    a = np.linspace(0, 2 * np.pi, n, endpoint=False)
    # Widened so that the polygon's area is the circle's.
    r = diameter / 2 * np.sqrt(2 * np.pi / n / np.sin(2 * np.pi / n))
    return np.stack([x + r * np.cos(a), y + r * np.sin(a)], axis=1)


def shapes(circles, classes=None):
    polygons = [shapely.Polygon(circle(*c)) for c in circles]
    return Shapes.of(polygons, np.array(classes or [1] * len(circles), np.int64))


def matched(*images):
    """A matcher of images, each (found, scores, wanted, classes, crowd)."""
    matcher = CraterMatcher()
    for found, scores, wanted, *rest in images:
        classes = rest[0] if rest else [1] * len(wanted)
        crowd = rest[1] if len(rest) > 1 else [False] * len(wanted)
        n = len(found)
        detections = Detections(
            np.zeros((n, 4), np.float32), np.array(scores, np.float32), np.ones(n, np.int64),
            np.zeros((n, 2, 2), np.uint8), SIZE)
        truth = Truth([[circle(*w)] for w in wanted], np.array(classes, np.int64),
                      np.array(crowd, bool), SIZE)
        matcher.add([shapely.Polygon(circle(*f)) for f in found], detections, truth)
    return matcher


def test_the_best_score_takes_its_best_label_first():
    found = shapes([(50, 50, 20), (53, 50, 20)])
    wanted = shapes([(50, 50, 20), (54, 50, 20)])
    for rule in ("outline", "catalogue"):
        assert match(rule, found, wanted, np.array([0.9, 0.8])).tolist() == [0, 1]
        # The second comes first and takes the label at 54; then the first its own.
        assert match(rule, found, wanted, np.array([0.1, 0.8])).tolist() == [0, 1]
        assert match(rule, found.select(np.array([1])), wanted,
                     np.array([0.5])).tolist() == [-1, 0]


@pytest.mark.parametrize("shift,ratio,outline,catalogue", [
    # Equal circles of diameter 20, off by d: an IoU of 0.5 is at d = 5.3; 1.8 is at 13.4.
    (5.1, 1.0, True, True), (5.5, 1.0, False, True), (13.3, 1.0, False, True),
    (13.5, 1.0, False, False),
    # Concentric: the IoU is the square of the ratio; |dr| / min(r) < 1 up to a ratio of 2.
    (0, 1.41, True, True), (0, 1.42, False, True), (0, 1.99, False, True), (0, 2.01, False, False),
    (0, 1 / 1.41, True, True), (0, 1 / 1.42, False, True), (0, 1 / 2.01, False, False),
])
def test_where_the_rules_end(shift, ratio, outline, catalogue):
    found, wanted = shapes([(50 + shift, 80, 20 * ratio)]), shapes([(50, 80, 20)])
    assert (match("outline", found, wanted, np.ones(1))[0] == 0) == outline
    assert (match("catalogue", found, wanted, np.ones(1))[0] == 0) == catalogue


def test_the_catalogue_rule_reaches_circles_that_do_not_touch():
    found, wanted = shapes([(50, 80, 40)]), shapes([(50 + 26.8, 80, 40.1)])
    assert match("catalogue", found, wanted, np.ones(1)).tolist() == [0]


def test_classes_do_not_mix():
    found, wanted = shapes([(50, 50, 20)], [2]), shapes([(50, 50, 20), (50, 50, 20)], [1, 2])
    for rule in ("outline", "catalogue"):
        assert match(rule, found, wanted, np.ones(1)).tolist() == [-1, 0]
    assert covered(found, wanted.select(np.array([0]))).tolist() == [False]
    assert covered(found, wanted.select(np.array([1]))).tolist() == [True]


def test_nothing_on_either_side():
    some, none = shapes([(50, 50, 20)]), shapes([])
    for rule in ("outline", "catalogue"):
        assert match(rule, none, some, np.zeros(0)).tolist() == [-1]
        assert match(rule, some, none, np.ones(1)).tolist() == []
        assert match(rule, none, none, np.zeros(0)).tolist() == []


def test_a_crowd_is_neither_right_nor_wrong_to_find():
    crowd = (200, 100, 120)
    matcher = matched(([(50, 50, 20), (190, 100, 20), (210, 100, 30), (300, 300, 20)],
                       [0.9, 0.8, 0.7, 0.6], [(50, 50, 20), crowd], [1, 1], [False, True]))
    scores, right, wanted = matcher.matches()["outline"]
    assert scores.tolist() == pytest.approx([0.9, 0.6]) and right.tolist() == [True, False]
    assert wanted == 1
    result = matcher.result()
    assert result["precision"] == result["recall"] == 1.0
    assert sum(b["labels"] for b in matcher.by_diameter()) == 1


def test_a_label_inside_a_crowd_is_right_to_find():
    matcher = matched(([(200, 100, 20)], [0.9], [(200, 100, 20), (200, 100, 120)], [1, 1],
                       [False, True]))
    assert matcher.result()["f1"] == 1.0


def test_recall_by_diameter():
    diameters = [4, 9.9, 10.1, 14.1, 14.2, 40.1, 41]
    wanted = [(40 + 75 * i, 60, d) for i, d in enumerate(diameters)]
    found = [wanted[0], wanted[2], wanted[5], (40 + 75 * 4 + 5, 60, 14.2), (500, 300, 30)]
    bins = matched((found, [0.9, 0.8, 0.7, 0.6, 0.01], wanted), ([], [], [])).by_diameter()
    assert [(b["from_px"], b["to_px"]) for b in bins] == [
        (0, 10), (10, 14.14), (14.14, 20), (20, 28.28), (28.28, 40), (40, 56.57)]
    assert [b["labels"] for b in bins] == [2, 2, 1, 0, 0, 2]
    assert [b["recall"] for b in bins] == [0.5, 0.5, 0, None, None, 0.5]
    # 5 px off at a diameter of 14.2: found by the catalogue's rule only.
    assert [b["catalogue_recall"] for b in bins] == [0.5, 0.5, 1, None, None, 0.5]
    assert json.loads(json.dumps(bins)) == bins


def test_recall_by_diameter_counts_from_the_best_f1_on():
    wanted = [(50, 50, 22), (150, 50, 22)]
    wrong = [(40 + 60 * i, 300, 20) for i in range(8)]
    matcher = matched(([wanted[0], *wrong, wanted[1]], np.linspace(1, 0.1, 10), wanted))
    assert matcher.result()["threshold"] == 1.0
    assert [b["recall"] for b in matcher.by_diameter() if b["labels"]] == [0.5]


def test_labels_only_below_ten_px():
    bins = matched(([], [], [(50, 50, 6), (70, 50, 9)])).by_diameter()
    assert bins == [{"from_px": 0.0, "to_px": 10.0, "labels": 2, "recall": 0.0,
                     "catalogue_recall": 0.0}]


def test_errors_of_centre_and_diameter():
    wanted = [(100, 100, 40), (200, 100, 50), (300, 200, 80), (500, 300, 20)]
    found = [(103, 104, 44), (200, 102, 45), (300, 206, 88), (505, 290, 12)]
    result = matched((found, [0.9, 0.8, 0.7, 0.6], wanted)).result()
    # 5, 2 and 6 px; of the radius 0.25, 0.08, 0.15; of the diameter +0.1, -0.1, +0.1. The
    # fourth is no match.
    assert result["recall"] == 0.75
    assert result["centre_error_px"] == pytest.approx(5, abs=1e-6)
    assert result["centre_error_relative"] == pytest.approx(0.15, abs=1e-6)
    assert result["diameter_error"] == pytest.approx(0.1, abs=1e-6)
    assert result["diameter_bias"] == pytest.approx(0.1, abs=1e-6)


def test_errors_are_of_what_counts():
    wrong = [(40 + 60 * i, 300, 20) for i in range(8)]
    result = matched(([(100, 100, 40), *wrong, (210, 100, 60)], np.linspace(1, 0.1, 10),
                      [(101, 100, 40), (200, 100, 60)])).result()
    assert result["centre_error_px"] == pytest.approx(1)  # the other is below the threshold
    assert result["diameter_bias"] == pytest.approx(0, abs=1e-9)


def test_without_any_detection_there_is_no_error():
    result = matched(([], [], [(50, 50, 20)])).result()
    assert result["recall"] == 0.0 and result["precision"] is None
    assert result["centre_error_px"] is None and result["diameter_bias"] is None
