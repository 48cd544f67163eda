"""Places on spheres and ellipsoids, against formulas that use neither pyproj nor PROJ."""

from __future__ import annotations

import math

import numpy as np
import pyproj
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from crater_model.errors import DataError
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.projection import planetocentric, same_body, unwrap, unwrap_ring

MOON = 1737400.0
SIZE = (400, 300)  # width, height px
EQC = "+proj=eqc +R=1737400"
LONLAT = "+proj=longlat +R=1737400"
NORTH = "IAU_2015:30130"
SOUTH = "IAU_2015:30135"
LCC = "+proj=lcc +lat_1=30 +lat_2=60 +lat_0=45 +lon_0=20 +R=1737400"


def lambert(lon: float, lat: float) -> tuple[float, float]:
    """Snyder (1987), equations 15-1 to 15-5."""
    p1, p2, p0, p = (math.radians(v) for v in (30, 60, 45, lat))
    tan = lambda v: math.tan(math.pi / 4 + v / 2)
    n = math.log(math.cos(p1) / math.cos(p2)) / math.log(tan(p2) / tan(p1))
    f = math.cos(p1) * tan(p1) ** n / n
    rho, rho0 = MOON * f / tan(p) ** n, MOON * f / tan(p0) ** n
    theta = n * math.radians(lon - 20)
    return rho * math.sin(theta), rho0 - rho * math.cos(theta)


def test_plate_carree_in_metres_by_hand():
    image = Georeference(EQC, (500.0, 0, 1e5, 0, -250.0, 9e5), *SIZE)
    per_degree = MOON * math.pi / 180
    found = image.lonlat([[10, 20], [399.5, 300]])
    assert found == pytest.approx(np.array([
        [1.05e5 / per_degree, 8.95e5 / per_degree],
        [299750 / per_degree, 8.25e5 / per_degree]]), abs=1e-9)
    place = [[1.05e5 / per_degree, 8.95e5 / per_degree]]
    assert image.pixels(place) == pytest.approx(np.array([[10.0, 20.0]]), abs=1e-7)


def test_degrees_and_a_turned_image():
    image = Georeference(LONLAT, (0.0, 0.1, 40.0, -0.05, 0.0, 10.0), *SIZE)
    assert image.lonlat([[4, 8]]).tolist() == [[40.8, 9.8]]
    assert image.pixels([[40.8, 9.8]]) == pytest.approx(np.array([[4.0, 8.0]]), abs=1e-9)


@pytest.mark.parametrize("crs, side", [(NORTH, 1), (SOUTH, -1)])
def test_polar_stereographic_by_hand(crs, side):
    image = Georeference(crs, (1000.0, 0, -2e5, 0, -1000.0, 1.5e5), *SIZE)
    for lon, lat in ((0, 85), (33, 87.5), (200, 89.9), (-77, 85)):
        rho = 2 * MOON * math.tan(math.radians(90 - lat) / 2)
        x, y = rho * math.sin(math.radians(lon)), -side * rho * math.cos(math.radians(lon))
        at = np.array([[(x + 2e5) / 1000, (1.5e5 - y) / 1000]])
        assert image.pixels([[lon, side * lat]]) == pytest.approx(at, abs=1e-6)
        found = image.lonlat(at)[0]
        assert found[1] == pytest.approx(side * lat, abs=1e-9)
        assert (found[0] - lon + 180) % 360 - 180 == pytest.approx(0, abs=1e-7)


def test_lambert_conic_by_hand():
    image = Georeference(LCC, (700.0, 0, -1e5, 0, -700.0, 1e5), *SIZE)
    for lon, lat in ((20, 45), (12, 51), (27.5, 39)):
        x, y = lambert(lon, lat)
        assert image.pixels([[lon, lat]]) == pytest.approx(
            np.array([[(x + 1e5) / 700, (1e5 - y) / 700]]), abs=1e-7)


