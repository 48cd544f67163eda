"""What the names of a table's columns say: places, sizes, units and directions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

_UNITS = {"km": 1.0, "kms": 1.0, "kilometers": 1.0, "kilometres": 1.0, "kilometer": 1.0,
          "kilometre": 1.0, "m": 1e-3, "meters": 1e-3, "metres": 1e-3, "meter": 1e-3,
          "metre": 1e-3, "mts": 1e-3}
# Names are compared in lower case without anything but letters and digits, and these without
# their unit.
_DIAMETER = ("diameter", "diam", "d", "craterdiameter", "diamcircimg", "diamcircleimage",
             "rimdiameter", "meandiameter", "diametermean", "craterdiam", "craterdiametre",
             "diametre")
_RADIUS = ("radius", "r", "craterradius", "rimradius", "meanradius")
_CIRCLES = (("loncircimg", "latcircimg", "diamcircimg"),
            ("longitudecircleimage", "latitudecircleimage", "diamcircleimage"))
_GLUED = re.compile(rf"(.*(?:diameter|diam|radius))({'|'.join(sorted(_UNITS, key=len)[::-1])})")
_LATITUDES = "planetocentric|planetographic|planetodetic|ocentric|ographic|geodetic|centric|graphic"
_AROUND = f"cent(?:er|re|ral)|crater|positive|pos|degrees|deg|{_LATITUDES}"
_LON = re.compile(rf"((?:{_AROUND}|east|west|[ew])*)(?:longitude|long|lon|lng)"
                  rf"((?:{_AROUND}|east|west|0|180|360|[ew])*)")
_LAT = re.compile(rf"((?:{_AROUND}|north|south|[ns])*)(?:latitude|lat)"
                  rf"((?:{_AROUND}|north|south|[ns])*)")
_AWAY = re.compile(rf"{_AROUND}|east|north|[en\d]")
_BOTH = ("coordinates", "coordinate", "coords", "coord", "latlon", "latlong", "latitudelongitude",
         "location", "position", "center", "centre", "craterlocation", "centercoordinates")
_BOTH_LON_FIRST = ("lonlat", "longlat", "longitudelatitude")
_SYSTEM = ("coordinatesystem", "coordsystem", "coordinatesys", "longitudesystem", "lonsystem",
           "longitudedirection", "londirection", "lonconvention", "longitudeconvention")


@dataclass(frozen=True)
class Columns:
    """Where a table has what: column numbers from 0.

    Attributes:
      lon, lat, diameter: of the circle; `lon` and `lat` are one column where it has both.
      to_km: what the diameter column's values are multiplied by.
      unit: whether the file names that unit.
      centric: the latitudes are known to be planetocentric (True) or planetographic (False).
      west, south: longitudes count to the west, latitudes to the south.
      lon_first: of one column with both, which comes first; None where it does not say.
      system: a column that says row by row how places count.
      label: what the file calls the diameter's column.
    """

    lon: int
    lat: int
    diameter: int
    to_km: float = 1.0
    unit: bool = True
    centric: bool | None = None
    west: bool = False
    south: bool = False
    lon_first: bool | None = None
    system: int | None = None
    label: str = "diameter"


def columns(names: Sequence[str]) -> Columns | None:
    """The columns of a catalogue among a table's column names, or None.

    Where several sets fit, the most specific counts, then a diameter before a radius and a
    column that names its unit before one that does not; longitudes to the east before those
    to the west.
    """
    keys = [_key(name) for name in names]
    for circle in _CIRCLES:
        if all(name in keys for name in circle):
            lon, lat, diameter = (keys.index(n) for n in circle)
            return Columns(lon, lat, diameter, centric=True, label=names[diameter].strip())
    place, size = _place(names, keys), size_column(names)
    if place is None or size is None:
        return None
    system = next((keys.index(key) for key in _SYSTEM if key in keys), None)
    return replace(place, system=system, diameter=size.diameter, to_km=size.to_km, unit=size.unit,
                   label=size.label)


def size_column(names: Sequence[str]) -> Columns | None:
    """The diameter or radius among a table's column names (its place is of no meaning)."""
    for _, _, name in _CIRCLES:
        found = [number for number, said in enumerate(names) if _key(said) == name]
        if found:
            return Columns(0, 0, found[0], label=names[found[0]].strip())
    sized = [_column_name(name) for name in names]
    found_sizes = [(known is _RADIUS, not unit, _UNITS.get(unit, 1.0) != 1.0, number, factor)
                   for known, factor in ((_DIAMETER, 1.0), (_RADIUS, 2.0))
                   for number, (key, unit) in enumerate(sized)
                   if key in known and (not unit or unit in _UNITS)]
    if not found_sizes:
        return None
    _, unnamed, _, number, factor = min(found_sizes)
    return Columns(0, 0, number, factor * _UNITS.get(sized[number][1], 1.0), not unnamed,
                   label=names[number].strip())


def _place(names: Sequence[str], keys: Sequence[str]) -> Columns | None:
    """The columns of longitude and latitude."""
    east, north = _first(_LON, names), _first(_LAT, names)
    if east is not None and north is not None:
        (west, lon, said), (south, lat, also) = east, north
        centric = _centric(said + also)
        return Columns(lon, lat, 0, centric=centric, west=west, south=south)
    for known, lon_first in ((_BOTH_LON_FIRST, True), (_BOTH, None)):
        for key in known:
            if key in keys:
                number = keys.index(key)
                return Columns(number, number, 0,
                               lon_first=False if key.startswith("lat") else lon_first)
    return None


def _first(pattern: re.Pattern, names: Sequence[str]) -> tuple[bool, int, str] | None:
    """(whether it counts the other way, column, what its name says beside), the plainest
    first: "lon" before "lon_e", that before "lon_w"."""
    found = []
    for number, name in enumerate(names):
        plain, _, bracket = _split_camel(name).partition("(")
        match = pattern.fullmatch(_key(plain + bracket)) or pattern.fullmatch(
            _key(re.sub(r"[(\[{].*", "", name)))
        if match:
            said = match[1] + match[2]
            other = bool(re.search("[ws]", _AWAY.sub("", said)))
            found.append((other, bool(said), number, said))
    if not found:
        return None
    other, _, number, said = min(found)
    return other, number, said


def _centric(said: str) -> bool | None:
    if "graphic" in said or "detic" in said:
        return False
    return True if "centric" in said else None


def _split_camel(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _column_name(name: str) -> tuple[str, str]:
    """("diameter", "km") of "Diameter (km)", "diameter_km" or "DiameterKm"; the unit may be
    empty."""
    name = _split_camel(name.strip()).lower()
    in_brackets = re.search(r"[(\[{]\s*([^)\]}]*)", name)
    unit = re.sub(r"[^a-z]", "", in_brackets.group(1)) if in_brackets else ""
    words = re.findall(r"[a-z0-9]+", re.sub(r"[(\[{].*", "", name))
    if not unit and len(words) > 1 and (words[-1] in _UNITS or words[-1] in ("deg", "degrees")):
        unit = words.pop()
        if len(words) > 1 and words[-1] == "in":
            words.pop()
    key = "".join(words)
    if not unit and key not in _DIAMETER and (glued := _GLUED.fullmatch(key)):
        key, unit = glued[1], glued[2]
    return key, unit
