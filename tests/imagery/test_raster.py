"""Images of every kind, read in windows as 8 bits."""

from __future__ import annotations

import json
import struct
import zlib

import cv2
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from crater_model.errors import DataError
from crater_model.imagery.convert import write_8bit
from crater_model.imagery.raster import (
    ArrayRaster,
    Window,
    filled,
    open_raster,
    open_scene,
    read_header,
    read_whole,
)
from crater_model.imagery.stretch import Stretch, compute_stretch

WIDTH, HEIGHT = 90, 60
MOON = "+proj=eqc +R=1737400 +units=m"


def tiff(path, values, **more):
    """Writes [h, w] or [bands, h, w] values as a GeoTIFF."""
    bands = values[None] if values.ndim == 2 else values
    with rasterio.open(path, "w", driver="GTiff", dtype=values.dtype, count=len(bands),
                       width=bands.shape[2], height=bands.shape[1], **more) as out:
        out.write(bands)
    return path


@pytest.fixture
def ramp() -> np.ndarray:
    """uint16 [60, 90], every value from 1000 to 6399 once, rising along the rows."""
    return np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH) + 1000


def test_a_16_bit_image_is_stretched_between_its_percentiles(tmp_path, ramp):
    with open_raster(tiff(tmp_path / "a.tif", ramp)) as raster:
        assert (raster.width, raster.height, raster.bands) == (WIDTH, HEIGHT, 1)
        stretch = raster.stretch
        assert stretch.percentiles == (0.5, 99.5)
        assert stretch.low == pytest.approx(1000 + 0.005 * 5399)
        assert stretch.high == pytest.approx(1000 + 0.995 * 5399)
        window = raster.read(10, 20, 30, 15)
    values = ramp[20:35, 10:40].astype(float)
    expected = 1 + np.clip((values - stretch.low) / (stretch.high - stretch.low), 0, 1) * 254
    assert window.pixels.shape == (15, 30) and window.valid is None
    assert np.abs(window.pixels - expected).max() <= 0.51
    # The ends are cut, the darkest is 1: 0 means no data.
    assert Stretch(10, 20, (0, 100)).apply(np.array([[5, 10, 15, 20, 99]]), None).tolist() == [
        [1, 1, 128, 255, 255]]


def test_the_stretch_asked_for_is_used(tmp_path, ramp):
    with open_raster(tiff(tmp_path / "a.tif", ramp), (10, 50)) as raster:
        assert raster.stretch.low == pytest.approx(1000 + 0.10 * 5399)
        assert raster.stretch.high == pytest.approx(1000 + 0.50 * 5399)


def test_no_data_is_left_out_of_the_stretch_and_is_black(tmp_path, ramp):
    values = ramp.astype(np.float32)
    values[:20] = -9999
    values[20, 5] = np.nan
    values[20, 6] = 3e38  # an ISIS special value
    with open_raster(tiff(tmp_path / "a.tif", values, nodata=-9999)) as raster:
        assert raster.has_invalid
        assert 1000 + 20 * WIDTH < raster.stretch.low < raster.stretch.high < 6400
        pixels, valid = raster.read(0, 15, WIDTH, 10)
    expected = np.ones((10, WIDTH), bool)
    expected[:5] = False
    expected[5, 5:7] = False
    np.testing.assert_array_equal(valid, expected)
    assert (pixels[~valid] == 0).all() and (pixels[valid] >= 1).all()


def test_a_large_image_is_sampled_and_says_the_same(tmp_path, monkeypatch):
    values = np.random.default_rng(0).normal(500, 100, (300, 500)).astype(np.float32)
    path = tiff(tmp_path / "a.tif", values)
    with open_raster(path) as raster:
        whole = compute_stretch(raster)
        monkeypatch.setattr("crater_model.imagery.stretch._SAMPLES", 20_000)
        sampled = compute_stretch(raster)
    assert whole.low == pytest.approx(np.percentile(values, 0.5))
    assert sampled != whole
    assert sampled.low == pytest.approx(whole.low, abs=10)
    assert sampled.high == pytest.approx(whole.high, abs=10)