@pytest.mark.parametrize("west", [170.0, -190.0, 530.0])
@pytest.mark.parametrize("crs, unit", [(LONLAT, 1.0), (EQC, MOON * math.pi / 180)])
def test_an_image_across_180_takes_longitudes_of_both_kinds(crs, unit, west):
    image = Georeference(crs, (0.05 * unit, 0, west * unit, 0, -0.05 * unit, 20 * unit), *SIZE)
    for lon in (175.0, -185.0, 535.0):
        assert image.pixels([[lon, 10.0]]) == pytest.approx(np.array([[100.0, 200.0]]), abs=1e-6)
    for lon in (185.0, -175.0):
        assert image.pixels([[lon, 10.0]]) == pytest.approx(np.array([[300.0, 200.0]]), abs=1e-6)
    rim = image.rim(-180, 5, 60)
    assert np.ptp(rim, axis=0) == pytest.approx([40 / math.cos(math.radians(5)), 40], rel=0.02)
    assert rim.mean(axis=0) == pytest.approx([200, 300], abs=0.2)


def polar_ellipsoid(lon: float, lat: float, a: float, inverse: float) -> tuple[float, float]:
    """Snyder (1987), equations 15-9 and 21-33, with a scale of 1 at the pole."""
    f = 1 / inverse
    e = math.sqrt(2 * f - f * f)
    sin = e * math.sin(math.radians(lat))
    t = math.tan(math.pi / 4 - math.radians(lat) / 2) / ((1 - sin) / (1 + sin)) ** (e / 2)
    rho = 2 * a * t / math.sqrt((1 + e) ** (1 + e) * (1 - e) ** (1 - e))
    return rho * math.sin(math.radians(lon)), -rho * math.cos(math.radians(lon))


@pytest.mark.parametrize("code, sign", [("IAU_2015:49931", -1), ("IAU_2015:49932", 1)])
def test_ellipsoidal_mars_counts_geodetic_latitudes_and_east_longitudes(code, sign):
    """The ographic system counts longitudes (and its eastings) to the west, the ocentric
    one latitudes from the centre."""
    image = Georeference(code, (1000.0, 0, -2e5, 0, -1000.0, 2e5), *SIZE)
    x, y = polar_ellipsoid(sign * 40.0, 86.0, 3396190.0, 169.894447223612)
    at = [[(x + 2e5) / 1000, (2e5 - y) / 1000]]
    assert image.lonlat(at) == pytest.approx(np.array([[40.0, 86.0]]), abs=1e-9)
    assert image.pixels([[40.0, 86.0]]) == pytest.approx(np.array(at), abs=1e-7)
    axes = [axis.direction for axis in image.geographic_crs.axis_info]
    assert axes == ["east", "north"] and not image.geographic_crs.prime_meridian.longitude


def test_geographic_mars_of_every_kind():
    steps = (0.01, 0, 10.0, 0, -0.01, 50.0)
    squeeze = (1 - 1 / 169.894447223612) ** 2
    geodetic = math.degrees(math.atan(math.tan(math.radians(49.0)) / squeeze))
    found = {code: Georeference(f"IAU_2015:{code}", steps, *SIZE).lonlat([[50, 100]])[0]
             for code in (49900, 49901, 49902)}
    assert found[49900] == pytest.approx([10.5, 49.0])
    assert found[49901] == pytest.approx([-10.5, 49.0])
    assert found[49902] == pytest.approx([10.5, geodetic])
    image = Georeference("IAU_2015:49902", steps, *SIZE)
    assert image.from_degrees([[10.5, 49.0]]) == pytest.approx(np.array([[10.5, geodetic]]))
    assert image.from_planetocentric([[10.5, 90.0], [1, -90]]).tolist() == [[10.5, 90], [1, -90]]
    ographic = Georeference("IAU_2015:49901", steps, *SIZE)
    assert ographic.from_degrees([[10.5, 49.0]]).tolist() == [[10.5, 49.0]]
    assert ographic.from_planetocentric([[10.5, 49.0]])[0, 1] == pytest.approx(geodetic)
    # The same place, whichever system names it.
    assert planetocentric("IAU_2015:49901", [[-10.5, geodetic]]) == pytest.approx(
        np.array([[10.5, 49.0]]))
    assert planetocentric("IAU_2015:49902", [[10.5, 49.0]]) == pytest.approx(
        np.array([[10.5, 49.0]]))


