"""Masks to outlines, with sub-pixel accuracy, on boxes that are not square."""

import numpy as np
import pytest

from crater_model.detections import Detections
from crater_model.detections.contours import mask_outline


def soft_disc(m=28):
    """Probability that falls through one half at the inscribed ellipse."""
    c = (np.arange(m) + 0.5) / m * 2 - 1
    return np.clip(0.5 + (1 - np.sqrt(c[:, None]**2 + c[None]**2)) * 3, 0, 1)


def test_an_ellipse_comes_back():
    outline = mask_outline(soft_disc(), np.array([10, 30, 50, 110]))  # 40 high, 80 wide
    assert outline.centroid.coords[0] == pytest.approx((70, 30), abs=0.01)
    assert outline.area == pytest.approx(np.pi * 40 * 20, rel=0.02)
    assert outline.bounds == pytest.approx((30, 10, 110, 50), abs=1.0)


def covered(m=28, y=0.0, x=0.0):
    """The share of each cell that the inscribed ellipse covers, its centre off by so many cells."""
    fine = (np.arange(m * 16) + 0.5) / (m * 16) * 2 - 1
    inside = ((fine[:, None] - 2 * y / m)**2 + (fine[None] - 2 * x / m)**2) < 0.8**2
    return inside.reshape(m, 16, m, 16).mean(axis=(1, 3))


@pytest.mark.parametrize("y, x", [(0, 0), (0.3, -0.7), (1.4, 2.1)])
def test_accuracy_is_below_a_pixel(y, x):
    """Cells of 3.57 x 1.43 px: the outline is far better than a cell."""
    outline = mask_outline(np.round(covered(y=y, x=x) * 255) / 255, np.array([10, 30, 110, 70]))
    center = 50 + x * 40 / 28, 60 + y * 100 / 28
    assert outline.centroid.coords[0] == pytest.approx(center, abs=0.1)
    assert outline.area == pytest.approx(np.pi * 40 * 16, rel=0.01)
    assert outline.bounds == pytest.approx(
        (center[0] - 16, center[1] - 40, center[0] + 16, center[1] + 40), abs=0.36)


def test_a_full_mask_ends_at_its_box():
    outline = mask_outline(np.ones((28, 28), np.float32), np.array([0, 0, 28, 56]))
    assert outline.bounds == pytest.approx((0, 0, 56, 28), abs=0.01)
    assert outline.area == pytest.approx(28 * 56, rel=0.01)


def test_half_a_mask():
    mask = np.zeros((28, 28), np.float32)
    mask[:, :14] = 1
    outline = mask_outline(mask, np.array([0, 0, 28, 56]))
    assert outline.bounds[2] == pytest.approx(28, abs=0.01)


def test_of_several_pieces_the_largest_counts():
    mask = np.zeros((28, 28), np.float32)
    mask[2:5, 2:5] = 1
    mask[10:26, 10:26] = 1
    assert mask_outline(mask, np.array([0, 0, 28, 28])).centroid.x == pytest.approx(18, abs=0.1)


def test_an_empty_mask_still_has_an_outline():
    outline = mask_outline(np.zeros((28, 28), np.float32), np.array([10, 20, 30, 60]))
    assert outline.area == pytest.approx(np.pi * 20 * 10, rel=0.02)


def test_outlines_stay_inside_the_image():
    masks = np.full((1, 28, 28), 255, np.uint8)
    found = Detections(np.array([[-5, 30, 15, 70]], np.float32), np.ones(1, np.float32),
                       np.ones(1, np.int64), masks, (40, 60))
    assert found.polygons()[0].bounds == pytest.approx((30, 0, 60, 15), abs=0.01)