def test_one_value_everywhere_does_not_divide_by_zero(tmp_path):
    with open_raster(tiff(tmp_path / "a.tif", np.full((6, 9), 700, np.int16))) as raster:
        assert set(np.unique(raster.read(0, 0, 9, 6).pixels)) <= {1}


def test_rgb_and_alpha(tmp_path):
    values = np.random.default_rng(1).integers(1, 255, (4, HEIGHT, WIDTH), dtype=np.uint8)
    values[3] = 255
    values[3, :, :10] = 0
    path = tiff(tmp_path / "a.tif", values, photometric="rgb", alpha="yes")
    with open_raster(path) as raster:
        assert raster.bands == 3 and raster.has_invalid and raster.stretch is None
        pixels, valid = raster.read(5, 7, 20, 11)
    np.testing.assert_array_equal(valid, np.tile(np.arange(5, 25) >= 10, (11, 1)))
    np.testing.assert_array_equal(pixels[:, 5:], np.moveaxis(values[:3, 7:18, 10:25], 0, -1))
    assert not pixels[:, :5].any()


def test_a_pds_image(tmp_path, ramp):
    """A PDS3 label with a 16-bit image behind it, as the archive has them."""
    label = "\r\n".join([
        "PDS_VERSION_ID = PDS3", "RECORD_TYPE = FIXED_LENGTH", f"RECORD_BYTES = {2 * WIDTH}",
        f"FILE_RECORDS = {HEIGHT + 4}", "LABEL_RECORDS = 4", "^IMAGE = 5",
        'TARGET_NAME = "MOON"', "OBJECT = IMAGE", f"  LINES = {HEIGHT}",
        f"  LINE_SAMPLES = {WIDTH}", "  SAMPLE_TYPE = LSB_INTEGER", "  SAMPLE_BITS = 16",
        "  BANDS = 1", "  MISSING_CONSTANT = -32768", "END_OBJECT = IMAGE", "END", ""]).encode()
    values = ramp.astype("<i2")
    values[3, 4] = -32768
    values[3, 5] = -32764  # "saturated" in PDS and ISIS
    path = tmp_path / "a.img"
    path.write_bytes(label.ljust(4 * 2 * WIDTH) + values.tobytes())
    with open_raster(path) as raster:
        assert (raster.width, raster.height, raster.driver) == (WIDTH, HEIGHT, "PDS")
        pixels, valid = raster.read(0, 0, WIDTH, HEIGHT)
        declared = raster.values(0, 0, WIDTH, HEIGHT)[1]
    assert np.argwhere(~declared).tolist() == [[3, 4], [3, 5]]
    assert valid is None  # dead pixels are no missing ground, and look like what is around them
    assert np.abs(pixels[3, 4:6].astype(int) - pixels[3, 3]).max() <= 1
    assert raster.stretch.low > 1000 and pixels[-1, -1] == 255


def test_png_and_jpeg_are_themselves(tmp_path):
    image = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    with open_raster(tmp_path / "a.png") as raster:
        assert isinstance(raster, ArrayRaster) and raster.stretch is None
        np.testing.assert_array_equal(raster.read(3, 5, 7, 9).pixels, image[5:14, 3:10])
    cv2.imwrite(str(tmp_path / "deep.png"), (image[..., 0].astype(np.uint16) + 1) * 200)
    with open_raster(tmp_path / "deep.png") as raster:
        assert raster.stretch.high > 40000


def test_where_an_image_lies(tmp_path, ramp):
    path = tiff(tmp_path / "a.tif", ramp, crs=MOON, transform=from_origin(30323, 60646, 100, 100))
    header = read_header(path)
    assert header[:2] == (WIDTH, HEIGHT)
    # 30323.4 m are one degree on a sphere of 1737.4 km.
    np.testing.assert_allclose(header.georeference.lonlat([[0, 0], [90, 60]]), [
        [1.0, 2.0], [1.0 + 9000 / 30323.3, 2.0 - 6000 / 30323.3]], atol=1e-4)
    cv2.imwrite(str(tmp_path / "plain.png"), np.zeros((HEIGHT, WIDTH), np.uint8))
    assert read_header(tmp_path / "plain.png") == (WIDTH, HEIGHT, None, "has no georeference")


