"""Compact masks keep the shape they stand for."""

import io

import numpy as np
import pytest
import shapely
from PIL import Image

from crater_model.annotations.scene import Instance
from crater_model.records.masks import (
    GRID,
    GRID_BYTES,
    decode_grids,
    encode_grids,
    encode_mask,
    full_mask,
    instance_grid,
    rasterize,
)


def instance(*rings):
    return Instance(1, 1, tuple(np.asarray(ring, float) for ring in rings), 1.0)


def wavy(x, y, r, seed, n=40):
    rng = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, n, endpoint=False)
    radii = r * (1 + 0.25 * rng.uniform(-1, 1, n))
    return np.stack([x + 1.5 * radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_sampling_is_exactly_point_in_polygon(seed):
    ring = wavy(50, 30, 20, seed)
    xs, ys = np.arange(100) + 0.5, np.arange(64) + 0.5
    expected = shapely.contains_xy(shapely.Polygon(ring), *np.meshgrid(xs, ys))
    np.testing.assert_array_equal(rasterize([ring], xs, ys), expected)


def test_rings_are_united():
    first, second = wavy(30, 30, 15, 0), wavy(45, 30, 15, 1)
    xs, ys = np.arange(90) + 0.5, np.arange(60) + 0.5
    both = rasterize([first, second], xs, ys)
    np.testing.assert_array_equal(both, rasterize([first], xs, ys) | rasterize([second], xs, ys))


def test_grid_rows_run_down_the_box():
    # A triangle whose right angle is at the top left of a box 60 wide and 10 high.
    grid = instance_grid(instance([[20, 40], [80, 40], [20, 50]]))
    assert grid.shape == (GRID, GRID)
    cells = np.arange(GRID) + 0.5
    inside = cells[None, :] + cells[:, None]
    assert grid[inside < GRID].all() and not grid[inside > GRID].any()


def test_packing_is_row_by_row_and_comes_back():
    instances = [instance(wavy(50, 40, 8 + i, i)) for i in range(7)]
    data = encode_grids(instances)
    assert len(data) == 7 * GRID_BYTES
    grids = decode_grids(data)
    for found, original in zip(grids, instances):
        np.testing.assert_array_equal(found, instance_grid(original))
    top_left = instance([[0, 0], [40, 0], [0, 40]])
    assert encode_grids([top_left])[0] == 0xFF  # the first byte: first row, left eighth
    assert encode_grids([]) == b"" and decode_grids(b"").shape == (0, GRID, GRID)


def test_slivers_keep_a_cell():
    assert instance_grid(instance([[0, 0], [100, 100], [100, 100.001]])).any()


def test_full_mask_is_the_area():
    ring = wavy(30.3, 20.8, 12, 3)
    mask = full_mask(instance(ring), 45, 70)
    assert mask.shape == (45, 70) and mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 1}
    assert mask.sum() == pytest.approx(shapely.Polygon(ring).area, rel=0.03)
    edge = full_mask(instance([[0, 0], [70, 0], [70, 45], [0, 45]]), 45, 70)
    assert edge.all()


def test_a_mask_file_keeps_the_values():
    mask = np.zeros((20, 33), np.uint8)
    mask[3:9, 5:30] = 1
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_mask(mask)))), mask)
