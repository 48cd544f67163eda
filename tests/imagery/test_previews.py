"""Previews are the means of the pixels, strip by strip, whatever the size."""

import numpy as np
import pytest
import rasterio

from crater_model.annotations.scene import Scene
from crater_model.errors import DataError
from crater_model.imagery.previews import for_each, preview
from crater_model.imagery.raster import ArrayRaster, open_scene


def write_tiff(path, pixels, **more):
    with rasterio.open(path, "w", driver="GTiff", dtype="uint8", count=1, width=pixels.shape[1],
                       height=pixels.shape[0], **more) as out:
        out.write(pixels, 1)
    return path


def test_small_images_are_kept():
    pixels = np.arange(6 * 9, dtype=np.uint8).reshape(6, 9)
    found = preview(ArrayRaster(pixels), 9)
    np.testing.assert_array_equal(found.grey, pixels)
    assert not found.valid[0, 0] and found.valid.sum() == 53
    colour = np.stack([pixels] * 3, axis=-1)
    np.testing.assert_array_equal(preview(ArrayRaster(colour), 9).grey, pixels)


@pytest.mark.parametrize("strip", [2**22, 700, 1])
def test_means_do_not_depend_on_the_strips(monkeypatch, strip):
    monkeypatch.setattr("crater_model.imagery.previews._STRIP", strip)
    pixels = np.random.default_rng(0).integers(1, 256, (120, 180), np.uint8)
    found = preview(ArrayRaster(pixels), 30)
    means = pixels.reshape(20, 6, 30, 6).mean(axis=(1, 3))
    assert found.grey.shape == (20, 30) and found.valid.all()
    np.testing.assert_allclose(found.grey, means, atol=1.1)
    ramp = np.repeat(np.arange(1, 201, dtype=np.uint8)[:, None], 70, axis=1)
    found = preview(ArrayRaster(ramp), 30)  # 6.67 rows become one
    assert found.grey.shape == (30, 10)
    np.testing.assert_allclose(found.grey[:, 0], (np.arange(30) + 0.5) * 200 / 30 + 0.5, atol=1.1)


def test_no_data_do_not_darken(tmp_path):
    pixels = np.full((80, 120), 200, np.uint8)
    pixels[:, :50] = 0
    path = write_tiff(tmp_path / "a.tif", pixels, nodata=0)
    with open_scene(path) as raster:
        found = preview(raster, 12)
    assert found.grey.shape == (8, 12) and (found.grey[:, 5:] == 200).all()
    np.testing.assert_array_equal(found.valid[0], [False] * 5 + [True] * 7)


def test_a_tiff_is_read_to_its_end(tmp_path):
    pixels = np.random.default_rng(0).integers(1, 256, (900, 700), np.uint8)
    path = write_tiff(tmp_path / "a.tif", pixels, tiled=True, blockxsize=256, blockysize=256,
                      compress="deflate")
    with open_scene(path) as raster:
        assert preview(raster, 90).grey.shape == (90, 70)
    data = bytearray(path.read_bytes())
    data[-40_000:-20_000] = bytes(20_000)
    path.write_bytes(data)
    with open_scene(path) as raster, pytest.raises(DataError, match="a.tif: cannot be read"):
        preview(raster, 90)


def test_each_scene_is_worked_on_in_order():
    scenes = [Scene(n, f"{n}.png", 10**n, 7) for n in (1, 8, 2, 9)]  # some are large
    assert list(for_each(scenes, lambda scene: scene.id, "testing")) == [1, 8, 2, 9]
    with pytest.raises(ZeroDivisionError):
        list(for_each(scenes, lambda scene: 1 // (scene.id - 2), "testing"))