def test_other_meridians_units_and_kinds():
    paris = Georeference("EPSG:4807", (0.1, 0, 0.0, 0, -0.1, 60.0), *SIZE)  # grads from Paris
    assert paris.lonlat([[100, 100]]) == pytest.approx(np.array([[9 + 2.33722917, 45.0]]))
    assert paris.pixels(paris.lonlat([[100, 100]])) == pytest.approx(np.array([[100.0, 100.0]]))
    solid = Georeference("EPSG:4979", (0.1, 0, 0.0, 0, -0.1, 60.0), *SIZE)
    assert solid.lonlat([[10, 20]]).tolist() == [[1.0, 58.0]]
    assert len(solid.geographic_crs.axis_info) == 2
    shifted = Georeference("+proj=tmerc +ellps=bessel +towgs84=100,200,300",
                           (10.0, 0, 0, 0, -10.0, 5e6), *SIZE)
    assert shifted.geographic_crs.ellipsoid.name == "Bessel 1841"


ROUND_TRIPS = {
    EQC: (500.0, 0, 1e5, 0, -500.0, 9e5), LONLAT: (0.01, 0, 179, 0, -0.01, 10),
    NORTH: (100.0, 0, -2e4, 0, -100.0, 1.5e4), SOUTH: (100.0, 0, -2e4, 0, -100.0, 1.5e4),
    LCC: (700.0, 0, -1e5, 0, -700.0, 1e5),
    "IAU_2015:30120": (200.0, 0, 4e6, 0, -200.0, 1e6),  # sinusoidal
    "IAU_2015:49911": (200.0, 0, -9e6, 0, -200.0, 1e6),
    "IAU_2015:49912": (200.0, 0, 9e6, 0, -200.0, 4e6),
    "IAU_2015:49902": (0.01, 0, 179, 0, -0.01, 10),
    "IAU_2015:49980": (200.0, 0, 1e5, 0, -200.0, 1e6),
    "EPSG:32633": (10.0, 0, 5e5, 0, -10.0, 5e6), "EPSG:3031": (1e3, 20.0, 1e6, 20.0, -1e3, 1e6)}

TRANSVERSE = ("EPSG:32633", "IAU_2015:49980")


@pytest.mark.parametrize("crs", ROUND_TRIPS)
def test_round_trips_to_a_millionth_of_a_pixel(crs):
    image = Georeference(crs, ROUND_TRIPS[crs], *SIZE)
    points = np.random.default_rng(0).uniform(-20, 1, (200, 2)) * -1 * np.array(SIZE) / 20
    lonlat = image.lonlat(points)
    assert np.isfinite(lonlat).all()
    for turn in (0.0, 360.0, -360.0):
        assert np.abs(image.pixels(lonlat + [turn, 0]) - points).max() < 1e-6


@pytest.mark.parametrize("crs", [EQC, NORTH, "IAU_2015:49912"])
def test_a_chip_lies_where_its_image_has_it(crs):
    image = Georeference(crs, ROUND_TRIPS[crs], *SIZE)
    piece = image.part(37, 51, 2.5, 100, 80)
    assert (piece.width, piece.height) == (100, 80)
    inner = np.array([[0, 0], [100, 80], [12.5, 33.0]])
    assert piece.lonlat(inner) == pytest.approx(image.lonlat(inner / 2.5 + [37, 51]), abs=1e-9)
    assert Georeference.from_json(piece.to_json(), 100, 80) == piece


def cap(diameter_km: float, radius: float = MOON) -> float:
    """km: the diameter of the flat circle with the area of a circle on the ground."""
    return 4e-3 * radius * math.sin(diameter_km * 1000 / (4 * radius))


@pytest.mark.parametrize("crs, at", [
    (EQC, (0.0, 0.0)), (EQC, (30.0, 75.0)), (EQC, (30.0, -75.0)), (LONLAT, (179.9, 75.0)),
    (NORTH, (140.0, 75.0)), (NORTH, (0.0, 90.0)), (NORTH, (45.0, 89.5)), (LCC, (20.0, 75.0))])
