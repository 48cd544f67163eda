"""Values that stand apart and are not declared as no-data."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from crater_model.imagery.raster import open_raster
from crater_model.imagery.specials import special_values
from tests.imagery.test_raster import tiff

H, W = 120, 150
RNG = np.random.default_rng(2)
BRIGHT = RNG.normal(0.1, 0.02, (H, W)).astype(np.float32)
HEIGHTS = RNG.integers(-8000, 9000, (H, W)).astype(np.int16)
COUNTS = RNG.integers(700, 5200, (H, W)).astype(np.uint16)


def with_frame(values, *special):
    """The values with a frame of the first and a few pixels of the other special values."""
    values = values.copy()
    values[:, :20] = special[0]
    for number, value in enumerate(special[1:]):
        values[40 + 3 * number, 60:70] = value
    return values


@pytest.mark.parametrize("values, special", [
    (BRIGHT, [-9999]), (BRIGHT, [-1]), (BRIGHT, [-32768]), (BRIGHT, [-3.4e37]), (BRIGHT, [1e32]),
    (HEIGHTS, [-32768]), (HEIGHTS // 2, [-9999]), (HEIGHTS, [-32768, -32767, -32766, -32765, -32764]),
    (COUNTS, [65535]), (COUNTS.astype(np.float32), [-32752]), (COUNTS.astype(np.int16), [-999])])
def test_repeated_extremes_are_named_and_left_out(tmp_path, values, special):
    path = tiff(tmp_path / "a.tif", with_frame(values, *special))
    with open_raster(path) as raster, open_raster(tiff(tmp_path / "b.tif", values)) as plain:
        assert raster.stretch.low == pytest.approx(plain.stretch.low, rel=0.03)
        assert raster.stretch.high == pytest.approx(plain.stretch.high, rel=0.03)
        pixels, valid = raster.read(0, 0, W, H)
        assert not valid[:, :20].any() and valid[:, 20:].all()  # the frame is missing ground
        (remark,) = raster.remarks
        assert str(path) in remark and "without being declared as no-data" in remark
        for value in special:
            assert f"{np.float32(value):.7g}" in remark or f"{value:.7g}" in remark
        assert plain.remarks == () and plain.missing is None
    assert (pixels[:, :20] == 0).all() and (pixels[:, 20:] >= 1).all()


@pytest.mark.parametrize("values", [
    BRIGHT, HEIGHTS, COUNTS, np.where(COUNTS > 5000, 5600, COUNTS),  # saturated
    np.where(BRIGHT > 0.12, 0.12, BRIGHT), np.clip(COUNTS, 1500, None),
    np.where(RNG.random((H, W)) < 0.5, 1, 5).astype(np.int16),  # a map of classes
    np.full((H, W), 7, np.int16)])
def test_nothing_else_is_taken_for_them(values):
    assert special_values(values.ravel()) == {}


def test_one_far_value_alone_is_no_special_one():
    values = BRIGHT.ravel().copy()
    values[7] = -9999
    assert special_values(values) == {}


@pytest.mark.parametrize("name, named", [
    ("f32_9999_undeclared.tif", "-9999"), ("i16.tif", "-32766 and -32764")])
def test_the_cases(cases, name, named):
    with open_raster(cases / "special_values" / name) as raster:
        (remark,) = raster.remarks
        assert named in remark
        assert raster.stretch.low > (-1600 if "i16" in name else 0)
        with rasterio.open(cases / "special_values" / name) as file:
            collar = file.read(1) <= -9999
        pixels, valid = raster.read(0, 0, raster.width, raster.height)
        np.testing.assert_array_equal(~valid, collar)
        assert 60 < np.median(pixels[valid]) < 200
