from __future__ import annotations

import pytest

from crater_model.importing.formats.columns import columns, size_column


@pytest.mark.parametrize("name, to_km, unit", [
    ("diameter_km", 1, True), ("Diam (m)", 1e-3, True), ("DiamM", 1e-3, True), ("D [km]", 1, True),
    ("diameter in metres", 1e-3, True), ("diameterkm", 1, True), ("Radius", 2, False),
    ("radius_m", 2e-3, True), ("RadiusKm", 2, True), ("DIAM_CIRC_IMG", 1, True), ("d", 1, False),
    ("Crater_Diameter_m", 1e-3, True)])
def test_units_in_names(name, to_km, unit):
    found = size_column(["name", name])
    assert (found.diameter, found.to_km, found.unit) == (1, pytest.approx(to_km), unit)


@pytest.mark.parametrize("name", ["diameter_px", "Radius (deg)", "D_range", "depth", "diam_sd"])
def test_what_is_no_size(name):
    assert size_column([name]) is None


@pytest.mark.parametrize("lon, lat, west, south, centric", [
    ("lon", "lat", False, False, None), ("Longitude (W)", "Latitude", True, False, None),
    ("W_LON", "LAT", True, False, None), ("Longitude [deg W]", "Latitude [deg N]", True, False, None),
    ("Lon (0-360 W)", "lat", True, False, None), ("WestLongitude", "lat", True, False, None),
    ("Longitude (positive west)", "lat", True, False, None), ("lon_e360", "lat", False, False, None),
    ("East Longitude", "Latitude (S)", False, True, None),
    ("lon_w", "planetographic_latitude", True, False, False),
    ("lon", "Latitude (planetocentric)", False, False, True)])
def test_directions_in_names(lon, lat, west, south, centric):
    found = columns(["id", lat, lon, "diam_km"])
    assert (found.lon, found.lat, found.west, found.south, found.centric) == (
        2, 1, west, south, centric)


def test_the_plainest_longitude_counts():
    assert columns(["lon_w", "lon_e", "lat", "d"]).lon == 1
    assert columns(["lon_w", "lon_e", "lon", "lat", "d"]).lon == 2


def test_a_gazetteer():
    names = ["Feature Name", "Target", "Diameter", "Center Latitude", "Center Longitude", "Northern Latitude", "Southern Latitude", "Eastern Longitude", "Western Longitude", "Coordinate System"]
    found = columns(names)
    assert (found.diameter, found.lat, found.lon, found.system, found.unit) == (2, 3, 4, 9, False)