@pytest.mark.parametrize("diameter", [1.0, 20.0, 150.0])
def test_diameters_are_true_to_a_thousandth(crs, at, diameter):
    image = Georeference(crs, (0.01, 0, 170, 0, -0.01, 80) if crs == LONLAT else
                         (300.0, 0, -1e6, 0, -300.0, 2e6), *SIZE)
    ring = image.rim(*at, diameter)
    assert image.diameter_km((ring,)) == pytest.approx(cap(diameter), rel=1e-3)
    assert image.diameter_km((ring[::-1],)) == pytest.approx(cap(diameter), rel=1e-3)


def test_few_long_edges_are_measured_as_they_are_drawn():
    image = Georeference(LONLAT, (0.02, 0, 0, 0, -0.02, 78), *SIZE)
    ring = np.array([[0, 0], [400, 0], [400, 300], [0, 300]], float)  # 8 deg by 78..72 N
    area = MOON**2 * math.radians(8) * (math.sin(math.radians(78)) - math.sin(math.radians(72)))
    assert image.diameter_km((ring,)) == pytest.approx(2e-3 * math.sqrt(area / math.pi), rel=1e-3)
    assert image.diameter_km((ring, ring)) == pytest.approx(
        2e-3 * math.sqrt(2 * area / math.pi), rel=1e-3)
    assert image.diameter_km((ring - [0, 2000],)) is None  # beyond the pole
    for flat in (ring * [1, 0], ring * 0 + 100):  # a line and a point
        assert image.diameter_km((flat,)) == pytest.approx(0, abs=1e-6)


def test_the_rim_is_at_its_distance_and_an_ellipse_lies_along_its_azimuth():
    image = Georeference("IAU_2015:49931", (500.0, 0, -1e5, 0, -500.0, 1e5), *SIZE)
    centre = np.array([[215.0, 80.0]])
    ring = image.rim(215.0, 80.0, 100.0)
    assert ring.shape == (64, 2)
    geod = pyproj.Geod(a=3396190.0, rf=169.894447223612)
    _, _, far = geod.inv(np.full(64, 215.0), np.full(64, 80.0), *image.lonlat(ring).T)
    assert far == pytest.approx(np.full(64, 5e4), abs=0.01)
    assert image.diameter_km((ring,)) == pytest.approx(100, rel=2e-3)


def test_rims_around_a_pole():
    polar = Georeference(NORTH, (500.0, 0, -1e5, 0, -500.0, 1e5), *SIZE)
    ring = polar.rim(10, 89.5, 60)
    rho, turn = 2 * MOON * math.tan(math.radians(0.5) / 2) / 500, math.radians(10)
    assert ring.mean(axis=0) == pytest.approx(
        [200 + rho * math.sin(turn), 200 + rho * math.cos(turn)], abs=0.1)
    for crs in (EQC, LONLAT, LCC, "IAU_2015:30120"):
        flat = Georeference(crs, ROUND_TRIPS[crs], *SIZE)
        for at in ((10, 89.5), (0, 90), (10, -89.9)):
            with pytest.raises(ValueError, match="cannot be drawn in the image's projection"):
                flat.rim(*at, 60)
        ring = np.stack([np.arange(0, 360, 10.0), np.full(36, 89.0)], axis=1)
        with pytest.raises(ValueError, match="holds a pole"):
            flat.outline(ring)
        assert flat.rim(10, 88.9, 60).shape == (64, 2)  # beside the pole
    assert np.ptp(polar.outline(ring), axis=0) == pytest.approx(
        np.full(2, 4 * MOON * math.tan(math.radians(0.5)) / 500), rel=1e-3)


@pytest.mark.parametrize("lon, lat, diameter", [
    (0, 0, 0), (0, 0, -5), (0, 0, math.nan), (0, 0, math.inf), (0, 0, 6000), (0, 91, 5),
    (math.nan, 0, 5), (0, 0, 1e300)])
def test_rims_that_are_none(lon, lat, diameter):
    image = Georeference(EQC, ROUND_TRIPS[EQC], *SIZE)
    with pytest.raises(ValueError, match="cannot be drawn"):
        image.rim(lon, lat, diameter)


