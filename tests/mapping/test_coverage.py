"""The ground that an image shows."""

import numpy as np
import pytest
import shapely

from crater_model.imagery import missing
from crater_model.imagery.raster import ArrayRaster
from crater_model.mapping import coverage
from crater_model.mapping.coverage import shown_ground


def image(valid: np.ndarray) -> ArrayRaster:
    """An image of which some pixels have no data."""
    return ArrayRaster(np.full(valid.shape, 100, np.uint8), empty=~valid)


def test_an_image_without_gaps_has_no_area_of_its_own():
    assert shown_ground(ArrayRaster(np.zeros((40, 70), np.uint8))) is None
    assert shown_ground(image(np.ones((40, 70), bool))) is None


def test_gaps_are_left_out_to_the_pixel():
    valid = np.ones((40, 70), bool)
    valid[:, :10] = False
    valid[20:30, 50:65] = False
    ground = shown_ground(image(valid))
    assert ground.shape.area == ground.pixels == 40 * 60 - 10 * 15
    assert ground.shape.bounds == (10, 0, 70, 40)


def test_nothing_but_gaps_is_an_empty_area():
    ground = shown_ground(image(np.zeros((8, 5), bool)))
    assert ground.shape.is_empty and ground.pixels == 0


def test_large_images_are_looked_at_in_cells(monkeypatch):
    monkeypatch.setattr(missing, "_CELLS", 16)
    valid = np.ones((50, 61), bool)  # cells of 4 px
    valid[:, 40:] = False
    ground = shown_ground(image(valid))
    assert ground.shape.bounds == (0, 0, 40, 50) and ground.pixels == 50 * 40
    valid[:, 37:] = False  # the edge runs through a cell: the area is still true
    ground = shown_ground(image(valid))
    assert ground.pixels == 50 * 37 and abs(ground.shape.bounds[2] - 37) <= 4


def test_a_slanted_edge_is_a_line_and_not_a_staircase():
    y, x = np.mgrid[:900, :1300] + 0.5
    ground = shown_ground(image(x + 0.37 * y > 300))
    assert shapely.get_num_coordinates(ground.shape) < 12
    assert ground.pixels == (x + 0.37 * y > 300).sum()
    assert ground.shape.area == pytest.approx(ground.pixels, rel=1e-3)


def test_an_outline_of_any_kind_has_a_bounded_number_of_points(monkeypatch):
    rng = np.random.default_rng(0)
    ragged = np.ones((600, 800), bool)
    for row, depth in enumerate(rng.integers(50, 90, 200)):
        ragged[3 * row:3 * row + 3, :depth] = False
    before = shown_ground(image(ragged))
    assert shapely.get_num_coordinates(before.shape) > 300
    monkeypatch.setattr(coverage, "_POINTS", 100)
    after = shown_ground(image(ragged))
    assert shapely.get_num_coordinates(after.shape) <= 100
    assert after.pixels == before.pixels == ragged.sum()
    assert after.shape.area == pytest.approx(after.pixels, rel=0.02)
