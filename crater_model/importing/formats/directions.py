"""Which way places count: letters and words for directions, and the two kinds of latitude.

The IAU's planetographic longitudes count against a body's turning, to the west on Mars and
the Moon's like, and its gazetteer has such systems row by row ("Planetographic, +West, 0 - 360").
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyproj

from crater_model.imagery.body import body_of
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.projection import latitudes

_WAY = (r"\+\s*{0}|\b{1}({2})?(ward)?\s*(is\s+|=\s*)?(\+|positive)"
        r"|positive[\s_-]*{1}({2})?(ward)?\b|\b{0}(ern)?[\s_-]+lon(gitude)?s?\b"
        r"|\blon(gitude)?s?\b[\s:=(,-]*"
        r"((are|in|to\s+the|count\w*|deg(rees)?|°)\s+)*{1}({2})?(ward)?s?\b")
_WEST, _EAST = (re.compile(_WAY.format(word, word[0], word[1:])) for word in ("west", "east"))
_GRAPHIC = re.compile(r"(planeto|areo|seleno)?(graphic|detic)|\bo(graphic)")
_CENTRIC = re.compile(r"(planeto|areo|seleno|\bo)centric")
_NUMBER = r"\d+(?:[.,]\d+)?"
_MINUS, _PRIME, _PRIMES = "\u2212-", "'\u2032\u2019", "\"\u2033\u201d"
_ANGLE = re.compile(
    rf"\s*([NSEW])?\s*([+{_MINUS}]?)\s*({_NUMBER})\s*(?:[°\u00ba\ufffdd]|deg(?:rees)?)?\s*"
    rf"(?:({_NUMBER})\s*[{_PRIME}]\s*)?(?:({_NUMBER})\s*(?:[{_PRIMES}]|''|\u2032\u2032))?"
    r"\s*([NSEW]|north|south|east|west)?\s*", re.IGNORECASE)
# A pair of angles in one cell, and what may stand between them.
_PAIR = re.compile(r"([^,;/]*?[NSEW]|[^,;/\s]+)\s*[,;/\s]\s*(.+)", re.IGNORECASE | re.DOTALL)
# A pair with letters whose comma is the table's own separator.
UNQUOTED = re.compile(r"((?:\d[^,\"]{0,20}|\d)[NS])\s*,\s*(\d[^,\"]{0,20}[EW])(?=\s*(?:,|$))",
                      re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Convention:
    """What a text says of places; None where it says nothing.

    Attributes:
      west: longitudes count to the west. centric: latitudes are planetocentric.
    """

    west: bool | None = None
    centric: bool | None = None


def convention(text: str) -> Convention:
    """What a line of a table's head or a cell such as "Planetographic, +West, 0 - 360" says."""
    text = text.lower()
    west, east = bool(_WEST.search(text)), bool(_EAST.search(text))
    graphic, centric = bool(_GRAPHIC.search(text)), bool(_CENTRIC.search(text))
    return Convention(west if west != east else None, centric if graphic != centric else None)


def angle(text: object) -> tuple[float, str]:
    """(degrees, letter) of "11.2W", "S 43°18'" or "-5.4": the number is negative to the west
    and south where a letter says so; NaN for what is no angle."""
    match = _ANGLE.fullmatch(text) if isinstance(text, str) else None
    if match is None or (match[1] and match[6]):
        return np.nan, ""
    degrees, minutes, seconds = (float((part or "0").replace(",", "."))
                                 for part in match.group(3, 4, 5))
    letter = (match[1] or match[6] or "")[:1].upper()
    if minutes >= 60 or seconds >= 60 or (letter and match[2] in tuple(_MINUS)):
        return np.nan, ""
    value = degrees + minutes / 60 + seconds / 3600
    return (-value if letter in ("S", "W") or match[2] in tuple(_MINUS) else value), letter


def angles(values: pd.Series, way: str) -> np.ndarray:
    """Angles of a column of longitudes ("E", "W") or latitudes ("N", "S"); numbers without a letter
    count to the way named, and are turned where that is the west or the south."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    if way in ("W", "S"):
        numbers = -numbers
    allowed = "EW" if way in ("E", "W") else "NS"
    for index in np.flatnonzero(np.isnan(numbers) & values.notna().to_numpy()):
        value, letter = angle(values.iloc[index])
        if not letter or letter in allowed:
            numbers[index] = -value if way in ("W", "S") and not letter else value
    return numbers


def pairs(values: pd.Series, lon_first: bool | None, west: bool) -> np.ndarray:
    """[n, 2] longitude and latitude of cells that hold both; NaN where it cannot be known which
    is which."""
    found = np.full((len(values), 2), np.nan)
    for index, text in enumerate(values):
        match = _PAIR.fullmatch(str(text).strip().strip("()[]"))
        if match is None:
            continue
        (one, letter), (two, other) = angle(match[1]), angle(match[2])
        first = lon_first
        if letter or other:
            if (letter in ("N", "S")) == (other in ("N", "S")) and letter and other:
                continue
            first = letter in ("E", "W") if letter else other in ("N", "S")
        if first is not None:
            lon, lat, said = (one, two, letter) if first else (two, one, other)
            found[index] = (-lon if west and not said else lon), lat
    return found


def from_planetographic(georeference: Georeference, lonlat: np.ndarray) -> np.ndarray:
    """Longitudes (east) and planetographic latitudes [n, 2], deg, as `Georeference.lonlat` gives
    them: on a sphere that stands for a flattened body they are made planetocentric with the
    flattening of the body that it stands for."""
    return georeference.from_planetocentric(latitudes(lonlat, 1.0 - _es(georeference)))


def _es(georeference: Georeference) -> float:
    """The square of the eccentricity of the body that an image shows."""
    if georeference.geod.es:
        return georeference.geod.es
    code = body_of(georeference).code
    return _iau_es(code) if code else 0.0


@functools.lru_cache(maxsize=64)
def _iau_es(code: str) -> float:
    """That of the IAU's ellipsoid beside its sphere: IAU_2015:49901 beside 49900."""
    authority, number = code.split(":")
    try:
        found = pyproj.CRS.from_user_input(f"{authority}:{int(number) + 1}").get_geod()
    except pyproj.exceptions.CRSError:
        return 0.0  # a body that the IAU has as a sphere alone
    return found.es if found else 0.0
