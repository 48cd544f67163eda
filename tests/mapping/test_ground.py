"""Shapes on the body: cut where longitudes begin again, closed over poles; mapped areas."""

import math

import numpy as np
import pytest
import shapely

from crater_model.imagery.body import body_of
from crater_model.imagery.georeference import Georeference
from crater_model.mapping import ground
from crater_model.mapping.ground import mapped_area, on_body
from tests.mapping.grounds import DEGREE, MOON, PLACES, circle, image

KM2 = 4 * math.pi * (MOON / 1000) ** 2


def zone(south: float, north: float, width: float) -> float:
    """km^2 of the Moon between two latitudes, `width` deg wide."""
    return KM2 / 2 * (math.sin(math.radians(north)) - math.sin(math.radians(south))) * width / 360


@pytest.mark.parametrize("crs, unit", [("IAU_2015:30100", 1.0), ("IAU_2015:30110", DEGREE)])
@pytest.mark.parametrize("west, south, width, height", [
    (10, 20, 50, 30), (160, -80, 50, 30), (530, -15, 50, 30), (-180, -90, 360, 180),
    (0, -32, 360, 64), (90, 60, 360, 30)])
def test_areas_of_plate_carrees(crs, unit, west, south, width, height):
    georeference = Georeference(crs, (unit, 0, west * unit, 0, -unit, (south + height) * unit),
                                width, height)
    found = mapped_area(georeference)
    assert found.km2 == pytest.approx(zone(south, south + height, width), rel=1e-6)
    assert found.body.name == "Moon" and found.axes_km == (1737.4, 1737.4)
    west_found, _, east_found, _ = found.shape.bounds
    assert -180 <= west_found < east_found <= 180 and found.shape.is_valid
    assert sum(part.area for part in found.shape.geoms) == pytest.approx(width * height)
    if west == 160:
        assert sorted(tuple(map(round, p.bounds)) for p in found.shape.geoms) == [
            (-180, -80, -150, -50), (160, -80, 180, -50)]


@pytest.mark.parametrize("place", [p for p in PLACES if "Earth" not in p])
def test_small_areas_agree_with_geodesics(place):
    georeference = image(place)
    inside = shapely.Point(250, 150).buffer(100, quad_segs=64)
    lonlat = georeference.lonlat(shapely.get_coordinates(inside)[:-1])
    expected = abs(georeference.geod.polygon_area_perimeter(*lonlat.T)[0]) / 1e6
    assert mapped_area(georeference, inside).km2 == pytest.approx(expected, rel=2e-4)


def test_holes_and_several_parts_count():
    georeference = image("180")
    part = shapely.MultiPolygon([shapely.box(200, 50, 300, 150).difference(
        shapely.box(240, 90, 260, 110)), shapely.box(10, 10, 20, 20)])
    found = mapped_area(georeference, part)
    step = 100 / DEGREE  # deg of latitude a px; row 150 is at 20 N
    expected = (zone(20, 20 + 100 * step, 100 * step)
                - zone(20 + 40 * step, 20 + 60 * step, 20 * step)
                + zone(20 + 130 * step, 20 + 140 * step, 10 * step))
    assert found.km2 == pytest.approx(expected, rel=1e-6)
    assert found.shape.is_valid and len(found.shape.geoms) == 3


@pytest.mark.parametrize("code, sign", [(30130, 1), (30135, -1)])
@pytest.mark.parametrize("corner", [(-15e3, 15e3), (0.0, 15e3), (0.0, 0.0), (-15e3, 30e3)])
def test_a_pole_within_on_the_edge_and_at_the_corner(code, sign, corner):
    """A polar image of 30 km, the pole within it, on its left or lower edge, at its corner."""
    georeference = Georeference(f"IAU_2015:{code}", (100.0, 0, corner[0], 0, -100.0, corner[1]),
                                300, 300)
    found = mapped_area(georeference)
    x, y = (np.arange(300) + 0.5 for _ in range(2))
    x, y = np.meshgrid(corner[0] + 100 * x, corner[1] - 100 * y)
    cell = (1 + (x**2 + y**2) / (4 * MOON**2)) ** -2  # of the stereographic plane, from its scale
    assert found.km2 == pytest.approx(cell.sum() / 100, rel=1e-4)
    assert found.shape.is_valid and found.shape.bounds[0] >= -180 and found.shape.bounds[2] <= 180
    assert (found.shape.bounds[3] if sign > 0 else -found.shape.bounds[1]) > 89.99


def test_outlines_are_cut_at_180_and_closed_over_the_pole():
    def shape(polygon, georeference):
        return on_body([polygon], georeference)[0]
    cut = shape(circle(image("180"), 180, 20, 5), image("180"))
    half = 5e3 / DEGREE / math.cos(math.radians(20))
    assert sorted(p.bounds[0] for p in cut.geoms) == pytest.approx([-180, 180 - half], abs=1e-4)
    assert all(shapely.is_ccw(part.exterior) for part in cut.geoms)
    whole = shape(circle(image("south pole"), 0, -90, 5), image("south pole"))
    assert len(whole.geoms) == 1
    assert whole.bounds == pytest.approx((-180, -90, 180, -90 + 5e3 / DEGREE), abs=1e-5)
    touching = shape(circle(image("north pole"), 40, 90 - 5e3 / DEGREE, 5), image("north pole"))
    assert touching.is_valid and touching.bounds[3] > 89.999
    assert touching.bounds[2] - touching.bounds[0] == pytest.approx(180, abs=2)
    disc = Georeference(f"+proj=ortho +R={MOON}", (4000.0, 0, -2e6, 0, -4000.0, 12e5), 1000, 600)
    assert shape(shapely.box(0, 0, 30, 30), disc).is_empty


@pytest.mark.parametrize("place", PLACES)
def test_many_outlines_are_as_each_alone(place):
    georeference = image(place)
    circles = [shapely.Point(x, y).buffer(r) for x, y, r in (
        (250, 150, 40), (30, 40, 20), (470, 280, 10), (251, 149, 0.4), (340, 120, 70))]
    found = on_body(circles, georeference)
    for shape, alone in zip(found, circles):
        longest = alone.exterior.length / ground.CRATER_PIECES
        slow = ground._in_system(ground._geodetic(alone, georeference, longest),
                                 body_of(georeference), georeference)
        assert shape.is_valid and shape.geom_type == "MultiPolygon"
        assert all(shapely.is_ccw(part.exterior) for part in shape.geoms)
        assert shape.symmetric_difference(slow).area < 1e-6 * slow.area
    assert len(on_body([], georeference)) == 0


def test_what_is_off_the_body_does_not_count():
    """The half of the Moon that a disc shows, in a corner of it a quarter; a plate carree with
    half a px above the pole."""
    disc = Georeference(f"+proj=ortho +R={MOON}", (4000.0, 0, -2e6, 0, -4000.0, 2e6), 1000, 1000)
    assert mapped_area(disc).km2 == pytest.approx(KM2 / 2, rel=5e-3)
    quarter = shapely.box(0, 0, 500, 500)
    assert mapped_area(disc, quarter).km2 == pytest.approx(KM2 / 8, rel=5e-3)
    flat = Georeference("IAU_2015:30100", (0.5, 0, 10, 0, -0.5, 90.25), 100, 61)
    assert mapped_area(flat).km2 == pytest.approx(zone(59.75, 90, 50), rel=2e-3)