def test_converting_keeps_values_place_and_holes(tmp_path, ramp):
    values = ramp.astype(np.float32)
    values[10:20, 30:50] = -1
    path = tiff(tmp_path / "a.tif", values, nodata=-1, crs=MOON,
                transform=from_origin(0, 0, 50, 50))
    with open_raster(path) as raster:
        before = raster.read(0, 0, WIDTH, HEIGHT)
        write_8bit(raster, tmp_path / "b.tif")
    with open_scene(tmp_path / "b.tif") as raster:
        assert raster.stretch is None and raster.tiled is False  # smaller than a block
        after = raster.read(0, 0, WIDTH, HEIGHT)
        np.testing.assert_allclose(raster.georeference.lonlat([[5, 6]]),
                                   [[250 / 30323.35, -300 / 30323.35]], rtol=1e-5)
    np.testing.assert_array_equal(after.pixels, before.pixels)
    np.testing.assert_array_equal(after.valid, before.valid)
    assert not after.valid[10:20, 30:50].any() and after.valid.sum() == WIDTH * HEIGHT - 200


def test_holes_are_filled_with_the_mean(tmp_path):
    pixels = np.full((4, 6, 3), (10, 20, 30), np.uint8)
    pixels[0, 0] = (13, 23, 33)
    valid = np.ones((4, 6), bool)
    valid[2:, :] = False
    pixels[~valid] = 0
    out = filled(Window(pixels, valid))
    assert out[3, 2].tolist() == [10, 20, 30] and out[0, 0].tolist() == [13, 23, 33]
    assert pixels[3, 2].tolist() == [0, 0, 0]
    assert filled(Window(pixels, None)) is pixels


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims this size."""
    chunk = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = b"IHDR" + chunk
    data = zlib.compress(b"\0" * 1000)
    return (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body
            + struct.pack(">I", zlib.crc32(body)) + struct.pack(">I", len(data)) + b"IDAT" + data
            + struct.pack(">I", zlib.crc32(b"IDAT" + data)))


@pytest.mark.parametrize("make, text", [
    (lambda p: p.with_suffix(".png").write_bytes(png_header(100_000, 100_000)), "too large"),
    (lambda p: p.with_suffix(".tif").write_bytes(b"II*\0 nothing"), "cannot be read as an image"),
    (lambda p: p.with_suffix(".tif").write_text(
        '<VRTDataset rasterXSize="9" rasterYSize="6"><VRTRasterBand dataType="Byte" band="1"/>'
        "</VRTDataset>"), "VRT file, expected PNG"),
    (lambda p: tiff(p.with_suffix(".tif"), np.zeros((5, 6, 9), np.uint8)), "has 5 bands"),
    (lambda p: tiff(p.with_suffix(".tif"), np.zeros((6, 9), np.complex64)), "the type complex64"),
    (lambda p: None, "cannot be read .No such file"),
])
def test_refused(tmp_path, make, text):
    make(tmp_path / "bad")
    path = next(iter(tmp_path.glob("bad*")), tmp_path / "bad.tif")
    with pytest.raises(DataError, match=text) as caught:
        with open_raster(path) as raster:
            raster.read(0, 0, raster.width, raster.height)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_scene_must_have_8_bits_and_a_whole_read_a_limit(tmp_path, ramp):
    with pytest.raises(DataError, match="more than 8 bits a value .uint16.*dataset import"):
        open_scene(tiff(tmp_path / "a.tif", ramp))
    path = tmp_path / "large.tif"
    with rasterio.open(path, "w", driver="GTiff", dtype="uint8", count=1, width=30_000,
                       height=20_000, tiled=True, sparse_ok=True):
        pass
    assert path.stat().st_size < 5_000_000
    with open_scene(path) as raster:
        assert not raster.read(29_000, 19_000, 900, 700).pixels.any()
        with pytest.raises(DataError, match="30000x20000 px are too many.*dataset chips"):
            read_whole(raster)


def test_stretch_as_json():
    stretch = Stretch(-5.0, 8.5, (1.0, 99.0))
    assert Stretch.from_json(json.loads(json.dumps(stretch.to_json()))) == stretch
    with pytest.raises(DataError, match="the stretch is .*expected low, high"):
        Stretch.from_json({"low": 1})
