"""The same crater labelled twice is found, and only that."""

import numpy as np

from crater_model.annotations.duplicates import same_craters
from crater_model.annotations.outline import ellipse
from crater_model.annotations.scene import Instance, Scene


def labelled(number, ring, class_id=1, crowd=False):
    x, y = ring.T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    return Instance(number, class_id, (ring,), float(area), crowd)


def square(x, y, side=10.0):
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]])


def scene(*instances):
    return Scene(1, "a.png", 200, 90, instances)


def test_outlines_that_agree_are_one_crater():
    # Moved by 1.7 of 10 px two squares share 83 and cover 117 px^2 (0.709), by 1.8 0.695.
    near, far = square(1.7, 0), square(101.8, 50)
    found = same_craters(scene(
        labelled(9, square(0, 0)), labelled(4, near), labelled(2, square(100, 50)),
        labelled(3, far)))
    assert found == [(4, 9)]


def test_nested_and_neighbouring_craters_are_not():
    assert same_craters(scene(labelled(1, ellipse(50, 40, 30, 20)),
                              labelled(2, ellipse(50, 40, 24, 16)),  # 0.64 of it
                              labelled(3, ellipse(112, 40, 30, 20)))) == []


def test_other_classes_and_crowds_are_not():
    one = square(3, 4)
    assert same_craters(scene(labelled(1, one), labelled(2, one, class_id=2))) == []
    assert same_craters(scene(labelled(1, one), labelled(2, one, crowd=True))) == []
    assert same_craters(scene()) == same_craters(scene(labelled(1, one))) == []


def test_three_times_is_three_pairs_and_parts_are_joined():
    one = square(3, 4)
    assert same_craters(scene(*(labelled(n, one) for n in (1, 2, 3)))) == [(1, 2), (1, 3), (2, 3)]
    halves = Instance(5, 1, (one * (1, 0.5) + (0, 2), one * (1, 0.5) + (0, 7)), 100.0)
    assert same_craters(scene(labelled(1, one), halves)) == [(1, 5)]
