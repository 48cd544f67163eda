"""Outlines over an ellipsoid: which kind of latitude a layer's system counts."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from tests.importing.formats.test_vector import image, only, read, write

RING = np.array([[1.0, 40.2], [1.4, 40.0], [1.5, 40.5], [1.1, 40.6]])
SPHERE, OCENTRIC = "IAU_2015:49900", "IAU_2015:49902"
SILENT = "+proj=longlat +a=3396190 +b=3376200"
# The same place's planetographic latitude is larger at 40 degrees by so much.
APART = np.degrees(np.arctan(np.tan(np.radians(40.3)) * (3396190 / 3376200)**2)) - 40.3


@pytest.mark.parametrize("suffix", [".shp", ".gpkg"])
@pytest.mark.parametrize("crs, off, said", [
    (OCENTRIC, 0.0, False), (SILENT, APART, True), (SPHERE, 0.0, False)])
def test_outlines_over_a_sphere(tmp_path, suffix, crs, off, said):
    image(tmp_path / "mars.tif", SPHERE, west=0.9, north=41.0)
    write(tmp_path / f"craters{suffix}", [shapely.Polygon(RING)], crs)
    reading, notes = read(tmp_path)
    (label,) = only(reading)
    ring = np.asarray(label.rings[0])
    middle = (ring.min(axis=0) + ring.max(axis=0)) / 2
    assert middle == pytest.approx([35.0, (41.0 - 40.3 + off) * 100], abs=0.15)
    told = [text for text in notes.warnings if "does not say of which kind" in text]
    assert len(told) == said


@pytest.mark.parametrize("crs", [OCENTRIC, SPHERE])
def test_outlines_over_an_ocentric_image(tmp_path, crs):
    """The image's system goes through GeoTIFF, which can say it by its name alone."""
    image(tmp_path / "mars.tif", OCENTRIC, west=0.9, north=41.0)
    write(tmp_path / "craters.shp", [shapely.Polygon(RING)], crs)
    reading, notes = read(tmp_path)
    ring = np.asarray(only(reading)[0].rings[0])
    assert (ring.min(axis=0) + ring.max(axis=0)) / 2 == pytest.approx([35.0, 70.0], abs=0.15)
    assert notes.warnings == []
