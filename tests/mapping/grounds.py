"""Circles on the ground, drawn in images of every kind: the truth for what is measured."""

from __future__ import annotations

import math

import numpy as np
import pyproj
import shapely

from crater_model.imagery.georeference import Georeference
from crater_model.mapping.craters import Craters
from crater_model.mapping.maps import Map

MOON = 1737400.0
DEGREE = MOON * math.pi / 180
SIZE = (500, 300)  # width, height px
RADII = (5.0, 2.0, 0.8, 1.1, 0.9)  # km
# What craters are drawn in: images of 500 x 300 px, not square, of 100 m/px and the like.
PLACES = {
    "equator": ("IAU_2015:30110", (100.0, 0, -25e3, 0, -100.0, 15e3)),
    "32 N": ("IAU_2015:30110", (100.0, 0, 40 * DEGREE - 25e3, 0, -100.0, 32 * DEGREE + 15e3)),
    "70 S": ("IAU_2015:30110", (100.0, 0, 40 * DEGREE - 25e3, 0, -100.0, -70 * DEGREE + 15e3)),
    "180": ("IAU_2015:30110", (100.0, 0, 180 * DEGREE - 25e3, 0, -100.0, 20 * DEGREE + 15e3)),
    "degrees, 180": ("IAU_2015:30100", (0.01, 0, -182.5, 0, -0.01, 61.5)),
    "north pole": ("IAU_2015:30130", (100.0, 0, -25e3, 0, -100.0, 15e3)),
    "south pole": ("IAU_2015:30135", (100.0, 0, -25e3, 0, -100.0, 15e3)),
    "82 S across 180": ("IAU_2015:30135", (100.0, 0, -25e3, 0, -100.0, -8 * DEGREE + 15e3)),
    "Mars, sphere": ("IAU_2015:49910", (200.0, 0, 4e6, 0, -200.0, 2e6)),
    "Mars, ellipsoid": ("IAU_2015:49912", (200.0, 0, 4e6, 0, -200.0, 2e6)),
    "Mars, ellipsoidal pole": ("IAU_2015:49932", (200.0, 0, -5e4, 0, -200.0, 3e4)),
    "Earth": ("EPSG:32633", (10.0, 0, 5e5, 0, -10.0, 6e6)),
}


def image(place: str) -> Georeference:
    return Georeference(*PLACES[place], *SIZE)


def circle(georeference: Georeference, lon: float, lat: float, radius_km: float,
           n: int = 720) -> shapely.Polygon:
    """In px, of the places at this distance along geodesics."""
    around = np.linspace(0, 360, n, endpoint=False)
    lons, lats, _ = georeference.geod.fwd(np.full(n, lon), np.full(n, lat), around,
                                          np.full(n, radius_km * 1000))
    return shapely.Polygon(georeference.outline(np.stack([lons, lats], axis=1), around=lon))


def craters(outlines, size=(SIZE[1], SIZE[0]), scores=None, classes=None, edge=None,
            label_map=None) -> Craters:
    """A table of these outlines; `size` is (height, width)."""
    n = len(outlines)
    return Craters(
        np.array([*outlines, None], dtype=object)[:-1],
        np.linspace(0.9, 0.5, n).astype(np.float32) if scores is None else np.float32(scores),
        np.ones(n, np.int64) if classes is None else np.array(classes),
        np.full(n, 0.5, np.float32), np.zeros(n, bool) if edge is None else np.array(edge),
        size, label_map or {1: "crater"})


def cap_diameter(radius_km: float, body_radius: float = MOON) -> float:
    """km: of the flat circle with the area of the ground within `radius_km`."""
    return 4e-3 * body_radius * math.sin(radius_km * 1000 / (2 * body_radius))


def distance_km(geod: pyproj.Geod, one, other) -> float:
    return geod.inv(*one, *other)[2] / 1000


def crater_map(place="180", name="scene.tif", **more) -> Map:
    """Five circles on the ground of `RADII` km around the image's middle, the first cut by 180 deg
    in the place of that name, and one rock of another class."""
    georeference = image(place)
    shapes = [circle(georeference, *georeference.lonlat([[250 + 55 * i, 150 + 20 * i]])[0], r)
              for i, r in enumerate(RADII)]
    found = craters(shapes, classes=[1, 1, 1, 1, 2], edge=[True, False, False, False, False],
                    label_map={1: "crater", 2: "rock"})
    return Map(name, found, georeference, **more)


def px_map(**more) -> Map:
    found = craters([shapely.box(30, 10, 70, 30), shapely.box(5, 40, 15, 50)], size=(60, 100))
    return Map("a.png", found, **more)
