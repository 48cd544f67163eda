"""The part of an image that has data."""

import numpy as np
import pytest

from crater_model.imagery.raster import ArrayRaster, Window
from crater_model.mapping import coverage
from crater_model.mapping.coverage import valid_area


class Masked(ArrayRaster):
    """Pixels of which some have no data."""

    has_invalid = True

    def __init__(self, valid: np.ndarray):
        super().__init__(np.zeros(valid.shape, np.uint8))
        self.valid = valid

    def read(self, left, top, width, height):
        return Window(super().read(left, top, width, height).pixels,
                      self.valid[top:top + height, left:left + width])


def test_an_image_without_gaps_has_no_area_of_its_own():
    assert valid_area(ArrayRaster(np.zeros((40, 70), np.uint8))) is None
    assert valid_area(Masked(np.ones((40, 70), bool))) is None


def test_gaps_are_left_out_to_the_pixel():
    valid = np.ones((40, 70), bool)
    valid[:, :10] = False
    valid[20:30, 50:65] = False
    area = valid_area(Masked(valid))
    assert area.area == 40 * 60 - 10 * 15 and area.bounds == (10, 0, 70, 40)


def test_nothing_but_gaps_is_an_empty_area():
    assert valid_area(Masked(np.zeros((8, 5), bool))).is_empty


def test_large_images_are_read_in_bands_and_to_a_cell(monkeypatch):
    monkeypatch.setattr(coverage, "_CELLS", 16)
    monkeypatch.setattr(coverage, "_ROWS", 3)
    valid = np.ones((50, 61), bool)  # cells of 4 px
    valid[:, 40:] = False
    area = valid_area(Masked(valid))
    assert area.bounds == (0, 0, 40, 50) and area.area == pytest.approx(40 * 50)
