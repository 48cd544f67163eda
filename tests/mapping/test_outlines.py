"""Masks to outlines, with sub-pixel accuracy, on boxes that are not square."""

import numpy as np
import pytest

from crater_model.detections import Detections
from crater_model.mapping.outlines import mask_outline, outlines


def soft_disc(m=28):
    """Probability that falls through one half at the inscribed ellipse."""
    c = (np.arange(m) + 0.5) / m * 2 - 1
    return np.clip(0.5 + (1 - np.sqrt(c[:, None]**2 + c[None]**2)) * 3, 0, 1)


def test_an_ellipse_comes_back():
    outline = mask_outline(soft_disc(), np.array([10, 30, 50, 110]))  # 40 high, 80 wide
    assert outline.centroid.coords[0] == pytest.approx((70, 30), abs=0.01)
    assert outline.area == pytest.approx(np.pi * 40 * 20, rel=0.02)
    assert outline.bounds == pytest.approx((30, 10, 110, 50), abs=1.0)


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
    assert outlines(found)[0].bounds == pytest.approx((30, 0, 60, 15), abs=0.01)
