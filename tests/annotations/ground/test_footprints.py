"""Overlaps on the map: any two projections, the seam, the poles; edges do not count."""

import time

import numpy as np
import pytest

from crater_model.annotations.ground.footprints import footprint, overlap, overlapping_pairs
from crater_model.imagery.georeference import Georeference

LONLAT = "+proj=longlat +R=1737400"
POLAR = "+proj=stere +lat_0=90 +lon_0=0 +k=1 +R=1737400 +units=m"
EQC = "+proj=eqc +R=1737400 +units=m"
KM_PER_DEG = 1737.4 * np.pi / 180


def degrees(west, north, width=400, height=200, step=0.01, crs=LONLAT):
    """An image of `step` deg per px."""
    return Georeference(crs, (step, 0, west, 0, -step, north), width, height)


def meters(crs, left, top, width=300, height=500, step=100.0):
    return Georeference(crs, (step, 0, left, 0, -step, top), width, height)


def found(one, other):
    result = overlap(footprint(one), footprint(other))
    assert overlap(footprint(other), footprint(one)) == result
    pairs = list(overlapping_pairs([footprint(one), None, footprint(other)], lambda i, j: False))
    assert pairs == ([(0, 2)] if result else [])
    return result


def test_neighbours_touch_and_do_not_overlap():
    one = degrees(10, 5)  # 10..14 E, 3..5 N
    assert not found(one, degrees(14, 5)) and not found(one, degrees(10, 3))
    assert not found(one, degrees(14, 3)) and not found(one, degrees(13.99, 5))
    assert found(one, degrees(13.96, 5)) and found(one, degrees(10, 3.04))
    assert found(one, degrees(13.96, 3.04)) and found(one, one)


def test_one_inside_the_other_and_a_strip_across():
    wide = degrees(10, 5)
    assert found(wide, degrees(11.111, 4.111, 20, 10, 0.001))
    assert found(wide, degrees(11.111, 20, 10, 3000))
    assert not found(wide, degrees(11.111, 20, 10, 1000))


@pytest.mark.parametrize("west, shares", [
    (-181, True), (179, True), (-178.1, True), (-177.9, False), (174.1, True), (173.9, False),
    (-185.9, True), (-186.1, False), (182, False), (541, True)])
def test_across_the_seam(west, shares):
    assert found(degrees(178, 5), degrees(west, 5)) is shares


def test_two_projections_across_the_seam():
    at = 179 * KM_PER_DEG * 1000
    plane = meters(EQC, at, 100_000)  # about 179..180 E, 3.3 N to 1.6 N... both signs of it
    assert found(plane, degrees(-181.5, 3)) and found(plane, degrees(178.5, 3))
    assert not found(plane, degrees(-179.9, 3)) and not found(plane, degrees(174.9, 3))


def test_at_the_pole():
    pole = meters(POLAR, -20_000, 30_000)
    assert found(pole, degrees(-180, 90, 3600, 5, 0.1))  # a strip all around, above 89.5 N
    assert found(pole, meters(POLAR, 9_000, -19_000))
    assert not found(pole, meters(POLAR, 10_000, 30_000))
    # The image's corner nearest to the pole's other side lies at 88.9 N.
    assert not found(pole, degrees(-180, 88, 3600, 50, 0.1))
    south = Georeference(POLAR.replace("lat_0=90", "lat_0=-90"), pole.transform, 300, 500)
    assert not found(pole, south)


def test_the_whole_body_shows_everything():
    world = degrees(-180, 90, 360, 180, 1)
    for other in (degrees(178, 5), meters(POLAR, -20_000, 30_000), degrees(359, -80)):
        assert found(world, other)


def test_other_bodies_and_axes():
    mars = degrees(10, 5, crs="+proj=longlat +R=3396190")
    assert not found(degrees(10, 5), mars)
    nearly = degrees(10, 5, crs="+proj=longlat +R=1738140")
    assert found(degrees(10, 5), nearly)


def test_latitudes_on_an_ellipsoid_are_those_seen_from_the_middle():
    """45 deg N on Mars' ellipsoid is 44.66 deg N on its sphere."""
    ellipsoid = degrees(10, 45.05, 400, 10, crs="+proj=longlat +a=3396190 +b=3376200")
    sphere = "+proj=longlat +R=3396190"
    assert found(ellipsoid, degrees(10, 44.70, 400, 8, crs=sphere))
    assert not found(ellipsoid, degrees(10, 45.05, 400, 10, crs=sphere))


def test_off_the_body_there_is_nothing():
    crs = "+proj=ortho +lat_0=0 +lon_0=0 +R=1737400"
    assert footprint(meters(crs, 5e6, 5e6)) is None
    half = meters(crs, -1.8e6, 1.8e6, 360, 360, 1e4)
    assert found(half, degrees(10, 5)) and not found(half, degrees(170, 5))


@pytest.mark.slow
@pytest.mark.parametrize("crs", [LONLAT, POLAR])
def test_a_thousand_neighbours_are_quick(crs):
    step = 0.02 if crs == LONLAT else 200.0
    make = degrees if crs == LONLAT else (
        lambda left, top, w, h, s: meters(POLAR, left, top, w, h, s))
    places = [make(x * 100 * step, y * 80 * step, 100, 80, step)
              for x in range(-16, 16) for y in range(-16, 16)]
    start = time.process_time()  # also where others want the processor
    prints = [footprint(place) for place in places]
    assert list(overlapping_pairs(prints, lambda i, j: False)) == []
    assert time.process_time() - start < 15  # some three on an idle machine