def test_an_outline_stays_whole_at_the_seam_and_on_the_asked_side():
    world = Georeference(LONLAT, (1.0, 0, -180, 0, -1.0, 90), 360, 180)
    ring = np.array([[179.0, 0], [-179.0, 0], [-179.0, 3], [179.0, 3]])
    assert world.outline(ring)[:, 0].tolist() in ([359, 361, 361, 359], [-1, 1, 1, -1])
    assert world.outline(ring, 179.5)[:, 0].tolist() == [359, 361, 361, 359]
    assert world.outline(ring, -179.5)[:, 0].tolist() == [-1, 1, 1, -1]
    assert world.outline(ring + [720, 0], -179.5)[:, 0].tolist() == [-1, 1, 1, -1]
    assert unwrap_ring(np.array([350.0, 10.0, 350.0])).tolist() == [350.0, 370.0, 350.0]
    assert unwrap(-170.0, 180.0) == 190.0


def test_places_that_are_not_on_the_body():
    image = Georeference(LONLAT, (1.0, 0, 0, 0, -1.0, 100), 10, 10)
    assert np.isnan(image.lonlat([[1, 5]])).all() and image.lonlat([[1, 10]]).tolist() == [[1, 90]]
    assert np.isnan(image.pixels([[0, 90.001], [np.nan, 0], [0, np.inf]])).all()
    polar = Georeference(NORTH, ROUND_TRIPS[NORTH], *SIZE)
    assert np.isnan(polar.pixels([[0, -90]])).all()
    utm = Georeference("EPSG:32633", ROUND_TRIPS["EPSG:32633"], *SIZE)
    assert np.isnan(utm.pixels([[115, 0]])).all()  # 100 deg off its middle
    disk = Georeference("+proj=ortho +R=1737400", (1e4, 0, -2e6, 0, -1e4, 2e6), 400, 400)
    assert np.isnan(disk.lonlat([[0, 0]])).all() and disk.middle_longitude == 0


def test_bodies():
    assert same_body("IAU_2015:30100", "+proj=eqc +R=1738100")
    assert same_body("IAU_2015:49900", "IAU_2015:49931")
    assert not same_body("IAU_2015:30100", "IAU_2015:49900")


@pytest.mark.parametrize("crs, transform, text", [
    ("moon", (1, 0, 0, 0, 1, 0), "is unknown"), ("", (1, 0, 0, 0, 1, 0), "is unknown"),
    ("EPSG:5703", (1, 0, 0, 0, 1, 0), "no longitude and latitude"),
    ("EPSG:4978", (1, 0, 0, 0, 1, 0), "no longitude and latitude"),
    (EQC, (1, 1, 0, 1, 1, 0), "span a plane"), (EQC, (math.nan, 0, 0, 0, 1, 0), "six finite"),
    (EQC, (1e308, 0, 0, 0, 1e308, 0), "span a plane")])
def test_refused(crs, transform, text):
    with pytest.raises(DataError, match=text) as error:
        Georeference(crs, transform, *SIZE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [
    None, [], {}, {"crs": EQC}, {"crs": 5, "transform": [1, 0, 0, 0, 1, 0]},
    {"crs": EQC, "transform": [1, 2]}, {"crs": EQC, "transform": ["x"] * 6}])
def test_json_of_another_form(value):
    with pytest.raises(DataError, match="six numbers"):
        Georeference.from_json(value, *SIZE)


@settings(deadline=None, max_examples=100)
@given(st.floats(-400, 400), st.floats(-90, 90), st.floats(0.1, 400), st.sampled_from(list(
    ROUND_TRIPS)))
def test_any_rim_is_right_or_refused(lon, lat, diameter, crs):
    """But where transverse Mercator tears, a quarter of the body off its middle."""
    image = Georeference(crs, ROUND_TRIPS[crs], *SIZE)
    assume(abs(unwrap(lon, image.middle_longitude) - image.middle_longitude) < 75
           or crs not in TRANSVERSE)
    try:
        ring = image.rim(lon, lat, diameter)
    except ValueError:
        return
    measured = image.diameter_km((ring,))
    if measured is not None:
        assert measured == pytest.approx(cap(diameter, image.geod.a), rel=0.01)
