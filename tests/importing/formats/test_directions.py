from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from crater_model.imagery.georeference import Georeference
from crater_model.importing.formats.directions import (
    angle,
    convention,
    from_planetographic,
    pairs,
)


@pytest.mark.parametrize("text, value, letter", [
    ("11.2W", -11.2, "W"), ("43.3S", -43.3, "S"), ("343.2° W", -343.2, "W"), ("N 12.5", 12.5, "N"),
    ("5°25'12\"S", -5.42, "S"), ("137° 48' E", 137.8, "E"), ("-5.4", -5.4, ""), ("12.5 east", 12.5, "E"),
    ("7,5 N", 7.5, "N")])
def test_angles(text, value, letter):
    assert angle(text) == (pytest.approx(value), letter)


@pytest.mark.parametrize("text", ["", "W", "-11W", "N 5 S", "12 75' N", "abc", None])
def test_what_is_no_angle(text):
    assert math.isnan(angle(text)[0])


@pytest.mark.parametrize("text", ["43.3S,11.2W", "43.3°S 11.2°W", "11.2W / 43.3S", "(43.3S; 11.2W)",
                                  "43°18'S, 11°12'W", "-43.3, 11.2W"])
def test_pairs(text):
    np.testing.assert_allclose(pairs(pd.Series([text]), None, False), [[-11.2, -43.3]])


def test_pairs_of_numbers_need_an_order():
    both = pd.Series(["-43.3, 11.2"])
    assert np.isnan(pairs(both, None, False)).all()
    np.testing.assert_allclose(pairs(both, False, True), [[-11.2, -43.3]])
    np.testing.assert_allclose(pairs(pd.Series(["11.2 -43.3"]), True, False), [[11.2, -43.3]])


@pytest.mark.parametrize("text, west, centric", [
    ("Planetographic, +West, 0 - 360", True, False), ("Planetocentric, +East, 0 - 360", False, True),
    ("# longitudes are positive west", True, None), ("# west longitudes", True, None),
    ("# longitudes count to the west", True, None), ("# Longitudes east; latitudes geodetic", False, False),
    ("GCS_Moon_2000", None, None), ("# western Arabia Terra", None, None)])
def test_words(text, west, centric):
    assert (convention(text).west, convention(text).centric) == (west, centric)


def test_planetographic_latitudes_on_a_sphere_of_mars():
    """Against tan(centric) = (1 - f)^2 tan(graphic); the Moon is a sphere itself."""
    place = 100.0, 0, 0, 0, -100.0, 0
    lonlat = np.array([[10.0, 45.0]])
    squeeze = (1 - 1 / 169.894447223612) ** 2
    mars = Georeference("IAU_2015:49910", place, 10, 20)
    assert from_planetographic(mars, lonlat)[0, 1] == pytest.approx(
        math.degrees(math.atan(squeeze)), abs=1e-9)
    moon = Georeference("IAU_2015:30110", place, 10, 20)
    assert from_planetographic(moon, lonlat)[0, 1] == pytest.approx(45)
    ellipsoid = Georeference("+proj=longlat +a=3396190 +rf=169.894447223612", place, 10, 20)
    assert from_planetographic(ellipsoid, lonlat)[0, 1] == pytest.approx(45)
