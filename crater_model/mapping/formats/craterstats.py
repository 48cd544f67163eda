"""Crater counts for craterstats: `.scc` (spatial crater count) and `.diam`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import shapely

from crater_model.files import write_bytes
from crater_model.mapping.maps import Map, require_ground


def write_scc(path: Path, maps: Sequence[Map]) -> Path:
    """Writes diameters (km), places (deg, -180..180) and the searched ground with its area.

    Craters count whose centre is in the searched ground, each whole ("fraction" 1). A piece of
    ground that is cut at 180 deg, or in several parts, is several "sub-areas"; the areas of
    several images add up; where these share ground each counts a part of it (`overlap`).

    Raises:
      ConfigError: an image has no georeference, or they show several bodies.
    """
    body = require_ground(path, maps)
    equatorial, polar = maps[0].ground.axes_km
    lines = [
        "# Spatial crater count", "#", "# Ellipsoid axes:",
        f"a_axis_radius = {equatorial:.6f} <km>", f"b_axis_radius = {equatorial:.6f} <km>",
        f"c_axis_radius = {polar:.6f} <km>",
        f'coordinate_system_name = "{body.code or body.name}"', "#",
        f"# Longitudes east, -180..180; latitudes {body.latitudes}", "#", "# area_shapes:",
        "unit_boundary = {vertex, sub_area, tag, lon, lat", *_boundary(maps), "}", "#",
        f"Total_area = {_total(maps)} <km^2>", "#", "# crater_diameters:",
        "crater = {diam, fraction, lon, lat, topo_scale_factor"]
    lines += [f"{row.diameter_km:.9f}\t1\t{row.lon_deg:.8f}\t{row.lat_deg:.8f}\t1"
              for row in _counted(maps).itertuples()]
    return write_bytes(path, "\n".join([*lines, "}", ""]).encode())


def write_diam(path: Path, maps: Sequence[Map]) -> Path:
    """Writes diameters (km) and places, and the area of the searched ground.

    What counts is as in `write_scc`.

    Raises:
      ConfigError: as there.
    """
    body = require_ground(path, maps)
    lines = ["# Crater diameters for craterstats", "#",
             f"# {body.name}, longitudes east, -180..180; latitudes {body.latitudes}", "#",
             "# area, km^2", f"area = {_total(maps)}", "#",
             "crater = {diameter, fraction, lon, lat"]
    lines += [f"{row.diameter_km:.9f}\t1\t{row.lon_deg:.8f}\t{row.lat_deg:.8f}"
              for row in _counted(maps).itertuples()]
    return write_bytes(path, "\n".join([*lines, "}", ""]).encode())


def _counted(maps: Sequence[Map]) -> pd.DataFrame:
    return pd.concat([m.table[m.counted()] for m in maps], ignore_index=True)


def _total(maps: Sequence[Map]) -> str:
    # Never with an exponent, which craterstats would not read.
    return f"{sum(m.ground.km2 for m in maps):.9f}"


def _boundary(maps: Sequence[Map]) -> list[str]:
    lines, vertex, number = [], 0, 0
    for entry in maps:
        first = True
        for part in entry.ground.shape.geoms:
            for tag, ring in [("ext", part.exterior), *(("int", r) for r in part.interiors)]:
                number += 1
                if first:
                    name = "".join(c if c.isprintable() else "?" for c in entry.name)
                    lines += ["#", f"# Area_name{number} = {name}",
                              f"# Area_size{number} = {entry.ground.km2:.9f} <km^2>", "#"]
                    first = False
                for lon, lat in shapely.get_coordinates(ring):
                    vertex += 1
                    lines.append(f"{vertex}\t{number}\t{tag}\t{lon:.8f}\t{lat:.8f}")
    return lines
