"""A part of an image reads as an image of its own."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from crater_model.imagery.part import PartRaster
from crater_model.imagery.raster import ArrayRaster, open_raster


def test_windows_of_a_part_are_windows_of_the_whole():
    pixels = np.random.default_rng(0).integers(0, 255, (40, 70, 3), np.uint8)
    with PartRaster(ArrayRaster(pixels), 20, 5, 30, 25) as part:
        assert (part.width, part.height, part.bands, part.georeference) == (30, 25, 3, None)
        np.testing.assert_array_equal(part.read(4, 3, 10, 7).pixels, pixels[8:15, 24:34])


def test_a_part_keeps_its_place_and_what_has_no_data(tmp_path):
    values = np.random.default_rng(0).integers(1, 255, (1, 40, 70), np.uint8)
    values[0, 5:20, 20:35] = 0  # reaches the part's frame and, by the next line, the image's
    values[0, :20, 20:24] = 0
    values[0, 25, 45] = 0  # a dead pixel, which is mended
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", width=70, height=40, count=1,
                       dtype="uint8", nodata=0, crs=rasterio.CRS.from_proj4("+proj=eqc +R=1737400"),
                       transform=rasterio.Affine(100, 0, 3000, 0, -100, 8000)) as file:
        file.write(values)
    mended = np.zeros((25, 30), bool)
    mended[20, 25] = True
    whole = open_raster(tmp_path / "a.tif")
    with PartRaster(whole, 20, 5, 30, 25) as part:
        assert part.has_invalid and part.georeference is not None
        np.testing.assert_allclose(part.georeference.lonlat(np.array([[2.5, 3.5]])),
                                   whole.georeference.lonlat(np.array([[22.5, 8.5]])))
        assert part.georeference.width == 30
        shown = part.read(0, 0, 30, 25)
        np.testing.assert_array_equal(shown.valid, (values[0, 5:30, 20:50] != 0) | mended)
        there = shown.valid & ~mended
        np.testing.assert_array_equal(shown.pixels[there], values[0, 5:30, 20:50][there])
    with pytest.raises(Exception, match="closed"):
        whole.read(0, 0, 1, 1)
