"""Which outlines are the same crater; and that deciding part by part decides the same."""

import numpy as np
import pytest
import shapely
from shapely.geometry import Point

from crater_model.mapping.merge import same_crater_keep, settle


def keep(shapes, scores, cut=None, classes=None):
    n = len(shapes)
    return same_crater_keep(shapes, np.array(scores), np.array(classes or [1] * n),
                            np.array(cut or [False] * n)).tolist()


def test_nested_craters_stay():
    assert keep([Point(0, 0).buffer(20), Point(2, 0).buffer(8)], [0.9, 0.8]) == [True, True]


def test_the_better_of_two_of_the_same_stays():
    assert keep([Point(0, 0).buffer(10), Point(1, 0).buffer(10)], [0.6, 0.8]) == [False, True]


def test_a_whole_one_wins_over_a_cut_one():
    whole = Point(0, 0).buffer(10)
    half = whole.intersection(Point(-10, 0).buffer(10))
    assert keep([whole, half], [0.6, 0.9], cut=[False, True]) == [True, False]


def test_classes_do_not_merge():
    circle = Point(0, 0).buffer(10)
    assert keep([circle, circle], [0.6, 0.8], classes=[1, 2]) == [True, True]


def test_nothing_to_merge():
    keep_, wait = settle(np.empty(0, object), np.zeros(0), np.zeros(0), np.zeros(0, bool), 5.0)
    assert keep_.tolist() == wait.tolist() == []


def test_what_may_still_change_waits():
    """The first reaches below the line; the second depends on it, the third on the second."""
    chain = [Point(0, 20).buffer(10), Point(0, 11).buffer(10), Point(0, 2).buffer(10),
             Point(60, 5).buffer(5), Point(61, 5).buffer(5)]
    scores, classes, cut = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.ones(5, int), np.zeros(5, bool)
    kept, wait = settle(chain, scores, classes, cut, 25.0)
    assert kept.tolist() == [False, False, False, True, False]
    assert wait.tolist() == [True, True, True, False, False]
    # With nothing below it: the second goes for the first, and so the third stays.
    kept, wait = settle(chain, scores, classes, cut, 31.0)
    assert kept.tolist() == [True, False, True, True, False] and not wait.any()


@pytest.mark.parametrize("seed", range(4))
def test_part_by_part_is_as_all_at_once(seed):
    """A crowded strip, wider than high, given in bands that begin further and further down."""
    rng = np.random.default_rng(seed)
    n = 600
    x, y = rng.uniform(0, 300, n), rng.uniform(0, 220, n)
    shapes = shapely.buffer(shapely.points(x, y), 3 * rng.uniform(0.1, 1, n)**-0.9, quad_segs=4)
    scores, classes = rng.uniform(0, 1, n), rng.integers(1, 3, n)
    cut = rng.uniform(size=n) < 0.3
    order = np.argsort(shapely.bounds(shapes)[:, 1])
    shapes, scores, classes, cut = (a[order] for a in (shapes, scores, classes, cut))
    wanted = same_crater_keep(shapes, scores, classes, cut)
    upper, open_, found = shapely.bounds(shapes)[:, 1], np.zeros(0, int), []
    for start in range(0, n, 37):
        open_ = np.concatenate([open_, np.arange(start, min(n, start + 37))])
        top = upper[start + 37] if start + 37 < n else np.inf
        kept, wait = settle(shapes[open_], scores[open_], classes[open_], cut[open_], top)
        found.append(open_[kept])
        open_ = open_[wait]
    assert len(open_) == 0 and len(found[0]) > 0
    assert sorted(np.concatenate(found)) == np.flatnonzero(wanted).tolist()
